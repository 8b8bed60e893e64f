"""Optuna's figures and importances of the trials of an export, for `tests/bench.py` to lay beside katlab's.

    optuna_figures.py DIR

Prints `{name: {"ms", "bytes"}}`: the time from the study in memory to the figure as JSON, as a notebook wants
it, and its size. Importances have `shares` instead of a size. Nothing is counted for reading the trials.
"""

import json
import pathlib
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import optuna
from optuna import importance, visualization
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

optuna.logging.set_verbosity(optuna.logging.ERROR)


def distribution(parameter):
    space, kind = parameter["feasibleSpace"], parameter["parameterType"]
    if kind == "categorical":
        return CategoricalDistribution(space["list"])
    if kind == "int":
        return IntDistribution(int(space["min"]), int(space["max"]))
    return FloatDistribution(float(space["min"]), float(space["max"]), log=space.get("distribution") == "logUniform")


def studies(folder):
    """The trials as a study of the objective, and as one of both metrics."""
    from datetime import datetime

    spec = json.loads((folder / "experiment.yaml").read_text())["spec"]
    space = {one["name"]: distribution(one) for one in spec["parameters"]}
    read = {name: {IntDistribution: int, FloatDistribution: float}.get(type(one), str) for name, one in space.items()}
    curves = {}
    for line in (folder / "metrics.csv").read_text().splitlines()[1:]:
        trial, _, _, value = line.split(",")
        curves.setdefault(trial, []).append(float(value))
    one, two = optuna.create_study(), optuna.create_study(directions=["minimize", "minimize"])
    for made in json.loads((folder / "trials.json").read_text()):
        assigned = {each["name"]: each["value"] for each in made["spec"]["parameterAssignments"]}
        params = {name: read[name](value) for name, value in assigned.items()}
        loss, seconds = made["status"]["observation"]["metrics"]
        values = [float(loss["min"]), float(seconds["latest"])]
        trial = optuna.trial.create_trial(
            params=params, distributions=space, value=values[0],
            intermediate_values=dict(enumerate(curves[made["metadata"]["name"]])))
        trial.datetime_start, trial.datetime_complete = (
            datetime.fromisoformat(made["status"][key]).replace(tzinfo=None) for key in ("startTime", "completionTime"))
        one.add_trial(trial)
        two.add_trial(optuna.trial.create_trial(params=params, distributions=space, values=values))
    return one, two


def figures(one, two):
    """By katlab's names, each as a function that draws it."""
    top = optuna.create_study()
    top.add_trials(sorted(one.trials, key=lambda trial: trial.value)[:10])
    return {
        "history": lambda: visualization.plot_optimization_history(one),
        "parallel": lambda: visualization.plot_parallel_coordinate(one),
        "importance": lambda: visualization.plot_param_importances(
            one, evaluator=importance.PedAnovaImportanceEvaluator()),
        "slice": lambda: visualization.plot_slice(one),
        "contour": lambda: visualization.plot_contour(one, params=["lr", "layers"]),
        # Of the ten best, as katlab draws them.
        "metrics": lambda: visualization.plot_intermediate_values(top),
        "timeline": lambda: visualization.plot_timeline(one),
        "pareto": lambda: visualization.plot_pareto_front(two),
    }


def first(study, count):
    made = optuna.create_study(directions=study.directions)
    made.add_trials(study.trials[:count])
    return made


def main():
    one, two = studies(pathlib.Path(sys.argv[1]))
    # What is loaded at first use is not counted.
    for figure in figures(first(one, 20), first(two, 20)).values():
        figure().to_json()
    found = {}
    for name, figure in figures(one, two).items():
        start = time.perf_counter()
        text = figure().to_json()
        found[name] = {"ms": (time.perf_counter() - start) * 1000, "bytes": len(text)}
    evaluators = {"PED-ANOVA": importance.PedAnovaImportanceEvaluator()}
    if len(one.trials) <= 100:
        # Of a thousand it takes minutes.
        importance.get_param_importances(first(one, 20), evaluator=importance.FanovaImportanceEvaluator(seed=0))
        evaluators["fANOVA"] = importance.FanovaImportanceEvaluator(seed=0)
    for name, evaluator in evaluators.items():
        start = time.perf_counter()
        shares = importance.get_param_importances(one, evaluator=evaluator)
        found[name] = {"ms": (time.perf_counter() - start) * 1000, "shares": shares}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
