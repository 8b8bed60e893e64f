"""Algorithms of a user's own: containers that speak Katib's Suggestion API, named in katib-config as on a cluster."""

import json

import kubernetes
import pytest
import yaml
from kubernetes import client

from conftest import wait_until

NAMESPACE = "kubeflow-user"
KATIB = ("kubeflow.org", "v1beta1", NAMESPACE)
RESOURCES = {"requests": {"cpu": "100m"}, "limits": {"cpu": "2", "memory": "512Mi"}}


class Cluster:
    """The sandbox as the Kubernetes client sees it."""

    def __init__(self, lab):
        self.lab = lab
        lab.command("sandbox", "up")
        api = kubernetes.config.new_client_from_config(lab.command("sandbox", "kubeconfig").stdout.strip())
        self.core, self.custom = client.CoreV1Api(api), client.CustomObjectsApi(api)

    def configure(self, change):
        """Changes Katib's configuration as one does on a cluster."""
        held = self.core.read_namespaced_config_map("katib-config", "kubeflow")
        config = yaml.safe_load(held.data["katib-config.yaml"])
        change(config["runtime"]["suggestions"])
        self.core.patch_namespaced_config_map("katib-config", "kubeflow", {"data": {"katib-config.yaml": yaml.safe_dump(config)}})

    def create(self, name, algorithm, behaviour="", **spec):
        settings = [{"name": "behaviour", "value": behaviour}] if behaviour else []
        container = {"name": "main", "image": "katlab/base:1",
                     "command": ["sh", "-c", "echo accuracy=${trialParameters.lr} # ${trialParameters.optimizer}"]}
        body = {"apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": {"name": name}, "spec": {
            "objective": {"type": "maximize", "objectiveMetricName": "accuracy"},
            "algorithm": {"algorithmName": algorithm, "algorithmSettings": settings},
            "parallelTrialCount": 1, "maxTrialCount": 2,
            "parameters": [
                {"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.1", "max": "0.9"}},
                {"name": "optimizer", "parameterType": "categorical", "feasibleSpace": {"list": ["sgd", "adam"]}}],
            "trialTemplate": {
                "primaryContainerName": "main",
                "trialParameters": [{"name": "lr", "reference": "lr"}, {"name": "optimizer", "reference": "optimizer"}],
                "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {
                    "restartPolicy": "Never", "containers": [container]}}}}},
            **spec}}
        return self.custom.create_namespaced_custom_object(*KATIB, "experiments", body)

    def get(self, plural, name):
        return self.custom.get_namespaced_custom_object(*KATIB, plural, name)

    def trials(self, name):
        selector = f"katib.kubeflow.org/experiment={name}"
        return self.custom.list_namespaced_custom_object(*KATIB, "trials", label_selector=selector)["items"]

    def ended(self, name, trials=2):
        """The Experiment, once it has succeeded with so many trials."""
        def is_over():
            status = self.get("experiments", name).get("status", {})
            return holds(status, "Succeeded") and status.get("trialsSucceeded") == trials and status

        return wait_until(is_over, 120, f"the end of {name}")

    def pods(self, name):
        """The pods of an Experiment's algorithm."""
        selector = f"katib.kubeflow.org/suggestion={name}"
        return self.core.list_namespaced_pod(NAMESPACE, label_selector=selector).items

    def said(self, name, reason, text):
        """Waits until a Warning about a Suggestion says so."""
        def heard():
            events = self.core.list_namespaced_event(NAMESPACE, field_selector=f"involvedObject.name={name}").items
            messages = [event.message for event in events if event.type == "Warning" and event.reason == reason
                        and event.involved_object.kind == "Suggestion"]
            return next((message for message in messages if text in message), None)

        return wait_until(heard, 120, f"the event {reason} of {name} with {text!r}")


def holds(status, kind):
    return any(one["type"] == kind and one["status"] == "True" for one in status.get("conditions", []))


def conditions(status):
    return [f"{one['type']} {one['status']} {one['reason']}" for one in status["conditions"]]


def settings(cluster, name):
    returned = cluster.get("suggestions", name)["status"].get("algorithmSettings", [])
    return {one["name"]: one["value"] for one in returned}


# How the algorithm behaves, which one is asked for, and the rest of the Experiment's spec. All begin at once.
RUNS = {
    "good": ("climber", "", {}),
    "grid-of-mine": ("grid", "", {}),
    "unprobed": ("unprobed", "", {}),
    "outside": ("climber", "outside", {}),
    "short": ("climber", "short", {}),
    "crashing": ("climber", "crash", {}),
    "raising": ("climber", "raise", {}),
    "refused": ("climber", "refuse", {}),
    "missing": ("missing", "", {}),
    "silent": ("silent", "", {}),
    "long": ("climber", "", {"resumePolicy": "LongRunning"}),
    "kept": ("climber", "", {"resumePolicy": "FromVolume"}),
}


@pytest.fixture(scope="module")
def cluster(lab, sdk_image):
    cluster = Cluster(lab)

    def add(suggestions):
        serve = {"image": sdk_image, "command": ["python", "/algorithm/own_algorithm.py"], "resources": RESOURCES}
        suggestions[:] = [one for one in suggestions if one["algorithmName"] != "grid"]
        suggestions += [
            {"algorithmName": "climber", **serve},
            # One of Katib's own names may be served by another image.
            {"algorithmName": "grid", **serve},
            {"algorithmName": "unprobed", **serve, "args": ["--no-health"]},
            {"algorithmName": "missing", "image": "127.0.0.1:1/no/such:image"},
            {"algorithmName": "silent", "image": "katlab/base:1", "command": ["sleep", "1000"]},
        ]

    cluster.configure(add)
    for name, (algorithm, behaviour, spec) in RUNS.items():
        cluster.create(name, algorithm, behaviour, **spec)
    yield cluster
    for name in RUNS:
        cluster.custom.delete_namespaced_custom_object(*KATIB, "experiments", name)
    wait_until(lambda: not any(cluster.pods(name) for name in RUNS), 60, "the end of the pods")


@pytest.mark.parametrize("name", ["good", "grid-of-mine"])
def test_an_algorithm_gives_assignments_and_learns_from_trials(cluster, name):
    algorithm = RUNS[name][0]
    status = cluster.ended(name)
    assert conditions(status)[-1] == "Succeeded True ExperimentMaxTrialsReached"
    assert status["currentOptimalTrial"]["parameterAssignments"] == [
        {"name": "lr", "value": "0.2"}, {"name": "optimizer", "value": "sgd"}]
    suggestion = wait_until(lambda: next((one for one in [cluster.get("suggestions", name)]
                                          if holds(one["status"], "Succeeded")), None), 60, "the Suggestion's end")
    assert conditions(suggestion["status"]) == [
        "Created True SuggestionCreated", "Running False Suggestion is succeeded",
        "DeploymentReady False Suggestion is succeeded", "Succeeded True Experiment is succeeded"]
    assert [one["labels"] for one in suggestion["status"]["suggestions"]] == [{"climber/number": "0"}, {"climber/number": "1"}]
    # What the first trial reported came to the algorithm with the second request, and its settings came back to it.
    assert settings(cluster, name) == {"given": "2", "best": "0.1", "starts": "1"}
    numbers = {trial["metadata"]["labels"]["climber/number"]: trial for trial in cluster.trials(name)}
    assert set(numbers) == {"0", "1"}
    assert all(trial["metadata"]["name"].startswith(f"{name}-") for trial in numbers.values())
    # Its pod goes with it.
    wait_until(lambda: not cluster.pods(name), 60, f"the end of the pod {name}-{algorithm}")


@pytest.mark.parametrize("name, reason, text", [
    ("unprobed", "NoHealthService", "answers no health check for manager.v1beta1.Suggestion"),
    ("outside", "OutsideSearchSpace", 'the algorithm gave lr = "7", and spec.parameters allows 0.1 to 0.9'),
])
def test_what_katib_would_stumble_over_is_said_and_runs(cluster, name, reason, text):
    cluster.ended(name)
    cluster.said(name, reason, text)


@pytest.mark.parametrize("name, reason, texts", [
    ("short", "ReconcileError", ["The response contains unexpected trials: 1 were asked for", "mend the algorithm"]),
    ("raising", "ReconcileError", ["rpc error: code = Unknown desc = Exception calling application: no idea",
                                   f"kubectl logs -n {NAMESPACE} raising-climber"]),
    ("crashing", "ReconcileError", ["rpc error: code = ", "GetSuggestions of pod"]),
    ("crashing", "AlgorithmNotReady", ["CrashLoopBackOff", "exit code 3"]),
    ("missing", "AlgorithmNotReady", ["pod kubeflow-user/missing-missing", "127.0.0.1:1/no/such:image", "kubectl describe pod"]),
    ("silent", "AlgorithmNotReady", ["does not answer", "6789", "Connection refused"]),
])
def test_an_algorithm_that_fails_is_named_with_what_to_do_and_asked_again(cluster, name, reason, texts):
    message = cluster.said(name, reason, texts[0])
    assert all(text in message for text in texts), message
    status = cluster.get("experiments", name)["status"]
    assert not holds(status, "Succeeded") and not holds(status, "Failed") and not cluster.trials(name)
    if name in ("missing", "silent"):
        assert "DeploymentReady False DeploymentNotReady" in conditions(cluster.get("suggestions", name)["status"])


def test_settings_that_the_algorithm_refuses_fail_the_experiment_for_good(cluster):
    failed = wait_until(lambda: next((one for one in [cluster.get("experiments", "refused").get("status", {})]
                                      if holds(one, "Failed")), None), 120, "the failure")
    assert failed["conditions"][-1]["message"] == "Suggestion has failed"
    suggestion = cluster.get("suggestions", "refused")["status"]
    assert suggestion["conditions"][-1]["message"] == (
        "Validation failed: ValidateAlgorithmSettings Error: behaviour should not be refuse")
    wait_until(lambda: not cluster.pods("refused"), 60, "the end of the pod")


def raise_budget(cluster, name, count):
    cluster.custom.patch_namespaced_custom_object(*KATIB, "experiments", name, {"spec": {"maxTrialCount": count}})


def test_a_long_running_algorithm_stays_and_is_made_again_when_it_is_lost(cluster):
    cluster.ended("long")
    pod, = cluster.pods("long")
    assert pod.metadata.name == "long-climber" and pod.status.phase == "Running"
    assert not holds(cluster.get("suggestions", "long")["status"], "Succeeded")
    raise_budget(cluster, "long", 3)
    cluster.ended("long", 3)
    assert [one.metadata.uid for one in cluster.pods("long")] == [pod.metadata.uid]
    cluster.core.delete_namespaced_pod("long-climber", NAMESPACE)
    raise_budget(cluster, "long", 4)
    cluster.ended("long", 4)
    # It forgot what it was told, and its settings told it.
    assert settings(cluster, "long")["given"] == "4"
    again, = cluster.pods("long")
    assert again.metadata.uid != pod.metadata.uid


def test_a_volume_outlives_the_pod(cluster):
    cluster.ended("kept")
    wait_until(lambda: not cluster.pods("kept"), 60, "the end of the pod")
    assert cluster.core.read_namespaced_persistent_volume_claim("kept-climber", NAMESPACE).status.phase == "Bound"
    assert settings(cluster, "kept")["starts"] == "1"
    raise_budget(cluster, "kept", 3)
    cluster.ended("kept", 3)
    assert settings(cluster, "kept")["starts"] == "2"


def test_what_cannot_be_is_refused_when_it_is_asked_for(cluster):
    def refused(call, *arguments):
        with pytest.raises(client.exceptions.ApiException) as refusal:
            call(*arguments)
        assert refusal.value.status == 400
        return json.loads(refusal.value.body)["message"]

    message = refused(cluster.create, "nobody", "annealing")
    assert message == (
        'admission webhook "validator.experiment.katib.kubeflow.org" denied the request: spec.algorithm.algorithmName: '
        'Invalid value: "annealing": unable to get Suggestion config data for algorithm annealing: failed to find suggestion '
        "config for algorithm: annealing in ConfigMap: katib-config")
    taken = {"algorithmName": "x", "image": "x", "ports": [{"containerPort": 6789}]}
    message = refused(cluster.configure, lambda suggestions: suggestions.append(taken))
    assert "data[katib-config.yaml] cannot be used: runtime.suggestions: x: invalid suggestion config: port 6789" in message
    wrong = {"algorithmName": "x", "image": "x", "command": "run"}
    assert "runtime.suggestions: x: " in refused(cluster.configure, lambda suggestions: suggestions.append(wrong))
