"""The Katib Python SDK, unchanged, against the sandbox: every public method as users call it, and what they meet
when it goes wrong."""

import inspect
import json

import pytest
from kubeflow import katib
from kubernetes import client as kubernetes

from conftest import free_port, wait_until

NAMESPACE = "kubeflow-user"


class Recorded:
    """A client that notes which of its methods were called."""

    def __init__(self, client):
        self.client, self.called = client, set()

    def __getattr__(self, name):
        self.called.add(name)
        return getattr(self.client, name)


@pytest.fixture(scope="module")
def sdk(lab):
    lab.command("sandbox", "up")
    kubeconfig = lab.command("sandbox", "kubeconfig").stdout.strip()
    return Recorded(katib.KatibClient(config_file=kubeconfig, namespace=NAMESPACE))


@pytest.fixture(scope="module")
def metrics_port(sdk, lab):
    return json.loads((lab.home / "sandbox/endpoint.json").read_text())["dbmanager_port"]


def experiment(name, script, image="katlab/base:1", **spec):
    """An Experiment of the SDK's own models, whose trials run a script."""
    container = kubernetes.V1Container(name="main", image=image, command=["sh", "-c", script + " # ${trialParameters.lr}"])
    pod = kubernetes.V1PodTemplateSpec(spec=kubernetes.V1PodSpec(restart_policy="Never", containers=[container]))
    job = kubernetes.V1Job(api_version="batch/v1", kind="Job", spec=kubernetes.V1JobSpec(template=pod, backoff_limit=0))
    return katib.V1beta1Experiment(
        api_version="kubeflow.org/v1beta1", kind="Experiment", metadata=kubernetes.V1ObjectMeta(name=name),
        spec=katib.V1beta1ExperimentSpec(**{
            "objective": katib.V1beta1ObjectiveSpec(type="maximize", objective_metric_name="accuracy"),
            "algorithm": katib.V1beta1AlgorithmSpec(algorithm_name="random"),
            "parallel_trial_count": 1, "max_trial_count": 1,
            "parameters": [katib.V1beta1ParameterSpec(
                name="lr", parameter_type="double", feasible_space=katib.V1beta1FeasibleSpace(min="0.1", max="0.5"))],
            "trial_template": katib.V1beta1TrialTemplate(
                retain=True, primary_container_name="main", trial_spec=job,
                trial_parameters=[katib.V1beta1TrialParameterSpec(name="lr", reference="lr")]),
            **spec}))


def learn(parameters):
    lr = float(parameters["lr"])
    print(f"rate {lr} with {parameters['optimizer']}")
    print(f"loss={lr ** 2}")
    print(f"accuracy={1 - lr}")


def report(parameters):
    """Runs inside a trial, with the SDK's means alone."""
    import os

    from kubeflow import katib

    name = os.environ["KATIB_TRIAL_NAME"]
    for step in range(3):
        katib.report_metrics({"accuracy": float(parameters["lr"]) + step, "loss": 1 - step})
    try:
        katib.report_metrics({"accuracy": "much"})
    except ValueError as error:
        print("refused", type(error).__name__)
    # In a pod the client finds the cluster, its namespace and the DB manager by itself.
    client = katib.KatibClient()
    trial = client.get_trial(name)
    logs = client.get_trial_metrics(name)
    print("inside", client.namespace, trial.spec.parameter_assignments[0].name, len(logs))


def tuned(sdk, image, name, objective, kind, **options):
    optimizer = katib.V1beta1ParameterSpec(
        parameter_type="categorical", feasible_space=katib.V1beta1FeasibleSpace(list=["sgd", "adam"]))
    sdk.tune(name=name, objective=objective, base_image=image,
             parameters={"lr": katib.search.double(min=0.1, max=0.5), "optimizer": optimizer, "epochs": 1},
             objective_metric_name="accuracy", additional_metric_names=["loss"], metrics_collector_config={"kind": kind},
             resources_per_trial={"cpu": "500m", "memory": "256Mi"}, env_per_trial={"WHO": "you"},
             retain_trials=True, **options)
    return sdk.wait_for_experiment_condition(name, timeout=240, polling_interval=1)


@pytest.fixture(scope="module")
def done(sdk, sdk_image):
    """A finished run of `tune` with metrics from standard output."""
    return tuned(sdk, sdk_image, "tuned", learn, "StdOut", max_trial_count=3, parallel_trial_count=3,
                 algorithm_settings={"random_state": 7}, trial_active_deadline_seconds=200)


@pytest.fixture(scope="module")
def failing(sdk):
    sdk.create_experiment(experiment("failing", "echo the reason; exit 1", max_failed_trial_count=1))
    return sdk.wait_for_experiment_condition("failing", expected_condition="Failed", timeout=120, polling_interval=1)


@pytest.fixture
def trial(sdk, done):
    return sdk.list_trials("tuned")[0]


def fails(error, text, call, *arguments, **options):
    with pytest.raises(error) as raised:
        result = call(*arguments, **options)
        # A generator does nothing until it is read.
        list(result) if inspect.isgenerator(result) else None
    assert text in str(raised.value)


def create_experiment(sdk, request):
    made = experiment("made", "echo accuracy=0.5")
    sdk.create_experiment(made)
    fails(Exception, "already exists", sdk.create_experiment, made)
    named = experiment("unused", "echo accuracy=0.5")
    named.metadata = kubernetes.V1ObjectMeta(generate_name="named-")
    sdk.create_experiment(named)
    assert [one for one in sdk.list_experiments() if one.metadata.name.startswith("named-")]
    raw = sdk.client.api_client.sanitize_for_serialization(experiment("raw", "echo accuracy=0.5"))
    sdk.create_experiment(raw)
    assert sdk.wait_for_experiment_condition("raw", timeout=120, polling_interval=1).metadata.name == "raw"
    wrong = experiment("wrong", "true", algorithm=katib.V1beta1AlgorithmSpec(algorithm_name="annealing"))
    fails(RuntimeError, "Failed to create Katib Experiment", sdk.create_experiment, wrong)
    fails(RuntimeError, "Failed to create Katib Experiment", sdk.create_experiment, experiment("away", "true"), "default")
    fails(ValueError, "must have a name", sdk.create_experiment, {"metadata": {}})


def tune(sdk, request):
    done = request.getfixturevalue("done")
    container = done.spec.trial_template.trial_spec["spec"]["template"]["spec"]["containers"][0]
    assert container["name"] == "training-container" and container["env"] == [{"name": "WHO", "value": "you"}]
    assert done.spec.trial_template.trial_spec["spec"]["activeDeadlineSeconds"] == 200
    assert done.status.trials_succeeded == 3 and done.status.conditions[-1].reason == "ExperimentMaxTrialsReached"
    some = {"name": "refused", "objective": learn, "base_image": "katlab/base:1", "objective_metric_name": "accuracy",
            "parameters": {"lr": katib.search.int(min=1, max=9, step=2)}}
    # The SDK puts the list of a categorical parameter where its distribution belongs, and Katib refuses that.
    categorical = {"parameters": {"optimizer": katib.search.categorical(["sgd", "adam"])}}
    fails(RuntimeError, "Failed to create", sdk.tune, **some | categorical)
    # Three at once are more than two in all.
    fails(RuntimeError, "Failed to create", sdk.tune, **some, max_trial_count=2)
    # A PyTorchJob needs a cluster.
    workers = katib.TrainerResources(num_workers=2, num_procs_per_worker=1, resources_per_worker={"cpu": "1"})
    fails(RuntimeError, "Failed to create", sdk.tune, **some, resources_per_trial=workers)
    fails(ValueError, "following options", sdk.tune, name="nothing")
    fails(ValueError, "required parameters", sdk.tune, name="half", objective=learn)


def get_experiment(sdk, request):
    request.getfixturevalue("done")
    found = sdk.get_experiment("tuned")
    assert type(found) is katib.V1beta1Experiment and found.spec.resume_policy == "Never"
    assert {strategy.name: strategy.value for strategy in found.spec.objective.metric_strategies} == {"accuracy": "max", "loss": "max"}
    fails(RuntimeError, "Failed to get Katib Experiment", sdk.get_experiment, "missing")


def list_experiments(sdk, request):
    request.getfixturevalue("done")
    assert "tuned" in [one.metadata.name for one in sdk.list_experiments()]
    assert sdk.list_experiments("default") == []


def get_experiment_conditions(sdk, request):
    done = request.getfixturevalue("done")
    conditions = sdk.get_experiment_conditions("tuned")
    assert [(one.type, one.status) for one in conditions] == [("Created", "True"), ("Running", "False"), ("Succeeded", "True")]
    assert sdk.get_experiment_conditions("tuned", experiment=done) == conditions
    fails(RuntimeError, "Failed to get", sdk.get_experiment_conditions, "missing")


def is_experiment(kind, **wanted):
    def call(sdk, request):
        for fixture, is_so in wanted.items():
            found = request.getfixturevalue(fixture)
            method = getattr(sdk, f"is_experiment_{kind}")
            assert method(found.metadata.name) is is_so, fixture
            assert method(found.metadata.name, experiment=found) is is_so, fixture

    return call


def wait_for_experiment_condition(sdk, request):
    request.getfixturevalue("done"), request.getfixturevalue("failing")
    for condition in ("Created", "Succeeded"):
        assert sdk.wait_for_experiment_condition("tuned", expected_condition=condition).metadata.name == "tuned"
    fails(RuntimeError, "max failed count has reached", sdk.wait_for_experiment_condition, "failing")
    fails(TimeoutError, "to reach Restarting", sdk.wait_for_experiment_condition, "tuned",
          expected_condition="Restarting", timeout=1, polling_interval=1)
    running = experiment("running", "sleep 1000")
    sdk.create_experiment(running)
    sdk.wait_for_experiment_condition("running", expected_condition="Running", timeout=60, polling_interval=1)
    assert sdk.is_experiment_running("running") and sdk.get_optimal_hyperparameters("running") is None
    sdk.delete_experiment("running")


@pytest.fixture(scope="module")
def resumed(sdk):
    sdk.create_experiment(experiment("resumed", "echo accuracy=0.5", resume_policy="LongRunning"))
    sdk.wait_for_experiment_condition("resumed", timeout=120, polling_interval=1)
    sdk.edit_experiment_budget("resumed", max_trial_count=3, parallel_trial_count=2, max_failed_trial_count=1)
    return wait_until(lambda: next((one for one in [sdk.get_experiment("resumed")] if one.status.trials_succeeded == 3
                                    and sdk.is_experiment_succeeded("resumed", experiment=one)), None), 120, "the second end")


def edit_experiment_budget(sdk, request):
    request.getfixturevalue("done")
    resumed = request.getfixturevalue("resumed")
    assert [one.type for one in resumed.status.conditions] == ["Created", "Restarting", "Running", "Succeeded"]
    assert sdk.is_experiment_restarting("resumed")
    fails(RuntimeError, "Failed to edit", sdk.edit_experiment_budget, "tuned", max_trial_count=9)
    fails(RuntimeError, "Failed to edit", sdk.edit_experiment_budget, "resumed", max_trial_count=2)
    fails(ValueError, "You have to set", sdk.edit_experiment_budget, "resumed")


def delete_experiment(sdk, request):
    port = request.getfixturevalue("metrics_port")
    for policy in (None, "Foreground"):
        sdk.create_experiment(experiment("short", "echo accuracy=0.5"))
        sdk.wait_for_experiment_condition("short", timeout=120, polling_interval=1)
        trial, = sdk.list_trials("short")
        options = policy and kubernetes.V1DeleteOptions(propagation_policy=policy)
        sdk.delete_experiment("short", delete_options=options)
        wait_until(lambda: not sdk.list_trials("short"), 60, "the end of its trials")
        wait_until(lambda: "short" not in [one.metadata.name for one in sdk.list_experiments()], 60, "its end")
        assert not sdk.get_trial_metrics(trial.metadata.name, db_manager_address=f"localhost:{port}")
    fails(RuntimeError, "Failed to delete", sdk.delete_experiment, "short")


def get_suggestion(sdk, request):
    request.getfixturevalue("done")
    found = sdk.get_suggestion("tuned")
    assert (found.spec.requests, found.status.suggestion_count, len(found.status.suggestions)) == (3, 3, 3)
    assert found.spec.algorithm.algorithm_settings[0].value == "7" and found.status.conditions[-1].type == "Succeeded"
    fails(RuntimeError, "Failed to get", sdk.get_suggestion, "missing")


def list_suggestions(sdk, request):
    request.getfixturevalue("done")
    assert "tuned" in [one.metadata.name for one in sdk.list_suggestions()]
    assert sdk.list_suggestions("default") == []


def get_trial(sdk, request):
    trial = request.getfixturevalue("trial")
    found = sdk.get_trial(trial.metadata.name)
    assert found == trial and found.status.conditions[-1].type == "Succeeded"
    assert {metric.name for metric in found.status.observation.metrics} == {"accuracy", "loss"}
    fails(RuntimeError, "Failed to get", sdk.get_trial, "missing")


def list_trials(sdk, request):
    request.getfixturevalue("done")
    assert len(sdk.list_trials("tuned")) == 3 and sdk.list_trials("missing") == []
    assert len(sdk.list_trials()) >= 3


def get_success_trial_details(sdk, request):
    request.getfixturevalue("done"), request.getfixturevalue("failing")
    details = sdk.get_success_trial_details("tuned")
    assert len(details) == 3 and all(len(one["parameter_assignments"]) == len(one["metrics"]) == 2 for one in details)
    assert sdk.get_success_trial_details("failing") == [] and len(sdk.get_success_trial_details()) >= 3


def get_optimal_hyperparameters(sdk, request):
    request.getfixturevalue("failing")
    best = sdk.get_optimal_hyperparameters(request.getfixturevalue("done").metadata.name)
    rate = {one.name: one.value for one in best.parameter_assignments}["lr"]
    rates = [{pair.name: pair.value for pair in one.spec.parameter_assignments}["lr"] for one in sdk.list_trials("tuned")]
    assert float(rate) == min(map(float, rates))
    assert sdk.get_optimal_hyperparameters("failing") is None


def get_trial_metrics(sdk, request):
    trial, port = request.getfixturevalue("trial"), request.getfixturevalue("metrics_port")
    logs = sdk.get_trial_metrics(trial.metadata.name, db_manager_address=f"localhost:{port}")
    assert sorted(log.metric.name for log in logs) == ["accuracy", "loss"]
    assert sdk.get_trial_metrics("missing", db_manager_address=f"localhost:{port}") == []
    fails(RuntimeError, "Unable to get metrics", sdk.get_trial_metrics, "x", db_manager_address=f"localhost:{free_port()}", timeout=5)


def get_job_logs(sdk, request):
    trial = request.getfixturevalue("trial")
    for follow in (False, True):
        lines = list(sdk.get_job_logs("tuned", trial.metadata.name, follow=follow))
        assert len(lines) == 3 and lines[0].startswith("rate 0.") and lines[2].startswith("accuracy=0.")
    request.getfixturevalue("failing")
    failed, = sdk.list_trials("failing")
    assert "the reason" in list(sdk.get_job_logs("failing", failed.metadata.name))
    fails(RuntimeError, "not found", sdk.get_job_logs, "tuned", "missing")
    fails(ValueError, "Trial name is required", sdk.get_job_logs, "tuned", "")
    fails(ValueError, "Experiment name is required", sdk.get_job_logs, "", "x")
    gone = experiment("gone", "echo accuracy=0.5")
    gone.spec.trial_template.retain = False
    sdk.create_experiment(gone)
    sdk.wait_for_experiment_condition("gone", timeout=120, polling_interval=1)
    trial, = sdk.list_trials("gone")
    pods = sdk.client.core_api.list_namespaced_pod
    wait_until(lambda: not pods(NAMESPACE, label_selector=f"katib.kubeflow.org/trial={trial.metadata.name}").items, 60, "the end of the pod")
    fails(RuntimeError, "No pods found", sdk.get_job_logs, "gone", trial.metadata.name)


CALLS = {
    call.__name__: call for call in [
        create_experiment, tune, get_experiment, list_experiments, get_experiment_conditions, wait_for_experiment_condition,
        edit_experiment_budget, delete_experiment, get_suggestion, list_suggestions, get_trial, list_trials,
        get_success_trial_details, get_optimal_hyperparameters, get_trial_metrics, get_job_logs]
} | {
    f"is_experiment_{kind}": is_experiment(kind, **wanted) for kind, wanted in {
        "created": {"done": True, "failing": True},
        "running": {"done": False, "failing": False},
        "restarting": {"done": False, "resumed": True},
        "succeeded": {"done": True, "failing": False},
        "failed": {"done": False, "failing": True},
    }.items()
}


def test_every_public_method_of_the_client_has_a_row():
    public = {name for name, _ in inspect.getmembers(katib.KatibClient, inspect.isfunction) if not name.startswith("_")}
    assert public == set(CALLS)


@pytest.mark.parametrize("method", CALLS)
def test_a_method_does_what_it_does_on_a_cluster(sdk, request, method):
    sdk.called.clear()
    CALLS[method](sdk, request)
    # `tune` and its like are called where what they leave is made.
    assert method in sdk.called


def test_a_trial_reports_its_metrics_and_finds_the_cluster_by_itself(sdk, sdk_image, metrics_port):
    done = tuned(sdk, sdk_image, "pushed", report, "Push", max_trial_count=2, parallel_trial_count=2)
    assert done.status.trials_succeeded == 2
    for trial in sdk.list_trials("pushed"):
        assigned = {one.name: one.value for one in trial.spec.parameter_assignments}
        assert list(sdk.get_job_logs("pushed", trial.metadata.name)) == [
            "refused ValueError", f"inside {NAMESPACE} {trial.spec.parameter_assignments[0].name} 6"]
        logs = sdk.get_trial_metrics(trial.metadata.name, db_manager_address=f"localhost:{metrics_port}")
        values = [float(log.metric.value) for log in logs if log.metric.name == "accuracy"]
        assert sorted(values) == [float(assigned["lr"]) + step for step in range(3)]


def test_outside_of_a_trial_nothing_is_reported():
    fails(OSError, "serviceaccount/namespace", katib.report_metrics, {"accuracy": 1})
