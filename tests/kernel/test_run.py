"""`katlab run`, and the notebook runners of the Jupyter world."""

import json
import os
import pathlib
import signal
import subprocess
import time

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from cells import Lab


@pytest.fixture
def lab(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    return Lab(tmp_path / "home", work)


def notebook(*cells, **metadata):
    made = nbformat.v4.new_notebook(cells=[
        cell if not isinstance(cell, str) else nbformat.v4.new_code_cell(cell) for cell in cells
    ])
    made.metadata.kernelspec = {"name": "katlab", "display_name": "katlab", "language": "rust"}
    made.metadata.update(metadata)
    return made


def save(lab, made, name="n.ipynb"):
    path = lab.directory / name
    nbformat.write(made, path)
    return path


def test_outputs_are_written_into_a_valid_notebook(lab):
    tagged = nbformat.v4.new_code_cell("!exit 3", metadata={"tags": ["raises-exception"]})
    skipped = nbformat.v4.new_code_cell("!echo skipped", metadata={"tags": ["skip-execution"]})
    made = notebook(nbformat.v4.new_markdown_cell("# Title\ntext"), "!echo one", tagged, skipped, ":help", "1 + 1")
    process, executed = lab.notebook(save(lab, made))
    assert process.returncode == 0, process.stderr
    nbformat.validate(executed)
    cells = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    assert cells[0]["outputs"] == [{"name": "stdout", "output_type": "stream", "text": ["one\n"]}]
    assert cells[1]["outputs"][0]["output_type"] == "error"
    assert cells[2]["outputs"] == [] and cells[2]["execution_count"] is None
    assert cells[4]["outputs"][-1]["data"]["text/plain"] == ["2"]
    assert cells[4]["outputs"][-1]["execution_count"] == cells[4]["execution_count"] == 4
    for text in ("Title", "!echo one", "one", "2"):
        assert text in process.stdout


def test_an_error_stops_the_run_is_shown_and_keeps_what_was_there(lab):
    process, executed = lab.notebook(save(lab, notebook("!echo one", "!echo partial; false", "!echo never")))
    assert process.returncode == 1
    assert "cell 2 of 3 failed" in process.stdout and "exit status 1" in process.stdout
    assert "never" not in process.stdout.split("cell 2 of 3")[0].replace("!echo never", "")
    kinds = [[output["output_type"] for output in cell["outputs"]] for cell in executed["cells"]]
    assert kinds == [["stream"], ["stream", "error"], []]


def test_the_default_output_stands_beside_the_notebook_which_stays_as_it_is(lab):
    path = save(lab, notebook("!echo one"))
    before = path.read_bytes()
    lab.command("run", path)
    assert path.read_bytes() == before
    assert json.loads((lab.directory / "n.executed.ipynb").read_text())["cells"][0]["outputs"]


def test_settings_of_a_run_do_not_outlive_it(lab):
    path = save(lab, notebook("!echo $NAME-$OTHER"))
    (lab.directory / "p.yaml").write_text("NAME: from-file\nOTHER: 2\n")
    process, _ = lab.notebook(path, "--parameters", lab.directory / "p.yaml", "--set", "NAME=from-flag")
    assert "from-flag-2" in process.stdout
    process, _ = lab.notebook(path)
    assert "from-flag" not in process.stdout


def test_shell_lines_and_rust_cells_start_in_the_notebooks_folder(lab, tmp_path):
    path = save(lab, notebook("!pwd", 'println!("{}", std::env::current_dir()?.display());'))
    output = tmp_path / "out.ipynb"
    elsewhere = Lab(lab.home, tmp_path)
    elsewhere.command("run", path, "-o", output)
    executed = json.loads(output.read_text())
    texts = [cell["outputs"][-1]["text"] for cell in executed["cells"]]
    assert texts == [[f"{lab.directory}\n"]] * 2


@pytest.mark.parametrize("content, complaint", [
    ("{", "not valid JSON"),
    ('{"nbformat": 3, "worksheets": []}', "nbformat 3"),
    ('{"cells": []}', "nbformat"),
    ('{"nbformat": 4, "cells": [{"cell_type": "code"}]}', "no source"),
    ('{"nbformat": 4, "cells": [], "metadata": {"kernelspec": {"language": "python"}}}', "python"),
])
def test_what_is_no_notebook_is_refused_in_a_sentence(lab, content, complaint):
    path = lab.directory / "bad.ipynb"
    path.write_text(content)
    process = lab.command("run", path, check=False)
    assert process.returncode == 1 and complaint in process.stderr and "hint:" in process.stderr


def test_an_output_that_cannot_be_written_is_told_before_anything_runs(lab):
    path = save(lab, notebook("!touch ran"))
    process = lab.command("run", path, "-o", "/nowhere/out.ipynb", check=False)
    assert process.returncode == 1 and "/nowhere/out.ipynb" in process.stderr
    assert not (lab.directory / "ran").exists()


def test_a_cell_that_takes_too_long_is_ended(lab):
    start = time.monotonic()
    process, executed = lab.notebook(save(lab, notebook("!echo begun; sleep 60")), "--timeout", "1")
    assert process.returncode == 1 and time.monotonic() - start < 20
    outputs = executed["cells"][0]["outputs"]
    assert outputs[0]["text"] == ["begun\n"] and outputs[-1]["ename"] == "Timeout"


def test_an_interrupt_ends_the_run_and_keeps_what_was_there(lab):
    path = save(lab, notebook("!echo begun; sleep 60", "!echo never"))
    from cells import BINARY
    process = subprocess.Popen(
        [BINARY, "run", path, "-o", lab.directory / "out.ipynb"],
        env=lab.environment, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
    )
    while "begun" not in (line := process.stdout.readline()) or "!" in line:
        assert line, "the run ended"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    executed = json.loads((lab.directory / "out.ipynb").read_text())
    assert executed["cells"][0]["outputs"][0]["text"] == ["begun\n"]
    assert executed["cells"][1]["outputs"] == []


def test_a_prompt_without_a_terminal_fails_with_the_way_around_it(lab):
    process, _ = lab.notebook(save(lab, notebook(":env ask TOKEN")))
    assert process.returncode == 1 and "cannot be asked" in process.stdout and "--set" in process.stdout


@pytest.fixture
def runner(katlab_bin, tmp_path, monkeypatch):
    """Runs a notebook with nbclient, as nbconvert --execute and papermill do."""
    subprocess.run([katlab_bin, "install", "--prefix", tmp_path / "prefix"], check=True, capture_output=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "prefix/share/jupyter"))
    monkeypatch.setenv("KATLAB_HOME", str(tmp_path / "home"))

    def run(made):
        NotebookClient(made, kernel_name="katlab", timeout=180, resources={"metadata": {"path": str(tmp_path)}}).execute()
        return made

    return run


def test_nbclient_runs_a_notebook_and_keeps_updated_displays(runner):
    made = runner(notebook(
        'let id: String = katlab::display(&[("text/plain", "0 %")])?;',
        'katlab::update(&id, &[("text/plain", "100 %")])?;',
        "!echo done",
    ))
    assert made.cells[0].outputs[-1].data["text/plain"] == "100 %"
    assert made.cells[2].outputs[0].text == "done\n"
    assert [cell.execution_count for cell in made.cells] == [1, 2, 3]


def test_nbclient_stops_at_a_panic(runner, tmp_path):
    made = notebook('panic!("stop here");', "!touch went-on")
    with pytest.raises(CellExecutionError, match="stop here"):
        runner(made)
    assert made.cells[0].outputs[-1].ename == "panic"
    assert not (tmp_path / "went-on").exists()


def test_install_and_uninstall_leave_nothing_behind(katlab_bin, tmp_path):
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    def katlab(*arguments, **environment):
        return subprocess.run([katlab_bin, *arguments], env={**home, **environment}, capture_output=True, text=True)

    assert katlab("--version").stdout.startswith("katlab ")
    assert katlab("install", "--user").returncode == 0
    spec = json.loads((tmp_path / ".local/share/jupyter/kernels/katlab/kernel.json").read_text())
    assert spec["argv"][0] == str(pathlib.Path(katlab_bin).resolve())
    assert katlab("uninstall").returncode == 0
    assert not (tmp_path / ".local/share/jupyter/kernels/katlab").exists()
    again = katlab("uninstall")
    assert again.returncode == 1 and "not installed" in again.stderr
    refused = katlab("install", "--sys-prefix")
    assert refused.returncode == 1 and "VIRTUAL_ENV" in refused.stderr
    assert katlab("install", "--sys-prefix", VIRTUAL_ENV=str(tmp_path / "venv")).returncode == 0
    assert (tmp_path / "venv/share/jupyter/kernels/katlab/logo-64x64.png").exists()
