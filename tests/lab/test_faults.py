"""What may fail during an experiment: each failure is made to happen, and nothing acknowledged is lost."""

import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from conftest import wait_until
from test_cluster import GOOD, NAMESPACE, experiment, finished, kubeconfig, kubectl  # noqa: F401


def create(kubectl, *arguments, **options):  # noqa: F811
    kubectl("create", "-f", "-", input=json.dumps(experiment(*arguments, **options)))


def trials(kubectl, name):  # noqa: F811
    return json.loads(kubectl("get", "trials", "-n", NAMESPACE, "-l", f"katib.kubeflow.org/experiment={name}", "-o", "json"))["items"]


def conditions(trial):
    return [condition["type"] for condition in trial["status"]["conditions"] if condition["status"] == "True"]


def ended_trials(kubectl, name):  # noqa: F811
    """All trials, once none runs: an Experiment may end while trials of its last round go on."""
    def ended():
        found = trials(kubectl, name)
        # A trial that was made this moment has no status yet.
        if not all(trial.get("status", {}).get("conditions") for trial in found):
            return None
        return found if all(conditions(trial)[-1] not in ("Created", "Running") for trial in found) else None

    return wait_until(ended, 60, "the end of all trials")


def endpoint(lab):
    return json.loads((lab.home / "sandbox/endpoint.json").read_text())


def test_trials_that_exit_1_fail_the_experiment_and_why_says_so(kubectl, lab):  # noqa: F811
    create(kubectl, "exits", "katlab/base:1", ["sh", "-c", "echo the reason; exit 1 # ${trialParameters.lr}"])
    condition, status = wait_until(lambda: finished(kubectl, "exits"), 120)
    assert (condition["type"], condition["reason"]) == ("Failed", "ExperimentFailed")
    ended = ended_trials(kubectl, "exits")
    for trial in ended:
        assert conditions(trial) == ["Created", "Failed"]
        assert trial["status"]["conditions"][-1]["reason"].startswith("TrialFailed")
    trial = ended[0]
    text, = lab.run(f":why {trial['metadata']['name']}")
    assert "1" in text and "the reason" in text


def test_a_job_beyond_its_deadline_fails_and_holds_up_nobody(kubectl, lab):  # noqa: F811
    # The first process of a container that catches no signal ends only when it is killed.
    made = experiment("overdue", "katlab/base:1", ["python3", "-c", "import time; time.sleep(600)  # ${trialParameters.lr}"],
                      maxTrialCount=1, parallelTrialCount=1, maxFailedTrialCount=1)
    job = made["spec"]["trialTemplate"]["trialSpec"]["spec"]
    job["activeDeadlineSeconds"] = 3
    job["template"]["spec"]["terminationGracePeriodSeconds"] = 10
    kubectl("create", "-f", "-", input=json.dumps(made))

    def stopping():
        pods = json.loads(kubectl("get", "pods", "-n", NAMESPACE, "-l", "katib.kubeflow.org/experiment=overdue", "-o", "json"))["items"]
        return [pod for pod in pods if pod["metadata"].get("deletionTimestamp")]

    wait_until(stopping, 60, "a pod that is being stopped")
    create(kubectl, "meanwhile", "katlab/base:1", GOOD, maxTrialCount=1, parallelTrialCount=1, maxFailedTrialCount=1)
    wait_until(lambda: trials(kubectl, "meanwhile"), 30, "a trial of another experiment")
    assert not finished(kubectl, "overdue")
    condition, _ = wait_until(lambda: finished(kubectl, "overdue"), 60)
    assert condition["type"] == "Failed"
    text, = lab.run(":why overdue")
    assert "ran longer than its activeDeadlineSeconds" in text, text
    wait_until(lambda: finished(kubectl, "meanwhile"), 120)


def test_the_log_of_an_init_container_that_failed_is_the_one_that_matters(kubectl, lab):  # noqa: F811
    made = experiment("unfetched", "katlab/base:1", GOOD, maxTrialCount=1, parallelTrialCount=1, maxFailedTrialCount=1)
    pod = made["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]
    pod["initContainers"] = [{"name": "fetch", "image": "katlab/base:1", "command": ["sh", "-c", "echo no credentials; exit 3"]}]
    kubectl("create", "-f", "-", input=json.dumps(made))
    wait_until(lambda: finished(kubectl, "unfetched"), 120)
    [trial] = ended_trials(kubectl, "unfetched")
    name = trial["metadata"]["name"]
    why, log, named = lab.run(f":why {name}", f":logs {name}", f":logs {name} -c fetch")
    assert "the program in container fetch ended with exit code 3" in why and "no credentials" in why, why
    assert "container fetch" in log and "no credentials" in log and "no credentials" in named
    assert "there is none of that name; it has main" in lab.fails(f":logs {name} -c fetsch")


def test_a_metric_that_never_comes_makes_the_trial_unavailable(kubectl):  # noqa: F811
    create(kubectl, "silent", "katlab/base:1", ["sh", "-c", "echo nothing ${trialParameters.lr}"])
    wait_until(lambda: finished(kubectl, "silent"), 120)
    for trial in ended_trials(kubectl, "silent"):
        assert conditions(trial) == ["Created", "MetricsUnavailable"]


def test_a_metric_that_is_said_otherwise_is_answered_with_a_filter_that_reads_it(kubectl, lab):  # noqa: F811
    create(kubectl, "otherwise", "katlab/base:1", ["sh", "-c", "echo accuracy: ${trialParameters.lr}"],
           maxTrialCount=1, parallelTrialCount=1, maxFailedTrialCount=1)
    wait_until(lambda: finished(kubectl, "otherwise"), 120)
    [trial] = ended_trials(kubectl, "otherwise")
    name = trial["metadata"]["name"]
    text, = lab.run(f":why {name}")
    [proposal] = re.findall(r"metricsFormat: \['(.+?)'\]", text)
    tried, = lab.run(f":metrics test {name} --filter '{proposal}'")
    assert re.search(r"accuracy +1 ", tried), tried


def test_an_image_that_cannot_be_pulled_shows_within_seconds(kubectl, lab):  # noqa: F811
    host = endpoint(lab)["registry_host"]
    create(kubectl, "nopull", f"{host}/no/such:1", GOOD)

    def reason():
        pods = json.loads(kubectl("get", "pods", "-n", NAMESPACE, "-o", "json"))["items"]
        for pod in pods:
            for status in pod["status"].get("containerStatuses", []):
                waiting = status.get("state", {}).get("waiting", {})
                if waiting.get("reason") in ("ErrImagePull", "ImagePullBackOff"):
                    return waiting
        return None

    waiting = wait_until(reason, 20)
    assert waiting["message"]
    assert ":why nopull says how it stands" in lab.fails(":experiment wait nopull --timeout 1s")
    assert "`:why nopull` says what it waits for" in lab.fails(":logs nopull")
    lab.run(":experiment delete nopull --yes")


def test_a_kernel_that_is_killed_leaves_the_experiment_running(lab, kubectl):  # noqa: F811
    (lab.directory / "long.json").write_text(json.dumps(
        experiment("long", "katlab/base:1", ["sh", "-c", "sleep 2; echo accuracy=${trialParameters.lr}"])))
    notebook = lab.directory / "watch.ipynb"
    cells = [":experiment create long.json", ":experiment watch long"]
    notebook.write_text(json.dumps({
        "cells": [{"cell_type": "code", "id": f"c{n}", "metadata": {}, "execution_count": None, "outputs": [], "source": c}
                  for n, c in enumerate(cells)],
        "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    from cells import BINARY
    process = subprocess.Popen([BINARY, "run", notebook, "-o", lab.directory / "watch-out.ipynb"],
                               cwd=lab.directory, env=lab.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: kubectl("get", "trials", "-n", NAMESPACE, "-o", "name", "-l", "katib.kubeflow.org/experiment=long"), 60)
    process.kill()
    process.wait()
    condition, status = wait_until(lambda: finished(kubectl, "long"), 120)
    assert status["trialsSucceeded"] == 4
    shown, = lab.run(":trials long")
    assert shown.count("Succeeded") == 4


def test_a_sandbox_that_is_killed_comes_back_and_doubles_nothing(fresh_lab):
    lab = fresh_lab
    lab.command("sandbox", "up")
    config = lab.command("sandbox", "kubeconfig").stdout.strip()

    def kubectl(*arguments, check=True, **options):  # noqa: F811
        process = subprocess.run(["kubectl", "--kubeconfig", config, *arguments], capture_output=True, text=True, **options)
        assert not check or process.returncode == 0, process.stderr
        return process.stdout

    slow = ["sh", "-c", "hostname; sleep 3; echo accuracy=${trialParameters.lr}"]
    create(kubectl, "survivor", "katlab/base:1", slow, maxTrialCount=6)
    for _ in range(3):
        before = len(trials(kubectl, "survivor"))
        wait_until(lambda: len(trials(kubectl, "survivor")) >= max(before, 1), 60)
        os.kill(endpoint(lab)["pid"], signal.SIGKILL)
        lab.command("sandbox", "up")
    condition, status = wait_until(lambda: finished(kubectl, "survivor"), 180)
    assert condition["reason"] == "ExperimentMaxTrialsReached"
    made = trials(kubectl, "survivor")
    assert len(made) == 6 and status["trialsSucceeded"] == 6
    pods = json.loads(kubectl("get", "pods", "-n", NAMESPACE, "-o", "json"))["items"]
    assert len(pods) == 6, [pod["metadata"]["name"] for pod in pods]


def test_wrong_pull_credentials_are_told_by_the_pod(lab, kubectl):  # noqa: F811
    host = endpoint(lab)["registry_host"]
    spec = experiment("nosecret", f"{host}/private/image:1", GOOD)
    spec["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["imagePullSecrets"] = [{"name": "absent"}]
    kubectl("create", "-f", "-", input=json.dumps(spec))

    def told():
        events = json.loads(kubectl("get", "events", "-n", NAMESPACE, "-o", "json"))["items"]
        return any("Failed to pull image" in (event.get("message") or "") for event in events)

    wait_until(told, 30)
    refused = lab.fails(":logs nosecret")
    assert "nosecret-" in refused and "waiting to start" in refused
    # The pod's status follows its event.
    wait_until(lambda: re.search("Running: .*ImagePull", lab.run(":trials nosecret")[0]), 30)
    lab.run(":experiment delete nosecret --yes")


def test_a_run_that_is_interrupted_leaves_no_container(lab):
    """`katlab run` passes an interrupt on to the running magic."""
    notebook = lab.directory / "sleep.ipynb"
    notebook.write_text(json.dumps({
        "cells": [{"cell_type": "code", "id": "c0", "metadata": {}, "execution_count": None, "outputs": [],
                   "source": ":run --name katlab-interrupt-test katlab/base:1 sleep 600"}],
        "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    from cells import BINARY
    process = subprocess.Popen([BINARY, "run", notebook, "-o", lab.directory / "sleep-out.ipynb"],
                               cwd=lab.directory, env=lab.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    listed = lambda: subprocess.run(["docker", "ps", "-aq", "--filter", "name=katlab-interrupt-test"],
                                    capture_output=True, text=True).stdout.strip()
    wait_until(listed, 30)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(20)
    assert process.returncode != 0
    wait_until(lambda: not listed(), 15)
