"""Locks that are freed when their holder dies, and lost when it stands still."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

LEASE = 30.0  # seconds without a sign of life after which a holder loses its locks
POLL = 0.2  # seconds between two tries to get a lock


class Lease:
    """All locks of `names` in `folder`: a context that waits until it has them.

    The system frees the locks of a process that dies. One that stands still for `LEASE` seconds,
    after SIGSTOP for instance, loses them to whoever waits: `held` is then false when it goes on.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        # In one order everywhere, so that nobody waits in a circle.
        self.paths = {name: folder / f"{name}.lock" for name in sorted(names)}
        self.token = uuid.uuid4().hex
        self.locks: dict[str, FileLock] = {}
        self.ended = threading.Event()
        self.heart = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> Lease:
        self.heart.start()
        try:
            for name, path in self.paths.items():
                self.locks[name] = _acquired(path)
                self._beat(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.heart.join()
        for name, lock in self.locks.items():
            if self.held(name):
                _sign(self.paths[name]).unlink(missing_ok=True)
            lock.release()

    def held(self, name: str) -> bool:
        """Whether nobody else has taken the lock of `name`."""
        return _read(_sign(self.paths[name])).startswith(self.token)

    def _live(self) -> None:
        while not self.ended.wait(LEASE / 5):
            for name in list(self.locks):
                if self.held(name):
                    self._beat(name)

    def _beat(self, name: str) -> None:
        # On a full disk nobody sees the sign, and at worst two compute the same.
        with contextlib.suppress(OSError):
            _sign(self.paths[name]).write_text(f"{self.token} {time.monotonic_ns()}")


def _acquired(path: Path) -> FileLock:
    """The lock at `path`, as soon as its holder has released it, is dead or stands still.

    A sign of life is any change of the holder's file: no clock is compared with another.
    """
    lock, seen, since = FileLock(path, thread_local=False), "", time.monotonic()
    while True:
        try:
            lock.acquire(timeout=POLL)
            return lock
        except Timeout:
            sign = _read(_sign(path))
        if sign != seen:
            seen, since = sign, time.monotonic()
        elif time.monotonic() - since > LEASE:
            with contextlib.suppress(OSError):
                path.unlink()  # the next to ask locks a new file; the old one is its holder's
            since = time.monotonic()


def _sign(path: Path) -> Path:
    """The file in which the holder of the lock at `path` says that it lives."""
    return path.with_suffix(".alive")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
