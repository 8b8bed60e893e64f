"""Experiments of any number of trials, as an export on disk: what the benchmarks list, draw and analyse."""

import csv
import json
import math
import random

STEPS = 10
OBJECTIVE = {"type": "minimize", "objectiveMetricName": "loss", "additionalMetricNames": ["seconds"],
             "metricStrategies": [{"name": "loss", "value": "min"}, {"name": "seconds", "value": "latest"}]}
SPACE = [
    {"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.00001", "max": "1", "distribution": "logUniform"}},
    {"name": "layers", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "12"}},
    {"name": "dropout", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "0.9"}},
    {"name": "batch", "parameterType": "categorical", "feasibleSpace": {"list": ["16", "32", "64", "128", "256"]}},
    {"name": "optimizer", "parameterType": "categorical", "feasibleSpace": {"list": ["sgd", "adam", "rmsprop", "ftrl"]}},
]


def drawn(draw):
    return {"lr": 10 ** draw.uniform(-5, 0), "layers": draw.randint(1, 12), "dropout": draw.uniform(0, 0.9),
            "batch": draw.choice(["16", "32", "64", "128", "256"]), "optimizer": draw.choice(["sgd", "adam", "rmsprop", "ftrl"])}


def loss(params):
    shift, worse = {"adam": (-3.0, 0.0), "rmsprop": (-2.5, 0.3), "sgd": (-1.0, 0.1)}.get(params["optimizer"], (-1.5, 1.0))
    return (worse + (math.log10(params["lr"]) - shift) ** 2 + ((params["layers"] - 7) / 4) ** 2
            + 3 * (params["dropout"] - 0.35) ** 2 + abs(math.log2(float(params["batch"])) - 6) * 0.15)


def clock(seconds):
    return f"2026-01-{1 + seconds // 86400:02}T{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"


def export(folder, count):
    """Writes the export, whose trials are the same each time."""
    draw = random.Random(count)
    folder.mkdir(parents=True)
    trials, jobs = [], {}
    with open(folder / "metrics.csv", "w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["trial", "metric", "time", "value"])
        for number in range(count):
            name, params, start = f"many-{number:05}", drawn(draw), number * 10
            best, took = loss(params), draw.randint(20, 60)
            values = [best * (1 + (STEPS - step) / 4) for step in range(1, STEPS + 1)]
            for step, value in enumerate(values):
                log.writerow([name, "loss", clock(start + 2 + step), repr(value)])
            metrics = [("loss", values), ("seconds", [float(took)])]
            jobs[name] = {"began": clock(start + 1), "done": clock(start + took - 1)}
            condition = {"status": "True", "reason": "TrialSucceeded", "message": "Trial has succeeded",
                         "lastTransitionTime": clock(start + took), "lastUpdateTime": clock(start + took)}
            trials.append({
                "apiVersion": "kubeflow.org/v1beta1", "kind": "Trial",
                "metadata": {"name": name, "namespace": "bench", "creationTimestamp": clock(start),
                             "labels": {"katib.kubeflow.org/experiment": "many"}},
                "spec": {"objective": OBJECTIVE, "parameterAssignments": [
                    {"name": key, "value": str(value)} for key, value in params.items()]},
                "status": {"startTime": clock(start), "completionTime": clock(start + took),
                           "conditions": [{**condition, "type": kind} for kind in ("Created", "Succeeded")],
                           "observation": {"metrics": [
                               {"name": key, "min": repr(min(v)), "max": repr(max(v)), "latest": repr(v[-1])}
                               for key, v in metrics]}},
            })
    (folder / "jobs.json").write_text(json.dumps(jobs))
    (folder / "trials.json").write_text(json.dumps(trials))
    (folder / "experiment.yaml").write_text(json.dumps({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": {"name": "many", "namespace": "bench"},
        "spec": {"objective": OBJECTIVE, "algorithm": {"algorithmName": "random"}, "parameters": SPACE}}))
