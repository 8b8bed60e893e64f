"""Measures katlab beside what a user would pick instead, in one run, and prints a table.

Figures are medians; a ratio below 1 means that katlab is faster (or smaller). No thresholds here:
numbers are for reading, tests are for judging.

    make bench                      # everything
    make bench ONLY=kernel,cells    # some sections

KATLAB_BENCH_KUBECONFIG names a real API server that the `api` section measures too; it makes and
removes a namespace `katlab-bench` there. KATLAB_BENCH_OPTUNA names a Python that has Optuna (`make bench`
makes one) and KATLAB_BENCH_FILTER the example `filter` of katlab-katib; without them what they are for is
left out, and that is said.
"""

import base64
import concurrent.futures
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from jupyter_client.manager import KernelManager

from cells import BINARY, ROOT, Lab
from many_trials import export

RUNS = int(os.environ.get("RUNS", "5"))
ROWS = []


def report(what, ours, peer=None, peer_value=None, unit="ms", aim=""):
    # Of a speed more is better, and its ratio is that of the times.
    better = (peer_value, ours) if unit.endswith("/s") else (ours, peer_value)
    ratio = f"{better[0] / better[1]:.2g}" if peer_value else ""
    value = lambda number: "" if number is None else f"{number:,.1f} {unit}"
    row = (what, value(ours), peer or "", value(peer_value), ratio, aim)
    ROWS.append(row)
    print("  ".join(str(cell) for cell in row if cell), file=sys.stderr, flush=True)


def milliseconds(work, runs=RUNS):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


class Kernel:
    """A running kernel of any command, driven by Jupyter's own client."""

    def __init__(self, command, environment):
        self.manager = KernelManager()
        self.manager.kernel_spec  # loads the default spec, whose command is replaced
        self.manager.kernel_spec.argv = command
        self.manager.kernel_spec.interrupt_mode = "message"
        start = time.perf_counter()
        self.manager.start_kernel(env=environment)
        self.client = self.manager.client()
        self.client.start_channels()
        while True:
            self.client.kernel_info()
            try:
                self.client.get_shell_msg(timeout=0.02 if time.perf_counter() - start < 2 else 0.5)
                break
            except Exception:
                if time.perf_counter() - start > 120:
                    raise
        self.ready = (time.perf_counter() - start) * 1000
        self.client.wait_for_ready(timeout=120)

    def run(self, code, timeout=300):
        return self.shown(code, timeout)[0]

    def shown(self, code, timeout=300):
        """Milliseconds, and the MIME bundles of the displays."""
        bundles = []

        def hook(message):
            if message["msg_type"] in ("display_data", "execute_result"):
                bundles.append(message["content"]["data"])

        start = time.perf_counter()
        reply = self.client.execute_interactive(code, timeout=timeout, output_hook=hook)
        assert reply["content"]["status"] == "ok", (code, reply["content"])
        return (time.perf_counter() - start) * 1000, bundles

    def memory(self):
        """Resident megabytes of the process and all its descendants."""
        return memory(self.manager.provisioner.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def memory(pid):
    family, total = [pid], 0.0
    for process in family:
        try:
            status = pathlib.Path(f"/proc/{process}/status").read_text()
            children = pathlib.Path(f"/proc/{process}/task/{process}/children").read_text().split()
        except FileNotFoundError:
            continue
        family.extend(map(int, children))
        resident = [line for line in status.splitlines() if line.startswith("VmRSS")]
        total += int(resident[0].split()[1]) / 1024 if resident else 0
    return total


def processor_time(pid):
    """Milliseconds of processor time that a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def sandbox_pid(lab):
    return json.loads((lab.home / "sandbox/endpoint.json").read_text())["pid"]


def kernels(lab):
    ours = [str(BINARY), "kernel", "-f", "{connection_file}"]
    # evcxr_jupyter alone: the same library, started as itself.
    evcxr = [str(BINARY), "--control_file", "{connection_file}"]
    python = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    environment = {**lab.environment, "JUPYTER_PATH": "/nonexistent"}
    target = subprocess.run(["rustc", "--print", "target-libdir"], capture_output=True, text=True).stdout.strip()
    engine_environment = {**environment, "LD_LIBRARY_PATH": target}

    def ready(command, environment, runs=RUNS):
        times = []
        for _ in range(runs):
            with Kernel(command, environment) as kernel:
                times.append(kernel.ready)
        return statistics.median(times)

    mine = ready(ours, environment)
    report("kernel start to kernel_info_reply", mine, "ipykernel", ready(python, environment), aim="50 ms")
    report("kernel start to kernel_info_reply", mine, "evcxr_jupyter", ready(evcxr, engine_environment, 2), aim="50 ms")

    with Kernel(ours, environment) as kernel, Kernel(python, environment) as other:
        report("idle kernel, memory", kernel.memory(), "ipykernel", other.memory(), unit="MB", aim="30 MB")
        report("first magic (:help)", kernel.run(":help"))
        report("a magic (:env list)", statistics.median(kernel.run(":env list") for _ in range(RUNS)))

    with Kernel(ours, environment) as kernel, Kernel(evcxr, engine_environment) as alone:
        report("first Rust cell, engine start included", kernel.run("1 + 1"), "evcxr_jupyter, running", alone.run("1 + 1"))
        pairs = [(kernel.run(f'println!("{n}");'), alone.run(f'println!("{n}");')) for n in range(RUNS * 2)]
        mine, theirs = (statistics.median(side) for side in zip(*pairs))
        report("later Rust cell", mine, "evcxr_jupyter", theirs)
        pairs = [(kernel.run(":vars"), alone.run(":vars")) for _ in range(RUNS * 4)]
        mine, theirs = (statistics.median(side) for side in zip(*pairs))
        report("relay: a command of evcxr", mine, "evcxr_jupyter", theirs, aim="2 ms over it")


def cells(lab):
    """The first Rust cell: a bare one, one with the helper crate, and one that builds a client of its own."""
    ours = [str(BINARY), "kernel", "-f", "{connection_file}"]
    evcxr = [str(BINARY), "--control_file", "{connection_file}"]
    libraries = subprocess.run(["rustc", "--print", "target-libdir"], capture_output=True, text=True).stdout.strip()
    alone = {**lab.environment, "LD_LIBRARY_PATH": libraries}
    folder = json.dumps(str(ROOT / "notebooks/data/digits-random"))
    helper = f"katlab::trials_from({folder})?.len()"

    def first(command, environment, code, timeout=300):
        """From the kernel's start to the result of its first cell."""
        with Kernel(command, environment) as kernel:
            return kernel.ready + kernel.run(code, timeout)

    report("kernel start to first Rust result, template of katlab:: made", first(ours, lab.environment, helper))
    sides = [(ours, lab.environment, "1 + 1"), (ours, lab.environment, helper), (evcxr, alone, "1 + 1")]
    # One start takes a second more than the next: all sides take turns.
    rounds = [[first(*side) for side in sides] for _ in range(RUNS)]
    bare, with_helper, theirs = (statistics.median(times) for times in zip(*rounds))
    report("kernel start to first Rust result, bare", bare, "evcxr_jupyter, bare", theirs)
    report("kernel start to first Rust result, katlab::", with_helper, "bare", bare, aim="1,000 ms over it")
    report("kernel start to first Rust result, katlab::", with_helper, "evcxr_jupyter, bare", theirs)
    own = '''
:dep kube = { version = "5.0.0", default-features = false, features = ["client", "rustls-tls", "ring"] }
:dep k8s-openapi = { version = "0.29.0", features = ["v1_36"] }
kube::Config::new("https://127.0.0.1:6443".parse()?).default_namespace
'''
    try:
        theirs = first(evcxr, alone, own, timeout=int(os.environ.get("KUBE_SECONDS", "1800")))
    except (AssertionError, TimeoutError) as error:
        left_out("a cell that depends on kube", str(error)[-600:])
    else:
        report("kernel start to first Rust result, katlab::", with_helper, ":dep kube", theirs)


def left_out(what, why):
    print(f"left out: {what}: {why}", file=sys.stderr, flush=True)


LOG_FILTER = r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"
# As a collector does it: a line that names no metric is passed over.
PYTHON_FILTER = '''
import json, re, sys, time
log, expression, *names = sys.argv[1:]
expression = re.compile(expression)
start, values = time.perf_counter(), 0
with open(log, encoding="utf-8", errors="replace") as lines:
    for line in lines:
        if any(name in line for name in names):
            values += sum(found[1] in names for found in expression.finditer(line))
print(json.dumps({"milliseconds": (time.perf_counter() - start) * 1000, "values": values}))
'''


def filters(lab):
    """The collector's filter on 100 MB, beside Python's `re` with the same."""
    binary = os.environ.get("KATLAB_BENCH_FILTER")
    if not binary:
        left_out("metric filters", "KATLAB_BENCH_FILTER is not set")
        return
    draw, size, log = random.Random(1), 100_000_000, lab.directory / "train.log"

    def said(command):
        """Megabytes a second, and the values found."""
        found = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(3)]
        return size / 1e3 / statistics.median(one["milliseconds"] for one in found), found[0]["values"]

    for label, every in (("a value on every 20th line", 20), ("a value on every line", 1)):
        block = []
        for step in range(20_000):
            text = f"step {step:06} images/s {draw.uniform(900, 1000):.1f} memory {draw.randint(4000, 5000)} MiB"
            if step % every == 0:
                text = f"2026-01-01T00:00:{step % 60:02}Z epoch {step // 100} accuracy={draw.random():.6f} loss={draw.random():.6f}"
            block.append(text + "\n")
        block = "".join(block)
        log.write_text((block * (size // len(block) + 1))[:size])
        ours, found = said([binary, log, "accuracy", "loss"])
        theirs, expected = said([sys.executable, "-c", PYTHON_FILTER, log, LOG_FILTER, "accuracy", "loss"])
        assert found == expected > 0, (found, expected)
        report(f"metrics filter, {label}", ours, "Python's re", theirs, unit="MB/s", aim="300 MB/s")
        with Kernel([str(BINARY), "kernel", "-f", "{connection_file}"], lab.environment) as kernel:
            spent = kernel.run(f":metrics test {log} --metric accuracy --metric loss")
        report(f":metrics test, {label}", size / 1e3 / spent, unit="MB/s")


PLOTS = "history parallel importance slice contour metrics timeline pareto correlation".split()


def trials(lab):
    """Lists, charts and importances of an export, each a whole cell that reads its files, beside Optuna's figures of
    a study that it holds in memory."""
    optuna = os.environ.get("KATLAB_BENCH_OPTUNA")
    if not optuna:
        left_out("Optuna's figures", "KATLAB_BENCH_OPTUNA is not set")

    def size(bundles, *kinds):
        return sum(len(text if isinstance(text, str) else json.dumps(text)) for bundle in bundles
                   for kind, text in bundle.items() if not kinds or kind in kinds) / 1000

    with Kernel([str(BINARY), "kernel", "-f", "{connection_file}"], lab.environment) as kernel:
        def measured(code):
            runs = [kernel.shown(code) for _ in range(RUNS)]
            return statistics.median(spent for spent, _ in runs), runs[0][1]

        for count in (100, 1000, 10000):
            folder = lab.directory / f"many-{count}"
            export(folder, count)
            theirs = {}
            if optuna:
                script = pathlib.Path(__file__).parent / "optuna_figures.py"
                done = subprocess.run([optuna, script, folder], check=True, capture_output=True, text=True)
                theirs = json.loads(done.stdout)
            many = f"{count:,} trials"
            spent, bundles = measured(f":trials --from {folder} --where 'loss < 8 and optimizer != ftrl' --sort loss,-lr")
            report(f"{many}: read, filtered, sorted, shown", spent, aim="300 ms" if count == 10000 else "")
            report(f"{many}: what that shows", size(bundles), unit="kB")
            for kind in PLOTS:
                spent, bundles = measured(f":plot --from {folder} {kind} {'--params lr,layers' if kind == 'contour' else ''}")
                peer = theirs.get(kind)
                beside = ("optuna.visualization", peer["ms"]) if peer else ()
                report(f"{many}: plot {kind}", spent, *beside, aim="500 ms" if count == 10000 else "")
                beside = ("optuna.visualization", peer["bytes"] / 1000) if peer else ()
                figure = size(bundles, "application/vnd.vegalite.v5+json")
                report(f"{many}: plot {kind}, the figure", figure, *beside, unit="kB", aim="1,500 kB" if count == 10000 else "")
            spent, bundles = measured(f":analyze --from {folder} importance -o json")
            shares = {row["parameter"]: row["share"] for row in json.loads(bundles[0]["text/plain"])}
            for name in ("PED-ANOVA", "fANOVA"):
                if peer := theirs.get(name):
                    report(f"{many}: importance", spent, f"Optuna's {name}", peer["ms"])
            if peer := theirs.get("PED-ANOVA"):
                orders = [sorted(found, key=found.get, reverse=True) for found in (shares, peer["shares"])]
                print(f"    {', '.join(orders[0])} beside {', '.join(orders[1])}", file=sys.stderr)


def kubectl(lab, *arguments, **options):
    kubeconfig = lab.command("sandbox", "kubeconfig").stdout.strip()
    return subprocess.run(
        ["kubectl", "--kubeconfig", kubeconfig, *arguments], check=True, capture_output=True, text=True, **options
    ).stdout


def sandbox_start(lab):
    times = []
    for _ in range(RUNS):
        lab.command("sandbox", "down", check=False)
        start = time.perf_counter()
        lab.command("sandbox", "up")
        times.append((time.perf_counter() - start) * 1000)
    report("sandbox start to ready", statistics.median(times), aim="1,000 ms")
    report("idle sandbox, memory", memory(sandbox_pid(lab)), unit="MB", aim="60 MB")


def trial(name, number):
    return {
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Trial",
        "metadata": {"name": f"{name}-{number:05}", "namespace": "kubeflow-user",
                     "labels": {"katib.kubeflow.org/experiment": name}},
        "spec": {
            "objective": {"type": "maximize", "objectiveMetricName": "accuracy",
                          "metricStrategies": [{"name": "accuracy", "value": "max"}]},
            "parameterAssignments": [{"name": "lr", "value": str(0.001 + number / 1e6)}],
            "runSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {}},
        },
    }


def ended(number):
    """The status of a trial that is over, so that no controller has anything to do about it."""
    value = f"0.{number % 1000:03}"
    condition = {"status": "True", "reason": "TrialSucceeded", "message": "Trial has succeeded",
                 "lastTransitionTime": "2026-01-01T00:00:09Z", "lastUpdateTime": "2026-01-01T00:00:09Z"}
    return {
        "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:09Z",
        "conditions": [{**condition, "type": kind} for kind in ("Created", "Succeeded")],
        "observation": {"metrics": [{"name": "accuracy", "min": value, "max": value, "latest": value}]},
    }


def listing(lab):
    import kubernetes

    kubeconfig = lab.command("sandbox", "kubeconfig").stdout.strip()
    custom = kubernetes.client.CustomObjectsApi(kubernetes.config.new_client_from_config(kubeconfig))
    place = ("kubeflow.org", "v1beta1", "kubeflow-user")
    with Kernel([str(BINARY), "kernel", "-f", "{connection_file}"], lab.environment) as kernel:
        kernel.run(":trials")
        for count in (10, 1000, 5000):
            name = f"bench-{count}"
            for number in range(count):
                custom.create_namespaced_custom_object(*place, "trials", trial(name, number))
                custom.patch_namespaced_custom_object_status(
                    *place, "trials", f"{name}-{number:05}", {"status": ended(number)})
            selector = f"katib.kubeflow.org/experiment={name}"
            mine = statistics.median(kernel.run(f":trials {name}") for _ in range(RUNS))
            whole = statistics.median(kernel.run(f":trials {name} --limit {count}") for _ in range(RUNS))
            theirs = milliseconds(lambda: kubectl(lab, "get", "trials", "-n", "kubeflow-user", "-l", selector))
            report(f":trials, {count} trials", mine, "kubectl get trials", theirs, aim="20 ms" if count == 10 else "")
            if count > 200:
                report(f":trials --limit {count}, all rows shown", whole, "kubectl get trials", theirs)
            python = f"""
import kubernetes
client = kubernetes.client.CustomObjectsApi(kubernetes.config.new_client_from_config({kubeconfig!r}))
print(len(client.list_namespaced_custom_object("kubeflow.org", "v1beta1", "kubeflow-user", "trials", label_selector={selector!r})["items"]))
"""
            theirs = milliseconds(lambda: subprocess.run([sys.executable, "-c", python], check=True, capture_output=True))
            report(f":trials, {count} trials", mine, "Python client, a process", theirs)
            custom.delete_collection_namespaced_custom_object(*place, "trials", label_selector=selector)


def images(lab):
    context = lab.directory / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text("FROM katlab/base:1\nARG STAMP\nRUN echo $STAMP > /stamp\nCOPY data /data\n")
    stamp = iter(range(10**6))
    registry = json.loads((lab.home / "sandbox/endpoint.json").read_text())["registry_host"]
    login = json.loads((lab.home / "sandbox/registry.json").read_text())
    lab.docker_config.mkdir(exist_ok=True)
    token = base64.b64encode(f"{login['username']}:{login['password']}".encode()).decode()
    (lab.docker_config / "config.json").write_text(json.dumps({"auths": {registry: {"auth": token}}}))
    docker = {**lab.environment, "DOCKER_BUILDKIT": "0"}

    def remove(*names):
        subprocess.run(["docker", "rmi", "-f", *names], capture_output=True)

    def fresh():
        (context / "data").write_bytes(os.urandom(8_000_000))
        return f"{time.time()}-{next(stamp)}"

    with Kernel([str(BINARY), "kernel", "-f", "{connection_file}"], lab.environment) as kernel:
        pairs = []
        for _ in range(RUNS):
            mine = kernel.run(f":build {context} -t katlab-bench:1 --build-arg STAMP={fresh()}")
            mark = fresh()
            start = time.perf_counter()
            subprocess.run(["docker", "build", "-q", "-t", "katlab-bench:2", "--build-arg", f"STAMP={mark}", context],
                           check=True, capture_output=True, env=docker)
            pairs.append((mine, (time.perf_counter() - start) * 1000))
            # A name that moves on to the next image would leave this one behind without a name.
            remove("katlab-bench:1", "katlab-bench:2")
        mine, theirs = (statistics.median(side) for side in zip(*pairs))
        report("build, 8 MB context, one RUN", mine, "docker build", theirs)

        pairs = []
        for number in range(RUNS):
            for name in ("1", "2"):
                subprocess.run(["docker", "build", "-q", "-t", f"{registry}/bench/image:{name}", "--build-arg",
                                f"STAMP={fresh()}", context], check=True, capture_output=True, env=docker)
            mine = kernel.run(f":push {registry}/bench/image:1")
            start = time.perf_counter()
            subprocess.run(["docker", "push", "-q", f"{registry}/bench/image:2"], check=True, capture_output=True, env=docker)
            # The first push of the run also uploads the base image, which only one side would pay for.
            if number > 0:
                pairs.append((mine, (time.perf_counter() - start) * 1000))
            remove(f"{registry}/bench/image:1", f"{registry}/bench/image:2")
        mine, theirs = (statistics.median(side) for side in zip(*pairs))
        report("push, 8 MB of new layers", mine, "docker push", theirs)


def experiments(lab):
    import kubernetes

    client = kubernetes.config.new_client_from_config(lab.command("sandbox", "kubeconfig").stdout.strip())
    custom, core = kubernetes.client.CustomObjectsApi(client), kubernetes.client.CoreV1Api(client)
    place = ("kubeflow.org", "v1beta1", "kubeflow-user", "experiments")
    few, many, parallel = 100, int(os.environ.get("TRIALS", "1000")), 2

    def experiment(name, count):
        return {
            "apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment",
            "metadata": {"name": name, "namespace": "kubeflow-user"},
            "spec": {
                "objective": {"type": "maximize", "objectiveMetricName": "accuracy"},
                "algorithm": {"algorithmName": "random"},
                "parallelTrialCount": parallel, "maxTrialCount": count, "maxFailedTrialCount": 3,
                "parameters": [{"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}}],
                "trialTemplate": {
                    "primaryContainerName": "main",
                    "trialParameters": [{"name": "lr", "reference": "lr"}],
                    "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {
                        "restartPolicy": "Never",
                        "containers": [{"name": "main", "image": "katlab/base:1",
                                        "command": ["echo", "accuracy=${trialParameters.lr}"]}]}}}},
                },
            },
        }

    # Docker Engine has the same work at the same time: as many containers, as many at once.
    def nothing(_):
        subprocess.run(["docker", "run", "--rm", "katlab/base:1", "true"], check=True, capture_output=True)

    def docker(count):
        with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
            started = time.perf_counter()
            list(pool.map(nothing, range(count)))
            return (time.perf_counter() - started) * 1000 * parallel / count

    def has_begun(pod):
        state = pod.status.container_statuses[0].state if pod.status.container_statuses else None
        return state is not None and (state.running or state.terminated)

    def run(name, count):
        """Milliseconds to the first container, of each trial, and of the sandbox's processor for each."""
        used = processor_time(sandbox_pid(lab))
        # Asked in this process: a kubectl for every look would take a core from what is measured.
        started = time.perf_counter()
        custom.create_namespaced_custom_object(*place, experiment(name, count))
        while not any(has_begun(pod) for pod in core.list_namespaced_pod("kubeflow-user").items):
            assert time.perf_counter() - started < 60
            time.sleep(0.005)
        first = (time.perf_counter() - started) * 1000
        while True:
            status = custom.get_namespaced_custom_object(*place, name).get("status", {})
            if any(c["type"] in ("Succeeded", "Failed") and c["status"] == "True" for c in status.get("conditions", [])):
                break
            assert time.perf_counter() - started < 6 * count, status
            time.sleep(0.2)
        total = (time.perf_counter() - started) * 1000
        used = processor_time(sandbox_pid(lab)) - used
        assert status["trialsSucceeded"] == count, status
        custom.delete_namespaced_custom_object(*place, name)
        # What is left to do for one is not counted to the next.
        selector = f"katib.kubeflow.org/experiment={name}"
        while custom.list_namespaced_custom_object(*place[:3], "trials", label_selector=selector, limit=1)["items"]:
            time.sleep(0.05)
        return first, total * parallel / count, used / count

    theirs = docker(few)
    first, each, used = run("overhead", few)
    report("Experiment created to first trial container running", first)
    report(f"a trial that does nothing, {few} trials, {parallel} at once", each, f"docker run --rm of nothing, {parallel} at once", theirs)
    report("own time a trial: what it takes longer", each - theirs, aim="150 ms")
    report("own time a trial: the sandbox's processor time", used)
    _, at_length, used_at_length = run("long", many)
    report(f"a trial that does nothing, {many:,} trials in one experiment", at_length, f"of {few}", each, aim="flat")
    report(f"own time a trial: processor time, {many:,} in one experiment", used_at_length, f"of {few}", used, aim="flat")


class Cluster:
    """An API server that a kubeconfig names, asked without a client's own work in between."""

    def __init__(self, kubeconfig, namespace):
        import kubernetes

        self.client = kubernetes.config.new_client_from_config(kubeconfig)
        self.client.configuration.connection_pool_maxsize = 300
        self.pool = kubernetes.client.rest.RESTClientObject(self.client.configuration, maxsize=300).pool_manager
        self.headers = {"content-type": "application/json"}
        self.client.update_params_for_auth(self.headers, [], ["BearerToken"])
        self.namespace = f"/api/v1/namespaces/{namespace}"
        self.maps = f"{self.namespace}/configmaps"

    def ask(self, method, path, body=None, headers=None, **options):
        answer = self.pool.request(method, self.client.configuration.host + path, body=body and json.dumps(body),
                                   headers={**self.headers, **(headers or {})}, retries=False, **options)
        assert answer.status < 300, (method, path, answer.status, answer.data[:300])
        return answer

    def create(self, number, label="bench"):
        self.ask("POST", self.maps, config_map(number, label))

    def patch(self, number, value):
        self.ask("PATCH", f"{self.maps}/m{number:05}", {"data": {"n": str(value)}},
                 {"content-type": "application/merge-patch+json"})

    def version(self):
        return self.ask("GET", f"{self.maps}?limit=1").json()["metadata"]["resourceVersion"]

    def watches(self, count):
        """Open watches from now on."""
        path = f"{self.maps}?watch=1&resourceVersion={self.version()}"
        return [self.ask("GET", path, preload_content=False) for _ in range(count)]


def config_map(number, label):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{number:05}", "labels": {"set": label}},
            "data": {"text": "x" * 900, "n": str(number)}}


def fan_out(cluster, watches, turn):
    """Milliseconds from a change to the last of many watches that hears of it."""
    def hear(watch):
        while not watch.read1().endswith(b"}\n"):
            pass
        return time.perf_counter()

    with concurrent.futures.ThreadPoolExecutor(len(watches)) as pool:
        heard = [pool.submit(hear, watch) for watch in watches]
        start = time.perf_counter()
        cluster.patch(0, f"turn-{turn}")
        return (max(one.result() for one in heard) - start) * 1000


def api(lab):
    """The API server alone, beside the one that KATLAB_BENCH_KUBECONFIG names, if it does."""
    mine = Cluster(lab.command("sandbox", "kubeconfig").stdout.strip(), "bench")
    clusters, theirs = [mine], None
    if "KATLAB_BENCH_KUBECONFIG" in os.environ:
        theirs = Cluster(os.environ["KATLAB_BENCH_KUBECONFIG"], "katlab-bench")
        clusters.append(theirs)

    def row(what, work, **options):
        """Measures the same on each."""
        values = [work(cluster) for cluster in clusters]
        other = ("Kubernetes", values[1]) if theirs else ()
        report(what, values[0], *other, **options)
        return values

    def each(work, runs=200):
        return lambda cluster: statistics.median(milliseconds(lambda: work(cluster, number), 1) for number in range(runs))

    def fill(cluster, numbers):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            start = time.perf_counter()
            list(pool.map(cluster.create, numbers))
        return (time.perf_counter() - start) * 1000 / len(numbers)

    def listed(cluster):
        return milliseconds(lambda: cluster.ask("GET", f"{cluster.maps}?labelSelector=set"))

    for cluster in clusters:
        name = cluster.namespace.rpartition("/")[2]
        cluster.ask("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    pid = sandbox_pid(lab)
    before = memory(pid)
    row("create a ConfigMap", each(Cluster.create))
    row("get it", each(lambda cluster, number: cluster.ask("GET", f"{cluster.maps}/m{number:05}")))
    row("update it (merge patch)", each(lambda cluster, number: cluster.patch(number, "new")))
    row("create one, 8 clients at once", lambda cluster: fill(cluster, range(200, 1000)))
    few = row("list 1,000", listed)
    row("create one, 8 clients at once, up to 20,000", lambda cluster: fill(cluster, range(1000, 20000)))
    many = row("list 20,000", listed)
    report("list, cost an object at 20,000 beside 1,000", many[0] / 20, "at 1,000", few[0], unit="µs")
    report("memory an object (1 kB each, 20,000)", (memory(pid) - before) * 1024 / 20000, unit="kB")
    row("get one of 20,000", each(lambda cluster, number: cluster.ask("GET", f"{cluster.maps}/m{number:05}")))
    row("update one of 20,000", each(lambda cluster, number: cluster.patch(number, "newer")))
    opened = {id(cluster): cluster.watches(200) for cluster in clusters}
    row("watch: a change to the last of 200 watches",
        lambda cluster: statistics.median(fan_out(cluster, opened[id(cluster)], turn) for turn in range(RUNS * 2)))
    used = processor_time(pid)
    time.sleep(10)
    report("idle, 20,000 objects and 200 watches: processor time a second", (processor_time(pid) - used) / 10)

    # As many changes as 5,000 trials make, one after the other.
    def churn(cluster):
        def life(number):
            cluster.ask("POST", cluster.maps, config_map(number, "churn"))
            for turn in range(4):
                cluster.patch(number, turn)
            cluster.ask("DELETE", f"{cluster.maps}/m{number:05}")

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            start = time.perf_counter()
            list(pool.map(life, range(20000, 25000)))
        return (time.perf_counter() - start) * 1000 / 5000

    for watches in opened.values():
        for watch in watches:
            watch.close()
    row("churn: six changes of one object, 5,000 times", churn)
    after = row("list 20,000 after it", listed)
    report("list after the churn beside before", after[0], "before", many[0])
    report("sandbox after it, memory", memory(pid), unit="MB")

    times = []
    for _ in range(RUNS):
        lab.command("sandbox", "down")
        start = time.perf_counter()
        lab.command("sandbox", "up")
        times.append((time.perf_counter() - start) * 1000)
    report("sandbox start to ready, 20,000 objects in the store", statistics.median(times))
    report("sandbox just started, 20,000 objects, memory", memory(sandbox_pid(lab)), unit="MB")
    for cluster in clusters:
        cluster.ask("DELETE", cluster.namespace)


SECTIONS = {
    "kernel": kernels,
    "cells": cells,
    "filters": filters,
    "trials": trials,
    "start": sandbox_start,
    "api": api,
    "listing": listing,
    "images": images,
    "experiments": experiments,
}
WITHOUT_SANDBOX = {"cells", "filters", "trials"}


def main():
    chosen = [name for name in os.environ.get("ONLY", "").split(",") if name] or list(SECTIONS)
    if unknown := [name for name in chosen if name not in SECTIONS]:
        sys.exit(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="katlab-bench-"))
    (scratch / "work").mkdir()
    lab = Lab(scratch / "home", scratch / "work")
    try:
        if not WITHOUT_SANDBOX.issuperset(chosen):
            lab.command("sandbox", "up")
        for name in chosen:
            print(f"-- {name}", file=sys.stderr, flush=True)
            SECTIONS[name](lab)
    finally:
        lab.command("sandbox", "reset", "--yes", check=False)
        shutil.rmtree(scratch, ignore_errors=True)
    headings = ("what", "katlab", "beside", "", "ratio", "aim")
    widths = [max(len(str(row[column])) for row in [headings, *ROWS]) for column in range(len(headings))]
    print()
    for row in [headings, *ROWS]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


if __name__ == "__main__":
    main()
