"""Real faults, injected into real processes: `python faults.py FAULT DATA ROOT`, started by tests.

Every process is a fork of one that has trained an epoch, so that fifty take seconds, and that a
fault comes while models are trained. Prints what happened as one JSON object.
"""

import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from aecore.data import load
from aecore.engine import jobs
from aecore.engine.jobs import run_key
from aecore.engine.pool import reproducible
from aecore.runs import fit
from aecore.spec import Spec
from aecore.store import leases, paths
from aecore.store.entries import Store
from aecore.training import Training

KILLS, IN_A_WRITE = 50, 5
DATA, ROOT = sys.argv[2], Path(sys.argv[3])
BASE = Spec(dataset=DATA, train_images=128, batch_size=64, dropout=0.2, latent_dim=2)


def specs(count: int, epochs: int) -> list[Spec]:
    return [BASE.replace(seed=seed, epochs=epochs) for seed in range(count)]


def forked(task: Callable[[], object]) -> int:
    """The process that does `task`, the leader of a group of its own; exit status 1 if it fails."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        os.setsid()
        task()
        status = 0
    finally:
        os._exit(status)


def status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def tell(log: Path) -> None:
    """From now on every finished epoch and every checkpoint is a line of `log`."""

    def line(word: str, key: str, epochs: int) -> None:
        with log.open("a") as file:
            file.write(f"{word} {key} {epochs} {os.getpid()} {time.monotonic()}\n")

    def record(self: Training, *losses: object, _record: Callable = Training.record) -> None:
        _record(self, *losses)
        line("epoch", run_key(self.spec), len(self.history))

    def save(self: Store, key: str, document: dict, arrays: dict,
             _save: Callable = Store.write_checkpoint) -> None:  # fmt: skip
        _save(self, key, document, arrays)
        line("saved", key, len(document["history"]))

    Training.record, Store.write_checkpoint = record, save


def lines(log: Path) -> list[tuple[str, str, int, int, float]]:
    words = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(word, key, int(n), int(pid), float(at)) for word, key, n, pid, at in words]


def stop_in_write(number: int, sign: Path) -> None:
    """Make this process stand still in the middle of its write of that number."""
    count, write = 0, paths.write

    def slow(path: Path, content: bytes) -> None:
        nonlocal count
        count += 1
        if count <= number:
            return write(path, content)
        path.write_bytes(content[: len(content) // 2])
        sign.touch()
        time.sleep(60)

    paths.write = slow


def kill() -> dict[str, object]:
    """A sweep killed again and again, and then left alone."""
    jobs.CHECKPOINT_SECONDS, jobs.CHECKPOINT_SHARE = 0.02, 1.0
    wanted, chance = specs(8, 80), random.Random(0)
    redone, in_writes = [], 0

    def sweep() -> None:
        with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
            fit(wanted, executor=pool, store=Store(ROOT, layers=()))

    for number in range(KILLS):
        log, sign = ROOT / f"log-{number}", ROOT / f"sign-{number}"

        def attempt(number: int = number, log: Path = log, sign: Path = sign) -> None:
            tell(log)
            if number < IN_A_WRITE:
                stop_in_write(number, sign)
            sweep()

        pid = forked(attempt)
        if number < IN_A_WRITE:
            until(sign.exists)
            in_writes += 1
        else:
            epochs = chance.randrange(1, 12)
            until(lambda log=log, epochs=epochs: len(lines(log)) >= epochs)
            time.sleep(chance.uniform(0, 0.02))  # at any place of a step
        os.killpg(pid, signal.SIGKILL)
        status(pid)
        redone += lost(log)
    unfinished = sum(Store(ROOT, layers=()).read("run", run_key(s)) is None for s in wanted)
    log = ROOT / "log-last"
    ended = status(forked(lambda: (tell(log), sweep())))
    return {
        "kills": KILLS,
        "in_writes": in_writes,
        "unfinished_after_kills": unfinished,
        "ended": ended,
        "redone": redone,
    }


def lost(log: Path) -> list[dict[str, float]]:
    """Of each model that was in training: what was done since its last checkpoint.

    `allowed` is the interval and the two longest waits between signs of it: an epoch with its
    writing at either end.
    """
    by_key: dict[str, list] = {}
    for line in lines(log):
        by_key.setdefault(line[1], []).append(line)
    found = []
    for key, said in by_key.items():
        if Store(ROOT, layers=()).read("run", key) is not None:
            continue
        saved = max((i for i, line in enumerate(said) if line[0] == "saved"), default=0)
        times = [line[4] for line in said]
        gaps = [b - a for a, b in itertools.pairwise(times)] or [0.0]
        epochs = sum(line[0] == "epoch" for line in said[saved:])
        found.append({"epochs": epochs, "seconds": times[-1] - times[saved],
                      "allowed": jobs.CHECKPOINT_SECONDS + 2 * max(gaps)})  # fmt: skip
    return found


def crowd() -> dict[str, object]:
    """Sixteen processes that want the same eight models; then again, some of them killed."""
    log, wanted = ROOT / "log", specs(8, 12)
    tell(log)

    def want(root: Path, wanted: list[Spec]) -> None:
        with ThreadPoolExecutor(1) as thread:
            fit(wanted, executor=thread, store=Store(root, layers=()))

    ended = [status(pid) for pid in [forked(lambda: want(ROOT, wanted)) for _ in range(16)]]
    trained = [(key, epoch) for word, key, epoch, *_ in lines(log) if word == "epoch"]
    log.unlink()
    root = ROOT / "again"
    pids = {forked(lambda: want(root, specs(8, 40))) for _ in range(16)}
    killed: set[int] = set()
    for _ in range(3):  # always one that holds a lock
        before = len(lines(log))
        until(lambda before=before: len(lines(log)) > before + 5)
        holder = lines(log)[-1][3]
        os.kill(holder, signal.SIGKILL)
        killed.add(holder)
    others = [status(pid) for pid in pids]
    stored = len(list(root.glob("runs/*/*/run.json")))
    return {"ended": ended, "epochs": len(trained), "different": len(set(trained)),
            "killed": len(killed), "survived": others.count(0), "stored": stored}  # fmt: skip


def writers() -> dict[str, object]:
    """Eight processes that write two hundred entries each, half of them the same ones."""

    def write(number: int) -> None:
        place = Store(ROOT, layers=())
        for entry in range(200):
            key = entry if entry % 2 else entry + 1000 * (number + 1)
            place.write("run", f"{key:064x}", {"entry": key}, {"a": np.full(100, key)})

    ended = [status(pid) for pid in [forked(lambda n=n: write(n)) for n in range(8)]]
    keys = {key for _, key, _ in Store(ROOT, layers=()).entries()}
    whole = sum(Store(ROOT, layers=()).read("run", key) is not None for key in keys)
    return {"ended": ended, "entries": len(keys), "whole": whole}


def stand_still() -> dict[str, object]:
    """A process that is stopped while it trains, overtaken by another one, and continued."""
    leases.LEASE, jobs.CHECKPOINT_SECONDS = 1.0, 0.0
    log, wanted = ROOT / "log", specs(1, 80)
    tell(log)

    def want() -> None:
        with ThreadPoolExecutor(1) as thread:
            fit(wanted, executor=thread, store=Store(ROOT, layers=()))

    first = forked(want)
    until(lambda: len(lines(log)) > 20)
    os.kill(first, signal.SIGSTOP)
    second = forked(want)
    other = status(second)
    entry = next(ROOT.glob("runs/*/*/run.json"))
    before = (entry.stat().st_ino, entry.stat().st_mtime_ns, entry.read_bytes())
    said = len(lines(log))
    os.kill(first, signal.SIGCONT)
    ended = status(first)
    after = (entry.stat().st_ino, entry.stat().st_mtime_ns, entry.read_bytes())
    late = [word for word, _, _, pid, _ in lines(log)[said:] if pid == first]
    return {"stopped": ended, "other": other, "unchanged": before == after,
            "epochs_after": late.count("epoch"), "checkpoints_after": late.count("saved"),
            "taken_from": max(n for w, _, n, pid, _ in lines(log)[:said] if pid == first),
            "other_began_at": min(n for w, _, n, pid, _ in lines(log) if pid == second),
            "checkpoints": len(Store(ROOT, layers=()).checkpoints())}  # fmt: skip


if __name__ == "__main__":
    ROOT.mkdir(parents=True, exist_ok=True)
    with reproducible():
        Training(BASE, load(DATA)).epoch()
    faults = {task.__name__: task for task in (kill, crowd, writers, stand_still)}
    print(json.dumps(faults[sys.argv[1]]()))
