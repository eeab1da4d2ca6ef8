"""What several tests share: a small data set and stores of their own."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from chromium import chromium
from command import project_in
from filelock import FileLock

from aecore.corruption import KINDS, Blur, Masking
from aecore.data import load
from aecore.publish import batch, pages
from aecore.store import paths
from aecore.store.entries import Store
from aecore.store.sources import fetch

os.environ.setdefault("AECORE_AT_ONCE", "1")  # pytest's workers fill the cores
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # its kernels run as Python
OUTCOMES = pytest.StashKey[dict]()  # of the tests marked as faults, for the book's page of them
ROOT = Path(__file__).resolve().parent.parent
FAULTS = ROOT / "_build" / "faults.json"
# One of every kind: each takes how strong it is first, or its parts.
CORRUPTIONS = [
    kind((Masking(0.3), Blur(1.0)) if "parts" in kind.__dataclass_fields__ else 0.3)
    for kind in KINDS.values()
]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep what became of a fault: the mark says which, the test's properties give the figures.

    A test that was skipped made no trial, whatever it would have made.
    """
    report = yield
    mark = item.get_closest_marker("fault")
    if mark is not None and report.when == "call":
        outcomes = item.config.stash.setdefault(OUTCOMES, {})
        fault, promise = mark.args
        said = {"trials": 1} | mark.kwargs | dict(item.user_properties)
        row = outcomes.setdefault(fault, {"promise": promise, "trials": 0, "kept": True})
        row["trials"] += 0 if report.skipped else said["trials"]
        row["kept"] &= not report.failed
        row["outcome"] = said.get("outcome", "")
    return report


def pytest_sessionstart(session):
    """Forget the outcomes of earlier runs if this one is of all tests."""
    worker = hasattr(session.config, "workerinput")
    if not worker and session.config.args == session.config.getini("testpaths"):
        FAULTS.unlink(missing_ok=True)


def pytest_sessionfinish(session):
    """Write the outcomes of this run, or of this worker's part of it, over those before."""
    if found := session.config.stash.get(OUTCOMES, {}):
        for row in found.values():  # without a trial nothing was kept, and nothing broken
            row["kept"] = row["kept"] if row["trials"] else None
        FAULTS.parent.mkdir(exist_ok=True)
        with FileLock(FAULTS.with_suffix(".lock")):
            before = json.loads(FAULTS.read_text()) if FAULTS.exists() else {}
            FAULTS.write_text(json.dumps(before | found, indent=1))


def pytest_terminal_summary(terminalreporter):
    """Print what tests have measured."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(value)


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory):
    """A home for this session alone: what the user has stored neither helps nor is touched.

    MNIST is taken from the user's home, and fetched into it if it is not there.
    """
    folder, _ = fetch("mnist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AECORE_DATA", str(folder.parents[1]))
        patch.setenv("AECORE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def paper(tmp_path_factory, home) -> Path:
    """The executed notebooks of the paper edition, made once for all of pytest's workers.

    Where results are kept there are plain files, so whatever a page computed could not be.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(base / "paper.lock"):
        if not (base / "paper").exists():
            place = tmp_path_factory.mktemp("nothing kept")
            for name in ("checkpoints", "runs", "tables", "neighborhoods"):
                (place / name).write_text("no folder")
            with pytest.MonkeyPatch.context() as patch:
                for dataset in ("mnist", "fashion_mnist"):
                    load(dataset)  # fetches the data, if need be, to where they are then found
                patch.setenv("AECORE_DATA", str(paths.home() / "data"))
                patch.setenv("AECORE_HOME", str(place))
                batch.run([], "paper", root=ROOT, out=base / "paper", progress=False)
    return base / "paper"


@pytest.fixture(scope="session")
def built_book(paper) -> Path:
    """The folder of the pages of the paper edition, made once for all of pytest's workers."""
    project = paper.parent / "project"
    with FileLock(paper.parent / "book.lock"):
        if not (project / "_build" / "html").exists():
            pages.compile(paper, project_in(project))
    return project / "_build" / "html"


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium: closed with the module, as its driver leaves no other event loop be."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Ctrl-C reaches what tests start, even if the tests run in the background of a script."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> str:
    """The path of a small .npz data set: 300 + 60 images of 12 x 12 with a bright bar each."""
    random = np.random.default_rng(0)

    def images(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 3
        pixels = random.integers(0, 40, (count, 12, 12))
        for image, label in zip(pixels, labels, strict=True):
            image[3 * label + 1 : 3 * label + 4, random.integers(0, 5) :] += 200
        return pixels.astype(np.uint8), labels

    train_images, train_labels = images(300)
    test_images, test_labels = images(60)
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    arrays = {"train_images": train_images, "train_labels": train_labels}
    np.savez(path, **arrays, test_images=test_images, test_labels=test_labels)
    return str(path)


@pytest.fixture(params=CORRUPTIONS, ids=lambda one: one.label)
def corruption(request):
    """Every kind of corruption, one after the other."""
    return request.param


@pytest.fixture
def shown(monkeypatch) -> list[dict]:
    """The bundles by MIME type of what is displayed."""
    bundles = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: bundles.append(bundle))
    return bundles


@pytest.fixture
def store(tmp_path) -> Store:
    """An empty store of its own, without published layers."""
    return Store(tmp_path / "store", layers=())
