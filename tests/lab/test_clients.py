"""Every kubectl command that people use, against the sandbox: it says what it says to Kubernetes.

KATLAB_KUBECTL names the programs to try, separated by colons; the one on PATH by default. Older ones
than 1.27 read OpenAPI version 2, and check manifests themselves.
"""

import json
import os
import pty
import re
import subprocess
import termios

import kubernetes
import kubernetes.stream
import pytest

from conftest import wait_until

PROGRAMS = os.environ.get("KATLAB_KUBECTL", "kubectl").split(":")


class Kubectl:
    def __init__(self, program, kubeconfig, namespace, home):
        version = subprocess.run([program, "version", "--client", "-o", "json"], check=True, capture_output=True, text=True)
        self.minor = int(re.match(r"\d+", json.loads(version.stdout)["clientVersion"]["minor"])[0])
        self.command = [program, "--kubeconfig", kubeconfig, "--cache-dir", str(home / "cache"), "-n", namespace]
        self.namespace = namespace

    def process(self, *arguments, **options):
        return subprocess.run([*self.command, *arguments], capture_output=True, text=True, timeout=120, **options)

    def __call__(self, *arguments, **options):
        process = self.process(*arguments, **options)
        assert process.returncode == 0, process.stderr
        return process.stdout

    def refused(self, *arguments, **options):
        process = self.process(*arguments, **options)
        assert process.returncode != 0, process.stdout
        return process.stderr

    def apply(self, manifest, *arguments):
        return self("apply", *arguments, "-f", "-", input=json.dumps(manifest))


@pytest.fixture(scope="module", params=PROGRAMS)
def kubectl(lab, request, tmp_path_factory):
    lab.command("sandbox", "up")
    kubeconfig = lab.command("sandbox", "kubeconfig").stdout.strip()
    namespace = f"clients-{request.param_index}"
    kubectl = Kubectl(request.param, kubeconfig, namespace, tmp_path_factory.mktemp("kubectl"))
    assert kubectl("create", "namespace", namespace) == f"namespace/{namespace} created\n"
    yield kubectl
    assert kubectl("delete", "namespace", namespace) == f'namespace "{namespace}" deleted\n'


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def job(name, script):
    container = {
        "name": "main", "image": "katlab/base:1", "command": ["sh", "-c", script],
        "env": [{"name": "WHO", "value": "you"}], "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}},
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    }
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [{"name": "scratch", "emptyDir": {}}]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": {"spec": spec}}}


@pytest.fixture(scope="module")
def done(kubectl):
    """A job that has run, and its pod."""
    assert kubectl.apply(job("hello", "echo hello $WHO; sleep 1; echo bye")) == "job.batch/hello created\n"
    phase = ["get", "pods", "-l", "job-name=hello", "-o", "jsonpath={.items[*].status.phase}"]
    wait_until(lambda: kubectl(*phase) in ("Running", "Succeeded"), what="the pod's start")
    assert kubectl("logs", "-f", "job/hello") == "hello you\nbye\n"
    assert kubectl("wait", "--for=condition=complete", "job/hello", "--timeout=60s") == "job.batch/hello condition met\n"
    return kubectl("get", "pods", "-l", "job-name=hello", "-o", "jsonpath={.items[*].metadata.name}")


def test_create_and_what_get_prints(kubectl):
    assert kubectl("create", "configmap", "made", "--from-literal=a=1", "--from-literal=b=2") == "configmap/made created\n"
    assert kubectl("create", "secret", "generic", "hidden", "--from-literal=k=v") == "secret/hidden created\n"
    assert kubectl("create", "serviceaccount", "robot") == "serviceaccount/robot created\n"
    assert kubectl("get", "cm", "made", "--no-headers").split()[:2] == ["made", "2"]
    assert kubectl("get", "secret", "hidden").splitlines()[0].split() == ["NAME", "TYPE", "DATA", "AGE"]
    assert kubectl("get", "cm", "made", "-o", "name") == "configmap/made\n"
    assert kubectl("get", "cm", "made", "-o", "jsonpath={.data.a}") == "1"
    assert json.loads(kubectl("get", "cm", "made", "-o", "json"))["data"] == {"a": "1", "b": "2"}
    assert "  a: \"1\"\n" in kubectl("get", "cm", "made", "-o", "yaml")
    assert kubectl("get", "cm", "made", "-o", "custom-columns=N:.metadata.name,A:.data.a").split() == ["N", "A", "made", "1"]
    assert kubectl("get", "cm", "made", "-o", "go-template={{.data.b}}") == "2"
    everything = json.loads(kubectl("get", "cm,secret,sa", "-o", "json"))
    assert {item["kind"] for item in everything["items"]} == {"ConfigMap", "Secret", "ServiceAccount"}
    assert 'configmaps "missing" not found' in kubectl.refused("get", "cm", "missing")
    assert "the server doesn't have a resource type \"gadgets\"" in kubectl.refused("get", "gadgets")
    again = kubectl.refused("create", "configmap", "made")
    assert 'configmaps "made" already exists' in again


def test_selection_and_order(kubectl):
    for name, team in [("zeta", "red"), ("eta", "red"), ("theta", "blue")]:
        kubectl.apply({**config_map(name), "metadata": {"name": name, "labels": {"team": team}}})
    names = lambda *arguments: kubectl("get", "cm", "-o", "name", *arguments).split()
    assert names("-l", "team=red") == ["configmap/eta", "configmap/zeta"]
    assert names("-l", "team in (red,blue),team!=red") == ["configmap/theta"]
    assert names("--field-selector", "metadata.name=eta") == ["configmap/eta"]
    by_age = names("-l", "team", "--sort-by", "{.metadata.creationTimestamp}", "--chunk-size=1")
    assert set(by_age) == {"configmap/zeta", "configmap/eta", "configmap/theta"}
    assert names("-l", "team", "--sort-by=.metadata.labels.team")[0] == "configmap/theta"
    table = kubectl("get", "cm", "-l", "team", "-L", "team", "--sort-by=.metadata.name").splitlines()
    assert table[0].split() == ["NAME", "DATA", "AGE", "TEAM"]
    assert [row.split()[0] for row in table[1:]] == ["eta", "theta", "zeta"]
    assert kubectl("delete", "cm", "-l", "team").count("deleted") == 3
    assert "No resources found" in kubectl.process("get", "cm", "-l", "team").stderr


def test_apply_on_the_client_and_on_the_server(kubectl):
    first = config_map("applied", keep="1", drop="2")
    assert kubectl.apply(first) == "configmap/applied created\n"
    assert kubectl.apply(first) == "configmap/applied unchanged\n"
    assert kubectl.apply(config_map("applied", keep="3")) == "configmap/applied configured\n"
    assert json.loads(kubectl("get", "cm", "applied", "-o", "json"))["data"] == {"keep": "3"}
    assert kubectl.apply(config_map("applied", keep="4"), "--dry-run=server") == "configmap/applied configured (server dry run)\n"
    assert kubectl("get", "cm", "applied", "-o", "jsonpath={.data.keep}") == "3"
    changed = kubectl.process("diff", "-f", "-", input=json.dumps(config_map("applied", keep="5")))
    assert changed.returncode == 1 and "+  keep: \"5\"" in changed.stdout, changed.stderr

    mine = config_map("shared", a="1", b="2")
    apply = ["--server-side", "--field-manager=mine"]
    assert kubectl.apply(mine, *apply) == "configmap/shared serverside-applied\n"
    theirs = json.dumps(config_map("shared", a="9"))
    conflict = kubectl.refused("apply", "--server-side", "--field-manager=theirs", "-f", "-", input=theirs)
    assert 'conflict with "mine": .data.a' in conflict
    kubectl("apply", "--server-side", "--field-manager=theirs", "--force-conflicts", "-f", "-", input=theirs)
    kubectl.apply(config_map("shared"), *apply)
    assert json.loads(kubectl("get", "cm", "shared", "-o", "json"))["data"] == {"a": "9"}


def test_apply_merges_the_lists_of_a_pod_by_their_keys(kubectl):
    held = job("held", "true")
    held["spec"]["suspend"] = True
    kubectl.apply(held)
    # Somebody else's finalizer and label stay when what was applied is applied again, changed.
    kubectl("patch", "job", "held", "-p", '{"metadata": {"finalizers": ["example.org/hold"], "labels": {"by": "hand"}}}')
    held["metadata"]["annotations"] = {"note": "changed"}
    assert kubectl.apply(held) == "job.batch/held configured\n"
    assert kubectl.apply(held) == "job.batch/held unchanged\n"
    stored = json.loads(kubectl("get", "job", "held", "-o", "json"))
    assert stored["metadata"]["finalizers"] == ["example.org/hold"]
    assert stored["metadata"]["labels"]["by"] == "hand"
    assert stored["spec"]["template"]["spec"]["volumes"] == [{"name": "scratch", "emptyDir": {}}]
    kubectl("delete", "job", "held", "--wait=false")
    assert kubectl("get", "job", "held", "-o", "jsonpath={.metadata.deletionTimestamp}")
    kubectl("patch", "job", "held", "--type=json", "-p", '[{"op": "remove", "path": "/metadata/finalizers"}]')
    wait_until(lambda: "not found" in kubectl.process("get", "job", "held").stderr, what="the end of the job")


def test_changes_in_place(kubectl):
    kubectl.apply(config_map("changing", a="1"))
    assert kubectl("label", "cm", "changing", "x=1", "y=2") == "configmap/changing labeled\n"
    assert "--overwrite is false" in kubectl.refused("label", "cm", "changing", "x=2")
    assert kubectl("label", "cm", "changing", "x=2", "y-", "--overwrite").startswith("configmap/changing ")
    assert kubectl("annotate", "cm", "changing", "why=because") == "configmap/changing annotated\n"
    assert kubectl("patch", "cm", "changing", "-p", '{"data": {"b": "2"}}') == "configmap/changing patched\n"
    assert kubectl("patch", "cm", "changing", "--type=merge", "-p", '{"data": {"a": null}}') == "configmap/changing patched\n"
    assert "(no change)" in kubectl("patch", "cm", "changing", "--type=merge", "-p", '{"data": {"a": null}}')
    kubectl("patch", "cm", "changing", "--type=json", "-p", '[{"op": "add", "path": "/data/c", "value": "3"}]')
    stored = json.loads(kubectl("get", "cm", "changing", "-o", "json"))
    assert stored["data"] == {"b": "2", "c": "3"}
    assert stored["metadata"]["labels"] == {"x": "2"}
    assert stored["metadata"]["annotations"]["why"] == "because"
    assert kubectl("replace", "-f", "-", input=json.dumps(config_map("changing", z="0"))) == "configmap/changing replaced\n"
    # An editor that changes one line.
    edited = kubectl("edit", "cm", "changing", env={**os.environ, "KUBE_EDITOR": "sed -i s/z:/w:/"})
    assert edited == "configmap/changing edited\n"
    assert json.loads(kubectl("get", "cm", "changing", "-o", "json"))["data"] == {"w": "0"}
    assert kubectl("delete", "cm", "changing", "--wait").startswith('configmap "changing" deleted')


def test_a_watch_prints_each_change(kubectl):
    kubectl.apply(config_map("watched", a="1"))
    watch = subprocess.Popen([*kubectl.command, "get", "cm", "watched", "-w", "--no-headers", "--output-watch-events"],
                             stdout=subprocess.PIPE, text=True)
    try:
        assert watch.stdout.readline().split()[:3] == ["ADDED", "watched", "1"]
        kubectl("patch", "cm", "watched", "-p", '{"data": {"b": "2"}}')
        assert watch.stdout.readline().split()[:3] == ["MODIFIED", "watched", "2"]
        kubectl("delete", "cm", "watched")
        assert watch.stdout.readline().split()[:3] == ["DELETED", "watched", "2"]
    finally:
        watch.kill()
        watch.wait()


def test_wait_for_a_field_and_for_deletion(kubectl):
    kubectl.apply(config_map("awaited", a="1"))
    wait = subprocess.Popen([*kubectl.command, "-v=6", "wait", "--for=delete", "cm/awaited", "--timeout=60s"],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # It says which requests it makes: from here on it watches.
    assert any("watch=true" in line for line in wait.stderr)
    kubectl("delete", "cm", "awaited")
    said, _ = wait.communicate(timeout=60)
    assert (wait.returncode, said) == (0, "configmap/awaited condition met\n")
    if kubectl.minor >= 23:
        met = kubectl("wait", "--for=jsonpath={.status.phase}=Active", f"namespace/{kubectl.namespace}", "--timeout=30s")
        assert met == f"namespace/{kubectl.namespace} condition met\n"


def test_a_job_and_its_pod(kubectl, done):
    assert kubectl("get", "job", "hello", "--no-headers").split()[0] == "hello"
    wide = kubectl("get", "pod", done, "-o", "wide").splitlines()
    assert wide[0].split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert "NODE" in wide[0] and "Completed" in wide[1]
    assert kubectl("logs", done) == "hello you\nbye\n"
    assert kubectl("logs", done, "-c", "main", "--tail=1") == "bye\n"
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z hello you\n", kubectl("logs", "--timestamps", "job/hello"))
    assert "container nobody is not valid" in kubectl.refused("logs", done, "-c", "nobody")
    everything = kubectl("get", "all")
    assert f"pod/{done} " in everything and "job.batch/hello " in everything
    phase = ["--field-selector", "status.phase=Succeeded", "-o", "name"]
    assert f"pod/{done}" in kubectl("get", "pods", *phase)


def test_describe(kubectl, done):
    pod = kubectl("describe", "pod", done)
    for line in [r"Name: +" + done, r"Status: +Succeeded", r"Controlled By: +Job/hello", r" +Reason: +Completed", r" +Exit Code: +0",
                 r" +WHO: +you", r" +/scratch from scratch \(rw\)", r"Events:", r" +Normal +Started .*"]:
        assert re.search(rf"^{line}$", pod, re.M), f"{line} in\n{pod}"
    text = kubectl("describe", "job", "hello")
    for line in [r"Name: +hello", r"Pods Statuses: .*1 Succeeded / 0 Failed", r" +Image: +katlab/base:1", r" +Normal +SuccessfulCreate .*"]:
        assert re.search(rf"^{line}$", text, re.M), f"{line} in\n{text}"
    assert re.search(r"^Status: +Active$", kubectl("describe", "namespace", kubectl.namespace), re.M)
    assert re.search(r"^Allocatable:$", kubectl("describe", "node"), re.M)
    kubectl.apply(config_map("told", a="1"))
    assert "Data\n====\na:\n----\n1\n" in kubectl("describe", "cm", "told")


def test_events(kubectl, done):
    reasons = {"Scheduled", "Created", "Started"}
    one = ["--field-selector", f"involvedObject.kind=Pod,involvedObject.name={done}"]
    table = kubectl("get", "events", *one).splitlines()
    assert table[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert reasons <= {row.split()[2] for row in table[1:]}
    if kubectl.minor >= 26:
        assert reasons <= {row.split()[2] for row in kubectl("events", "--for", f"pod/{done}").splitlines()[1:]}


def test_explain(kubectl):
    assert "VERSION: " in kubectl("explain", "pods")
    assert "A single application container" in kubectl("explain", "pod.spec.containers")
    assert "Specifies the number of retries" in kubectl("explain", "job.spec.backoffLimit")
    recursive = kubectl("explain", "job.spec", "--recursive")
    assert re.search(r"^ +ttlSecondsAfterFinished\t<integer>$", recursive, re.M)
    assert re.search(r"^ +volumeMounts\t<\[\](VolumeMount|Object)>$", recursive, re.M)
    assert "Kind is a string value" in kubectl("explain", "crd.kind")
    # Katib's definitions leave their fields open: there is nothing to explain below the top.
    assert re.search(r"^KIND: +Experiment$", kubectl("explain", "experiments"), re.M)
    if kubectl.minor >= 27:
        assert kubectl.refused("explain", "experiments.spec") == 'error: field "spec" does not exist\n'


def test_a_wrong_field_is_named(kubectl):
    wrong = job("wrong", "true")
    wrong["spec"]["template"]["spec"]["containers"][0]["comand"] = ["x"]
    said = kubectl.refused("create", "--validate=true", "-f", "-", input=json.dumps(wrong))
    if kubectl.minor >= 27:
        assert 'strict decoding error: unknown field "spec.template.spec.containers[0].comand"' in said
    else:
        assert 'ValidationError(Job.spec.template.spec.containers[0]): unknown field "comand" in io.k8s.api.core.v1.Container' in said
    wrong = config_map("wrong", a=1)
    said = kubectl.refused("create", "--validate=false", "-f", "-", input=json.dumps(wrong))
    assert "json: cannot unmarshal number into Go struct field ConfigMap.data of type string" in said
    if kubectl.minor >= 25:
        made = kubectl.process("create", "--validate=warn", "-f", "-", input=json.dumps({**config_map("warned"), "spurious": 1}))
        assert (made.returncode, made.stdout) == (0, "configmap/warned created\n")
        assert 'Warning: unknown field "spurious"' in made.stderr


def test_what_there_is_and_what_one_may_do(kubectl):
    resources = kubectl("api-resources", "--api-group=kubeflow.org", "-o", "name").split()
    assert resources == ["experiments.kubeflow.org", "suggestions.kubeflow.org", "trials.kubeflow.org"]
    assert {"v1", "batch/v1", "kubeflow.org/v1beta1"} <= set(kubectl("api-versions").split())
    assert re.search(r"^pods +po +v1 +true +Pod$", kubectl("api-resources"), re.M)
    assert kubectl("auth", "can-i", "create", "experiments") == "yes\n"
    assert kubectl.process("auth", "can-i", "create", "pods", "--as", "jane").stdout == "no\n"
    assert "Resources" in kubectl("auth", "can-i", "--list")
    if kubectl.minor >= 27:
        assert "katlab-admin" in kubectl("auth", "whoami")
    assert re.search(r"Server Version: .*1\W+36|Server Version: .*\"36\"", kubectl("version"))


@pytest.fixture(scope="module")
def sleeper(kubectl):
    """The name of a pod that waits for somebody to look into it."""
    waits = job("sleeper", "echo began; exec sleep 600")
    waits["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1
    kubectl.apply(waits)
    pod = ["get", "pods", "-l", "job-name=sleeper", "-o"]
    wait_until(lambda: kubectl(*pod, "jsonpath={.items[*].status.phase}") == "Running", what="the pod's start")
    yield kubectl(*pod, "jsonpath={.items[*].metadata.name}")
    # A delete that waits for all that belongs to it.
    kubectl("delete", "job", "sleeper", "--cascade=foreground")
    assert kubectl(*pod, "name") == ""


def test_a_command_in_a_pod(kubectl, sleeper, tmp_path):
    if kubectl.minor < 31:
        said = kubectl.refused("exec", sleeper, "--", "true")
        assert "the sandbox does not do this: pods/exec over SPDY/3.1" in said and "kubectl 1.31 or newer" in said
        return
    assert kubectl("exec", sleeper, "--", "sh", "-c", "echo $WHO; pwd") == "you\n/\n"
    ended = kubectl.process("exec", sleeper, "-c", "main", "--", "sh", "-c", "echo bad >&2; exit 3")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == "bad\ncommand terminated with exit code 3\n"
    text = "".join(f"{line}\n" for line in range(100_000))
    assert kubectl("exec", "-i", sleeper, "--", "cat", input=text) == text
    assert "executable file not found" in kubectl.refused("exec", sleeper, "--", "no-such-program")
    assert "container nobody is not valid for pod" in kubectl.refused("exec", sleeper, "-c", "nobody", "--", "true")
    assert 'pods "missing" not found' in kubectl.refused("exec", "missing", "--", "true")
    # Files, in both directions: `tar` at both ends.
    (tmp_path / "there").write_text(text)
    kubectl("cp", str(tmp_path / "there"), f"{sleeper}:/scratch/here")
    kubectl("cp", f"{sleeper}:/scratch/here", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == text
    assert "the sandbox does not do this: pods/portforward" in kubectl.refused("port-forward", sleeper, "8080")


def test_a_shell_in_a_pod(kubectl, sleeper):
    if kubectl.minor < 31:
        pytest.skip("this kubectl speaks SPDY only; what it is told, the test above looks at")
    here, there = pty.openpty()
    termios.tcsetwinsize(there, (31, 97))
    shell = subprocess.Popen([*kubectl.command, "exec", "-it", sleeper, "--", "sh"], stdin=there, stdout=there, stderr=there)
    os.close(there)
    try:
        # The terminal's size has a channel of its own and may come after what is typed, as on any cluster.
        os.write(here, b"until stty size | grep '31 97'; do sleep 0.1; done; exit 5\n")
        said = b""
        while chunk := read_terminal(here):
            said += chunk
        assert b"31 97\r\n" in said, said
        assert shell.wait(timeout=60) == 5
    finally:
        shell.kill()
        shell.wait()
        os.close(here)


def read_terminal(terminal):
    """What the other side writes, and nothing once it has closed."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def test_attaching_to_what_runs(kubectl):
    if kubectl.minor < 31:
        pytest.skip("this kubectl speaks SPDY only")
    spec = job("talks", "exec cat")["spec"]["template"]["spec"]
    spec["containers"][0].update(stdin=True, stdinOnce=True)
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "talks"}, "spec": spec})
    kubectl("wait", "--for=condition=Ready", "pod/talks", "--timeout=60s")
    assert "hello\n" in kubectl("attach", "-i", "talks", input="hello\n")
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/talks", "--timeout=60s")
    kubectl("delete", "pod", "talks")


def test_commands_of_the_python_client(kubectl, sleeper):
    kubeconfig = kubectl.command[kubectl.command.index("--kubeconfig") + 1]
    core = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(kubeconfig))

    def run(*command, **options):
        streams = {"stdin": False, "stdout": True, "stderr": True, "tty": False, **options}
        call = core.connect_get_namespaced_pod_exec
        return kubernetes.stream.stream(call, sleeper, kubectl.namespace, command=list(command), **streams)

    assert run("sh", "-c", "echo $WHO") == "you\n"
    process = run("sh", "-c", "read line; echo got $line; echo wrong >&2; exit 4", stdin=True, _preload_content=False)
    process.write_stdin("this\n")
    process.run_forever(timeout=60)
    assert (process.read_stdout(), process.read_stderr(), process.returncode) == ("got this\n", "wrong\n", 4)
    with pytest.raises(kubernetes.client.ApiException, match="400 Bad Request"):
        run("true", container="nobody")


def test_a_claim(kubectl):
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
             "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    assert kubectl.apply(claim) == "persistentvolumeclaim/data created\n"
    assert kubectl.apply(claim) == "persistentvolumeclaim/data unchanged\n"
    shown = kubectl("get", "pvc", "data", "--no-headers").split()
    assert (shown[:2], shown[3:5]) == (["data", "Bound"], ["1Gi", "RWO"])
    text = kubectl("describe", "pvc", "data")
    for line in [r"Status: +Bound", r"Volume: +pvc-.*", r"Capacity: +1Gi", r"Access Modes: +RWO", r"Finalizers: +\[kubernetes.io/pvc-protection\]"]:
        assert re.search(rf"^{line}$", text, re.M), f"{line} in\n{text}"
    bound = {**claim, "metadata": {"name": "other"}, "spec": {**claim["spec"], "volumeName": "mine"}}
    refused = kubectl.refused("create", "-f", "-", input=json.dumps(bound))
    assert "the sandbox's PersistentVolumeClaims do not have spec.volumeName" in refused
    assert kubectl("delete", "pvc", "data").startswith('persistentvolumeclaim "data" deleted')
