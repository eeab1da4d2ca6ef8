"""The forms in which people have images: what lies at a path, read as `Dataset` has it."""

import math
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aecore.store import conversion, pictures
from aecore.store.conversion import say
from aecore.store.sources import DATASETS, DataError, decode, unzipped

TRANSPOSE = "#transpose"  # behind a path: rows and columns of its images change places
IMAGES = ("images", "imgs", "x", "data", "arr_0")  # what an array is called in its file
LABELS = ("labels", "label", "y", "targets", "target", "class", "arr_1")
PARTS = ("train", "test")
PARTS_TOO = {"training": "train", "testing": "test"}
VALIDATION = ("val", "valid", "validation")
NEEDED = "an array is missing; needed are train_images, train_labels, test_images, test_labels"
CANNOT = "cannot be read"
IDX = re.compile(r"(.*?)(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")

Raw = dict[str, np.ndarray]  # by part and kind, as in "train_images"; of one set "images", "labels"


@dataclass(frozen=True)
class Found:
    """What lies at a path: the four arrays of a `Dataset`, and how they came to be.

    `names` are what the classes are called, `labeled` whether there were labels at all, and `said`
    has a sentence for each thing that was done to what was read.
    """

    arrays: Raw
    names: tuple[str, ...]
    labeled: bool
    said: tuple[str, ...]


def is_path(dataset: str) -> bool:
    """Whether a data set is given by the path of its images, not by its name."""
    place = dataset.removesuffix(TRANSPOSE)
    written = os.sep in place or "/" in place or Path(place).suffix.lower() in READERS
    return place not in DATASETS and (written or os.path.exists(os.path.expanduser(place)))


def resolved(dataset: str) -> str:
    """A data set's name as it is; of a path the whole path, which is the same from everywhere."""
    if not is_path(dataset):
        return dataset
    path, option = _divided(dataset)
    return os.path.realpath(path) + option


def _divided(dataset: str) -> tuple[Path, str]:
    """The path, and the option behind it if that is no part of a file's name."""
    whole = os.path.expanduser(dataset)
    if whole.endswith(TRANSPOSE) and not os.path.exists(whole):
        return Path(whole.removesuffix(TRANSPOSE)), TRANSPOSE
    return Path(whole), ""


def stamp(dataset: str) -> tuple[tuple[str, int, int], ...]:
    """What changes when a file is written: time and size of it, or of all that is in the folder."""
    path, _ = _divided(dataset)
    inside = [entry for place, *_ in os.walk(path) for entry in os.scandir(place)]
    known = [(entry.path, entry.stat(follow_symlinks=False)) for entry in inside]
    if os.path.exists(path):
        known.append((str(path), path.stat()))
    return tuple((place, each.st_mtime_ns, each.st_size) for place, each in known)


def name(dataset: str) -> str:
    """What the images at a path are called: like the folder, or the file without its ending."""
    path, _ = _divided(dataset)
    return path.name if path.is_dir() else path.stem


def read(dataset: str) -> Found:
    """The images at a path, whatever their form, as `Dataset` has them.

    A file `.npz`, `.npy`, `.csv` or `.mat`, or a folder of pictures, of idx files, or of one such
    file for each part. With `#transpose` behind the path images that lie on their side are turned.
    One set is divided, class by class; images that are sorted by class are shuffled: both at
    random, the same every time. Raises `DataError` for what is torn or no set of images.
    """
    path, option = _divided(dataset)
    said: list[str] = []
    with _told_of(path):
        return _arranged(_raw(path, said), bool(option), said)


def read_images(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """All images at a path in their order, uint8 (N, C, H, W), and what was done to them.

    Of a set in two parts those for testing; labels don't matter. Raises `DataError` as `read`.
    """
    said: list[str] = []
    with _told_of(path):
        raw = _raw(path, said)
        images = conversion.as_images({"": raw.get("images", raw.get("test_images"))}, said)
    return images[""], tuple(said)


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """What goes wrong in reading is a `DataError` of one line that names the path."""
    name = pictures.readable(str(path))
    try:
        if name != str(path):
            raise DataError("its name is no UTF-8, which a notebook can't hold: call it otherwise")
        if not os.path.exists(path):
            raise DataError("no such file or folder")
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except (OSError, MemoryError) as error:
        raise DataError(f"{name}: {CANNOT} ({_line(error)})") from error


def _raw(path: Path, said: list[str]) -> Raw:
    """The arrays at a path, as they are there."""
    if path.is_dir():
        return _of_folder(path, said)
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise DataError(f"no form that is known: {', '.join(READERS)}, or a folder of images")
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if not start:
        raise DataError("the file is empty")
    if start.startswith((b"<!doctype", b"<html")):
        raise DataError(f"a web page, not an {suffix} file: fetch it again")
    try:
        return READERS[suffix](path, said)
    except DataError:
        raise
    except Exception as error:  # whatever a damaged file does to the readers of others
        raise DataError(f"{CANNOT} ({_line(error)})") from error


def _arranged(raw: Raw, transposed: bool, said: list[str]) -> Found:
    """The arrays, converted, and divided and shuffled where they need it."""
    parts = [f"{part}_" for part in PARTS] if "train_images" in raw else [""]
    images = conversion.as_images({part: raw[f"{part}images"] for part in parts}, said)
    if transposed:
        images = {part: array.swapaxes(2, 3) for part, array in images.items()}
        say(said, "rows and columns changed places")
    given = {part: raw[f"{part}labels"] for part in parts if f"{part}labels" in raw}
    if labeled := bool(given):
        if len(given) < len(parts):
            raise DataError(f"{NEEDED}; or name the part with labels alone, to have it divided")
        labels, names = conversion.as_classes(given, images, said)
    else:
        say(said, "no labels: all images are of one class, 0")
        labels, names = {p: np.zeros(len(a), np.int64) for p, a in images.items()}, ("0",)
    if parts == [""]:
        rows = dict(zip(PARTS, conversion.divided(labels[""], names), strict=True))
        images = {f"{part}_": images[""][chosen] for part, chosen in rows.items()}
        labels = {f"{part}_": labels[""][chosen] for part, chosen in rows.items()}
        share = f"{conversion.TEST:.0%} of {'every class' if labeled else 'the images'}"
        say(said, f"one set: {share} drawn for testing, at random (seed {conversion.SEED})")
    arrays = {}
    for part in labels:
        order, why = slice(None), "sorted by class" if labeled else "sorted or not"
        if not labeled or conversion.grouped(labels[part]):
            order = conversion.shuffled(len(labels[part]))
            say(said, f"{part}images, {why}, were shuffled (seed {conversion.SEED})")
        arrays[f"{part}images"] = np.ascontiguousarray(images[part][order])
        arrays[f"{part}labels"] = np.ascontiguousarray(labels[part][order])
    return Found(arrays, names, labeled, tuple(said))


def _named(there: Sequence[str], array: Callable[[str], np.ndarray], said: list[str]) -> Raw:
    """Of arrays with those names the ones that are called like images or labels."""
    roles: dict[str, str] = {}
    for name in there:
        part, _, kind = name.lower().rpartition("_")
        if kind in (*PARTS, *VALIDATION):  # x_train and train_x
            part, kind = kind, part
        if part not in PARTS:
            part, kind = "", name.lower()
        for role, called in (("images", IMAGES), ("labels", LABELS)):
            if kind in called:
                roles.setdefault(f"{part}_{role}" if part else role, name)
    if "train_images" in roles:
        roles = {role: name for role, name in roles.items() if "_" in role}
    if not ({"train_images", "test_images"} <= set(roles) or "images" in roles):
        raise DataError(f"{NEEDED}; there are {conversion.listed(there) or 'none'}")
    if unused := [name for name in there if name not in roles.values()]:
        say(said, f"{conversion.listed(unused)}: left out, neither for training nor for testing")
    return {role: array(name) for role, name in roles.items()}


def _of_npz(path: Path, said: list[str]) -> Raw:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise DataError("not an .npz archive, or only a part of one")
        file.seek(0)
        archive = np.load(file, allow_pickle=False)
        return _named(archive.files, lambda name: _plain(name, lambda: archive[name]), said)


def _of_npy(path: Path, said: list[str]) -> Raw:
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise DataError("not an .npy file; a pickle could run code, so none is opened")
        file.seek(0)
        return {"images": _plain("the array", lambda: np.load(file, allow_pickle=False))}


def _plain(name: str, load: Callable[[], np.ndarray]) -> np.ndarray:
    """The array of that name, unless it is pickled: what unpickles may run code."""
    try:
        return load()
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        needed = "needed are images of one size as one array, labels as numbers or astype(str)"
        raise DataError(f"{name} cannot be read: Python objects may run code; {needed}") from None


def _of_csv(path: Path, said: list[str]) -> Raw:
    """A row an image: its pixels, and its label in a column called so or in the first one."""
    import pandas as pd  # takes a moment, and few need it

    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = [cell.strip().strip('"').lower() for cell in file.readline().split(",")]
        texts = [cell for cell in first if not re.fullmatch(r"[-+.\deE]+", cell)]
        head = 0 if {*texts} & {*LABELS} or 2 * len(texts) > len(first) else None
        file.seek(0)
        table = pd.read_csv(file, header=head, low_memory=False)
    if len(extra := [name for name in table if re.match(r"(?i)id$|unnamed: 0$", str(name))]):
        say(said, f"column {extra[0]} is left out")
        table = table.drop(columns=extra)
    if table.isna().any(axis=None):
        row = int(table.isna().any(axis=1).to_numpy().argmax())
        raise DataError(f"image {row + 1} lacks a value: the file is torn, or its rows differ")
    labels = [name for name in table if str(name).strip().lower() in LABELS]
    if not labels and math.isqrt(table.shape[1] - 1) ** 2 == table.shape[1] - 1:
        labels = [table.columns[0]]
    pixels = table.drop(columns=labels)
    if wrong := [str(name) for name, kind in pixels.dtypes.items() if kind.kind not in "buif"]:
        raise DataError(f"column {wrong[0]} has texts; needed are a label and a number a pixel")
    raw = {"images": pixels.to_numpy()}
    if labels:
        column = table[labels[0]]
        raw["labels"] = column.to_numpy(None if column.dtype.kind in "buif" else np.str_)
    return raw


def _of_mat(path: Path, said: list[str]) -> Raw:
    """X (H, W, C, N) and y (N, 1), as SVHN has them, or EMNIST's structure of both parts."""
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.npz"
        reader = [sys.executable, "-P", str(Path(__file__).with_name("matlab.py"))]
        done = subprocess.run([*reader, path, arrays], capture_output=True, text=True)
        if done.returncode < 0 or not arrays.exists():
            told = done.stderr.strip().rpartition("\n")[2] if done.returncode > 0 else ""
            raise DataError(told or "damaged: it crashes the reader of .mat files")
        with np.load(arrays, allow_pickle=False) as archive:
            raw = _named(archive.files, archive.__getitem__, said)
    if "images" in raw:
        images, labels = raw["images"], raw.get("labels", np.empty(raw["images"].shape[-1]))
        if len(images) != labels.size == images.shape[-1]:
            raw["images"] = np.moveaxis(images, -1, 0)
            say(said, "images were counted by the last axis, and now are by the first")
    digits = raw.get("labels", np.empty(0, object))
    if digits.dtype.kind in "uif" and digits.min() >= 1 and digits.max() == 10:
        raw["labels"] = raw["labels"] % 10
        say(said, "the label 10 is the digit 0, as in SVHN")
    return raw


READERS = {".npz": _of_npz, ".npy": _of_npy, ".csv": _of_csv, ".mat": _of_mat}


def _of_folder(folder: Path, said: list[str]) -> Raw:
    """Idx files, a file for each part, or pictures, in folders by part and by class."""
    there = sorted(each for each in folder.iterdir() if not each.name.startswith((".", "__")))
    called = {each: each.name.lower() for each in there if each.is_dir()}
    folders = {PARTS_TOO.get(name, name): each for each, name in called.items()}
    files = [each for each in there if not each.is_dir()]
    endings = {file.suffix.lower() for file in files}
    if any(IDX.fullmatch(file.name) for file in files):
        return _of_idx(files, said)
    if len(folders) == 1 and not endings & {*READERS, *pictures.ENDINGS}:  # as archives unpack
        return _of_folder(*folders.values(), said)
    if not folders and not endings & {*pictures.ENDINGS} and endings & {*READERS}:
        return _of_files([file for file in files if file.suffix.lower() in READERS], said)
    if "train" not in folders:
        return pictures.read({"": pictures.listed(folder, said)}, said)
    validation = next((folders[name] for name in VALIDATION if name in folders), None)
    if validation and "test" in folders:
        say(said, f"{validation.name}/: left out, neither for training nor for testing")
    elif validation:
        say(said, f"there is no test/: {validation.name}/ is in its place")
    test = folders.get("test", validation)
    if test is None:
        raise DataError("train/ has no test/ beside it: name train/ itself to have it divided")
    parts = {"train_": folders["train"], "test_": test}
    return pictures.read({part: pictures.listed(f, said) for part, f in parts.items()}, said)


def _of_idx(files: Sequence[Path], said: list[str]) -> Raw:
    """The arrays of idx files that are called like MNIST's."""
    raw: Raw = {}
    for file in files:
        match = IDX.fullmatch(file.name)
        if not match or (match[4] and file.with_suffix("") in files):  # unzipped beside itself
            continue
        role = f"{match[2].replace('t10k', 'test')}_{match[3]}"
        if role in raw:
            raise DataError("idx files of several data sets: put those of one into a folder")
        try:
            raw[role] = decode(unzipped(file))
        except ValueError:
            raise DataError(f"{file.name} is damaged: no whole idx file of bytes") from None
    return _named(list(raw), raw.__getitem__, said)


def _of_files(files: Sequence[Path], said: list[str]) -> Raw:
    """The one file; one called train and one called test; or `.npy` files called as arrays are."""
    if len(files) == 1:
        return _raw(files[0], said)
    by_part = {part: [file for file in files if part in file.stem.lower()] for part in PARTS}
    by_name = {file.stem: file for file in files if file.suffix.lower() == ".npy"}
    if [len(some) for some in by_part.values()] != [1, 1]:
        if len(by_name) == len(files):
            return _named([*by_name], lambda name: _of_npy(by_name[name], said)["images"], said)
        raise DataError(f"{len(files)} files of images: needed are one, or one train and one test")
    if others := [file.name for file in files if [file] not in by_part.values()]:
        say(said, f"{conversion.listed(others)}: passed over")
    parts = {part: _raw(some[0], said) for part, some in by_part.items()}
    if not all("images" in raw for raw in parts.values()):
        raise DataError("two files, and parts in each of them: name the one that is meant")
    return {f"{part}_{role}": array for part, raw in parts.items() for role, array in raw.items()}


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
