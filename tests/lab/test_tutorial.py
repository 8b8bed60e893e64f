"""Both tutorials run from start to end, as a learner would run them."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from cells import ROOT, text_of

NOTEBOOKS = ROOT / "notebooks"
NAMES = ["hyperparameter-tuning.ipynb", "hyperparameter-tuning.ko.ipynb"]


def code(notebook):
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs_of(executed, source):
    for cell in executed["cells"]:
        if "".join(cell["source"]).startswith(source):
            return text_of(cell)
    raise AssertionError(f"no cell begins with {source!r}")


def check_lab(executed, lab):
    errors = [output for cell in executed["cells"] for output in cell.get("outputs", [])
              if output["output_type"] == "error"]
    assert errors == []
    trials = outputs_of(executed, ":trials")
    rows = [line for line in trials.splitlines() if "mnist-hyperparameter-tuning-" in line]
    assert len(rows) == 12, trials
    assert all("Succeeded" in row for row in rows), trials
    best = outputs_of(executed, ":best")
    accuracy = float(re.search(r"0\.9\d+", best).group())
    assert accuracy > 0.9, best
    assert "12 trials" in outputs_of(executed, "let trials")
    # The trials really ran: their containers are still there, as `retain: true` asks.
    password = json.loads((lab.home / "sandbox/registry.json").read_text())["password"]
    assert password not in json.dumps(executed)


def test_the_tutorials_ship_without_outputs_and_with_the_same_cells():
    english, korean = (json.loads((NOTEBOOKS / name).read_text()) for name in NAMES)
    for notebook in (english, korean):
        assert all(cell.get("outputs", []) == [] for cell in notebook["cells"])
    assert code(english) == code(korean)
    prose = [cell for cell in korean["cells"] if cell["cell_type"] == "markdown"]
    assert all(re.search("[가-힣]", "".join(cell["source"])) for cell in prose)


def test_the_english_tutorial_runs_in_the_terminal_and_again(lab):
    process, executed = lab.notebook(lab.directory / NAMES[0])
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-4000:]
    check_lab(executed, lab)
    process, executed = lab.notebook(lab.directory / NAMES[0])
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-4000:]
    check_lab(executed, lab)
    # What it left is there for other notebooks, in Rust too.
    one, all_of_them, best = lab.run(
        'katlab::experiment("mnist-hyperparameter-tuning")?',
        "katlab::experiments()?",
        'katlab::trials("mnist-hyperparameter-tuning")?.best().expect("a best trial").clone()',
    )
    for shown in (one, all_of_them):
        assert re.search(r"mnist-hyperparameter-tuning +Succeeded +accuracy +0.999 +12 +12 +0", shown), shown
    assert re.search(r"trial +★ mnist-hyperparameter-tuning-\w+\nstatus +Succeeded\nlearning_rate +0", best), best


def test_the_korean_tutorial_runs_in_jupyter(lab, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    kernels = tmp_path / "share/jupyter/kernels"
    lab.command("install", "--prefix", tmp_path)
    assert (kernels / "katlab/kernel.json").exists()
    notebook = nbformat.read(lab.directory / NAMES[1], as_version=4)
    script = f"""
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read({str(lab.directory / NAMES[1])!r}, as_version=4)
try:
    NotebookClient(notebook, kernel_name="katlab", timeout=600,
                   resources={{"metadata": {{"path": {str(lab.directory)!r}}}}}).execute()
finally:
    nbformat.write(notebook, {str(tmp_path / "executed.ipynb")!r})
"""
    environment = {**lab.environment, "JUPYTER_PATH": str(tmp_path / "share/jupyter")}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=900)
    executed = json.loads((tmp_path / "executed.ipynb").read_text())
    nbformat.validate(nbformat.from_dict(executed))
    check_lab(executed, lab)


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_is_a_process_argument(lab, name):
    password = json.loads((lab.home / "sandbox/registry.json").read_text())["password"]
    for arguments in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert password.encode() not in arguments.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
    for log in lab.home.rglob("*.log"):
        assert password not in log.read_text(errors="replace"), log
