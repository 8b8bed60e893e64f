"""Runs cells through the real binary and reads what they showed.

Every test has a KATLAB_HOME of its own unless it shares one on purpose, so nothing leaks from one
test to the next and nothing of the user's is touched.
"""

import json
import os
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(os.environ.get("KATLAB_BIN", ROOT / "target/debug/katlab"))


class CellFailed(AssertionError):
    """A cell ended in an error; `text` is what the person saw."""

    def __init__(self, cell, text):
        super().__init__(f"cell {cell} failed:\n{text}")
        self.cell, self.text = cell, text


class Lab:
    """One KATLAB_HOME and one working directory."""

    def __init__(self, home, directory, **environment):
        self.home, self.directory = pathlib.Path(home), pathlib.Path(directory)
        # DOCKER_CONFIG of its own: logging in must not touch the user's credentials.
        self.docker_config = self.home.parent / f"{self.home.name}-docker"
        self.environment = {
            **os.environ,
            "KATLAB_HOME": str(self.home),
            "DOCKER_CONFIG": str(self.docker_config),
            **environment,
        }
        self.environment.pop("KUBECONFIG", None)
        if "KUBECONFIG" in environment:
            self.environment["KUBECONFIG"] = environment["KUBECONFIG"]

    def command(self, *arguments, check=True, timeout=120):
        """Runs `katlab ARGUMENTS` and returns the finished process."""
        return subprocess.run(
            [BINARY, *map(str, arguments)],
            cwd=self.directory, env=self.environment, text=True, capture_output=True,
            stdin=subprocess.DEVNULL, check=check, timeout=timeout,
        )

    def notebook(self, path, *options, timeout=600):
        """Runs a notebook; returns (process, executed notebook)."""
        output = pathlib.Path(tempfile.mkdtemp()) / "executed.ipynb"
        process = self.command("run", path, "-o", output, *options, check=False, timeout=timeout)
        executed = json.loads(output.read_text()) if output.exists() else None
        return process, executed

    def run(self, *cells, options=(), timeout=600):
        """Runs cells in one session; returns their texts. Raises CellFailed at the first error."""
        notebook = {
            "cells": [
                {"cell_type": "code", "id": f"cell-{index}", "metadata": {}, "execution_count": None,
                 "outputs": [], "source": cell}
                for index, cell in enumerate(cells)
            ],
            "metadata": {"kernelspec": {"name": "katlab", "display_name": "katlab", "language": "rust"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        # A notebook runs in its own folder, as in Jupyter.
        source = self.directory / f".cells-{os.getpid()}-{id(notebook)}.ipynb"
        source.write_text(json.dumps(notebook))
        try:
            process, executed = self.notebook(source, *options, timeout=timeout)
        finally:
            source.unlink()
        if executed is None:
            raise AssertionError(f"no notebook was written:\n{process.stdout}\n{process.stderr}")
        texts = []
        for index, cell in enumerate(executed["cells"]):
            error = next((output for output in cell["outputs"] if output["output_type"] == "error"), None)
            text = text_of(cell)
            if error is not None:
                raise CellFailed(index, text)
            texts.append(text)
        assert process.returncode == 0, process.stderr
        return texts

    def fails(self, *cells, **options):
        """Runs cells of which the last must end in an error; returns what the person saw."""
        try:
            texts = self.run(*cells, **options)
        except CellFailed as failure:
            assert failure.cell == len(cells) - 1, f"cell {failure.cell} failed, not the last:\n{failure.text}"
            assert "panicked at" not in failure.text and "stack backtrace" not in failure.text, failure.text
            return failure.text
        raise AssertionError(f"the last cell was expected to fail, and showed:\n{texts[-1]}")


def text_of(cell):
    """The text/plain of all outputs of a cell, without terminal colours."""
    parts = []
    for output in cell.get("outputs", []):
        if output["output_type"] == "stream":
            parts.append(joined(output["text"]))
        elif output["output_type"] == "error":
            parts.append("\n".join([output["ename"], output["evalue"], *output["traceback"]]))
        else:
            parts.append(joined(output["data"].get("text/plain", "")))
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(parts))


def joined(text):
    return text if isinstance(text, str) else "".join(text)
