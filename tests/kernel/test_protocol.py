"""The kernel as a Jupyter client sees it: counts, order, history, prompts, subshells, interrupts."""

import os
import stat
import time

import pytest

from jupyter import Kernel


def test_cells_count_from_one_and_silent_ones_do_not(kernel):
    assert kernel.run("!true", silent=True).reply["execution_count"] == 1
    assert kernel.run("!true").reply["execution_count"] == 1
    assert kernel.run("!true", store_history=False).reply["execution_count"] == 1
    second = kernel.run("!true")
    assert second.reply["execution_count"] == 2
    assert [content["execution_count"] for content in second.of("execute_input")] == [2]


def test_a_silent_cell_echoes_nothing(kernel):
    quiet = kernel.run("!true", silent=True)
    assert not quiet.of("execute_input")


def test_kernel_info_is_answered_while_a_cell_runs(kernel):
    running = kernel.send("!sleep 30")
    kernel.client.kernel_info()
    reply = kernel.client.get_shell_msg(timeout=5)
    assert reply["msg_type"] == "kernel_info_reply"
    content = reply["content"]
    assert tuple(map(int, content["protocol_version"].split("."))) >= (5, 4)
    assert "kernel subshells" in content["supported_features"]
    kernel.interrupt()
    assert kernel.collect(running).status == "error"


def test_requests_queued_behind_an_error_are_aborted_and_later_ones_run(kernel):
    first = kernel.send("!sleep 0.3; false")
    queued = [kernel.send("!echo never") for _ in range(3)]
    assert kernel.reply(first)["content"]["status"] == "error"
    replies = [kernel.reply(identity)["content"] for identity in queued]
    assert replies == [{"status": "aborted"}] * 3
    assert kernel.run("!echo again").stdout == "again\n"


def test_without_stop_on_error_the_queue_goes_on(kernel):
    first = kernel.send("!false", stop_on_error=False)
    second = kernel.send("!echo on")
    assert kernel.reply(first)["content"]["status"] == "error"
    assert kernel.reply(second)["content"]["status"] == "ok"


def test_a_burst_behind_a_fast_error_is_aborted_as_well(kernel):
    identities = [kernel.send(":nosuchmagic")] + [kernel.send("!echo never") for _ in range(5)]
    statuses = [kernel.reply(identity)["content"]["status"] for identity in identities]
    assert statuses == ["error"] + ["aborted"] * 5


def test_history_survives_a_restart_in_a_private_file(tmp_path):
    home = tmp_path / "home"
    with Kernel(home) as kernel:
        kernel.run("!echo first")
        kernel.run("!echo hidden", store_history=False)
    with Kernel(home) as kernel:
        kernel.run("!echo second")
        kernel.client.history(hist_access_type="tail", n=10)
        rows = kernel.client.get_shell_msg(timeout=10)["content"]["history"]
    assert [row[2] for row in rows] == ["!echo first", "!echo second"]
    assert rows[0][0] != rows[1][0]
    assert stat.S_IMODE(os.stat(home / "history.jsonl").st_mode) == 0o600


def test_a_secret_is_in_neither_output_nor_history(tmp_path):
    secret = "s3cr3t-hunter2"
    home = tmp_path / "home"
    with Kernel(home) as kernel:
        outcome = kernel.run(f":env set --secret DB_PASSWORD={secret}")
        echoed = kernel.run(f"!echo {secret}")
        for cell in (outcome, echoed):
            # The echo of the input is what the client sent.
            shown = [message for message in cell.messages if message["msg_type"] != "execute_input"]
            assert secret not in str(shown) and secret not in str(cell.reply)
        kernel.client.history(hist_access_type="tail", n=10)
        assert secret not in str(kernel.client.get_shell_msg(timeout=10)["content"])
    assert secret not in (home / "history.jsonl").read_text()


def ask(kernel, code, answers, **options):
    """Runs a cell and answers its prompts; returns (outcome, prompts)."""
    identity = kernel.client.execute(code, allow_stdin=True, **options)
    prompts = []
    for answer in answers:
        request = kernel.client.get_stdin_msg(timeout=120)
        prompts.append(request["content"])
        kernel.client.input(answer)
    return kernel.collect(identity, code), prompts


def test_a_password_is_asked_for_without_echo(kernel):
    outcome, prompts = ask(kernel, ":env ask TOKEN", ["tok-12345678"])
    assert outcome.status == "ok", outcome
    assert prompts[0]["password"] is True and "TOKEN" in prompts[0]["prompt"]
    assert "tok-12345678" not in outcome.shown


def test_a_prompt_is_denied_at_once_when_the_client_does_not_answer_prompts(kernel):
    start = time.monotonic()
    outcome = kernel.fails(":env ask TOKEN", allow_stdin=False)
    assert time.monotonic() - start < 5
    assert "cannot be asked" in outcome.shown


def test_an_interrupt_ends_a_prompt(kernel):
    identity = kernel.client.execute(":env ask TOKEN", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=30)
    assert kernel.interrupt()["status"] == "ok"
    assert kernel.collect(identity).reply["ename"] == "KeyboardInterrupt"
    outcome, _ = ask(kernel, ":env ask TOKEN", ["another-value"])
    assert outcome.status == "ok", "the next prompt is not answered by a stale reply"


def test_an_interrupt_ends_a_shell_line_with_all_it_started(kernel):
    identity = kernel.send("!sleep 98765 & sleep 98765")
    wait_for(lambda: processes("sleep 98765"))
    start = time.monotonic()
    kernel.interrupt()
    assert kernel.collect(identity).reply["ename"] == "KeyboardInterrupt"
    assert time.monotonic() - start < 4
    wait_for(lambda: not processes("sleep 98765"))


def test_a_runaway_command_can_be_interrupted_and_takes_no_memory(kernel):
    identity = kernel.send("!yes")
    seen = []

    def interrupt(message):
        if message["msg_type"] == "stream":
            seen.append(time.monotonic())
            if len(seen) == 30:
                kernel.interrupt()

    outcome = kernel.collect(identity, on_message=interrupt)
    assert outcome.reply["ename"] == "KeyboardInterrupt"
    status = open(f"/proc/{kernel.pid}/status").read()
    peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    assert peak < 300_000, f"{peak} kB"


def test_output_of_a_shell_line_comes_while_it_runs(kernel):
    seen = []
    kernel.run(
        "!echo one; sleep 1; echo two",
        on_message=lambda message: seen.append((time.monotonic(), message["content"].get("text"))),
    )
    texts = {text: when for when, text in seen if text}
    assert texts["two\n"] - texts["one\n"] > 0.5


def test_subshells_run_magics_while_a_cell_runs(kernel):
    subshell = kernel.request("create_subshell_request")["subshell_id"]
    assert kernel.request("list_subshell_request")["subshell_id"] == [subshell]
    running = kernel.send("!sleep 30")

    def in_subshell(code):
        message = kernel.client.session.msg("execute_request", {"code": code, "silent": False})
        message["header"]["subshell_id"] = subshell
        kernel.client.shell_channel.send(message)
        return kernel.collect(message["header"]["msg_id"], code)

    outcome = in_subshell("!echo beside")
    assert outcome.stdout == "beside\n"
    assert {message["parent_header"]["subshell_id"] for message in outcome.messages} == {subshell}
    kernel.interrupt()
    assert kernel.collect(running).reply["ename"] == "KeyboardInterrupt"
    assert kernel.request("delete_subshell_request", {"subshell_id": subshell})["status"] == "ok"
    assert kernel.request("list_subshell_request")["subshell_id"] == []
    assert kernel.request("delete_subshell_request", {"subshell_id": subshell})["status"] == "error"


def test_comms_are_answered(kernel):
    kernel.client.comm_info()
    assert kernel.client.get_shell_msg(timeout=10)["content"] == {"status": "ok", "comms": {}}
    message = kernel.client.session.msg("comm_open", {"comm_id": "c", "target_name": "x", "data": {}})
    kernel.client.shell_channel.send(message)
    outcome = kernel.collect(message["header"]["msg_id"], channel_reply=False)
    assert [content["comm_id"] for content in outcome.of("comm_close")] == ["c"]


def test_the_heart_beats(kernel):
    kernel.client.hb_channel.unpause()
    wait_for(lambda: kernel.client.hb_channel.is_beating())


def test_a_message_with_a_wrong_signature_does_nothing(kernel):
    key = kernel.client.session.key
    kernel.client.session.key = b"wrong"
    kernel.send("!touch forged")
    kernel.client.session.key = key
    kernel.run("!true")
    assert "forged" not in kernel.run("!ls").stdout


def test_user_expressions_are_evaluated(warm):
    outcome = warm.run("let answer: i32 = 42;", user_expressions={"a": "answer", "b": "nonsense!("})
    expressions = outcome.reply["user_expressions"]
    assert expressions["a"]["data"]["text/plain"] == "42"
    assert expressions["b"]["status"] == "error"


def test_shutdown_by_message_ends_the_process(tmp_path):
    with Kernel(tmp_path / "home") as kernel:
        pid = kernel.pid
        running = kernel.send("!sleep 30")
        assert kernel.request("shutdown_request", {"restart": False}) == {"status": "ok", "restart": False}
        assert kernel.reply(running)["content"]["status"] == "error"
        wait_for(lambda: not alive(pid))


def test_the_kernel_answers_before_ipykernel_could(tmp_path):
    start = time.monotonic()
    with Kernel(tmp_path / "home"):
        assert time.monotonic() - start < 5


def test_a_restarted_kernel_answers_on_the_same_ports(kernel):
    kernel.run("!true")
    kernel.manager.restart_kernel(now=False)
    kernel.client.wait_for_ready(timeout=30)
    assert kernel.run("!true").reply["execution_count"] == 1


def test_a_kernel_that_was_killed_can_be_started_again(kernel):
    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=30)
    assert kernel.run("!echo up").stdout == "up\n"


def test_a_home_that_cannot_be_used_is_told_in_the_first_cell(tmp_path):
    (tmp_path / "file").write_text("")
    with Kernel(tmp_path / "file" / "home") as kernel:
        assert "KATLAB_HOME" in kernel.run("!true").shown
        assert kernel.run("!true").shown == ""
        kernel.run(":env NAME=value")
        assert kernel.run("!echo $NAME").stdout == "value\n"


def test_help_covers_magics_and_the_engines_commands(kernel):
    page = kernel.run(":help").shown
    assert ":env" in page and ":dep" in page
    assert "dependency" in kernel.run(":help :dep").shown
    assert "near" not in kernel.run(":env?").shown
    assert kernel.run(":env?").reply["payload"][0]["source"] == "page"
    assert "cell ends" not in kernel.fails("nosuchname?").shown


def wait_for(condition, timeout=30):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.05)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def processes(command):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline") as file:
                    line = file.read().replace("\0", " ").strip()
            except OSError:
                continue
            if line == command and alive(int(entry)):
                found.append(int(entry))
    return found


@pytest.mark.parametrize("code", ["", "\n\n", "// only a comment", "/* one */\n// two"])
def test_cells_without_code_start_nothing(kernel, code):
    assert kernel.run(code).shown == ""
