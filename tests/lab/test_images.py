"""Images from cells: what works, and what a person reads when it does not."""

import json
import os
import signal
import subprocess
import time

import pytest

from conftest import wait_until


@pytest.fixture(scope="module")
def context(lab):
    directory = lab.directory / "context"
    directory.mkdir()
    (directory / "Dockerfile").write_text("FROM katlab/base:1\nCOPY . /app\nRUN ls /app\nCMD [\"echo\", \"hello from the image\"]\n")
    (directory / ".dockerignore").write_text("*.log\n!keep.log\n")
    (directory / "app.py").write_text("print('app')\n")
    (directory / "noise.log").write_text("x")
    (directory / "keep.log").write_text("x")
    return directory


def test_a_silent_program_shows_that_it_runs_and_leaves_no_trace_of_that(lab):
    notebook = lab.directory / "silent.ipynb"
    notebook.write_text(json.dumps({
        "cells": [{"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": [],
                   "source": ":run katlab/base:1 sh -c 'sleep 2; echo over'"}],
        "metadata": {"language_info": {"name": "rust"}}, "nbformat": 4, "nbformat_minor": 5}))
    process, executed = lab.notebook(notebook)
    assert "silent for 1 s" in process.stdout
    outputs = executed["cells"][0]["outputs"]
    assert "silent" not in str(outputs) and len(outputs) == 2, outputs


def test_an_image_is_built_listed_run_tagged_and_removed(lab, context):
    build, images, run, tag, listed, removed = lab.run(
        ":build context -t katlab-test/hello:1",
        ":images katlab-test/hello",
        ":run katlab-test/hello:1",
        ":tag katlab-test/hello:1 katlab-test/hello:2",
        ":images katlab-test/hello --output name",
        ":rmi katlab-test/hello:1 katlab-test/hello:2 --yes",
    )
    assert "keep.log" in build and "noise.log" not in build
    assert "katlab-test/hello" in images
    assert "hello from the image" in run
    assert "katlab-test/hello:2" in listed
    assert subprocess.run(["docker", "image", "inspect", "katlab-test/hello:2"], capture_output=True).returncode != 0


def test_a_failing_step_shows_its_output_and_its_number(lab):
    (lab.directory / "broken").mkdir()
    (lab.directory / "broken/Dockerfile").write_text("FROM katlab/base:1\nRUN echo about to fail && exit 7\n")
    text = lab.fails(":build broken -t katlab-test/broken:1")
    assert "about to fail" in text
    assert "RUN echo about to fail && exit 7" in text
    assert "7" in text


def test_what_is_missing_is_named(lab):
    assert "no-such-folder" in lab.fails(":build no-such-folder -t x:1")
    (lab.directory / "empty").mkdir()
    assert "Dockerfile" in lab.fails(":build empty -t x:1")
    listed, = lab.run(":images katlab/bse")
    assert "did you mean katlab/base:" in listed
    text = lab.fails(":run katlab-test/helo:1")
    assert "katlab-test/helo:1" in text
    assert "katlab-test/Hello:1" in lab.fails(":tag katlab-test/hello:1 katlab-test/Hello:1")
    assert "NO_SUCH_NAME" in lab.fails(":build context -t $NO_SUCH_NAME")


def test_a_containers_exit_code_is_explained(lab):
    text = lab.fails(":run katlab/base:1 sh -c 'echo some words; exit 3'")
    assert "some words" in text and "3" in text


def test_an_existing_file_is_not_overwritten_by_a_download(lab, tmp_path):
    import functools
    import http.server
    import threading

    (tmp_path / "data.txt").write_text("from the web\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        lab.run(f":download {url}/data.txt -o got/data.txt")
        assert (lab.directory / "got/data.txt").read_text() == "from the web\n"
        (lab.directory / "got/data.txt").write_text("mine")
        assert "--force" in lab.fails(f":download {url}/data.txt -o got/data.txt")
        assert (lab.directory / "got/data.txt").read_text() == "mine"
        lab.run(f":download {url}/data.txt -o got/data.txt --force")
        assert "404" in lab.fails(f":download {url}/nothing -o got/nothing")
        assert not (lab.directory / "got/nothing").exists()
    finally:
        server.shutdown()
    assert str(server.server_port) in lab.fails(f":download {url}/data.txt -o got/late.txt")


def test_without_an_engine_one_sentence_says_what_to_do(lab):
    lab.environment["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
    try:
        text = lab.fails(":images")
    finally:
        del lab.environment["DOCKER_HOST"]
    assert "/nonexistent/docker.sock" in text


def test_an_engine_that_dies_during_a_build_ends_the_cell(lab, own_engine):
    address, engine = own_engine
    (lab.directory / "slow").mkdir()
    (lab.directory / "slow/Dockerfile").write_text("FROM katlab/base:1\nRUN sleep 600\n")
    lab.environment["DOCKER_HOST"] = address
    environment = {**os.environ, "DOCKER_HOST": address}
    import threading

    def kill_when_running():
        wait_until(lambda: subprocess.run(["docker", "ps", "-q"], env=environment, capture_output=True).stdout.strip())
        engine.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill_when_running)
    killer.start()
    try:
        text = lab.fails(":build slow -t katlab-test/slow:1", timeout=120)
    finally:
        del lab.environment["DOCKER_HOST"]
        killer.join()
    assert "engine" in text.lower(), text
