"""The notebooks as people run them: with plain papermill, and on images of their own."""

import html
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from test_book import project_in

from aecore.data import load
from aecore.page.claims import ANSWER, CLAIM
from aecore.publish import batch
from aecore.publish import pages as book
from aecore.publish.fill import of_kind
from aecore.store.sources import DataError

ROOT = Path(__file__).parent.parent
NEED_CLASSES = {"surface", "morphing", "variational", "projections", "neighbors", "transfer"}
NEED_CLASSES |= {"lowest", "strangers"}


def test_papermill_runs_a_notebook_as_its_users_type_it(tmp_path, tiny):
    words = ["latent_points", "12", "dataset", tiny, "epochs", "1", "seeds", "1"]
    options = [word for pair in zip(words[::2], words[1::2], strict=True) for word in ("-p", *pair)]
    notebook, output = ROOT / "notebooks" / "surface.ipynb", tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook), str(output), *options]
    before = notebook.read_bytes()
    done = subprocess.run(
        [*command, "--no-progress-bar"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "JUPYTER_PATH": f"{sys.prefix}/share/jupyter"},
    )
    assert done.returncode == 0, done.stderr
    outputs = [
        o for cell in nbformat.read(output, as_version=4).cells for o in cell.get("outputs", [])
    ]
    plots = [o.data["application/vnd.plotly.v1+json"] for o in outputs
             if "application/vnd.plotly.v1+json" in o.get("data", {})]  # fmt: skip
    assert plots[0]["data"][0]["type"] == "surface"
    assert plots[0]["data"][0]["z"]["shape"] == "12, 12"
    assert notebook.read_bytes() == before


@pytest.fixture
def one_worker(monkeypatch):
    """A single process for a page's few images: starting a second one takes longer than they do."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")


def own_images(path, labels=None, counts=(60, 30), of_test=None, channels=3):
    """Small pictures that are not square, of the classes in `labels`, and for testing `of_test`."""
    random = np.random.default_rng(0)
    arrays = {}
    for part, count, of in zip(("train", "test"), counts, (labels, of_test or labels), strict=True):
        shape = (count, channels, 13, 10)
        arrays[f"{part}_images"] = random.integers(0, 256, shape, dtype=np.uint8)
        if labels:
            arrays[f"{part}_labels"] = np.resize(of, count)
    np.savez(path, **arrays)
    return str(path)


def read(page) -> str:
    """What a person reads of a page, or has read out, but for its code."""
    article = re.search(r"<article.*</article>", page.read_text(), re.S)[0]
    article = re.sub(r"<(script|style|pre|math|code)\b.*?</\1>", " ", article, flags=re.S)
    spoken = re.findall(r'(?:alt|aria-label)="([^"]*)"', article)
    return html.unescape(re.sub(r"<[^>]+>", " ", article) + " ".join(spoken))


@pytest.mark.fault(
    "the data set is a file called <script>…",
    "its name is text on every page, and no page has the path of a file or the name of a machine",
)
def test_every_notebook_takes_images_of_ones_own_without_labels(tmp_path, one_worker):
    """Colored, not square, and so few that PCA has not its usual 64 components."""
    place = tmp_path / "Bilder größer & kleiner"
    place.mkdir()
    dataset = own_images(place / "own <script>alert('x')<!--.npz", counts=(20, 10))
    out = tmp_path / "out"
    outcomes = batch.run([], "smoke", dataset=dataset, root=ROOT, out=out, progress=False)
    assert {outcome.name for outcome in outcomes} == set(batch.notebooks(ROOT))
    assert not [outcome for outcome in outcomes if outcome.problem]
    root = project_in(tmp_path / "project")
    pages = book.compile(out, root).parent
    host = [name for name in [platform.node()] if len(name) > 7]  # a short one may be a word
    private = [str(tmp_path), str(ROOT), str(Path.home()), "Bilder gr", *host]
    for page in (*pages.rglob("*.html"), *pages.rglob("*.ipynb"), *pages.rglob("*.js")):
        text = page.read_text()
        assert not [word for word in private if word in text], page
        assert "<script>alert" not in text or page.suffix != ".html", page
    assert "own &lt;script&gt;alert" in (pages / "notebooks" / "search.html").read_text()
    for page in (*pages.glob("notebooks/*.html"), pages / "book" / "intro.html"):
        wrong = r"\bnan\b|\bdigits?\b|MNIST were|4 and 9|\b784\b"
        assert not re.search(wrong, read(page), re.I), page
    missing = "This tells classes apart, and the images here have no labels."
    found = {page.stem: read(page).count(missing) for page in pages.glob("notebooks/*.html")}
    assert {name for name, count in found.items() if count} == NEED_CLASSES
    assert not (pages / "notebooks" / "programs.html").exists()


def test_notebooks_that_compare_classes_take_a_test_set_that_lacks_one(tmp_path, one_worker):
    dataset = own_images(tmp_path / "own.npz", [2, 5, 7], of_test=[2, 7])
    outcomes = batch.run(
        sorted(NEED_CLASSES), "smoke", dataset=dataset, root=ROOT, out=tmp_path, progress=False
    )
    assert not [outcome for outcome in outcomes if outcome.problem]
    for outcome in outcomes:
        page = nbformat.read(outcome.path, as_version=4)
        records = [record for kind in (ANSWER, CLAIM) for record in of_kind(page, kind)]
        assert records and not [r for r in records if re.search(r"\bnan\b", r["text"])], outcome


@pytest.mark.parametrize(
    ("labels", "channels", "message"), [([-1, 0], 3, "-1 among them"), ([0, 1], 2, "2 channels")]
)
def test_images_that_the_notebooks_cannot_show_are_refused(tmp_path, labels, channels, message):
    with pytest.raises(DataError, match=message):
        load(own_images(tmp_path / "own.npz", labels, channels=channels))
