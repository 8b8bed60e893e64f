"""Jupyter's own conformance suite, all twelve tests, with full samples."""

import os

import jupyter_kernel_test
import pytest
from jupyter_client.kernelspec import KernelSpecManager

jupyter_kernel_test.TIMEOUT = 120


@pytest.fixture(scope="module", autouse=True)
def installed(katlab_bin, tmp_path_factory):
    """The kernel, installed by its own command into a prefix that Jupyter is told of."""
    import subprocess

    prefix = tmp_path_factory.mktemp("prefix")
    subprocess.run([katlab_bin, "install", "--prefix", prefix], check=True, capture_output=True)
    before = dict(os.environ)
    os.environ["JUPYTER_PATH"] = str(prefix / "share" / "jupyter")
    os.environ["KATLAB_HOME"] = str(prefix / "home")
    yield
    os.environ.clear()
    os.environ.update(before)


def test_the_kernelspec_is_found(installed):
    spec = KernelSpecManager().get_kernel_spec("katlab")
    assert spec.language == "rust" and spec.interrupt_mode == "message"
    assert "{connection_file}" in spec.argv


class TestConformance(jupyter_kernel_test.KernelTests):
    kernel_name = "katlab"
    language_name = "rust"
    file_extension = ".rs"
    code_hello_world = 'println!("hello, world");'
    code_stderr = 'eprintln!("oops");'
    completion_samples = [
        {"text": ":registry logi", "matches": ["login"]},
        {"text": ":show_d", "matches": [":show_deps"]},
        {"text": "let word = String::new(); word.is_emp", "matches": ["is_empty"]},
    ]
    complete_code_samples = ["1 + 1", "let x: i32 = 1;", ":help", "fn f() {\n    1\n}", '!ls "a"']
    incomplete_code_samples = ["fn f() {", "let x =", '"open', ":env \\", "vec![1,"]
    invalid_code_samples = ["fn f() { ) }"]
    code_page_something = ":env?"
    code_generate_error = 'panic!("on purpose");'
    code_execute_result = [
        {"code": "1 + 1", "result": "2"},
        {"code": "1 + 1", "result": "2"},
        {"code": "1 + 1", "result": "2"},
    ]
    code_display_data = [
        {"code": 'katlab::display(&[("text/html", "<b>hi</b>"), ("text/plain", "hi")])?;', "mime": "text/html"},
        {"code": ":help", "mime": "text/plain"},
    ]
    supported_history_operations = ("tail", "range", "search")
    code_history_pattern = "1?+*1"
    code_inspect_sample = ":env"
    code_clear_output = "katlab::clear(false)?;"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # The first Rust cell shows that the engine starts; the suite counts messages. The first
        # completion waits for the analyser to read the standard library.
        cls.kc.execute_interactive("let ready: bool = katlab::env(\"NOTHING\").is_err();", timeout=180)
        cls.kc.complete("let word = String::new(); word.is_emp")
        cls.kc.get_shell_msg(timeout=120)
