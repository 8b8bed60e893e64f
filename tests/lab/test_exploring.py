"""The second tutorial, which needs no cluster and no Docker Engine; and what follows from it on the sandbox."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from cells import text_of
from screenshot import opened
from test_tutorial import NOTEBOOKS, code, outputs_of

NAMES = ["exploring-trials.ipynb", "exploring-trials.ko.ipynb"]
CHART = "application/vnd.vegalite.v5+json"


def executed(lab, name, folder):
    """The notebook, run where no engine answers and no sandbox is."""
    for file in (name, "data"):
        source = NOTEBOOKS / file
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / file)
    lab.environment["DOCKER_HOST"] = "tcp://127.0.0.1:1"
    lab.directory = folder
    process, notebook = lab.notebook(folder / name)
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-4000:]
    assert not (lab.home / "sandbox").exists() or not list((lab.home / "sandbox").iterdir()), "a sandbox was started"
    return notebook


def test_both_ship_without_outputs_and_with_the_same_cells():
    english, korean = (json.loads((NOTEBOOKS / name).read_text()) for name in NAMES)
    for notebook in (english, korean):
        assert all(cell.get("outputs", []) == [] for cell in notebook["cells"])
    assert code(english) == code(korean)
    prose = [cell for cell in korean["cells"] if cell["cell_type"] == "markdown"]
    assert len(prose) == sum(cell["cell_type"] == "markdown" for cell in english["cells"])
    assert all(re.search("[가-힣]", "".join(cell["source"])) for cell in prose)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_with_no_engine_and_no_cluster_and_says_what_its_prose_says(fresh_lab, name, tmp_path):
    notebook = executed(fresh_lab, name, tmp_path)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"] == []
    charts = [output["data"] for cell in cells for output in cell["outputs"] if CHART in output.get("data", {})]
    assert len(charts) >= 6
    assert all({"image/png", "text/plain"} <= set(data) for data in charts)
    # What the prose claims of the data.
    assert re.search(r"sgd +18 +1 .*\nmomentum +15 +0 .*\nadam +15 +4 ", outputs_of(notebook, "fn middle"))
    assert "5 of 48 trials did not bring a result" in outputs_of(notebook, ":why")
    assert outputs_of(notebook, "let failed").count("the network is dead") == 5
    assert "learning_rate +0.98" in outputs_of(notebook, ":plot --from data/digits-random slice")
    assert "16 trials over" in outputs_of(notebook, "use katlab::Plot")
    filters = [text_of(cell) for cell in cells if "".join(cell["source"]).startswith(":metrics test")]
    assert "0 values in 0 of 11 lines" in filters[0] and "nearly matched" in filters[0]
    assert "20 values in 10 of 11 lines" in filters[1]
    assert "digits-tpe 0.9916" in outputs_of(notebook, ":compare")
    tuned = outputs_of(notebook, ":tune")
    assert "list:" in tuned and "nothing runs yet" in tuned
    # As a page, each chart is its picture.
    page = tmp_path / "out.ipynb"
    page.write_text(json.dumps(notebook))
    subprocess.run([sys.executable, "-m", "nbconvert", "--log-level", "ERROR", "--to", "html", page], check=True, timeout=300)
    assert len(re.findall("<img[^>]+data:image/png;base64", (tmp_path / "out.html").read_text())) == len(charts)


INK = """canvas => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let ink = 0;
    for (let at = 0; at < data.length; at += 4)
        if (data[at + 3] > 200 && data[at] < 90 && data[at] === data[at + 1] && data[at] === data[at + 2]) ink++;
    return ink;
}"""


def test_its_charts_are_readable_in_the_dark(lab, tmp_path, monkeypatch):
    import nbformat

    themes = tmp_path / "settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings"
    themes.parent.mkdir(parents=True)
    themes.write_text('{"theme": "JupyterLab Dark"}')
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(tmp_path / "settings"))
    cells = [f":plot --from data/digits-random {kind}" for kind in ("parallel", "contour --params learning_rate,hidden")]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata.kernelspec = {"name": "katlab", "display_name": "katlab", "language": "rust"}
    nbformat.write(made, lab.directory / "dark.ipynb")
    lab.command("run", "dark.ipynb", "-o", "drawn.ipynb")
    with opened(lab.directory / "drawn.ipynb") as page:
        page.wait_for_selector("body[data-jp-theme-light=false]", state="attached", timeout=60000)
        for number in range(len(cells)):
            cell = page.locator(".jp-CodeCell").nth(number)
            cell.scroll_into_view_if_needed()
            chart = cell.locator(".vega-embed canvas").first
            chart.wait_for(timeout=60000)
            # Titles and labels are dark on the white paper, whatever ink the theme has.
            assert chart.evaluate(INK) > 200, cells[number]


EXPERIMENT = ("lr=1e-3..0.1:log optimizer=sgd,momentum --maximize accuracy --metric loss "
              "--image {image} --command 'python3 train.py --epochs 2' --max-trials 3 --parallel 3")


def test_an_experiment_of_flags_runs_and_its_best_trial_runs_again(lab, training_image):
    flags = EXPERIMENT.format(image=training_image).replace("lr=", "learning_rate=")
    shown, waited, best = lab.run(
        f":tune flags {flags} -o flags.yaml",
        ":experiment create flags.yaml\n:experiment wait flags --timeout 5m",
        ":trials flags -o json",
    )
    assert "distribution: logUniform" in shown and "nothing runs yet" in shown
    trials = json.loads(best)
    assert len(trials) == 3 and all(trial["status"] == "Succeeded" for trial in trials), trials
    assert "accuracy" in lab.run(f":metrics test {trials[0]['name']}")[0]
    again, narrowed, results = lab.run(
        ":rerun best flags --name again --create\n:experiment wait again --timeout 5m",
        ":tune flags-2 --from-best flags --max-trials 2 --create\n:experiment wait flags-2 --timeout 5m",
        ":trials again -o json",
    )
    chosen = next(trial for trial in trials if trial["best"])
    (repeated,) = json.loads(results)
    assert {name: str(value) for name, value in repeated["parameters"].items()} == {
        name: str(value) for name, value in chosen["parameters"].items()}
    # The training draws from a seed of its own, so the same run gives the same accuracy.
    assert repeated["metrics"]["accuracy"]["value"] == chosen["metrics"]["accuracy"]["value"]
    assert "too few" not in narrowed and "rests on the best 3 of 3 trials" in narrowed
    assert "is there already" in lab.fails(f":tune flags {flags} -o flags.yaml")
    assert "flags" in lab.fails(f":tune flags {flags} --create")


def test_a_trial_runs_again_by_the_digest_of_its_image(lab, training_image):
    """From a registry there is a digest, and what the tag stands for later does not matter."""
    pushed, = lab.run(
        ":registry login $REGISTRY --username $REGISTRY_USERNAME --password-from REGISTRY_PASSWORD\n"
        f":tag {training_image} $REGISTRY/digits/train:1\n:push $REGISTRY/digits/train:1\n"
        ":secret create regcred --from-login $REGISTRY\n"
        ":tune pulled learning_rate=0.01,0.02 --maximize accuracy --image $REGISTRY/digits/train:1 --pull-secret regcred "
        "--command 'python3 train.py --epochs 1' --max-trials 1 --create\n:experiment wait pulled --timeout 5m",
    )
    digest = re.search("sha256:[0-9a-f]{64}", pushed).group()
    shown, = lab.run(":rerun best pulled")
    assert f"/digits/train@{digest}" in shown, shown
    assert "is not known" not in shown
