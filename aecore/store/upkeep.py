"""Looking after a store: what it holds, what is damaged, and what may go."""

import platform
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from aecore.store.entries import DAMAGE, Store, arrays_digest, read_checkpoint, read_entry


def listing(store: Store) -> Iterator[dict[str, Any]]:
    """Every whole entry of the store and its layers, as plain data, a line for each.

    A run has its `key`, `spec`, `weights` (SHA-256 of its arrays), `metrics` and `provenance`;
    any other entry its `kind`, a `name` and the `question` that it answers.
    """
    for kind, key, folder in store.entries():
        try:
            entry = read_entry(folder, kind)
        except (OSError, *DAMAGE):
            continue  # `damages` tells of it
        document, line = entry.document, {"kind": kind, "key": key}
        if kind == "run":
            best = document["history"][document["best_epoch"] - 1]
            line |= {
                "spec": document["spec"],
                "weights": arrays_digest(entry.arrays),
                "metrics": {**best, "diverged": document["diverged"]},
                "provenance": document["provenance"],
            }
        else:
            question = document.get("question", document)
            line |= {"name": question.get("table", kind), "question": question}
        yield line


def damages(store: Store) -> Iterator[tuple[Path, str]]:
    """Entries and checkpoints that can't be used, and why; they stay where they are."""
    readings = [(folder, partial(read_entry, folder, kind)) for kind, _, folder in store.entries()]
    readings += [(path, partial(read_checkpoint, path)) for path in store.checkpoints()]
    for path, read in readings:
        try:
            read()
        except (OSError, *DAMAGE) as error:
            if path.exists():  # else it was finished, or set aside, in between
                yield path, str(error)


def leftovers(store: Store) -> Iterator[Path]:
    """What nobody will read again.

    Entries set aside as damaged; what writers that are dead, on this machine, had begun; and
    checkpoints of runs that are finished and not in anyone's hands.
    """
    yield from sorted((store.root / "damaged").glob("*"))
    for path in sorted(store.root.glob("*s/**/.*~*~*")):
        host, writer, _ = path.name[1:].split("~", 2)
        if host == platform.node() and writer.isdecimal() and not psutil.pid_exists(int(writer)):
            yield path
    for path in store.checkpoints():
        if store.has("run", path.stem) and not store.busy(path.stem):
            yield path


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def remove(path: Path) -> None:
    """Remove a file or a folder; one that is gone already is no error."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
