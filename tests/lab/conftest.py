"""A lab for each test module: its own home, working directory and sandbox."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from cells import ROOT, Lab


def make_lab(tmp_path_factory, **environment):
    home = tmp_path_factory.mktemp("home") / "katlab"
    work = tmp_path_factory.mktemp("work")
    shutil.copytree(ROOT / "notebooks", work / "notebooks", dirs_exist_ok=True)
    return Lab(home, work / "notebooks", **environment)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lab that the tests of a module share. Its sandbox is removed with everything it made."""
    lab = make_lab(tmp_path_factory)
    yield lab
    lab.command("sandbox", "reset", "--yes", check=False)


@pytest.fixture
def fresh_lab(tmp_path_factory):
    """A lab of the test's own."""
    lab = make_lab(tmp_path_factory)
    yield lab
    lab.command("sandbox", "reset", "--yes", check=False)


@pytest.fixture(scope="session")
def training_image():
    """The lab's training image, built once by the engine itself."""
    name = "katlab-test/training:1"
    subprocess.run(["docker", "build", "-q", "-t", name, ROOT / "notebooks/hpt/docker"],
                   check=True, capture_output=True, env={**os.environ, "DOCKER_BUILDKIT": "0"})
    return name


@pytest.fixture(scope="session")
def sdk_image(tmp_path_factory):
    """An image with the Katib SDK, which trials report with, and an algorithm of a user's own, which it speaks
    Katib's gRPC API with. Its packages are fetched for the image's Python, whichever that is."""
    name, context = "katlab-test/katib-sdk:1", tmp_path_factory.mktemp("sdk-image")
    version = "import sys; print('{}.{}'.format(*sys.version_info))"
    python = subprocess.run(["docker", "run", "--rm", "katlab/base:1", "python3", "-c", version],
                            check=True, capture_output=True, text=True).stdout.strip()
    wanted = (ROOT / "tests/requirements.txt").read_text().splitlines()
    wanted = [line for line in wanted if line.startswith(("kubeflow-katib", "grpcio-health-checking", "kubernetes"))]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile",
                    "--target", context / "packages", "--python-version", python, "--only-binary=:all:", *wanted],
                   check=True)
    shutil.copy(pathlib.Path(__file__).parent / "own_algorithm.py", context)
    (context / "Dockerfile").write_text(
        "FROM katlab/base:1\nCOPY packages /packages\nCOPY own_algorithm.py /algorithm/\n"
        "ENV PYTHONPATH=/packages PYTHONUNBUFFERED=1\n"
        # The algorithm takes of the SDK the modules of the API alone: the whole takes seconds to load.
        "RUN cd /algorithm && mkdir -p kubeflow/katib && touch kubeflow/katib/__init__.py"
        " && cp /packages/kubeflow/katib/katib_api_pb2*.py kubeflow/katib\n"
        # Loaded once, everything is compiled once.
        "RUN cd /algorithm && python3 -c 'import own_algorithm' && cd / && python3 -c 'import kubeflow.katib'\n"
        "RUN command -v python || ln -s \"$(command -v python3)\" /usr/local/bin/python\n")
    subprocess.run(["docker", "build", "-q", "-t", name, context],
                   check=True, capture_output=True, env={**os.environ, "DOCKER_BUILDKIT": "0"})
    return name


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(condition, seconds=60, what="the condition"):
    """Waits for a condition; returns its value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what} did not hold within {seconds} s")


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Registry:
    """Debian's docker-registry with a password file, on a free loopback port."""

    user, password = "learner", "pa~ss?word/한글"

    def __init__(self, directory, tls=False):
        self.directory, self.port = directory, free_port()
        self.host = f"127.0.0.1:{self.port}"
        hashed = subprocess.run(["htpasswd", "-Bbn", self.user, self.password],
                                check=True, capture_output=True, text=True).stdout
        (directory / "htpasswd").write_text(hashed)
        settings = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.host},
            "auth": {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}},
        }
        if tls:
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                 "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", directory / "key.pem", "-out", directory / "cert.pem"],
                check=True, capture_output=True)
            settings["http"]["tls"] = {"certificate": str(directory / "cert.pem"), "key": str(directory / "key.pem")}
        (directory / "config.yml").write_text(json.dumps(settings))
        self.start()

    def start(self):
        self.log = open(self.directory / "log", "ab")
        self.process = subprocess.Popen(["docker-registry", "serve", str(self.directory / "config.yml")],
                                        stdout=self.log, stderr=self.log)
        wait_until(lambda: answers(self.port), 30, "the registry's port")

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    registry = Registry(tmp_path_factory.mktemp("registry"))
    yield registry
    registry.stop()


@pytest.fixture
def own_engine(tmp_path_factory):
    """A second Docker Engine of the test's own, which it may kill. Yields (DOCKER_HOST, process)."""
    # A Unix socket's path has little room.
    directory = pathlib.Path(f"/tmp/katlab-engine-{os.getpid()}")
    directory.mkdir()
    address = f"unix://{directory}/docker.sock"
    # In a network of its own: an engine that starts without a bridge removes `docker0`, and with it
    # the network of the engine that everybody else uses.
    command = ["unshare", "--net", "dockerd", "--host", address, "--data-root", directory / "data", "--exec-root", directory / "exec",
               "--pidfile", directory / "pid", "--bridge", "none", "--iptables=false", "--ip-masq=false"]
    log = open(directory / "log", "ab")
    process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
    environment = {**os.environ, "DOCKER_HOST": address}
    try:
        wait_until(lambda: subprocess.run(["docker", "version"], env=environment, capture_output=True).returncode == 0,
                   60, "the second engine")
        image = subprocess.Popen(["docker", "save", "katlab/base:1"], stdout=subprocess.PIPE)
        subprocess.run(["docker", "load", "-q"], stdin=image.stdout, env=environment, check=True, capture_output=True)
        yield address, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        log.close()
        shutil.rmtree(directory, ignore_errors=True)
