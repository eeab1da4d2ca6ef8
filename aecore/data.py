"""Data sets: where they come from, the check that they are what they claim to be, and splits."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from aecore.checks import InvalidValue, real
from aecore.store import forms
from aecore.store.sources import CLASSES, DATASETS, MD5, decode, obtain


@dataclass(frozen=True, eq=False)  # comparing tensors has no single truth value
class Dataset:
    """Labeled images, in the order in which they were published.

    Images are uint8 tensors (N, C, H, W) in 0..255, labels int64 tensors (N,). `digest` (hex) is
    a function of the content alone, whatever source it came from. `names` are what the classes are
    called; without labels all images are of one class, and not `labeled`. `said` has a sentence
    for each thing that was done to what was read.
    """

    name: str
    digest: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    names: tuple[str, ...] = tuple("0123456789")
    labeled: bool = True
    said: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """How many classes there are: 1 + the largest label."""
        return max(1 + int(self.train_labels.max()), self.tested)

    @property
    def tested(self) -> int:
        """How many of the classes, the first ones, are among the test images."""
        return 1 + int(self.test_labels.max())


def load(dataset: str | Path = "mnist") -> Dataset:
    """The data set of that name, fetched if needed, or the images at that path.

    `store.forms` says which forms are read there. A second call answers from memory: leave the
    tensors as they are. Raises `DataError` for an unknown name, for what is no set of images, or
    where no source can be reached.
    """
    if not forms.is_path(str(dataset)):
        return _load_idx(dataset)
    place = forms.resolved(str(dataset))
    return _load_path(place, forms.stamp(place))


def split(
    n: int, validation: float, seed: int, folds: int | None = None, fold: int = 0
) -> tuple[Tensor, Tensor]:
    """Row numbers (train, validation): ascending int64 tensors that share out 0..n-1.

    `validation` in [0, 1) is the fraction drawn at random for validation, rounded to whole rows.
    With `folds` the second is instead part `fold` of so many, all drawn at random, equally large
    but for one row. Raises `InvalidValue` where a part would be empty against the request.
    """
    first, last = 0, round(n * real("validation", validation, 0, below=1))
    if folds is not None:
        if folds > n:
            raise InvalidValue(f"folds={folds} is not allowed: must be at most {n}, the images")
        first, last = n * fold // folds, n * (fold + 1) // folds
    if n < 1 or last - first == n or (validation > 0 and last == 0):
        leaves = f"it leaves a part of {n} images empty"
        raise InvalidValue(f"validation={validation:g} is not allowed: {leaves}")
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    held_out = torch.zeros(n, dtype=torch.bool)
    held_out[rows[first:last]] = True
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


def one_of_each(labels: Tensor) -> Tensor:
    """Row numbers (K,) of the first image of each class in `labels` (N,), in order of classes.

    Where all images are of one class, the first ten stand for what there is to see.
    """
    classes = labels.unique()
    if len(classes) == 1:
        return torch.arange(min(10, len(labels)))
    return torch.stack([(labels == label).nonzero()[0, 0] for label in classes])


@lru_cache(maxsize=len(DATASETS))
def _load_idx(dataset: str) -> Dataset:
    _, _, raw = obtain(dataset)
    digest = hashlib.sha256("".join(MD5[dataset]).encode()).hexdigest()
    return Dataset(dataset, digest, *map(_decode, raw), names=CLASSES[dataset])


# The time of writing is an argument so that an edited file is not answered from memory.
@lru_cache(maxsize=2)
def _load_path(place: str, stamp: tuple[tuple[str, int, int], ...]) -> Dataset:
    found, digest = forms.read(place), hashlib.sha256()
    for name, array in found.arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    tensors = {name: torch.from_numpy(array) for name, array in found.arrays.items()}
    facts = {"names": found.names, "labeled": found.labeled, "said": found.said}
    return Dataset(name=forms.name(place), digest=digest.hexdigest(), **tensors, **facts)


def _decode(raw: bytes) -> Tensor:
    """Images (N, 1, H, W) or labels (N,), as in `Dataset`, of the bytes of a verified idx file."""
    tensor = torch.from_numpy(decode(raw))
    return tensor.long() if tensor.dim() == 1 else tensor[:, None]


def as_floats(images: Tensor) -> Tensor:
    """Images (N, C, H, W), bytes 0 … 255 or floats in [0, 1], as floats, channels last.

    Codes (N, d) stay what they are.
    """
    if images.dim() == 2:
        return images
    floats = images.to(torch.float32, memory_format=torch.channels_last)
    return floats if images.is_floating_point() else floats.div_(255)
