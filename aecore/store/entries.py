"""A content-addressed store of results: written at once or not at all, checked on every reading."""

import hashlib
import json
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.numpy import load, save

from aecore.store import paths
from aecore.store.leases import Lease

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
    `weights.safetensors` if it has arrays. It knows its kind and key, so that it is damage in the
    place of another. Reading falls back to `layers`, folders of the same form that are never
    written. A checkpoint is a single file, since it is replaced often.
    """

    def __init__(self, root: Path | None = None, layers: tuple[Path, ...] | None = None) -> None:
        self.root = Path(root).absolute() if root is not None else paths.home()
        self.layers = paths.published() if layers is None else layers

    def read(self, kind: str, key: str) -> Entry | None:
        """The entry, or None if there is none or it is damaged.

        A damaged entry of the store itself is moved to `damaged/` with a warning; a damaged one of
        a read-only layer is passed over with a warning. Raises `StoreError` for one that the
        system does not let us read.
        """
        for root in (self.root, *self.layers):
            folder = _folder(root, kind, key)
            try:
                if not folder.is_dir():
                    continue
                return read_entry(folder, kind)
            except FileNotFoundError as error:
                if not folder.exists():  # it was moved aside just now
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

        Raises `StoreError` if the folder can't be written or the disk is full, or if the document
        is not what `key` asks for.
        """
        if (other := key_of(document)) not in (None, key):
            raise StoreError(
                f"a {kind} {other[:12]} was computed where {key[:12]} was asked for: the package "
                "or the data set changed meanwhile; start the program again"
            )
        folder = _folder(self.root, kind, key)
        less, there = folder.exists(), self.read(kind, key)
        if there is not None and arrays.keys() <= there.arrays.keys():
            return
        files = {f"{kind}.json": _signed(kind, key, document, arrays)}
        if arrays:
            files["weights.safetensors"] = save(_sorted(arrays))
        with self._writing(sum(map(len, files.values()))):
            folder.parent.mkdir(parents=True, exist_ok=True)
            place = {"prefix": paths.draft_prefix(), "dir": folder.parent}
            with tempfile.TemporaryDirectory(**place, ignore_cleanup_errors=True) as desk:
                made = Path(desk, "draft")
                made.mkdir()
                for name, content in files.items():
                    paths.write(made / name, content)
                if less:
                    with suppress(FileNotFoundError):  # it was damaged
                        folder.rename(Path(desk, "less"))
                try:
                    made.rename(folder)
                except OSError:
                    if not folder.exists():  # else another process stored the same in between
                        raise

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
        content = pack("checkpoint", key, document, arrays)
        path = self._checkpoint(key)
        with self._writing(len(content)):
            path.parent.mkdir(parents=True, exist_ok=True)
            paths.write_at_once(path, content)

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
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
        return Lease(folder, keys)

    def check_writable(self) -> None:
        """Raise `StoreError` now rather than after an hour, for temporary files' folder too."""
        with self._writing():
            paths.ready(self.root)
        try:
            tempfile.gettempdir()
        except FileNotFoundError as error:
            raise StoreError(
                "no temporary folder can be written, and PyTorch needs one: set TMPDIR to one "
                f"that can ({error.strerror})"
            ) from error

    def _checkpoint(self, key: str) -> Path:
        return self.root / "checkpoints" / f"{key}.safetensors"

    def _set_aside(self, path: Path, problem: str) -> None:
        aside = self.root / "damaged"
        with self._writing(), suppress(FileNotFoundError):  # where another process was faster
            aside.mkdir(parents=True, exist_ok=True)
            place = Path(tempfile.mkdtemp(prefix=f"{path.stem[:16]}-", dir=aside))
            path.rename(place / path.name)
            told = f"damaged store entry moved to {place}, to be computed again: {problem}"
            warnings.warn(told, stacklevel=3)

    @contextmanager
    def _writing(self, size: int = 0) -> Iterator[None]:
        """What goes wrong in writing so many bytes is a `StoreError` that names the folder."""
        try:
            yield
        except OSError as error:
            needed = f" ({size:,} bytes needed)" if size else ""
            raise StoreError(
                f"the store folder {self.root} can't be written{needed}: "
                f"{error.strerror or error}; set AECORE_HOME to a folder that can"
            ) from error


def _folder(root: Path, kind: str, key: str) -> Path:
    return root / f"{kind}s" / key[:2] / key


def read_entry(folder: Path, kind: str) -> Entry:
    """The entry in a folder; raises `OSError`, or one of `DAMAGE`."""
    content = json.loads((folder / f"{kind}.json").read_bytes())
    try:
        arrays = load((folder / "weights.safetensors").read_bytes())
    except FileNotFoundError:
        arrays = {}
    return _checked(content, arrays, kind, folder.name)


def read_checkpoint(path: Path) -> Entry:
    """The checkpoint in a file; raises `OSError`, or one of `DAMAGE`."""
    return unpack(path.read_bytes(), "checkpoint", path.stem)


def pack(kind: str, key: str, document: dict[str, Any], arrays: Arrays) -> bytes:
    """An entry as the bytes of a single safetensors file."""
    header = _signed(kind, key, document, arrays).decode()
    return save(_sorted(arrays), metadata={"entry": header})


def unpack(content: bytes, kind: str, key: str) -> Entry:
    """The entry that `pack` made these bytes of; raises one of `DAMAGE` for any others."""
    # The safetensors format: 8 bytes of header length, the header as JSON, the arrays.
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    signed = json.loads(header["__metadata__"]["entry"])
    return _checked(signed, load(content), kind, key)


def signature(document: dict[str, Any], arrays: Arrays) -> str:
    """SHA-256 of all that an entry holds."""
    return arrays_digest(arrays, _json(document))


def _checked(content: Any, arrays: Arrays, kind: str, key: str) -> Entry:
    """The entry that `content` is; raises `ValueError` if it is torn, or not that of its name."""
    if not isinstance(content, dict) or not isinstance(content.get("document"), dict):
        raise ValueError("it is not an entry")
    document = content["document"]
    # The first versions signed the document alone: of theirs what it says must give the key.
    signed = {k: v for k, v in content.items() if k != "digest"} if "key" in content else document
    if content.get("digest") != arrays_digest(arrays, _json(signed)):
        raise ValueError("its digest does not fit its content")
    own = {(content.get("kind", kind), name)
           for name in (content.get("key"), key_of(document)) if name}  # fmt: skip
    if own != {(kind, key)}:
        whose = " and ".join(sorted(f"{k} {name[:12]}" for k, name in own))
        raise ValueError(f"it is {whose or 'no one knows what'}, in the place of {kind} {key[:12]}")
    return Entry(document, arrays)


def key_of(document: dict[str, Any]) -> str | None:
    """The key that a document itself gives: that of its question, or of its run; None without."""
    if "question" in document:
        return digest(document["question"])
    if {"spec", "data", "recipe"} <= document.keys():
        return key_of_run(document["spec"], document["data"], document["recipe"])
    return None


def key_of_run(spec: dict[str, Any], data: str, recipe: int) -> str:
    """The key of a run: SHA-256 of its spec as plain data, the data's digest and the recipe.

    The digest stands in for the data set's name, so a renamed file keeps its runs.
    """
    spec = {name: value for name, value in spec.items() if name != "dataset"}
    if "frozen" in spec:
        spec["frozen"] = {k: v for k, v in spec["frozen"].items() if k != "dataset"}
    return digest({"spec": spec, "data": data, "recipe": recipe})


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


def _signed(kind: str, key: str, document: dict[str, Any], arrays: Arrays) -> bytes:
    signed = {"kind": kind, "key": key, "document": document}
    return _json(signed | {"digest": arrays_digest(arrays, _json(signed))})


def _sorted(arrays: Arrays) -> Arrays:
    return {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}


def _json(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, indent=1, allow_nan=False).encode()
