"""Images and labels of any form as `Dataset` has them, and in words what was done to them."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from aecore.store.sources import DataError

Parts = dict[str, np.ndarray]  # by how their names begin: "train_" and "test_", or "" for one set

VALUES = "bytes, whole numbers 0 … 255, 16 bits, bool, or floats 0 … 1, −1 … 1 or 0 … 255"
SHAPES = "(N, H, W), (N, C, H, W) or (N, H, W, C) with C = 1, 3 or 4, or (N, P) with P square"
RANGES = ((0, 1, 255), (-1, 1, 127.5), (0, 255, 1))  # of floats, narrowest first, and their factors
SLACK = 1e-5  # how far floats may be out of their range: rounding takes no notice of it
TEST = 0.2  # share of each class that is drawn for testing where there is no test set
SEED = 0
NAMED = 12  # the most labels that a sentence lists


def as_images(images: Parts, said: list[str]) -> Parts:
    """Images of any `SHAPES` and `VALUES` as uint8 (N, C, H, W), C = 1 or 3, all by one rule.

    What changes their values or shape is added to `said`. Raises `DataError` for other images.
    """
    for part, array in images.items():
        if array.dtype.kind not in "buif" or array.size == 0:
            _refuse(part, array, VALUES)
    planes = {part: _planes(part, array, said) for part, array in images.items()}
    (first, one), *others = planes.items()
    for part, array in others:
        if array.shape[1:] != one.shape[1:]:
            found = f"{first}images {one.shape[1:]} and {part}images {array.shape[1:]}"
            raise DataError(f"{found} differ in image shape")
        if array.dtype != one.dtype:
            found = f"{first}images: {one.dtype} and {part}images: {array.dtype}"
            raise DataError(f"{found} differ in type: save both alike")
    planes = _as_bytes(planes, said)
    return _opaque(planes, said) if one.shape[1] == 4 else planes


def _planes(part: str, array: np.ndarray, said: list[str]) -> np.ndarray:
    """The images as (N, C, H, W), of whatever type."""
    shape = array.shape
    if array.ndim == 2 and (side := math.isqrt(shape[1])) ** 2 == shape[1]:
        say(said, f"rows of {shape[1]} pixels are squares of {side} × {side}")
        return array.reshape(-1, 1, side, side)
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and shape[3] <= 4 < shape[1]:
        say(said, "channels came last, and stand first")
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4:
        _refuse(part, array, SHAPES)
    if array.shape[1] not in (1, 3, 4):
        raise DataError(f"{part}images: {array.shape[1]} channels; needed are 1, 3 or 4")
    return array


def _as_bytes(images: Parts, said: list[str]) -> Parts:
    """The images as uint8 0 … 255; the range of all together decides how."""
    kind = next(iter(images.values())).dtype
    low = np.min([array.min() for array in images.values()]).item()  # NaN if there is one
    high = np.max([array.max() for array in images.values()]).item()
    if kind.kind == "b" or (kind.kind != "f" and (low, high) == (0, 1)):
        say(said, "true became 255 and false 0" if kind.kind == "b" else "0 and 1 became 0 and 255")
        return {part: array.astype(np.uint8) * np.uint8(255) for part, array in images.items()}
    if kind.kind == "f":
        for least, most, scale in RANGES:
            if least - SLACK <= low and high <= most + SLACK:
                title = f"floats {least} … {most}".replace("-", "−")
                return _scaled(images, scale, least, title, said)
    elif kind == np.uint16 and high > 255:
        return _scaled(images, 1 / 257, 0, "16 bits", said)
    elif low >= 0 and high <= 255:
        if kind != np.uint8:
            say(said, f"{kind} within 0 … 255 became bytes, nothing lost")
        return {part: np.ascontiguousarray(array, np.uint8) for part, array in images.items()}
    form = "g" if kind.kind == "f" else "d"
    _refuse(*next(iter(images.items())), VALUES, f", {low:{form}} … {high:{form}}")


def _scaled(images: Parts, scale: float, least: float, title: str, said: list[str]) -> Parts:
    """Bytes nearest to (value - least) · scale."""
    found, lost = {}, 0.0
    for part, array in images.items():
        exact = (array.astype(np.promote_types(array.dtype, np.float32)) - least) * scale
        nearest = np.rint(exact)
        lost = max(lost, float(np.abs(exact - nearest).max()))
        found[part] = nearest.astype(np.uint8)
    how = "nothing lost" if lost < 0.01 else "rounded to the nearest of 256 levels"
    say(said, f"{title} became bytes 0 … 255, {how}")
    return found


def _opaque(images: Parts, said: list[str]) -> Parts:
    """Images (N, 4, H, W) on a ground of one color: black, or white if what is seen is dark."""
    total = weight = 0.0
    for array in images.values():
        alpha = array[:, 3:].astype(np.float64)
        total += float((array[:, :3] * alpha).sum()) / 3
        weight += float(alpha.sum())
    if weight == 255 * sum(array[:, 3].size for array in images.values()):
        say(said, "the fourth channel, opacity, is full everywhere, and left out")
        return {part: np.ascontiguousarray(array[:, :3]) for part, array in images.items()}
    ground = 255 if total < 127.5 * weight else 0
    say(said, f"transparent images were put on {'white' if ground else 'black'}")
    found = {}
    for part, array in images.items():
        alpha = array[:, 3:] / np.float32(255)
        found[part] = np.rint(array[:, :3] * alpha + ground * (1 - alpha)).astype(np.uint8)
    return found


def _refuse(part: str, array: np.ndarray, needed: str, more: str = "") -> NoReturn:
    raise DataError(f"{part}images: {array.dtype} {array.shape}{more}; needed are {needed}")


def as_classes(
    labels: Mapping[str, np.ndarray], images: Parts, said: list[str]
) -> tuple[Parts, tuple[str, ...]]:
    """Labels int64 (N,) of classes 0 … K - 1 for all `images`, and what the K classes are called.

    They may be whole numbers, texts or one-hot. Classes that are not among the test images are the
    last ones. Raises `DataError` for other labels, and for several an image.
    """
    flat = {part: _flat(part, labels[part], len(images[part]), said) for part in images}
    if len({array.dtype.kind for array in flat.values()}) > 1:
        raise DataError("some labels are numbers, others texts: save them alike")
    values = np.unique(np.concatenate(list(flat.values())))  # ascending
    if values.dtype.kind == "U":
        values = np.array(sorted(values.tolist(), key=_natural))
        say(said, f"texts became classes 0 … {len(values) - 1}, in their order")
    elif values[-1] != len(values) - 1:
        say(said, f"labels {listed(values)} became classes 0 … {len(values) - 1}")
    tested = np.isin(values, flat.get("test_", flat.get("")))
    if not tested.all():
        lacks = f"no test image is of class {listed(values[~tested])}"
        say(said, f"{lacks}: the last of the classes, left out where classes are compared")
        values = np.concatenate([values[tested], values[~tested]])
    numbers = {value: number for number, value in enumerate(values.tolist())}
    names = tuple(map(str, numbers))
    found = {part: [numbers[value] for value in array.tolist()] for part, array in flat.items()}
    return {part: np.array(own, np.int64) for part, own in found.items()}, names


def _flat(part: str, labels: np.ndarray, count: int, said: list[str]) -> np.ndarray:
    """Labels (count,) of integers >= 0 or of texts."""
    found = f"{part}labels: {labels.dtype} {labels.shape}"
    if labels.ndim == 2 and 1 in labels.shape:
        labels = labels.ravel()
    if labels.dtype.kind not in "buifSU" or labels.shape[:1] != (count,) or labels.ndim > 2:
        raise DataError(f"{found}; needed is a whole number or text an image, ({count},)")
    if labels.ndim == 2:
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all()):
            raise DataError(f"{found}; needed is one class an image, not several (multi-label)")
        say(said, f"one-hot labels are the numbers of their {labels.shape[1]} columns")
        labels = labels.argmax(1)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if labels.dtype.kind == "U":
        return labels
    if labels.dtype.kind == "f" and not (np.rint(labels) == labels).all():
        raise DataError(f"{found}; needed are whole numbers or texts, one an image")
    if labels.min() < 0:
        raise DataError(f"{part}labels: {labels.min()} among them; needed are numbers from 0")
    return labels.astype(np.int64)


def _natural(name: str) -> list[tuple]:
    """A key that puts 2 before 10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def listed(values: Sequence[Any]) -> str:
    """The first of some values, and the last, as a sentence has them."""
    shown = [str(value) for value in values[:NAMED]]
    more = [f"… {values[-1]}"] if len(values) > NAMED else []
    return ", ".join(shown + more)


def divided(labels: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of training and test images, ascending: of each class `TEST` are drawn at random.

    `labels` (N,) are those of the classes `names`. Raises `DataError` for a class of one image.
    """
    source, drawn = np.random.RandomState(SEED), []  # its numbers are the same in every version
    for label, name in enumerate(names):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            raise DataError(f"class {name} has one image: needed are two, to train and to test")
        drawn.append(source.permutation(rows)[: max(1, round(TEST * len(rows)))])
    test = np.sort(np.concatenate(drawn))
    return np.setdiff1d(np.arange(len(labels)), test), test


def grouped(labels: np.ndarray) -> bool:
    """Whether the first of so many images would leave out classes, as where these are sorted.

    That is where labels (N,) change at most half as often from one to the next as in random order.
    """
    changes = np.count_nonzero(np.diff(labels))
    expected = len(labels) - np.square(np.unique(labels, return_counts=True)[1]).sum() / len(labels)
    return bool(0 < 2 * changes <= expected)


def shuffled(count: int) -> np.ndarray:
    """The numbers 0 … count - 1 in a random order that is the same every time."""
    return np.random.RandomState(SEED).permutation(count)


def say(said: list[str], sentence: str) -> None:
    """Add a sentence that is not there yet."""
    if sentence not in said:
        said.append(sentence)
