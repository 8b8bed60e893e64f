"""The Katib UI beside the sandbox: the requests that its backend makes for each of its pages, and the answers that it
makes of them. katlab answers the same questions with the same numbers."""

import csv
import io
import json

import grpc
import kubernetes
import pytest
from kubeflow.katib import katib_api_pb2 as api
from kubeflow.katib import katib_api_pb2_grpc as services

from conftest import wait_until
from test_cluster import NAMESPACE, experiment

TEMPLATES = "katib.kubeflow.org/component=trial-templates"
NAME = "asked"
# Every trial is better at its first step than at its second: the best value is not the latest.
SCRIPT = ("echo 2024-03-04T17:55:08Z accuracy=${trialParameters.lr}; echo 2024-03-04T17:55:09.5Z accuracy=0.05; "
          "echo 2024-03-04T17:55:09Z loss=2; echo done")


class Backend:
    """Asks the cluster as the UI's backend does, one method for each of its paths."""

    def __init__(self, kubeconfig, metrics):
        client = kubernetes.config.new_client_from_config(kubeconfig)
        self.custom, self.core = kubernetes.client.CustomObjectsApi(client), kubernetes.client.CoreV1Api(client)
        self.authorization = kubernetes.client.AuthorizationV1Api(client)
        self.metrics = services.DBManagerStub(grpc.insecure_channel(metrics))

    def of(self, plural, namespace=NAMESPACE):
        return "kubeflow.org", "v1beta1", namespace, plural

    def lets(self, user):
        """Whether a user may see a page, which the backend asks before it makes one."""
        attributes = kubernetes.client.V1ResourceAttributes(
            namespace=NAMESPACE, verb="list", group="kubeflow.org", version="v1beta1", resource="experiments")
        spec = kubernetes.client.V1SubjectAccessReviewSpec(user=user, resource_attributes=attributes)
        review = kubernetes.client.V1SubjectAccessReview(spec=spec)
        return self.authorization.create_subject_access_review(review).status.allowed

    def fetch_namespaces(self):
        return [one.metadata.name for one in self.core.list_namespace().items]

    def create_experiment(self, body):
        self.custom.create_namespaced_custom_object(*self.of("experiments"), body)

    def fetch_experiments(self):
        return [{"name": one["metadata"]["name"], "namespace": one["metadata"]["namespace"], "type": "hp",
                 **one["status"], "status": one["status"]["conditions"][-1]["type"]}
                for one in self.custom.list_namespaced_custom_object(*self.of("experiments"))["items"]
                # In the moment before the first condition the UI's backend fails.
                if "status" in one]

    def fetch(self, plural, name):
        return self.custom.get_namespaced_custom_object(*self.of(plural), name)

    def trials(self, name):
        return self.custom.list_namespaced_custom_object(
            *self.of("trials"), label_selector=f"katib.kubeflow.org/experiment={name}")["items"]

    def log(self, trial, metric=""):
        request = api.GetObservationLogRequest(trial_name=trial, metric_name=metric)
        return self.metrics.GetObservationLog(request).observation_log.metric_logs

    def fetch_hp_job_info(self, name):
        spec = self.fetch("experiments", name)["spec"]
        metrics = [spec["objective"]["objectiveMetricName"], *spec["objective"].get("additionalMetricNames", [])]
        best = max if spec["objective"]["type"] == "maximize" else min
        parameters = [parameter["name"] for parameter in spec["parameters"]]
        lines = [",".join(["Status", "trialName", *metrics, *parameters])]
        for trial in self.trials(name):
            state = trial["status"]["conditions"][-1]["type"]
            assigned = {one["name"]: one["value"] for one in trial["spec"]["parameterAssignments"]}
            rows = self.log(trial["metadata"]["name"]) if state in ("Succeeded", "EarlyStopped") else []
            values = [best([row.metric.value for row in rows if row.metric.name == metric], key=float, default="")
                      for metric in metrics]
            lines.append(",".join([state, trial["metadata"]["name"], *values, *(assigned[name] for name in parameters)]))
        return "\n".join(lines)

    def fetch_hp_job_trial_info(self, trial, best=max):
        objective = self.fetch("trials", trial)["spec"]["objective"]
        seconds = {}
        for metric in [objective["objectiveMetricName"], *objective.get("additionalMetricNames", [])]:
            for row in self.log(trial, metric):
                key = metric, row.time_stamp[:19] + "Z"
                seconds[key] = best(seconds.get(key, row.metric.value), row.metric.value, key=float)
        return "\n".join(["metricName,time,value", *(f"{metric},{time},{value}" for (metric, time), value in seconds.items())])

    def fetch_trial_logs(self, trial):
        spec = self.fetch("trials", trial)["spec"]
        labels = {"katib.kubeflow.org/trial": trial, **spec.get("primaryPodLabels", {})}
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        pods = self.core.list_namespaced_pod(NAMESPACE, label_selector=selector).items
        pod = next((one for one in pods if one.status.phase in ("Running", "Succeeded")), pods[0])
        kind = spec["metricsCollector"]["collector"]["kind"]
        container = "metrics-logger-and-collector" if kind == "StdOut" else spec["primaryContainerName"]
        return self.core.read_namespaced_pod_log(pod.metadata.name, NAMESPACE, container=container)

    def fetch_trial_templates(self):
        # The UI shows templates of the namespaces that its user may see.
        maps = [one for namespace in self.fetch_namespaces()
                for one in self.core.list_namespaced_config_map(namespace, label_selector=TEMPLATES).items]
        return {(one.metadata.namespace, one.metadata.name): one.data or {} for one in maps}

    def write_template(self, name, change):
        one = self.core.read_namespaced_config_map(name, NAMESPACE)
        change(one.data)
        self.core.replace_namespaced_config_map(name, NAMESPACE, one)
        return self.fetch_trial_templates()

    def delete_experiment(self, name):
        self.custom.delete_namespaced_custom_object(*self.of("experiments"), name)
        wait_until(lambda: name not in [one["name"] for one in self.fetch_experiments()], 60, "its end")


@pytest.fixture(scope="module")
def backend(lab):
    lab.command("sandbox", "up")
    port = json.loads((lab.home / "sandbox/endpoint.json").read_text())["dbmanager_port"]
    return Backend(lab.command("sandbox", "kubeconfig").stdout.strip(), f"127.0.0.1:{port}")


def test_the_pages_of_the_katib_ui_show_what_katlab_shows(lab, backend):
    assert NAMESPACE in backend.fetch_namespaces()
    assert backend.lets(f"system:serviceaccount:{NAMESPACE}:default") and not backend.lets("jane@example.com")

    # A template is added, edited, used and deleted.
    body = experiment(NAME, "katlab/base:1", ["sh", "-c", SCRIPT], maxTrialCount=3)
    body["spec"]["objective"]["additionalMetricNames"] = ["loss"]
    template = body["spec"]["trialTemplate"]
    text = json.dumps(template.pop("trialSpec"))
    labels = dict([TEMPLATES.split("=")])
    backend.core.create_namespaced_config_map(NAMESPACE, kubernetes.client.V1ConfigMap(
        metadata=kubernetes.client.V1ObjectMeta(name="trial-templates", labels=labels), data={"old.yaml": "old"}))
    added = backend.write_template("trial-templates", lambda data: data.update({"new.yaml": "new"}))
    assert added == {(NAMESPACE, "trial-templates"): {"old.yaml": "old", "new.yaml": "new"}}
    edited = backend.write_template("trial-templates", lambda data: data.update({"echo.yaml": text, "a": data.pop("new.yaml")}))
    assert edited == {(NAMESPACE, "trial-templates"): {"old.yaml": "old", "a": "new", "echo.yaml": text}}
    left = backend.write_template("trial-templates", lambda data: data.pop("old.yaml"))
    assert left == {(NAMESPACE, "trial-templates"): {"a": "new", "echo.yaml": text}}
    template |= {
        "configMap": {"configMapName": "trial-templates", "configMapNamespace": NAMESPACE, "templatePath": "echo.yaml"},
        "successCondition": 'status.conditions.#(type=="Complete")#|#(status=="True")#',
        "failureCondition": 'status.conditions.#(type=="Failed")#|#(status=="True")#'}
    backend.create_experiment(body)

    def ended():
        return [one for one in backend.fetch_experiments() if one["status"] == "Succeeded"]

    # The list of experiments.
    shown, = wait_until(ended, 120, "the end of the experiment")
    assert (shown["name"], shown["trialsSucceeded"], shown.get("trialsFailed")) == (NAME, 3, None)
    best = shown["currentOptimalTrial"]["bestTrialName"]
    assert backend.fetch("suggestions", NAME)["status"]["suggestionCount"] == 3

    # Its page: katlab has the same rows.
    rows = list(csv.DictReader(io.StringIO(backend.fetch_hp_job_info(NAME))))
    assert list(rows[0]) == ["Status", "trialName", "accuracy", "loss", "lr"]
    assert all(row["accuracy"] == row["lr"] and row["loss"] == "2" for row in rows)
    assert max(rows, key=lambda row: float(row["accuracy"]))["trialName"] == best
    mine, = lab.run(f":trials {NAME} -o csv")
    mine = {row["name"]: row for row in csv.DictReader(io.StringIO(mine.strip()))}
    assert {name: (row["status"], float(row["accuracy"]), float(row["loss"]), float(row["lr"])) for name, row in mine.items()} == {
        row["trialName"]: (row["Status"], float(row["accuracy"]), float(row["loss"]), float(row["lr"])) for row in rows}

    # The page of a trial: its curve and its log.
    assert backend.fetch_hp_job_trial_info(best).splitlines() == [
        "metricName,time,value", f"accuracy,2024-03-04T17:55:08Z,{mine[best]['accuracy']}",
        "accuracy,2024-03-04T17:55:09Z,0.05", "loss,2024-03-04T17:55:09Z,2"]
    log = backend.fetch_trial_logs(best)
    assert log.splitlines()[1:] == ["2024-03-04T17:55:09.5Z accuracy=0.05", "2024-03-04T17:55:09Z loss=2", "done"]
    assert log.strip() in lab.run(f":logs {best}")[0]

    backend.delete_experiment(NAME)
    # Its trials go after it, and each takes its values with it.
    wait_until(lambda: not backend.log(best), 60, "the end of its values")
    backend.core.delete_namespaced_config_map("trial-templates", NAMESPACE)
    assert backend.fetch_trial_templates() == {}
