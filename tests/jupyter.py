"""A real Jupyter client on a real kernel: cells in, everything that came out."""

import os
import pathlib
import time
from queue import Empty

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from cells import BINARY


class Outcome:
    """What one cell did: the reply, and its output messages in order."""

    def __init__(self, code, messages, reply, seconds):
        self.code, self.messages, self.reply, self.seconds = code, messages, reply["content"], seconds

    @property
    def status(self):
        return self.reply["status"]

    def of(self, kind):
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    def stream(self, name):
        return "".join(content["text"] for content in self.of("stream") if content["name"] == name)

    @property
    def stdout(self):
        return self.stream("stdout")

    @property
    def stderr(self):
        return self.stream("stderr")

    @property
    def result(self):
        results = self.of("execute_result")
        return results[-1]["data"]["text/plain"] if results else None

    @property
    def shown(self):
        """All text a reader sees, displays in their last state."""
        texts, places = [], {}
        for message in self.messages:
            content = message["content"]
            if message["msg_type"] == "stream":
                texts.append(content["text"])
            elif message["msg_type"] == "error":
                texts.append("\n".join(content["traceback"]))
            elif message["msg_type"] in ("display_data", "execute_result"):
                identity = content.get("transient", {}).get("display_id")
                if identity:
                    places[identity] = len(texts)
                texts.append(content["data"].get("text/plain", ""))
            elif message["msg_type"] == "update_display_data":
                place = places.get(content["transient"]["display_id"])
                if place is not None:
                    texts[place] = content["data"].get("text/plain", "")
        return "\n".join(texts)

    def __repr__(self):
        return f"{self.code!r} -> {self.reply.get('status')} {self.reply.get('evalue', '')}\n{self.shown}"


class Kernel:
    """A kernel that lives as long as its `with` block."""

    def __init__(self, home, cwd=None, environment=None):
        self.environment = {**os.environ, "KATLAB_HOME": str(home), **(environment or {})}
        self.home = pathlib.Path(home)
        self.manager = KernelManager()
        self.manager._kernel_spec = KernelSpec(
            argv=[str(BINARY), "kernel", "-f", "{connection_file}"],
            display_name="katlab", language="rust", interrupt_mode="message",
        )
        self.manager.start_kernel(env=self.environment, cwd=str(cwd) if cwd else None)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)

    @property
    def pid(self):
        return self.manager.provisioner.pid

    def send(self, code, **options):
        """Sends a cell and returns its message id."""
        return self.client.execute(code, **options)

    def collect(self, identity, code="", timeout=180, on_message=None, channel_reply=True):
        """Everything that belongs to a request, up to its idle, and its reply."""
        start, messages = time.monotonic(), []
        deadline = start + timeout
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"{code!r} was not idle within {timeout} s: {messages}") from None
            if message["parent_header"].get("msg_id") != identity:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
            messages.append(message)
            if on_message:
                on_message(message)
        reply = self.reply(identity, timeout) if channel_reply else {"content": {"status": ""}}
        return Outcome(code, messages, reply, time.monotonic() - start)

    def reply(self, identity, timeout=60):
        deadline = time.monotonic() + timeout
        while True:
            reply = self.client.get_shell_msg(timeout=max(0.1, deadline - time.monotonic()))
            if reply["parent_header"].get("msg_id") == identity:
                return reply

    def run(self, code, timeout=180, on_message=None, check=True, **options):
        """Runs a cell; with `check` an error fails the test."""
        outcome = self.collect(self.send(code, **options), code, timeout, on_message)
        assert not check or outcome.status == "ok", outcome
        return outcome

    def fails(self, code, timeout=180, **options):
        """Runs a cell that must fail."""
        outcome = self.run(code, timeout, check=False, **options)
        assert outcome.status == "error", outcome
        assert outcome.of("error"), outcome
        return outcome

    def request(self, kind, content=None, header=None, timeout=30):
        """A request on the control channel."""
        message = self.client.session.msg(kind, content or {})
        message["header"].update(header or {})
        self.client.control_channel.send(message)
        deadline = time.monotonic() + timeout
        while True:
            reply = self.client.get_control_msg(timeout=max(0.1, deadline - time.monotonic()))
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                return reply["content"]

    def interrupt(self):
        return self.request("interrupt_request")
