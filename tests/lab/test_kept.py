"""What is kept of experiments: it outlasts the pods of trials, the experiment, and the kernel that watched."""

import json
import os
import re
import stat

from conftest import wait_until
from jupyter import Kernel
from test_cluster import NAMESPACE, experiment, finished, kubeconfig, kubectl  # noqa: F401

SECRET = "tok-hunter2-and-more"
# Trials whose pods vanish when they end, as is Katib's default.
TRAINING = ["sh", "-c", f"{{ echo begun ${{trialParameters.lr}} with {SECRET}; sleep 1; echo accuracy=${{trialParameters.lr}}; }}"]
ENDLESS = ["sh", "-c", "{ echo begun ${trialParameters.lr}; sleep 600; echo accuracy=1; }"]

ONE = {"maxTrialCount": 1, "parallelTrialCount": 1, "maxFailedTrialCount": 1}


def write(lab, name, command, **spec):
    made = experiment(name, "katlab/base:1", command, **spec)
    made["spec"]["trialTemplate"]["retain"] = False
    (lab.directory / f"{name}.json").write_text(json.dumps(made))


def change_container(lab, name, **fields):
    path = lab.directory / f"{name}.json"
    made = json.loads(path.read_text())
    made["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"][0].update(fields)
    path.write_text(json.dumps(made))


def kept_logs(lab, name):
    return {path.stem: path.read_text() for path in (lab.home / "kept").glob(f"sandbox/{NAMESPACE}/{name}.*/logs/*.log")}


def pods(kubectl, name):  # noqa: F811
    return kubectl("get", "pods", "-n", NAMESPACE, "-l", f"katib.kubeflow.org/experiment={name}", "-o", "name").split()


def test_pods_experiments_and_kernels_go_and_what_they_taught_stays(lab, kubectl):  # noqa: F811
    write(lab, "fleeting", TRAINING)
    write(lab, "outside", TRAINING, **ONE)
    lab.run(f":env set API_TOKEN={SECRET}", ":experiment create fleeting.json", ":experiment wait fleeting",
            ":experiment create outside.json", ":experiment wait outside")
    wait_until(lambda: not pods(kubectl, "fleeting"), 30, "the end of the pods")
    logs = kept_logs(lab, "fleeting")
    assert len(logs) == 4
    for text in logs.values():
        assert re.fullmatch(r"begun [\d.e-]+ with •+\naccuracy=[\d.e-]+\n", text), text

    # Pods are gone, and a new kernel finds what they printed.
    trial = sorted(logs)[0]
    log, tail = lab.run(f":logs {trial}", f":logs {trial} --tail 1")
    assert "as katlab kept its log" in log and logs[trial] in log
    assert "begun" not in tail and "accuracy=" in tail
    together, exported = lab.run(":logs fleeting", ":experiment export fleeting -o exported")
    assert all(f"[{one}] begun" in together for one in logs) and "4 logs of pods that are gone" in together
    assert "4 logs of fleeting" in exported and "left out: logs" not in exported
    assert (lab.directory / f"exported/logs/{trial}.log").read_text().startswith("begun")
    for magic in (":trials", ":logs", ":why"):
        assert "Leave out --deleted" in lab.fails(f"{magic} fleeting --deleted")
    # What the trials ran is known although their pods are gone.
    images = json.loads((lab.directory / "exported/export.json").read_text())["images"]
    assert [set(image["trials"]) for image in images if image["container"] == "main"] == [set(logs)], images
    assert "has an id (" in lab.run(":rerun best fleeting")[0]

    # Why a trial failed is told from what was kept as well.
    write(lab, "failing", ["sh", "-c", "echo the reason; exit 3 # ${trialParameters.lr}"], **ONE)
    lab.fails(":experiment create failing.json", ":experiment wait failing")
    wait_until(lambda: not pods(kubectl, "failing"), 30, "the end of the pods")
    why, = lab.run(":why failing")
    assert "the reason" in why and "as katlab kept its log" in why, why
    assert "ended with exit code 3" in why, why

    # The experiment goes, by a magic or otherwise.
    deleted, = lab.run(":experiment delete fleeting --yes")
    assert "`:trials fleeting --deleted` still shows what it left" in deleted
    kubectl("delete", "experiment", "outside", "failing", "-n", NAMESPACE)
    wait_until(lambda: not kubectl("get", "trials", "-n", NAMESPACE, "-o", "name"), 30, "the end of the trials")
    listed, table, one, values, plot, analysis, compared, taken = lab.run(
        ":trials --deleted", ":trials fleeting --deleted --sort -accuracy", f":trial {trial} --deleted",
        f":trial {trial} --deleted --metrics", ":plot fleeting --deleted", ":analyze fleeting best --deleted",
        f":metrics test {trial} --deleted", ":trials fleeting --deleted --output name")
    assert re.search(r"fleeting +\w{8} +\S* ?Succeeded +4 +4 ", listed) and re.search(r"outside +\w{8} +\S* ?Succeeded +1 +1 ", listed)
    assert table.count("Succeeded") == 4
    assert "fleeting" in one and "Succeeded" in one
    assert re.search(r"1 +accuracy +[\d.e-]+", values)
    assert "accuracy" in plot and "rests on 4 trials" in analysis
    assert "1 value in 1 of 2 lines" in compared
    assert sorted(taken.split()) == sorted(logs)
    assert logs[trial] in lab.run(f":logs {trial}")[0]

    together, again = lab.run(":logs fleeting --deleted", ":rerun best fleeting --deleted")
    assert all(f"[{one}] begun" in together for one in logs) and "has an id (" in again
    for magic in (":best fleeting", ":experiment watch fleeting", ":experiment show fleeting", ":rerun best fleeting", ":logs fleeting"):
        assert ":trials fleeting --deleted" in lab.fails(magic), magic

    explained, trial_explained = lab.run(":why fleeting --deleted", f":why {trial} --deleted")
    assert "it ended as it should" in explained and "it succeeded" in trial_explained

    # Names that are nearly right.
    assert ":trials fleeting --deleted" in lab.fails(":why fleeting")
    assert "Did you mean fleeting?" in lab.fails(":why fleetin --deleted")
    assert "Did you mean fleeting?" in lab.fails(":trials fleetin --deleted")
    assert f"Did you mean {trial}?" in lab.fails(f":logs {trial}x --deleted")
    assert ":trials fleeting --deleted" in lab.fails(":trials fleeting")
    assert "Did you mean fleeting?" in lab.fails(":lab clean fleetin --yes")

    # It is for its owner only, it is shown with its size, and it can be freed.
    for folder, folders, files in os.walk(lab.home / "kept"):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700, folder
    shown, plan, freed, rest, empty = lab.run(
        ":lab", ":lab clean", ":lab clean fleeting --yes", ":trials --deleted", ":lab clean --older-than 7d")
    assert re.search(r"Kept +\S+ of 500MB in 3 experiments", shown)
    assert "fleeting" in plan and "outside" in plan and "nothing was done; add --yes" in plan
    assert re.search(r"freed \S+ of 1 experiment", freed)
    assert "fleeting" not in rest and "outside" in rest
    assert "nothing to free" in empty
    assert not kept_logs(lab, "fleeting") and len(kept_logs(lab, "outside")) == 1


def test_what_runs_is_kept_before_it_is_deleted_and_after_an_interrupt(lab, kubectl):  # noqa: F811
    write(lab, "endless", ENDLESS, **ONE)
    write(lab, "slow", ["sh", "-c", "{ echo begun; sleep 3; echo accuracy=${trialParameters.lr}; }"], **ONE)
    # Nobody watched this one.
    kubectl("create", "-f", str(lab.directory / "endless.json"))
    experiments = ["-n", NAMESPACE, "-l", "katib.kubeflow.org/experiment=endless"]
    trial = wait_until(lambda: kubectl("get", "trials", *experiments, "-o", "jsonpath={.items[*].metadata.name}"), 30)
    selector = ["-n", NAMESPACE, "-l", f"katib.kubeflow.org/trial={trial}"]
    wait_until(lambda: kubectl("get", "pods", *selector, "-o", "jsonpath={.items[*].status.phase}") == "Running", 60)
    wait_until(lambda: "begun" in kubectl("logs", *selector), 30)
    lab.run(":experiment delete endless --yes")
    assert "begun" in kept_logs(lab, "endless")[trial]

    with Kernel(lab.home, cwd=lab.directory) as kernel:
        kernel.run(":experiment create slow.json")
        sent = []

        def interrupt(message):
            if not sent and "Running" in json.dumps(message["content"]):
                sent.append(True)
                kernel.interrupt()

        code = ":experiment watch slow"
        outcome = kernel.collect(kernel.send(code), code, on_message=interrupt)
        assert sent and outcome.reply["ename"] == "KeyboardInterrupt", outcome
        wait_until(lambda: finished(kubectl, "slow"), 60)
        wait_until(lambda: not pods(kubectl, "slow"), 30, "the end of the pods")
        [(trial, _)] = wait_until(lambda: kept_logs(lab, "slow"), 10).items()
        outcome = kernel.run(f':logs {trial}')
        assert "as katlab kept its log" in outcome.shown and "accuracy=" in outcome.shown, outcome


def test_how_pods_fared_is_told_when_they_are_gone(lab, kubectl):  # noqa: F811
    eats = "import sys; print('begun', flush=True); x = bytearray(300 << 20); print(len(x), sys.argv)"
    write(lab, "hungry", ["python3", "-c", eats, "${trialParameters.lr}"], **ONE)
    change_container(lab, "hungry", resources={"limits": {"memory": "64Mi"}})
    write(lab, "pulling", ["sh", "-c", "echo ${trialParameters.lr}"], **ONE)
    change_container(lab, "pulling", image="127.0.0.1:1/nothing/here:1")
    lab.fails(":experiment create hungry.json", ":experiment wait hungry")
    wait_until(lambda: not pods(kubectl, "hungry"), 30, "the end of the pods")
    starved = "container main needed more memory than it may have and was killed"
    why, exported = lab.run(":why hungry", ":experiment export hungry -o hungry")
    assert starved in why and "OOMKilled" in why and "begun" in why, why
    evidence = json.loads((lab.directory / "hungry/evidence.json").read_text())
    assert [pod["status"]["phase"] for pod in evidence["pods"]] == ["Failed"] and "OOMKilled" in json.dumps(evidence)

    # A pod whose image cannot be had, whose experiment somebody deletes while a kernel follows it.
    with Kernel(lab.home, cwd=lab.directory) as kernel:
        kernel.run(":experiment create pulling.json")
        seen = lambda: [path for path in (lab.home / "kept").glob(f"sandbox/{NAMESPACE}/pulling.*/evidence.json")  # noqa: E731
                        if "ImagePull" in path.read_text()]
        wait_until(seen, 60, "what is kept of the failed pull")
    kubectl("delete", "experiment", "hungry", "pulling", "-n", NAMESPACE)
    wait_until(lambda: not kubectl("get", "trials", "-n", NAMESPACE, "-l",
                                   "katib.kubeflow.org/experiment in (hungry,pulling)", "-o", "name"), 30, "the end of the trials")
    hungry, pulling, read = lab.run(":why hungry --deleted", ":why pulling --deleted", ":why --from hungry")
    assert starved in hungry and starved in read, (hungry, read)
    assert "its image cannot be pulled: 127.0.0.1:1/nothing/here:1" in pulling, pulling
