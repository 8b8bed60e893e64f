"""Outputs as JupyterLab shows them, in Chromium."""

import nbformat
import pytest

from cells import Lab
from screenshot import opened

SETTINGS = """\
FORMULA='$a_1$ or $b_2$'
MARKUP='<img src=x onerror="document.title = 1"><b>bold</b>'
"""


@pytest.fixture
def lab(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    return Lab(tmp_path / "home", work)


def test_values_stay_text(lab):
    (lab.directory / "lab.env").write_text(SETTINGS)
    made = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_markdown_cell("A formula of the author: $x^2$"),
        nbformat.v4.new_code_cell(":env load lab.env\n:env"),
    ])
    made.metadata.kernelspec = {"name": "katlab", "display_name": "katlab", "language": "rust"}
    nbformat.write(made, lab.directory / "n.ipynb")
    lab.command("run", "n.ipynb", "-o", "out.ipynb")
    with opened(lab.directory / "out.ipynb") as page:
        # Formulas have been looked for once this one is there.
        page.wait_for_selector(".jp-MarkdownOutput mjx-container", timeout=30000)
        output = page.locator(".jp-OutputArea-output").last
        assert "$a_1$ or $b_2$" in output.inner_text()
        assert "<b>bold</b>" in output.inner_text()
        assert page.locator(".jp-CodeCell mjx-container, .jp-CodeCell img").count() == 0
        assert page.title() != "1"
