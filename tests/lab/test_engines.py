"""Other engines than the Docker Engine of this machine's socket: one behind TLS, one that a docker context names, Podman."""

import ctypes
import hashlib
import json
import os
import pathlib
import resource
import select
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from conftest import make_lab, wait_until
from test_cluster import experiment

SOCKET = "/var/run/docker.sock"


# ---- TLS ----

class Authority:
    """A certificate authority of its own."""

    def __init__(self, directory, name):
        self.directory = directory / name
        self.directory.mkdir()
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                "-keyout", self.directory / "ca-key.pem", "-out", self.directory / "ca.pem")

    def sign(self, folder, names="IP:127.0.0.1", *, days="2"):
        """A folder of ca.pem, cert.pem and key.pem, as DOCKER_CERT_PATH wants it."""
        folder = self.directory / folder
        folder.mkdir()
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test",
                "-keyout", folder / "key.pem", "-out", folder / "request.pem")
        (folder / "extensions").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        openssl("x509", "-req", "-in", folder / "request.pem", "-CA", self.directory / "ca.pem",
                "-CAkey", self.directory / "ca-key.pem", "-set_serial", str(abs(hash(folder)) % 10**9 + 1),
                "-days", days, "-extfile", folder / "extensions", "-out", folder / "cert.pem")
        shutil.copy(self.directory / "ca.pem", folder)
        return folder


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def splice(front, behind):
    """Carries bytes both ways; an end of either side is the end of both."""
    with front, behind:
        while True:
            ready = [front] if isinstance(front, ssl.SSLSocket) and front.pending() else select.select([front, behind], [], [])[0]
            for source in ready:
                data = source.recv(65536)
                if not data:
                    if isinstance(front, ssl.SSLSocket):
                        # Says goodbye, without which the other side must fear that something is missing.
                        front.settimeout(1)
                        front.unwrap()
                    return
                (behind if source is front else front).sendall(data)


class Front:
    """Listens, and carries each connection on to where `connect` leads."""

    def __init__(self, listener, connect, tls=None):
        self.listener, self.connect, self.tls = listener, connect, tls
        self.port = listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, stream):
        try:
            if self.tls:
                stream = self.tls.wrap_socket(stream, server_side=True)
            splice(stream, self.connect())
        except OSError:
            # A handshake that fails is what some tests want.
            stream.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def engine_socket():
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(SOCKET)
    return stream


def tls_front(folder, authority):
    """The machine's engine behind TLS: shows the folder's certificate, wants one that the authority signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    context.load_verify_locations(authority.directory / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return Front(socket.create_server(("127.0.0.1", 0)), engine_socket, context)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"), "ours")


@pytest.fixture(scope="module")
def client(authority):
    return authority.sign("client")


@pytest.fixture(scope="module")
def front(authority):
    front = tls_front(authority.sign("server"), authority)
    yield front
    front.close()


@pytest.fixture
def tls_lab(tmp_path_factory, front, client):
    lab = make_lab(tmp_path_factory, DOCKER_HOST=f"tcp://127.0.0.1:{front.port}", DOCKER_TLS_VERIFY="1",
                   DOCKER_CERT_PATH=str(client))
    yield lab
    lab.command("sandbox", "reset", "--yes", check=False)


def test_an_engine_behind_tls_builds_runs_and_is_shown(tls_lab, front):
    (tls_lab.directory / "Dockerfile").write_text("FROM katlab/base:1\nRUN echo built by TLS\n")
    shown, build, run, _ = tls_lab.run(":lab", ":build . -t katlab-test/tls:1", ":run katlab-test/tls:1 echo said by TLS",
                                       ":rmi katlab-test/tls:1 --yes")
    assert f"tcp://127.0.0.1:{front.port} (TLS)" in shown and "DOCKER_HOST" in shown and "Docker Engine 2" in shown
    assert "built by TLS" in build and "said by TLS" in run


def test_the_sandbox_runs_its_pods_on_the_engine_behind_tls(tls_lab, front):
    status = tls_lab.command("sandbox", "up").stdout
    assert f"tcp://127.0.0.1:{front.port} (TLS)" in status
    assert trials_of(tls_lab, "by-tls") == 3


def trials_of(lab, name):
    """Runs an Experiment of three trials; returns how many succeeded with their metric."""
    manifest = experiment(name, "katlab/base:1", ["sh", "-c", "echo accuracy=${trialParameters.lr}"],
                          maxTrialCount=3, parallelTrialCount=3)
    (lab.directory / f"{name}.json").write_text(json.dumps(manifest))
    *_, trials = lab.run(f":experiment create {name}.json", f":experiment wait {name} --timeout 60",
                         f":trials {name} --output json")
    return sum(trial["metrics"]["accuracy"]["value"] == trial["parameters"]["lr"] for trial in json.loads(trials))


def test_each_way_tls_fails_says_what_to_do(tls_lab, authority, client, front, tmp_path):
    def refused(port=front.port, folder=client, host="127.0.0.1", **environment):
        tls_lab.environment.update(DOCKER_HOST=f"tcp://{host}:{port}", DOCKER_CERT_PATH=str(folder), **environment)
        text = tls_lab.fails(":images")
        assert "DOCKER_HOST" in text and "→" in text, text
        return text

    other = Authority(tmp_path, "other")
    wrong_authority = other.sign("client")
    assert f"Copy the ca.pem of that engine to {wrong_authority}" in refused(folder=wrong_authority)
    # A certificate that another authority signed, with the right ca.pem.
    shutil.copy(authority.directory / "ca.pem", wrong_authority)
    assert "does not accept the certificate we show" in refused(folder=wrong_authority)

    bare = tmp_path / "bare"
    bare.mkdir()
    assert f"no ca.pem in {bare}" in refused(folder=bare)
    shutil.copy(authority.directory / "ca.pem", bare)
    assert f"Put cert.pem and key.pem, signed by the engine's authority, into {bare}" in refused(folder=bare)
    shutil.copy(client / "cert.pem", bare)
    assert "cert.pem and key.pem belong together" in refused(folder=bare)
    (bare / "key.pem").write_text("no key at all\n")
    assert "key.pem" in refused(folder=bare)

    named = tls_front(authority.sign("named", "DNS:engine.example"), authority)
    assert "is for another host" in refused(port=named.port)
    named.close()
    # Signed for less than no days.
    expired = tls_front(authority.sign("expired", days="-1"), authority)
    assert "out of date" in refused(port=expired.port)
    expired.close()

    plain = Front(socket.create_server(("127.0.0.1", 0)), engine_socket)
    assert "does not speak TLS" in refused(port=plain.port)
    plain.close()
    tls_lab.environment.pop("DOCKER_TLS_VERIFY")
    refused()


def test_a_docker_context_with_its_certificates_leads_to_the_engine_and_the_sandbox_follows(tls_lab, front, client):
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        tls_lab.environment.pop(name)
    key = hashlib.sha256(b"far").hexdigest()
    meta, files = (tls_lab.docker_config / "contexts" / kind / key for kind in ("meta", "tls"))
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": "far", "Metadata": {}, "Endpoints": {
        "docker": {"Host": f"tcp://127.0.0.1:{front.port}", "SkipTLSVerify": False}}}))
    shutil.copytree(client, files / "docker")
    (tls_lab.docker_config / "config.json").write_text(json.dumps({"currentContext": "far"}))
    # The docker CLI reads the very same files.
    assert subprocess.run(["docker", "version"], env=tls_lab.environment, capture_output=True).returncode == 0
    address = f"tcp://127.0.0.1:{front.port} (TLS)"
    shown, = tls_lab.run(":lab")
    assert address in shown and "the current docker context `far`" in shown
    assert address in tls_lab.command("sandbox", "up").stdout
    assert trials_of(tls_lab, "by-context") == 3

    # Another engine for the session than for the sandbox is told.
    *_, shown, _ = tls_lab.run(":env set DOCKER_HOST=unix:///var/run/docker.sock", ":lab", ":env unset DOCKER_HOST")
    assert "the sandbox runs its pods on another engine" in shown and address in shown

    tls_lab.command("sandbox", "down")
    tls_lab.environment["DOCKER_CONTEXT"] = "gone"
    try:
        assert "`gone`" in tls_lab.fails(":images")
        process = tls_lab.command("sandbox", "up", check=False)
        assert process.returncode != 0 and "the docker context `gone` cannot be used" in process.stderr, process.stderr
    finally:
        del tls_lab.environment["DOCKER_CONTEXT"]


def test_the_sessions_own_engine_is_that_of_its_sandbox(tls_lab, front, client):
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        tls_lab.environment.pop(name)
    settings = f":env set DOCKER_HOST=tcp://127.0.0.1:{front.port} DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH={client}"
    *_, shown = tls_lab.run(settings, ":experiments", ":lab")
    assert "another engine" not in shown
    assert f"tcp://127.0.0.1:{front.port} (TLS)" in tls_lab.command("sandbox", "status").stdout


# ---- Podman ----

def within_network(pid, action):
    """Does something within the network of a process; sockets made there stay there."""
    done = []

    def enter():
        with open(f"/proc/{pid}/ns/net") as network:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(network.fileno(), 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        done.append(action())

    # Of a thread's own: it ends with the thread.
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return done[0]


class Podman:
    """Podman's service with storage and a network of its own, so that nothing of the machine is touched."""

    def __init__(self, insecure):
        # A Unix socket's path has little room.
        self.directory = pathlib.Path(f"/tmp/katlab-podman-{os.getpid()}")
        self.directory.mkdir()
        self.address = f"unix://{self.directory}/podman.sock"
        # Podman wants more than a container may have that may not raise its limits.
        files, processes = (min(resource.getrlimit(kind)[1] % 2**63, 4096)
                            for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
        # Podman is not told later: a SIGHUP makes it lose its storage settings.
        self.registries = self.directory / "registries.conf"
        self.registries.write_text(f'[[registry]]\nlocation = "{insecure}"\ninsecure = true\n')
        (self.directory / "containers.conf").write_text(
            f'[containers]\ndefault_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n')
        self.log = open(self.directory / "log", "ab")
        self.fronts = []
        self.start()
        wait_until(lambda: self.docker("version").returncode == 0, 30, f"Podman's service ({self.directory}/log)")

    def start(self):
        # Its images are in memory, and gone with its mounts: taking them off a disk may take half a minute.
        root = self.directory / "root"
        root.mkdir()
        command = ["unshare", "--net", "--mount", "sh", "-c",
                   f'ip link set lo up && mount -t tmpfs tmpfs {root} && exec "$@"', "sh",
                   "podman", "--root", root, "--runroot", self.directory / "run", "--tmpdir", self.directory / "tmp",
                   "system", "service", "--time", "0", self.address]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env={
            **os.environ, "CONTAINERS_CONF": str(self.directory / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.registries)})

    def docker(self, *arguments, **options):
        return subprocess.run(["docker", *arguments], env={**os.environ, "DOCKER_HOST": self.address},
                              capture_output=True, text=True, **options)

    def lead_to(self, port, within=0):
        """Lets Podman reach a port of this machine's loopback; returns the port there."""
        listener = within_network(self.process.pid, lambda: socket.create_server(("127.0.0.1", within)))
        self.fronts.append(Front(listener, lambda: socket.create_connection(("127.0.0.1", port))))
        return self.fronts[-1].port

    def stop(self):
        for front in self.fronts:
            front.close()
        while left := self.docker("ps", "-aq").stdout.split():
            # Those that share a network go one after the other.
            self.docker("rm", "-f", *left)
        # Asked to end, it would wait for connections that are open.
        self.process.kill()
        self.process.wait(30)
        self.log.close()
        shutil.rmtree(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="module")
def podman(registry):
    # `make setup-test` installs it, so its absence is a failure.
    podman = Podman(insecure=registry.host)
    try:
        image = subprocess.Popen(["docker", "save", "katlab/base:1"], stdout=subprocess.PIPE)
        loaded = subprocess.run(["docker", "load"], stdin=image.stdout, capture_output=True, text=True,
                                env={**os.environ, "DOCKER_HOST": podman.address})
        assert loaded.returncode == 0, loaded.stderr
        yield podman
    finally:
        podman.stop()


@pytest.fixture(scope="module")
def podman_lab(tmp_path_factory, podman):
    lab = make_lab(tmp_path_factory, DOCKER_HOST=podman.address)
    yield lab
    lab.command("sandbox", "reset", "--yes")


def test_podman_builds_lists_runs_tags_and_removes(podman_lab):
    (podman_lab.directory / "hello").mkdir()
    (podman_lab.directory / "hello/Dockerfile").write_text(
        "FROM katlab/base:1\nRUN echo at build time\nCMD [\"echo\", \"hello from the image\"]\n")
    shown, build, again, images, run, _, tagged, plan, _ = podman_lab.run(
        ":lab",
        ":build hello -t katlab-test/hello:1",
        ":build hello -t katlab-test/hello:1",
        ":images",
        ":run katlab-test/hello:1",
        ":tag katlab-test/hello:1 plain:2",
        ":images --output name",
        ":rmi katlab-test/hello:1",
        ":rmi katlab-test/hello:1 plain:2 --yes",
    )
    assert "Podman 4" in shown
    assert "at build time" in build and "-->" not in build and "COMMIT" not in build
    assert "from the cache" in again
    assert "localhost/" not in images and "docker.io/" not in images
    assert "hello from the image" in run and "exit code 0" in run
    assert {"katlab/base:1", "katlab-test/hello:1", "plain:2"} <= set(tagged.split())
    assert "stays as plain:2" in plan


def test_what_goes_wrong_on_podman_reads_as_on_docker(podman_lab):
    (podman_lab.directory / "broken").mkdir()
    (podman_lab.directory / "broken/Dockerfile").write_text("FROM katlab/base:1\nRUN echo about to fail && exit 7\n")
    text = podman_lab.fails(":build broken -t x:1")
    assert "about to fail" in text and "step 2/2" in text and ":run" in text
    (podman_lab.directory / "modern").mkdir()
    (podman_lab.directory / "modern/Dockerfile").write_text("FROM katlab/base:1\nRUN --mount=type=cache,target=/x true\n")
    assert "BuildKit" in podman_lab.fails(":build modern -t x:1")
    assert "Did you mean `katlab/base:1`?" in podman_lab.fails(":run katlab/bas:1")
    text = podman_lab.fails(":run katlab/base:1 sh -c 'echo some words; exit 3'")
    assert "some words" in text and "exit code 3" in text
    assert "exit code 127" in podman_lab.fails(":run katlab/base:1 no-such-command")
    assert "exit code 126" in podman_lab.fails(":run katlab/base:1 /etc/passwd")
    try:
        text = podman_lab.fails(":run -d --name katlab-test-twin katlab/base:1 sleep 600",
                                ":run --name katlab-test-twin katlab/base:1 true")
        assert "Choose another name" in text
        assert "Remove the container first" in podman_lab.fails(":rmi katlab/base:1 --yes")
    finally:
        podman_lab.run("!docker rm -f katlab-test-twin")
    assert "no-such:1" in podman_lab.fails(":rmi no-such:1 --yes")
    assert "nowhere" in podman_lab.fails(":run --network nowhere katlab/base:1 true")


def test_podman_pushes_and_pulls_with_a_login_where_the_registry_is_allowed(podman_lab, podman, registry):
    (podman_lab.directory / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    refused = f"127.0.0.1:{podman.lead_to(registry.port)}"
    text = podman_lab.fails(f":build . -t {refused}/project/tiny:1", f":push {refused}/project/tiny:1")
    assert "/etc/containers/registries.conf.d" in text and f'location = "{refused}"' in text
    podman.lead_to(registry.port, within=registry.port)
    image = f"{registry.host}/project/tiny:1"
    podman_lab.run(f":build . -t {image}")
    assert f":registry login {registry.host}" in podman_lab.fails(f":push {image}")
    login = f":registry login {registry.host} --username {registry.user} --password-from REGISTRY_SECRET"
    _, pushed, _, pulled, listed = podman_lab.run(
        login, f":push {image}", f":rmi {image} --yes", f":pull {image}", ":images --output name",
        options=("--set", f"REGISTRY_SECRET={registry.password}"))
    assert "sha256:" in pushed and "sha256:" in pulled and image in listed
    assert "none-such" in podman_lab.fails(f":pull {registry.host}/project/none-such:1")


def test_an_experiment_runs_on_podman_and_leaves_nothing(podman_lab, podman):
    assert podman.address in podman_lab.command("sandbox", "up").stdout
    assert trials_of(podman_lab, "on-podman") == 3
    # Containers of one pod share a network, which Podman wants taken down in order.
    manifest = experiment("several", "katlab/base:1", None, maxTrialCount=1, parallelTrialCount=1, maxFailedTrialCount=1)
    spec = manifest["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]
    mount = [{"name": "shared", "mountPath": "/shared"}]
    main = "until test -e /shared/ready; do sleep 0.1; done; echo accuracy=${trialParameters.lr}"
    spec["volumes"] = [{"name": "shared", "emptyDir": {}}]
    spec["containers"] = [
        {"name": "main", "image": "katlab/base:1", "command": ["sh", "-c", main], "volumeMounts": mount},
        {"name": "side", "image": "katlab/base:1", "command": ["touch", "/shared/ready"], "volumeMounts": mount}]
    (podman_lab.directory / "several.json").write_text(json.dumps(manifest))
    podman_lab.run(":experiment create several.json", ":experiment wait several --timeout 60")
    names = podman.docker("ps", "-a", "--format", "{{.Names}}").stdout
    assert "several" in names and "on-podman" in names
    kubeconfig = podman_lab.command("sandbox", "kubeconfig").stdout.strip()
    address = subprocess.run(
        ["kubectl", "--kubeconfig", kubeconfig, "get", "pods", "-n", manifest["metadata"]["namespace"],
         "-l", "katib.kubeflow.org/experiment=several", "-o", "jsonpath={.items[*].status.podIP}"],
        check=True, capture_output=True, text=True).stdout
    assert address.startswith("10."), address
    podman_lab.run(":experiment delete several --yes", ":experiment delete on-podman --yes")
    wait_until(lambda: not podman.docker("ps", "-aq").stdout.strip(), 30, "Podman without containers")
    assert not podman.docker("volume", "ls", "-q").stdout.strip()
