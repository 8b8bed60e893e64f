"""The Kubernetes Python client against the sandbox: typed, custom and dynamic objects, and watches that resume."""

import json
import os
import signal

import kubernetes
import pytest
from kubernetes import client, dynamic, watch
from kubernetes.client.exceptions import ApiException

NAMESPACE = "python"
KATIB = ("kubeflow.org", "v1beta1", NAMESPACE)


@pytest.fixture(scope="module")
def api(lab):
    lab.command("sandbox", "up")
    kubeconfig = lab.command("sandbox", "kubeconfig").stdout.strip()
    api = kubernetes.config.new_client_from_config(kubeconfig)
    core = client.CoreV1Api(api)
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    yield api
    core.delete_namespace(NAMESPACE)


@pytest.fixture(scope="module")
def core(api):
    return client.CoreV1Api(api)


def config_map(name, labels=None, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def job(name, script, **spec):
    container = client.V1Container(name="main", image="katlab/base:1", command=["sh", "-c", script])
    pod = client.V1PodTemplateSpec(spec=client.V1PodSpec(restart_policy="Never", containers=[container]))
    return client.V1Job(metadata=client.V1ObjectMeta(name=name), spec=client.V1JobSpec(template=pod, backoff_limit=0, **spec))


def refused(call, *arguments, **options):
    with pytest.raises(ApiException) as refusal:
        call(*arguments, **options)
    return refusal.value.status


def test_core_objects(core):
    made = core.create_namespaced_config_map(NAMESPACE, config_map("a", k="1"))
    assert refused(core.create_namespaced_config_map, NAMESPACE, config_map("a")) == 409
    patched = core.patch_namespaced_config_map("a", NAMESPACE, {"data": {"s": "2"}})
    assert patched.data == {"k": "1", "s": "2"}
    made.data["k"] = "stale"
    assert refused(core.replace_namespaced_config_map, "a", NAMESPACE, made) == 409
    dry = core.create_namespaced_config_map(NAMESPACE, config_map("dry"), dry_run="All")
    assert dry.metadata.uid and refused(core.read_namespaced_config_map, "dry", NAMESPACE) == 404
    secret = client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"k": "v"}, immutable=True)
    assert core.create_namespaced_secret(NAMESPACE, secret).data == {"k": "dg=="}
    assert refused(core.patch_namespaced_secret, "s", NAMESPACE, {"stringData": {"k": "w"}}) == 422
    for number in range(5):
        core.create_namespaced_config_map(NAMESPACE, config_map(f"p{number}", {"page": "x"}))
    page, seen = None, []
    while page is None or page.metadata._continue:
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="page=x", limit=2,
                                               _continue=page and page.metadata._continue)
        seen += [item.metadata.name for item in page.items]
    assert seen == [f"p{number}" for number in range(5)]
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="page=x")
    assert core.list_namespaced_config_map(NAMESPACE, label_selector="page=x").items == []


def test_a_job_is_watched_to_its_end_and_its_log_read(api, core):
    batch = client.BatchV1Api(api)
    version = batch.list_namespaced_job(NAMESPACE).metadata.resource_version
    batch.create_namespaced_job(NAMESPACE, job("hello", "echo hello; echo bye"))
    stream = watch.Watch()
    for event in stream.stream(batch.list_namespaced_job, NAMESPACE, resource_version=version,
                               field_selector="metadata.name=hello", timeout_seconds=120):
        conditions = event["object"].status.conditions or []
        if any(condition.type == "Complete" and condition.status == "True" for condition in conditions):
            stream.stop()
    ended = batch.read_namespaced_job_status("hello", NAMESPACE).status
    assert (ended.succeeded, ended.failed) == (1, None) and ended.completion_time
    pod, = core.list_namespaced_pod(NAMESPACE, label_selector="job-name=hello").items
    assert pod.status.container_statuses[0].state.terminated.reason == "Completed"
    assert core.read_namespaced_pod_log(pod.metadata.name, NAMESPACE) == "hello\nbye\n"
    lines = watch.Watch().stream(core.read_namespaced_pod_log, pod.metadata.name, NAMESPACE, follow=True)
    assert list(lines) == ["hello", "bye"]
    told = core.list_namespaced_event(NAMESPACE, field_selector=f"involvedObject.name={pod.metadata.name}").items
    # The client's own model wants an eventTime, which a node's events have not, on a cluster neither.
    answer = client.EventsV1Api(api).list_namespaced_event(
        NAMESPACE, field_selector=f"regarding.name={pod.metadata.name}", _preload_content=False)
    newer = json.loads(answer.data)["items"]
    assert {(e.metadata.uid, e.reason, e.message) for e in told} == {
        (e["metadata"]["uid"], e["reason"], e["note"]) for e in newer}
    assert "Started" in {e.reason for e in told}
    batch.delete_namespaced_job("hello", NAMESPACE, propagation_policy="Foreground")


def test_custom_objects(api):
    custom = client.CustomObjectsApi(api)
    trial = {"apiVersion": "kubeflow.org/v1beta1", "kind": "Trial", "metadata": {"name": "t"},
             "spec": {"objective": {"type": "maximize", "objectiveMetricName": "a"}}}
    custom.create_namespaced_custom_object(*KATIB, "trials", trial)
    both = {"spec": {"lost": 1}, "status": {"kept": 1}}
    changed = custom.patch_namespaced_custom_object_status(*KATIB, "trials", "t", both)
    assert changed["status"]["kept"] == 1 and "lost" not in changed["spec"]
    found = custom.list_namespaced_custom_object(*KATIB, "trials", field_selector="metadata.name=t")
    assert [item["metadata"]["name"] for item in found["items"]] == ["t"]
    assert refused(custom.get_namespaced_custom_object, *KATIB, "trials", "u") == 404
    custom.delete_namespaced_custom_object(*KATIB, "trials", "t")


def test_the_dynamic_client(api):
    cluster = dynamic.DynamicClient(api)
    maps = cluster.resources.get(api_version="v1", kind="ConfigMap")
    assert cluster.resources.get(api_version="kubeflow.org/v1beta1", kind="Experiment").namespaced
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dynamic"}, "data": {"a": "1"}}
    applied = maps.server_side_apply(body=body, name="dynamic", namespace=NAMESPACE, field_manager="python")
    assert applied.data.a == "1"
    body["data"] = {"b": "2"}
    applied = maps.server_side_apply(body=body, name="dynamic", namespace=NAMESPACE, field_manager="python")
    assert applied.data.to_dict() == {"b": "2"}
    changed = maps.patch(body={"data": {"b": None}}, name="dynamic", namespace=NAMESPACE, content_type="application/merge-patch+json")
    assert not changed.data
    events = maps.watch(namespace=NAMESPACE, name="dynamic", resource_version=applied.metadata.resourceVersion, timeout=30)
    assert next(events)["type"] == "MODIFIED"
    maps.delete(name="dynamic", namespace=NAMESPACE)
    with pytest.raises(dynamic.exceptions.NotFoundError):
        maps.get(name="dynamic", namespace=NAMESPACE)


def test_a_watch_resumes_where_it_was_even_in_the_next_process(core, lab):
    version = core.list_namespaced_config_map(NAMESPACE, label_selector="w").metadata.resource_version
    mirror, told = {}, []

    def follow(version, until):
        stream = watch.Watch()
        for event in stream.stream(core.list_namespaced_config_map, NAMESPACE, label_selector="w",
                                   resource_version=version, timeout_seconds=60):
            name = event["object"].metadata.name
            told.append((event["type"], name))
            version = event["object"].metadata.resource_version
            if event["type"] == "DELETED":
                del mirror[name]
            else:
                mirror[name] = version
            if (event["type"], name) == until:
                stream.stop()
        return version

    core.create_namespaced_config_map(NAMESPACE, config_map("w0", {"w": "1"}))
    core.create_namespaced_config_map(NAMESPACE, config_map("w1", {"w": "1"}))
    version = follow(version, ("ADDED", "w1"))
    # While nobody watches, one leaves the selection and one comes.
    core.patch_namespaced_config_map("w0", NAMESPACE, {"metadata": {"labels": {"w": None}}})
    core.create_namespaced_config_map(NAMESPACE, config_map("w2", {"w": "1"}))
    version = follow(version, ("ADDED", "w2"))
    assert told == [("ADDED", "w0"), ("ADDED", "w1"), ("DELETED", "w0"), ("ADDED", "w2")]
    now = core.list_namespaced_config_map(NAMESPACE, label_selector="w")
    assert mirror == {item.metadata.name: item.metadata.resource_version for item in now.items}
    # A sandbox that was killed goes on with the same versions.
    os.kill(json.loads((lab.home / "sandbox/endpoint.json").read_text())["pid"], signal.SIGKILL)
    lab.command("sandbox", "up")
    core.delete_namespaced_config_map("w1", NAMESPACE)
    follow(version, ("DELETED", "w1"))
    assert list(mirror) == ["w2"] and told[4:] == [("DELETED", "w1")]
