"""A content-addressed store of results: written at once or not at all, checked on every reading."""

import hashlib
import json
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.numpy import load, save

from aecore.store.leases import Lease
from aecore.store.paths import home, published

Arrays = dict[str, np.ndarray]
DAMAGE = (ValueError, KeyError, TypeError, SafetensorError)  # what reading torn files may raise


class StoreError(RuntimeError):
    """The store cannot do what was asked; the message names the folder and the way out."""


@dataclass(frozen=True)
class Entry:
    """One stored result: plain data, and arrays by name."""

    document: dict[str, Any]
    arrays: Arrays


class Store:
    """Entries by kind ("run", "table", …) and key, below `root`.

    An entry is a folder `<kind>s/<first two digits>/<key>` with `<kind>.json`, readable by eye, and
    `weights.safetensors` if it has arrays. Reading falls back to `layers`, folders of the same
    form that are never written. A checkpoint is a single file, since it is replaced often.
    """

    def __init__(self, root: Path | None = None, layers: tuple[Path, ...] | None = None) -> None:
        self.root = Path(root) if root is not None else home()
        self.layers = published() if layers is None else layers

    def read(self, kind: str, key: str) -> Entry | None:
        """The entry, or None if there is none or it is damaged.

        A damaged entry of the store itself is moved to `damaged/` with a warning; a damaged one of
        a read-only layer is passed over with a warning. Raises `StoreError` for one that the
        system does not let us read.
        """
        for root in (self.root, *self.layers):
            folder = _folder(root, kind, key)
            try:
                return read_entry(folder, kind)
            except NotADirectoryError:
                continue
            except FileNotFoundError as error:
                if not folder.exists():
                    continue
                problem = f"{Path(error.filename).name} is missing"
            except DAMAGE as error:
                problem = str(error)
            except OSError as error:  # not to be read now is not damaged
                raise StoreError(f"the store entry {folder} can't be read: {error}") from error
            if root == self.root:
                self._set_aside(folder, problem)
            else:
                warnings.warn(f"damaged entry {folder} passed over: {problem}", stacklevel=2)
        return None

    def write(self, kind: str, key: str, document: dict[str, Any], arrays: Arrays) -> None:
        """Store an entry: complete under its name, or not at all. One that has as much stays.

        Raises `StoreError` if the folder can't be written or the disk is full.
        """
        folder = _folder(self.root, kind, key)
        there = self.read(kind, key)
        if there is not None and arrays.keys() <= there.arrays.keys():
            return
        files = {f"{kind}.json": _signed(document, arrays)}
        if arrays:
            files["weights.safetensors"] = save(_sorted(arrays))
        size = sum(map(len, files.values()))
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=draft_prefix(), dir=folder.parent))
            try:
                for name, content in files.items():
                    _write(draft / name, content)
                draft.chmod(0o755)
                if not folder.exists():
                    draft.rename(folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        except OSError as error:
            if not folder.exists():  # else another process stored the same result in between
                raise self._unwritable(error, size) from error

    def read_checkpoint(self, key: str) -> Entry | None:
        """The last checkpoint of a run; a damaged one is moved aside with a warning."""
        path = self._checkpoint(key)
        try:
            return read_checkpoint(path)
        except FileNotFoundError:
            return None
        except DAMAGE as error:
            self._set_aside(path, str(error))
            return None
        except OSError as error:
            raise StoreError(f"the checkpoint {path} can't be read: {error}") from error

    def write_checkpoint(self, key: str, document: dict[str, Any], arrays: Arrays) -> None:
        """Replace the checkpoint of a run; raises `StoreError` like `write`."""
        content = pack(document, arrays)
        path = self._checkpoint(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f"{draft_prefix()}{path.name}")
            try:
                _write(draft, content)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error, len(content)) from error

    def drop_checkpoint(self, key: str) -> None:
        """Forget the checkpoint of a run, if there is one."""
        self._checkpoint(key).unlink(missing_ok=True)

    def entries(self) -> Iterator[tuple[str, str, Path]]:
        """Kind, key and folder of every entry of the store and its layers, whole or not."""
        for root in (self.root, *self.layers):
            for folder in sorted(root.glob("*s/[0-9a-f][0-9a-f]/[0-9a-f]*")):
                yield folder.parts[-3][:-1], folder.name, folder

    def checkpoints(self) -> list[Path]:
        """The files of all checkpoints."""
        return sorted((self.root / "checkpoints").glob("[!.]*.safetensors"))

    def has(self, kind: str, key: str) -> bool:
        """Whether the store itself has an entry, whole or not."""
        return _folder(self.root, kind, key).exists()

    def busy(self, key: str) -> bool:
        """Whether somebody computes `key` now."""
        lock = FileLock(self.root / "locks" / f"{key}.lock")
        try:
            with lock.acquire(timeout=0):
                return False
        except Timeout:
            return True

    def lease(self, *keys: str) -> Lease:
        """Locks for whoever computes `keys`, or writes the files of that name."""
        folder = self.root / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error, 0) from error
        return Lease(folder, keys)

    def check_writable(self) -> None:
        """Raise `StoreError` now rather than after an hour of training."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise self._unwritable(error, 0) from error

    def _checkpoint(self, key: str) -> Path:
        return self.root / "checkpoints" / f"{key}.safetensors"

    def _set_aside(self, path: Path, problem: str) -> None:
        aside = self.root / "damaged"
        try:
            aside.mkdir(parents=True, exist_ok=True)
            place = Path(tempfile.mkdtemp(prefix=f"{path.stem[:16]}-", dir=aside))
            path.rename(place / path.name)
        except FileNotFoundError:  # another process was faster
            return
        except OSError as error:
            raise self._unwritable(error, 0) from error
        warnings.warn(
            f"damaged store entry moved to {place}, to be computed again: {problem}", stacklevel=3
        )

    def _unwritable(self, error: OSError, size: int) -> StoreError:
        needed = f" ({size:,} bytes needed)" if size else ""
        return StoreError(
            f"the store folder {self.root} can't be written{needed}: {error.strerror or error}; "
            "set AECORE_HOME to a folder that can"
        )


def draft_prefix() -> str:
    """How the names of what this process is writing begin."""
    return f".{platform.node()}~{os.getpid()}~"


def _folder(root: Path, kind: str, key: str) -> Path:
    return root / f"{kind}s" / key[:2] / key


def read_entry(folder: Path, kind: str) -> Entry:
    """The entry in a folder; raises `OSError`, or one of `DAMAGE`."""
    content = json.loads((folder / f"{kind}.json").read_bytes())
    try:
        arrays = load((folder / "weights.safetensors").read_bytes())
    except FileNotFoundError:
        arrays = {}
    return _checked(content, arrays)


def read_checkpoint(path: Path) -> Entry:
    """The checkpoint in a file; raises `OSError`, or one of `DAMAGE`."""
    return unpack(path.read_bytes())


def pack(document: dict[str, Any], arrays: Arrays) -> bytes:
    """An entry as the bytes of a single safetensors file."""
    return save(_sorted(arrays), metadata={"entry": _signed(document, arrays).decode()})


def unpack(content: bytes) -> Entry:
    """The entry that `pack` made bytes of; raises one of `DAMAGE` for any others."""
    # The safetensors format: 8 bytes of header length, the header as JSON, the arrays.
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return _checked(json.loads(header["__metadata__"]["entry"]), load(content))


def signature(document: dict[str, Any], arrays: Arrays) -> str:
    """SHA-256 of all that an entry holds."""
    return arrays_digest(arrays, _json(document))


def _checked(content: Any, arrays: Arrays) -> Entry:
    if not isinstance(content, dict) or not isinstance(content.get("document"), dict):
        raise ValueError("it is not an entry")
    if not isinstance(content, dict) or content.get("digest") != signature(
        content["document"], arrays
    ):
        raise ValueError("its digest does not fit its content")
    return Entry(content["document"], arrays)


def digest(data: Any) -> str:
    """SHA-256 of plain data as canonical JSON: sorted keys, no spaces, no NaN."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def arrays_digest(arrays: Arrays, before: bytes = b"") -> str:
    """SHA-256 over what comes before and every array's name, type, shape and bytes."""
    total = hashlib.sha256(before)
    for name, array in _sorted(arrays).items():
        total.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return total.hexdigest()


def _signed(document: dict[str, Any], arrays: Arrays) -> bytes:
    return _json({"digest": signature(document, arrays), "document": document})


def _sorted(arrays: Arrays) -> Arrays:
    return {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}


def _json(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, indent=1, allow_nan=False).encode()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
