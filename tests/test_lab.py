"""A notebook in JupyterLab, in a real browser: Run All succeeds, and its figures show and turn."""

import json
import os
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
SMALL = {"latent_points": 20, "epochs": 1, "train_images": 2000, "seeds": 1}
CAMERA = "() => JSON.stringify(document.querySelectorAll('.js-plotly-plot')[0].layout.scene.camera)"


def small(source: str) -> str:
    """A parameters cell with the values of `SMALL` in place of its own."""
    for name, value in SMALL.items():
        source, found = re.subn(rf"(?m)^({name}: [^=]+ = )\S+", rf"\g<1>{value}", source)
        assert found == 1, f"{name} is no parameter of the notebook"
    return source


@pytest.fixture
def lab(tmp_path, browser):
    """The address of a JupyterLab over a folder that holds the surface notebook."""
    notebook = nbformat.read(ROOT / "notebooks" / "surface.ipynb", as_version=4)
    parameters = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    parameters["source"] = small(parameters["source"])
    nbformat.write(notebook, tmp_path / "surface.ipynb")
    # All cells stay in the page, not only those in sight, so that the test can count them.
    settings = tmp_path / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    token = secrets.token_hex(16)
    environment = {
        **os.environ,
        "JUPYTER_PATH": f"{sys.prefix}/share/jupyter",
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--port=0", "--allow-root"]
    options = [f"--notebook-dir={tmp_path}", f"--IdentityProvider.token={token}"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([*command, *options], stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + 60
        while not (found := list((tmp_path / "runtime").glob("jpserver-*.json"))):
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, "JupyterLab did not start"
            time.sleep(0.2)
        time.sleep(0.5)  # the file is there a moment before it is whole
        url = json.loads(found[0].read_text())["url"]
        yield f"{url}lab/tree/surface.ipynb?reset&token={token}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_run_all_in_jupyterlab_draws_figures_that_turn(lab, browser):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(lab, timeout=60_000)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_selector('.jp-StatusBar-TextItem:has-text("| Idle")', timeout=60_000)
    page.click('.lm-MenuBar-item:has-text("Run")')
    page.click('.lm-Menu-item[data-command="runmenu:run-all"]')
    prompts = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(e => e.innerText)"
    cells = sum(
        cell.cell_type == "code"
        for cell in nbformat.read(ROOT / "notebooks" / "surface.ipynb", as_version=4).cells
    )
    done = f"{prompts}.filter(p => /\\[\\d+\\]/.test(p)).length === {cells}"
    page.wait_for_function(done, timeout=180_000)
    assert page.query_selector("[data-mime-type='application/vnd.jupyter.error']") is None
    surface = page.locator(".js-plotly-plot").first
    surface.scroll_into_view_if_needed()
    page.wait_for_function(
        "document.querySelectorAll('.js-plotly-plot')[0]?.querySelector('canvas')", timeout=60_000
    )
    page.wait_for_timeout(1500)
    before = page.evaluate(CAMERA)
    box = surface.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y + 30, steps=8)
    page.mouse.up()
    page.wait_for_timeout(500)
    if folder := os.environ.get("AECORE_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/lab.png")
    assert page.evaluate(CAMERA) != before
