"""Trials as data: listed, filtered, drawn and analysed from an export, with no cluster and no engine."""

import csv
import json
import math
import random
from datetime import datetime

import duckdb
import nbformat
import pytest
from optuna import importance

import many_trials
import optuna_figures
from cells import Lab
from screenshot import opened

EVIL = "<img src=x onerror='document.title=1'>"
OBJECTIVE = {
    "type": "maximize", "goal": 0.99, "objectiveMetricName": "accuracy", "additionalMetricNames": ["val.loss"],
    "metricStrategies": [{"name": "accuracy", "value": "max"}, {"name": "val.loss", "value": "min"}],
}
KINDS = "history parallel importance slice contour metrics timeline pareto correlation".split()


def condition(kind):
    return {"type": kind, "status": "True", "reason": f"Trial{kind}", "message": f"Trial is {kind}"}


def trial(number, values, **status):
    """A trial of 20 s; `values` are what its metrics were, step by step."""
    metrics = [{"name": name, "min": repr(min(v)), "max": repr(max(v)), "latest": repr(v[-1])} for name, v in values.items()]
    minute, second = divmod(number * 5, 60)
    rate = 10 ** (-4 * ((number * 0.618034) % 1))
    at = lambda offset: f"2026-01-01T10:{minute + (second + offset) // 60:02}:{(second + offset) % 60:02}Z"
    return {
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Trial",
        "metadata": {"name": f"digits-{number:03}", "namespace": "lab", "creationTimestamp": at(0)},
        "spec": {"objective": OBJECTIVE, "parameterAssignments": [
            {"name": "--lr", "value": repr(rate)}, {"name": "batch size", "value": str(8 * (1 + number % 4))},
            {"name": "최적화", "value": ["sgd", EVIL][number % 2]}]},
        "status": {"startTime": at(0), "completionTime": at(20), "conditions": [condition("Created"), condition("Succeeded")],
                   "observation": {"metrics": metrics}, **status},
    }


def export(folder, count=40):
    draw = random.Random(1)
    folder.mkdir()
    trials, log = [], []
    for number in range(count):
        made = trial(number, {"accuracy": [0.0], "val.loss": [0.0]})
        rate = float(made["spec"]["parameterAssignments"][0]["value"])
        top = 0.95 - 0.1 * (math.log10(rate) + 2) ** 2 + draw.gauss(0, 0.005)
        values = {"accuracy": [top * step / 10 for step in range(1, 11)] + [top - 0.01],
                  "val.loss": [2.0 - top * step / 10 for step in range(1, 11)]}
        trials.append(trial(number, values))
        log += [(made["metadata"]["name"], name, "", value) for name, series in values.items() for value in series]
    if count > 6:
        failed = trial(count, {"accuracy": [0.0]}, conditions=[condition("Created"), condition("Failed")])
        failed["status"].pop("observation")
        nan = trial(count + 1, {"accuracy": [math.nan]})
        trials += [failed, nan]
    (folder / "experiment.yaml").write_text(json.dumps({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": {"name": "digits", "namespace": "lab"},
        "spec": {
            "objective": OBJECTIVE,
            "algorithm": {"algorithmName": "random"},
            "parameters": [
                {"name": "--lr", "parameterType": "double",
                 "feasibleSpace": {"min": "0.0001", "max": "1", "distribution": "logUniform"}},
                {"name": "batch size", "parameterType": "discrete", "feasibleSpace": {"list": ["8", "16", "24", "32"]}},
                {"name": "최적화", "parameterType": "categorical", "feasibleSpace": {"list": ["sgd", EVIL]}}]},
    }))
    (folder / "trials.json").write_text(json.dumps(trials))
    with open(folder / "metrics.csv", "w", newline="") as file:
        csv.writer(file).writerows([("trial", "metric", "time", "value"), *log])
    return trials


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    export(folder / "digits")
    export(folder / "one", 1)
    return folder


@pytest.fixture(scope="module")
def here(katlab_bin, work):
    from jupyter import Kernel

    with Kernel(work / "home", cwd=work) as kernel:
        yield kernel


def rows(kernel, line):
    return json.loads(kernel.run(f"{line} -o json").shown)


def test_trials_are_filtered_sorted_and_cut(here):
    trials = rows(here, ":trials --from digits")
    assert len(trials) == 42
    good = rows(here, """:trials --from digits --where 'accuracy > 0.8 and lr < 0.1 and not "batch size" in (8, 16)'""")
    expected = [t["name"] for t in trials
                if (t["metrics"].get("accuracy", {}).get("value") or "nan") != "nan"
                and t["metrics"]["accuracy"]["value"] > 0.8 and t["parameters"]["--lr"] < 0.1
                and t["parameters"]["batch size"] not in (8, 16)]
    assert [t["name"] for t in good] == expected and 0 < len(expected) < 40
    best = rows(here, ":trials --from digits --sort 'batch size,-accuracy' --limit 3")
    assert {t["parameters"]["batch size"] for t in best} == {8}
    values = [t["metrics"]["accuracy"]["value"] for t in best]
    assert values == sorted(values, reverse=True)
    assert [t["name"] for t in rows(here, ":trials --from digits --where status=Failed")] == ["digits-040"]
    assert [t["name"] for t in rows(here, ":trials --from digits --where 'accuracy = nan'")] == ["digits-041"]
    assert rows(here, ":trials --from digits --where 'duration > 1m'") == []
    # Largest, smallest and last differ, and so each has a column.
    table = here.run(":trials --from digits --limit 2").shown
    assert "accuracy (max)" in table and "accuracy (latest)" in table and "accuracy (min)" in table, table


def test_numbers_stay_numbers_in_files(here, work):
    assert "wrote 42 rows to out/t.csv" in here.run(":trials --from digits --save out/t.csv").shown
    with open(work / "out/t.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 42 and float(lines[0]["accuracy"]) > float(lines[0]["accuracy.min"])
    assert lines[1]["최적화"] == EVIL and lines[41]["accuracy"] == "nan"
    values = [t["metrics"]["accuracy"] for t in rows(here, ":trials --from digits --where accuracy!=")]
    assert all(isinstance(v["value"], float) or v["value"] == "nan" for v in values)


def test_another_reader_finds_the_same_types_and_values_in_parquet(here, work):
    for ending in ("csv", "parquet"):
        here.run(f":trials --from digits --sort name --save out/typed.{ending}")
    file = work / "out/typed.parquet"
    types = {name: kind for name, kind, *_ in duckdb.sql(f"DESCRIBE FROM '{file}'").fetchall()}
    assert types == {
        "name": "VARCHAR", "status": "VARCHAR", "--lr": "DOUBLE", "batch size": "BIGINT", "최적화": "VARCHAR",
        "accuracy": "DOUBLE", "accuracy.min": "DOUBLE", "accuracy.latest": "DOUBLE",
        "val.loss": "DOUBLE", "val.loss.max": "DOUBLE", "val.loss.latest": "DOUBLE",
        "duration": "BIGINT", "age": "TIMESTAMP WITH TIME ZONE", "reason": "VARCHAR", "message": "VARCHAR",
        "best": "BOOLEAN"}
    # As CSV has it, value by value: that is where the numbers' texts are known to be right.
    with open(work / "out/typed.csv", newline="") as csv_file:
        lines = list(csv.DictReader(csv_file))
    assert list(types) == list(lines[0])
    table = duckdb.sql(f"SELECT * REPLACE (epoch_us(age) AS age) FROM '{file}'").fetchall()
    assert len(table) == len(lines) == 42
    for found, line in zip(table, lines):
        for (name, kind), value in zip(types.items(), found):
            if line[name] == "":
                assert value is None, (name, value)
            elif name == "age":
                assert value == datetime.fromisoformat(line[name]).timestamp() * 1e6
            elif kind == "DOUBLE" and math.isnan(float(line[name])):
                assert math.isnan(value)
            else:
                read = {"VARCHAR": str, "BOOLEAN": json.loads}.get(kind, float)
                assert value == read(line[name]), name
    by_name = {row[0]: dict(zip(types, row)) for row in table}
    assert math.isnan(by_name["digits-041"]["accuracy"]) and by_name["digits-040"]["accuracy"] is None
    assert by_name["digits-001"]["최적화"] == EVIL
    # The flags are those of every list, also where nothing is left.
    here.run(":trials --from digits --where 'accuracy > 2' --columns name,accuracy --save out/none.parquet")
    none = duckdb.sql(f"FROM '{work}/out/none.parquet'")
    assert none.columns == ["name", "accuracy"] and none.fetchall() == []


@pytest.mark.parametrize("line, said", [
    (":trials --from digits -o parquet", ["a cell cannot show", "--save FILE.parquet"]),
    (":trials --from digits --where 'acuracy > 0.9'", ["^^^^^^^", "no column `acuracy`", "did you mean `accuracy`?"]),
    (":trials --from digits --where 'accuracy > high'", ["^^^^", "holds numbers"]),
    (":trials --from digits --where 'age < soon'", ["^^^^", "5m"]),
    (":trials --from digits --where 'accuracy >'", ["value is missing"]),
    (":trials --from digits --where accuracy > 0.9", ["in quotes"]),
    (":trials --from digits --save t.xls", [".csv"]),
    (":trials --from nowhere", ["experiment.yaml is missing", ":experiment export"]),
    (":trials other --from digits", ["holds the experiment digits"]),
    (":plot --from digits slice --params momentum", ["no parameter `momentum`", "--lr, batch size"]),
    (":plot --from digits history --params --lr", ["takes no `params`", "parallel"]),
    (":plot --from digits metrics --metric loss", ["no metric `loss`", "val.loss"]),
    (":plot --from digits metrics --trial digits-99", ["no trial digits-99"]),
    (":plot --from digits --save chart.gif", [".png"]),
    (":plot --from digits --where 'accuracy > 2'", ["none of the 42 trials"]),
    (":plot --from one importance", ["one trial", "cannot be said"]),
    (":plot", ["which experiment?"]),
    (":analyze --from digits best effects --save t.csv", ["one topic"]),
    (":analyse --from digits", ["did you mean `:analyze`?"]),
])
def test_what_cannot_be_done_is_said_with_what_to_do(here, line, said):
    outcome = here.fails(line)
    for words in said:
        assert words.lower() in outcome.shown.lower(), outcome.shown


def test_every_chart_is_interactive_and_a_picture_and_words(here, work):
    for kind in KINDS:
        data = here.run(f":plot --from digits {kind}").of("display_data")[0]["data"]
        assert set(data) == {"application/vnd.vegalite.v5+json", "image/png", "text/plain"}, kind
        assert data["text/plain"].startswith("digits: "), data["text/plain"]
        for form in ("svg", "png", "json"):
            here.run(f":plot --from digits {kind} --save out/{kind}.{form}")
        assert (work / f"out/{kind}.png").read_bytes().startswith(b"\x89PNG")
        assert json.loads((work / f"out/{kind}.json").read_text()) == data["application/vnd.vegalite.v5+json"]
        assert EVIL not in (work / f"out/{kind}.svg").read_text()
    # The filter is that of the table; a lone trial is drawn where a chart of one makes sense.
    assert "of 20" in here.run(":plot --from digits --where '최적화 = sgd and status=Succeeded'").shown
    assert "best accuracy" in here.run(":plot --from one").shown


def test_the_analysis_says_on_what_it_rests(here):
    shown = here.run(":analyze --from digits").shown
    for words in ("The best", "rests on 40 trials", "What matters", "PED-ANOVA", "What each parameter did",
                  "no two of 42 trials ran the same parameters", "its last accuracy is nan"):
        assert words in shown, shown
    shares = rows(here, ":analyze --from digits importance")
    assert shares[0]["parameter"] == "--lr" and shares[0]["share"] > 0.5, shares
    assert abs(sum(row["share"] for row in shares) - 1) < 1e-6
    assert "too few" in here.run(":analyze --from one").shown


@pytest.mark.parametrize("count", [60, 1000])
def test_importances_are_those_of_optunas_evaluator(here, work, count):
    folder = work / f"of-{count}"
    many_trials.export(folder, count)
    study, _ = optuna_figures.studies(folder)
    theirs = importance.get_param_importances(study, evaluator=importance.PedAnovaImportanceEvaluator())
    ours = {row["parameter"]: row["share"] for row in rows(here, f":analyze --from {folder.name} importance")}
    assert list(ours) == list(theirs), (ours, theirs)
    assert ours == pytest.approx(theirs, abs=0.01)


def test_experiments_stand_side_by_side(here):
    outcome = here.run(":compare ./digits ./one")
    assert "named twice" not in outcome.shown
    table, chart = outcome.of("display_data")
    assert "space of --lr" in table["data"]["text/plain"] and "0.0001 to 1, logUniform" in table["data"]["text/plain"]
    assert "application/vnd.vegalite.v5+json" in chart["data"]


def test_charts_are_drawn_in_jupyterlab_and_names_stay_names(katlab_bin, work, tmp_path):
    lab = Lab(tmp_path / "home", work)
    cells = [f":plot --from digits {kind}" for kind in KINDS] + [":trials --from digits --limit 5"]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata.kernelspec = {"name": "katlab", "display_name": "katlab", "language": "rust"}
    nbformat.write(made, work / "n.ipynb")
    lab.command("run", "n.ipynb", "-o", "drawn.ipynb")
    with opened(work / "drawn.ipynb") as page:
        problems = []
        page.on("console", lambda message: problems.append(message.text) if "WARN" in message.text else None)
        for number in range(len(KINDS)):
            cell = page.locator(".jp-CodeCell").nth(number)
            cell.scroll_into_view_if_needed()
            cell.locator(".vega-embed canvas, .vega-embed svg").first.wait_for(timeout=60000)
        assert page.locator(".jp-OutputArea-output img[onerror]").count() == 0
        assert page.title() != "1"
        assert problems == []
