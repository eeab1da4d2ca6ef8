"""Faults that happen, injected for real: what survives them, in figures."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from command import CHECKOUT, aecore

from aecore.runs import Runs, fit
from aecore.spec import Spec
from aecore.store import upkeep
from aecore.store.entries import Store


def inject(fault: str, data: str, root: Path) -> dict:
    """What `faults.py` says of one fault."""
    program = [sys.executable, CHECKOUT / "tests/faults.py", fault, data, root]
    # A process that has trained can be forked where PyTorch sees no GPU.
    alone = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(program, env=alone, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def listed(root: Path) -> dict[str, tuple]:
    """Weights and metrics of every run by its key, as `aecore store ls --json` prints them."""
    done = aecore("store", "ls", "--json", cwd=CHECKOUT, AECORE_HOME=str(root))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    ours = {path.name for path in root.glob("runs/*/*")}
    return {line["key"]: (line["spec"], line["weights"], line["metrics"])
            for line in lines if line["kind"] == "run" and line["key"] in ours}  # fmt: skip


@pytest.mark.fault(
    "the whole process tree is killed (SIGKILL) during a sweep",
    "the same weights and metrics as without kills; of each model only what came after its last "
    "checkpoint is done again",
)
def test_killed_sweeps_end_like_undisturbed_ones(tiny, tmp_path, record_property):
    root, whole = tmp_path / "killed", tmp_path / "whole"
    found = inject("kill", tiny, root)
    base = Spec(dataset=tiny, train_images=128, batch_size=64, dropout=0.2, latent_dim=2)
    specs = [base.replace(seed=seed, epochs=80) for seed in range(8)]
    here(specs, whole)
    assert found["kills"] == 50
    assert found["in_writes"] == 5
    assert found["ended"] == 0
    assert found["unfinished_after_kills"] > 0, "the last kills came too late"
    assert found["redone"], "no kill came while a model was in training"
    for lost in found["redone"]:
        assert lost["seconds"] <= lost["allowed"]
    assert len(listed(root)) == 8
    assert listed(root) == listed(whole)
    assert not (root / "damaged").exists()
    epochs = sum(lost["epochs"] for lost in found["redone"])
    record_property("trials", found["kills"])
    record_property(
        "outcome",
        f"{found['in_writes']} of the kills in the middle of a write; all 8 models alike, bit for "
        f"bit; {epochs} of {8 * 80} epochs done again, no model more than "
        f"{max(lost['epochs'] for lost in found['redone'])} at a time",
    )
    # What the killed writers had begun is all that is left to clear away.
    drafts = list(upkeep.leftovers(Store(root, layers=())))
    assert drafts
    assert all(path.name.startswith(".") for path in drafts)
    assert aecore("store", "gc", cwd=CHECKOUT, AECORE_HOME=str(root)).returncode == 0
    assert not [path for path in root.rglob("*~*")]
    assert listed(root) == listed(whole)


def here(specs: list[Spec], root: Path) -> Runs:
    """The runs, trained undisturbed in this process, on the CPU, and stored under `root`."""
    with ThreadPoolExecutor(1) as thread:
        return fit(specs, executor=thread, device="cpu", store=Store(root, layers=()))


def damages(content: bytes) -> list[bytes]:
    """`content` cut off at five places, and with each of some bits flipped."""
    n = len(content)
    cut = [content[:size] for size in (0, 1, n // 2, n - 7, n - 1)]
    for place in (0, 7, n // 3, n // 2, n - 2):
        flipped = bytearray(content)
        flipped[place] ^= 4
        cut.append(bytes(flipped))
    return cut


@pytest.mark.fault(
    "a file of the store is cut off, or a bit in it flips",
    "noticed by aecore store verify (exit status 1) and by the next reader, which moves the "
    "entry aside; never used",
)
def test_every_damage_is_found_and_never_used(tiny, tmp_path, monkeypatch, record_property):
    root = tmp_path / "store"
    store, weights = Store(root, layers=()), {"a": np.arange(50.0)}
    key, name = "ab" * 32, "cd" * 32
    store.write("run", key, {"history": [1]}, weights)
    store.write("table", name, {"answer": 1.5}, {})
    store.write_checkpoint(key, {"history": [1]}, weights)
    assert list(upkeep.damages(store)) == []
    files = sorted(path for path in root.rglob("*") if path.is_file())
    trials = 0
    for path in files:
        for content in damages(path.read_bytes()):
            copy = Store(tmp_path / f"copy-{trials}", layers=())
            shutil.copytree(root, copy.root)
            place = copy.root / path.relative_to(root)
            place.write_bytes(content)
            found = list(upkeep.damages(copy))
            assert [p in (place, place.parent) for p, _ in found] == [True], (path, content)
            with pytest.warns(UserWarning, match="to be computed again"):
                some = [copy.read("run", key), copy.read("table", name), copy.read_checkpoint(key)]
            assert sum(one is None for one in some) == 1
            assert list(upkeep.damages(copy)) == []
            assert len(list(upkeep.leftovers(copy))) >= 1
            trials += 1
    done = aecore("store", "verify", cwd=CHECKOUT, AECORE_HOME=str(root))
    assert (done.returncode, done.stdout.splitlines()[-1][-9:]) == (0, "0 damaged")
    files[0].write_bytes(b"")
    done = aecore("store", "verify", cwd=CHECKOUT, AECORE_HOME=str(root))
    assert done.returncode == 1
    assert str(files[0].stem)[:8] in done.stdout
    assert "1 damaged" in done.stdout
    record_property("trials", trials)
    record_property("outcome", f"all {trials} found and moved aside")


@pytest.mark.fault(
    "sixteen processes want the same eight models",
    "each is trained once; if one dies that holds a lock, the others go on",
)
def test_many_processes_share_the_work(tiny, tmp_path, record_property):
    found = inject("crowd", tiny, tmp_path / "store")
    assert found["ended"] == [0] * 16
    assert found["epochs"] == found["different"] == 8 * 12
    assert found["killed"] == 3
    assert found["survived"] == 13
    assert found["stored"] == 8
    record_property("trials", 16)
    record_property(
        "outcome",
        f"{found['epochs']} epochs for 8 models of 12; with {found['killed']} holders of a lock "
        f"killed, {found['survived']} of 16 got all 8",
    )


@pytest.mark.fault("eight processes write two hundred entries each", "none is lost or torn")
def test_many_writers_lose_nothing(tiny, tmp_path, record_property):
    found = inject("writers", tiny, tmp_path / "store")
    assert found["ended"] == [0] * 8
    assert found["entries"] == found["whole"] == 100 + 8 * 100
    record_property("trials", 8 * 200)
    record_property("outcome", f"all {found['whole']} different entries are there and whole")


@pytest.mark.fault(
    "a process is stopped (SIGSTOP) while it trains, and continued later",
    "another one takes over from its last checkpoint; the late one changes nothing",
)
def test_a_process_that_stood_still_overwrites_nothing(tiny, tmp_path, record_property):
    found = inject("stand_still", tiny, tmp_path / "store")
    assert (found["stopped"], found["other"]) == (0, 0)
    assert found["unchanged"]
    assert found["epochs_after"] > 0, "it was not in training any more"
    assert found["checkpoints_after"] <= 1  # one that it was writing when it was stopped
    assert 1 < found["other_began_at"] <= found["taken_from"] + 1
    assert found["checkpoints"] == 0
    record_property("trials", 1)
    record_property(
        "outcome",
        f"taken over at epoch {found['other_began_at']} of 80; the late one trained "
        f"{found['epochs_after']} epochs in vain, and the result is the other's",
    )


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True).returncode:
        yield None
    else:
        yield place
        subprocess.run(["umount", str(place)], check=True)


TRAIN = """
import sys
from pathlib import Path
if sys.argv[3] == "limited":
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
from concurrent.futures import ThreadPoolExecutor
from aecore.runs import fit
from aecore.spec import Spec
from aecore.store.entries import Store, StoreError
specs = [Spec(dataset=sys.argv[1], epochs=1, latent_dim=d, hidden=h) for d, h in
         ((2, 64), (3, 64), (4, 64), (2, 6000), (3, 6000))]
try:
    fit(specs, executor=ThreadPoolExecutor(1), store=Store(Path(sys.argv[2]), layers=()))
except StoreError as error:
    sys.exit(f"StoreError: {error}")
"""


@pytest.mark.fault(
    "the disk is full, or the store's folder can't be written",
    "one line with the folder and the bytes needed, exit status not 0; what was stored stays "
    "whole, and AECORE_HOME takes the rest elsewhere",
)
def test_a_full_disk_is_told_and_costs_nothing(tiny, tmp_path, small_disk, record_property):
    """Where no disk may be mounted, a limit on the size of files stands for the end of the disk."""
    place = small_disk or tmp_path / "limited"
    words = [sys.executable, "-c", TRAIN, tiny]
    limit = "full" if small_disk else "limited"
    done = subprocess.run([*words, place, limit], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith(f"StoreError: the store folder {place} can't be written")
    assert "bytes needed" in said
    assert "AECORE_HOME" in said
    stored = listed(place)
    assert 0 < len(stored) < 5
    assert list(upkeep.damages(Store(place, layers=()))) == []
    # Elsewhere it goes on from what is there.
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(place / "runs", elsewhere / "runs")
    done = subprocess.run([*words, elsewhere, "full"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert len(listed(elsewhere)) == 5
    assert {key: listed(elsewhere)[key] for key in stored} == stored
    record_property("trials", 1)
    record_property(
        "outcome", f"{len(stored)} of 5 models stored and whole, the rest trained elsewhere"
    )


def test_gc_leaves_alone_what_is_in_use(tiny, tmp_path):
    """A training under way, and a writer that lives, keep what they have begun."""
    store = Store(tmp_path / "store", layers=())
    store.write_checkpoint("ab" * 32, {"history": []}, {})  # of a run that is not finished
    living = store.root / "runs" / "ab" / f".{os.uname().nodename}~{os.getpid()}~draft"
    abroad = store.root / "runs" / "ab" / ".another-machine~1~draft"
    for draft in (living, abroad):
        draft.mkdir(parents=True)
    assert list(upkeep.leftovers(store)) == []
    store.write("run", "ab" * 32, {"history": []}, {})
    with store.lease("ab" * 32):
        assert list(upkeep.leftovers(store)) == []
    assert [path.name for path in upkeep.leftovers(store)] == [f"{'ab' * 32}.safetensors"]


POOR = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {0})
from aecore.runs import fit
from aecore.spec import Spec
fit([Spec(dataset=sys.argv[1], epochs=2, dropout=0.2, seed=seed) for seed in (0, 1)], device="cpu")
"""


@pytest.mark.fault(
    "one core, a locale without UTF-8, and a home folder with spaces and umlauts",
    "the same results",
)
def test_a_poor_machine_gets_the_same(tiny, tmp_path):
    home = tmp_path / "Größe 1 ü"
    poor = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "AECORE_HOME": str(home)}
    program = [sys.executable, "-c", POOR, tiny]
    done = subprocess.run(program, env=os.environ | poor, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    here(
        [Spec(dataset=tiny, epochs=2, dropout=0.2, seed=seed) for seed in (0, 1)], tmp_path / "here"
    )
    assert len(listed(home)) == 2
    assert listed(home) == listed(tmp_path / "here")
    done = aecore("data", "--dataset", tiny, cwd=CHECKOUT, **poor)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.fault("the clock jumps while models are trained", "the same results")
def test_a_clock_that_jumps_changes_nothing(tiny, tmp_path, monkeypatch):
    spec = Spec(dataset=tiny, epochs=3)
    (calm,) = here([spec], tmp_path / "calm")
    jumps = cycle([4e9, 0.0, 1.7e9])
    monkeypatch.setattr("time.time", lambda: next(jumps))
    monkeypatch.setattr("time.time_ns", lambda: int(next(jumps)))
    (run,) = here([spec], tmp_path / "jumps")
    monkeypatch.undo()
    assert run.history == calm.history
    assert run.provenance["seconds"] > 0
