"""Fixtures that all whole-product tests share."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from cells import BINARY  # noqa: E402
from jupyter import Kernel  # noqa: E402


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With several workers (`-n`): the kernel's tests run beside the lab's, which run one after another, for the port
    of Katib's DBManager on the engine's bridge belongs to one sandbox at a time."""
    from xdist.scheduler import LoadScopeScheduling

    class ByRoom(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.split("::")[0]
            return "lab" if path.startswith("lab/") else path

    return ByRoom(config, log)


@pytest.fixture(scope="session")
def katlab_bin():
    """The binary under test."""
    assert BINARY.exists(), f"{BINARY} does not exist; build it, or name it in KATLAB_BIN"
    return BINARY


@pytest.fixture
def kernel(katlab_bin, tmp_path):
    """A kernel of the test's own, with a home of its own."""
    with Kernel(tmp_path / "home", cwd=tmp_path) as kernel:
        yield kernel


@pytest.fixture(scope="module")
def warm(katlab_bin, tmp_path_factory):
    """A kernel whose Rust engine runs, shared by the tests of a module."""
    directory = tmp_path_factory.mktemp("kernel")
    with Kernel(directory / "home", cwd=directory) as kernel:
        kernel.run("let ready: bool = true;")
        yield kernel
