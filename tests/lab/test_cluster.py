"""The sandbox beside the tools people bring: kubectl and the Kubernetes Python client; and cluster magics."""

import json
import subprocess

import pytest

from conftest import make_lab, wait_until

NAMESPACE = "kubeflow-user"


def experiment(name, image, command, **spec):
    return {
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "objective": {"type": "maximize", "objectiveMetricName": "accuracy"},
            "algorithm": {"algorithmName": "random"},
            "parallelTrialCount": 2, "maxTrialCount": 4, "maxFailedTrialCount": 2,
            "parameters": [{"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.1", "max": "0.9"}}],
            "trialTemplate": {
                "retain": True, "primaryContainerName": "main",
                "trialParameters": [{"name": "lr", "reference": "lr"}],
                "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {
                    "backoffLimit": 0,
                    "template": {"spec": {"restartPolicy": "Never", "containers": [
                        {"name": "main", "image": image, "command": command}]}}}},
            },
            **spec,
        },
    }


GOOD = ["sh", "-c", "echo accuracy=${trialParameters.lr}"]


@pytest.fixture(scope="module")
def kubeconfig(lab):
    lab.command("sandbox", "up")
    path = lab.command("sandbox", "kubeconfig").stdout.strip()
    return path


@pytest.fixture(scope="module")
def kubectl(kubeconfig):
    def run(*arguments, check=True, **options):
        process = subprocess.run(["kubectl", "--kubeconfig", kubeconfig, *arguments],
                                 capture_output=True, text=True, timeout=120, **options)
        assert not check or process.returncode == 0, process.stderr
        return process.stdout if check else process.stderr
    return run


def finished(kubectl, name):
    status = json.loads(kubectl("get", "experiment", name, "-n", NAMESPACE, "-o", "json")).get("status", {})
    done = [c for c in status.get("conditions", []) if c["type"] in ("Succeeded", "Failed") and c["status"] == "True"]
    return (done[0], status) if done else None


def test_an_experiment_made_with_kubectl_runs_and_kubectl_shows_it(kubectl):
    manifest = json.dumps(experiment("by-kubectl", "katlab/base:1", GOOD))
    assert "created" in kubectl("apply", "-f", "-", input=manifest)
    condition, status = wait_until(lambda: finished(kubectl, "by-kubectl"), 120)
    assert condition["reason"] == "ExperimentMaxTrialsReached"
    assert status["trialsSucceeded"] == 4
    best = status["currentOptimalTrial"]
    metric = best["observation"]["metrics"][0]
    assert metric["latest"] == best["parameterAssignments"][0]["value"]
    header, *rows = kubectl("get", "trials", "-n", NAMESPACE, "-l", "katib.kubeflow.org/experiment=by-kubectl").splitlines()
    assert header.split() == ["NAME", "TYPE", "STATUS", "AGE"]
    assert len(rows) == 4 and all(row.split()[1:3] == ["Succeeded", "True"] for row in rows)
    assert kubectl("get", "experiments", "-n", NAMESPACE).splitlines()[0].split() == ["NAME", "TYPE", "STATUS", "AGE"]
    assert kubectl("get", "suggestions", "-n", NAMESPACE).splitlines()[0].split() == [
        "NAME", "TYPE", "STATUS", "REQUESTED", "ASSIGNED", "AGE"]
    assert kubectl("get", "jobs", "-n", NAMESPACE).splitlines()[0].split() == [
        "NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    pods = kubectl("get", "pods", "-n", NAMESPACE).splitlines()
    assert pods[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert "Completed" in pods[1]
    log = kubectl("logs", pods[1].split()[0], "-n", NAMESPACE)
    assert log.startswith("accuracy=0.")
    assert "Normal" in kubectl("describe", "pod", pods[1].split()[0], "-n", NAMESPACE)
    kubectl("delete", "experiment", "by-kubectl", "-n", NAMESPACE)
    wait_until(lambda: "No resources" in kubectl("get", "trials,jobs,pods", "-n", NAMESPACE, check=False), 60)


def test_the_same_cells_work_on_the_cluster_that_a_kubeconfig_names(kubeconfig, tmp_path_factory):
    away = make_lab(tmp_path_factory, KUBECONFIG=kubeconfig)
    (away.directory / "away.yaml").write_text(json.dumps(experiment("away", "katlab/base:1", GOOD)))
    engine, secret, created, watched, trials, pods, deleted = away.run(
        ":lab",
        ":secret create away --from-literal key=value",
        ":experiment create away.yaml",
        ":experiment watch away",
        ":trials away",
        ":pods",
        ":experiment delete away --yes",
    )
    assert f"the current context of {kubeconfig}" in engine and "KUBECONFIG is set" in engine, engine
    for changed in (secret, created, deleted):
        assert f"in namespace {NAMESPACE} on katlab-sandbox" in changed, changed
    assert "Succeeded" in watched and trials.count("Succeeded") == 4, trials
    assert pods.count("Completed") == 4, pods
    # Nothing was asked of a sandbox of its own.
    assert "does not run" in away.command("sandbox", "status", check=False).stdout


def test_the_python_client_lists_watches_and_deletes(kubeconfig, kubectl):
    import kubernetes

    api = kubernetes.config.new_client_from_config(kubeconfig)
    core, custom = kubernetes.client.CoreV1Api(api), kubernetes.client.CustomObjectsApi(api)
    assert NAMESPACE in [item.metadata.name for item in core.list_namespace().items]
    place = ("kubeflow.org", "v1beta1", NAMESPACE, "experiments")
    custom.create_namespaced_custom_object(*place, experiment("by-python", "katlab/base:1", GOOD))
    types = []
    watch = kubernetes.watch.Watch()
    for event in watch.stream(custom.list_namespaced_custom_object, *place, timeout_seconds=120):
        conditions = event["object"].get("status", {}).get("conditions", [])
        types = [condition["type"] for condition in conditions]
        if types and types[-1] == "Succeeded":
            watch.stop()
    assert types == ["Created", "Running", "Succeeded"]
    custom.delete_namespaced_custom_object(*place, "by-python")


def test_what_katib_refuses_is_refused_with_its_words(kubectl, lab):
    bad = experiment("bad", "katlab/base:1", GOOD, parallelTrialCount=9)
    error = kubectl("create", "-f", "-", check=False, input=json.dumps(bad))
    assert "parallelTrialCount" in error
    (lab.directory / "bad.json").write_text(json.dumps(bad))
    text = lab.fails(":experiment create bad.json")
    assert "parallelTrialCount" in text


def test_yaml_that_is_wrong_is_refused_with_its_line(lab):
    cases = {
        "syntax.yaml": ("a: [1, 2\nb: 3\n", ""),
        "twice.yaml": ("apiVersion: kubeflow.org/v1beta1\nkind: Experiment\nkind: Trial\n", "kind"),
        "bomb.yaml": ("a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi")), ""),
        "kind.yaml": ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n", "Experiment"),
        "number.yaml": (json.dumps(experiment("number", "i", GOOD, parameters=[
            {"name": "lr", "parameterType": "double", "feasibleSpace": {"min": 0.1, "max": 0.9}}])), "min"),
        "escape.yaml": ('command: "--lr=\\${trialParameters.lr}"\n', "${"),
    }
    for name, (text, word) in cases.items():
        (lab.directory / name).write_text(text)
        assert word in lab.fails(f":experiment create {name}"), name
    # Katib drops unknown fields without a word; katlab says so and goes on, as Katib would.
    (lab.directory / "unknown.yaml").write_text(json.dumps(experiment("unknown", "i:1", GOOD, maxTrials=3)))
    shown, = lab.run(":experiment create unknown.yaml --dry-run")
    assert "maxTrials" in shown


def test_namespaces_and_duplicates_are_explained(lab, kubectl):
    (lab.directory / "twin.json").write_text(json.dumps(experiment("twin", "katlab/base:1", GOOD)))
    lab.run(":experiment create twin.json")
    assert "exists" in lab.fails(":experiment create twin.json")
    lab.run(":experiment delete twin --yes")
    kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bare"}}))
    bare = experiment("bare", "katlab/base:1", GOOD)
    bare["metadata"]["namespace"] = "bare"
    (lab.directory / "bare.json").write_text(json.dumps(bare))
    assert "katib.kubeflow.org/metrics-collector-injection" in lab.fails(":use -n bare", ":experiment create bare.json")
    assert "nowhere" in lab.fails(":use -n nowhere")
    assert "nowhere" in lab.fails(":experiment create twin.json -n nowhere")
    assert "no-such" in lab.fails(":trials no-such")


def test_secrets_are_made_listed_and_never_shown(lab):
    shown = lab.run(":secret create generic-one --from-literal token=s3cr3t-value", ":secrets",
                    ":get secret generic-one -o yaml", ":secret delete generic-one --yes")
    assert "generic-one" in shown[1] and "Opaque" in shown[1]
    assert all("s3cr3t-value" not in text and "czNjcjN0LXZhbHVl" not in text for text in shown)
    login = ("--docker-server $REGISTRY --docker-username $REGISTRY_USERNAME "
             "--docker-password $REGISTRY_PASSWORD")
    made, again = lab.run(f":secret create docker-registry pulls {login}",
                          ":secret create docker-registry pulls --docker-server $REGISTRY --docker-username me "
                          "--docker-password written-out")
    assert "created" in made and "stored with the notebook" not in made
    assert "updated" in again and "stored with the notebook" in again and "written-out" not in again
    for wrong in (":secret delete pull", ":secret delete pull --yes", ":secret delete pulls pull"):
        refused = lab.fails(wrong)
        assert "does not exist" in refused and "Did you mean pulls?" in refused
    lab.run(":secret delete pulls --yes")


def test_the_labs_own_template_is_rendered_explained_and_mended(lab):
    """The template of the course, with its faults: a foreign namespace, `\\$` in double quotes, a missing metric."""
    (lab.directory / "course.yaml").write_text(COURSE)
    text = lab.fails(":experiment lint course.yaml")
    assert "54" in text or "\\$" in text
    rendered, linted = lab.run(":env set PROJECT_NAME=my-project", ":experiment render course.yaml -o mended.yaml",
                               ":experiment lint mended.yaml")[1:]
    mended = (lab.directory / "mended.yaml").read_text()
    assert "my-project.registry.example.com" in mended
    assert "--learning_rate=${trialParameters.learningRate}" in mended and "\\$" not in mended
    assert "loss" in linted
    lab.fails(":experiment create mended.yaml --dry-run -n kubeflow-user --no-such-flag")
    created, = lab.run(":experiment create mended.yaml --dry-run --yes")
    assert created.count("names the namespace kubeflow") == 1
    # Advice is counted, not repeated.
    assert "advice[" not in created and "of advice: `:experiment lint mended.yaml`" in created


COURSE = r"""apiVersion: "kubeflow.org/v1beta1"
kind: Experiment
metadata:
  name: course-tuning
  namespace: kubeflow
spec:
  objective:
    type: maximize
    goal: 0.99
    objectiveMetricName: accuracy
    additionalMetricNames:
      - loss
  algorithm:
    algorithmName: random
  parallelTrialCount: 10
  maxTrialCount: 12
  maxFailedTrialCount: 3
  parameters:
    - name: --learning_rate
      parameterType: double
      feasibleSpace:
        min: "0.0001"
        max: "0.01"
  trialTemplate:
    retain: true
    primaryContainerName: training
    trialParameters:
      - name: learningRate
        description: Learning rate for the model
        reference: --learning_rate
    trialSpec:
      apiVersion: batch/v1
      kind: Job
      spec:
        template:
          spec:
            containers:
              - name: training
                image: ${PROJECT_NAME}.registry.example.com/course/hyperparam:1.0
                command:
                  - "python"
                  - "train.py"
                  - "--learning_rate=\${trialParameters.learningRate}"
            restartPolicy: Never
            imagePullSecrets:
              - name: regcred
  metricsCollectorSpec:
    source:
      filter:
        metricsFormat:
          - "{metricName: ([\\w|-]+), metricValue: ((-?\\d+)(\\.\\d+)?)}"
      fileSystemPath:
        path: "/tmp/mnist.log"
        kind: File
    collector:
      kind: File
"""
