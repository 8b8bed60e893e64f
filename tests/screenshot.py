"""Opens an executed notebook in JupyterLab in Chromium and takes a picture.

    screenshot.py NOTEBOOK PICTURE.png [TEXT]

With TEXT, the page is scrolled to the first output that contains it.
"""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from playwright.sync_api import sync_playwright


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def opened(notebook, size=(1280, 900)):
    """The page of JupyterLab in Chromium with a copy of a notebook."""
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(notebook, pathlib.Path(scratch) / "notebook.ipynb")
        port = free_port()
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1",
             "--IdentityProvider.token=", "--ServerApp.password=", f"--notebook-dir={scratch}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=2)
                    break
                except OSError:
                    assert time.monotonic() < deadline and server.poll() is None, "JupyterLab did not start"
                    time.sleep(0.2)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"),
                    args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
                          "--disable-component-update", "--no-first-run"])
                page = browser.new_page(viewport={"width": size[0], "height": size[1]})
                page.goto(f"http://127.0.0.1:{port}/lab/tree/notebook.ipynb?reset")
                page.wait_for_selector(".jp-OutputArea-output", timeout=60000)
                yield page
                browser.close()
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                # Its kernels have ended and it listens no more; a thread of its own holds it up now and then.
                server.kill()
                server.wait()


def take(notebook, picture, text=None):
    with opened(notebook) as page:
        # The side bar takes a third of the picture and says nothing.
        page.keyboard.press("Control+b")
        news = page.get_by_role("button", name="No", exact=True)
        if news.count():
            news.first.click()
        page.wait_for_timeout(1500)
        if text:
            # A long notebook is drawn as it is scrolled to.
            for _ in range(80):
                target = page.locator(".jp-OutputArea-output", has_text=text)
                if target.count():
                    target.first.evaluate("output => output.scrollIntoView({block: 'center'})")
                    break
                page.locator(".jp-WindowedPanel-outer").first.evaluate("panel => panel.scrollBy(0, 500)")
                page.wait_for_timeout(150)
            else:
                raise AssertionError(f"no output contains {text!r}")
        page.wait_for_timeout(1500)
        page.screenshot(path=picture)


if __name__ == "__main__":
    take(*sys.argv[1:])
