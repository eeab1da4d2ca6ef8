"""Images to the last bit: a lossy code, and what it leaves, pixel by pixel.

A pixel is coded by how likely each of its 256 values is where the decoded code has this value, and
the pixels to the left and above, which are known by then, have those. It needs a decoder that draws
the same everywhere: one gray value that differs, and nothing after it can be read.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self, Unpack

import constriction
import numpy as np
import pandas as pd
from torch import Tensor

from aecore.analysis.errors import test_images
from aecore.codec.prior import TOTAL, whole_frequencies
from aecore.codec.transforms import Autoencoder, Codec
from aecore.data import load
from aecore.engine.measured import Where, frame, of_runs
from aecore.engine.pool import seen
from aecore.runs import Run

VERSION = 1
DRAWN = (2, 8, 24, 56, 96, 144, 192, 224, 244, 252)  # where a class of decoded values ends
KNOWN = (1, 48, 128, 208, 254)  # of values to the left and above
CLASSES = (len(DRAWN) + 1) * (len(KNOWN) + 1) ** 2
PULL = 8.0  # observations that the mean over all classes counts as


@dataclass(frozen=True, eq=False)
class Residuals:
    """How likely each value of a pixel is in each class: frequencies (classes, 256) of 2**16."""

    frequencies: np.ndarray

    @classmethod
    def learned(cls, images: Tensor, drawn: Tensor) -> Self:
        """Of uint8 training images (N, C, H, W) and what the lossy codec makes of them."""
        counts = np.zeros((CLASSES, 256))
        for pixels, classes in _pixels(_planes(images), _planes(drawn)):
            flat = np.bincount(classes * 256 + pixels, minlength=counts.size)
            counts += flat.reshape(counts.shape)
        mean = counts.sum(0) / counts.sum()
        return cls(np.stack([whole_frequencies(row + PULL * mean) for row in counts]))

    def encode(self, images: Tensor, drawn: Tensor) -> bytes:
        """The bytes of uint8 images (N, C, H, W) where `drawn`, of the same shape, is known."""
        encoder = constriction.stream.queue.RangeEncoder()
        for pixels, classes in _pixels(_planes(images), _planes(drawn)):
            for number, rows in _groups(classes):
                encoder.encode(pixels[rows].astype(np.int32), self.models[number])
        return encoder.get_compressed().astype("<u4").tobytes()

    def decode(self, data: bytes, drawn: Tensor) -> Tensor:
        """The images (N, C, H, W), uint8, of bytes that `encode` made with the same `drawn`."""
        decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype("u4"))
        images = drawn.clone()
        planes = _planes(images)
        for place, (_, classes) in enumerate(_pixels(planes, _planes(drawn))):
            column = planes[:, place // planes.shape[2], place % planes.shape[2]]
            for number, rows in _groups(classes):
                column[rows] = decoder.decode(self.models[number], len(rows))
        return images

    @cached_property
    def models(self) -> list[constriction.stream.model.Categorical]:
        """The frequencies of each class for `constriction`: exact as floats."""
        shares = self.frequencies / TOTAL
        return [constriction.stream.model.Categorical(share, perfect=False) for share in shares]


def _planes(images: Tensor) -> np.ndarray:
    """Every channel as an image of its own: (N x C, H, W), in the memory of `images`."""
    return images.flatten(0, 1).numpy()


def _pixels(planes: np.ndarray, drawn: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each place, row by row, the pixels there and their classes: both (N,)."""
    black = np.zeros(len(planes), np.uint8)
    of_drawn = np.searchsorted(DRAWN, drawn, side="right")
    for y, x in np.ndindex(planes.shape[1:]):
        around = (planes[:, y, x - 1] if x else black, planes[:, y - 1, x] if y else black)
        left, above = (np.searchsorted(KNOWN, values, side="right") for values in around)
        classes = (of_drawn[:, y, x] * (len(KNOWN) + 1) + left) * (len(KNOWN) + 1) + above
        yield planes[:, y, x].astype(np.int64), classes


def _groups(classes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each class that there is, in order, and where: of (N,)."""
    order = np.argsort(classes, kind="stable")
    numbers, starts = np.unique(classes[order], return_index=True)
    yield from zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)


def lossless_rates(runs: Sequence[Run], step: float, **where: Unpack[Where]) -> pd.DataFrame:
    """What the test images cost to the last bit, by codes that are rounded to multiples of `step`.

    Columns, after those of `measured.frame`: `codes` and `residuals`, bytes an image in a stream
    each; `bytes`, both together; `restored`, how many images came back bit by bit; and `tables`,
    the bytes of all frequencies of residuals, which no image's share includes.
    """
    how = {"size": lambda run: len(test_images(run)), **where, "step": float(step)}
    found = of_runs("lossless", VERSION, _of_run, runs, "coding to the last bit", **how)
    return frame(runs, found, ["codes", "residuals", "bytes", "restored", "tables"])


def _of_run(run: Run, step: float) -> dict[str, float]:
    data, transform = load(run.spec.dataset), Autoencoder.of(run)
    train, test = data.train_images[: run.spec.train_images], data.test_images
    codec = Codec.learned(transform, step, transform.encode(train))
    residuals = Residuals.learned(train, codec.decode(codec.encode(train)))
    numbers = codec.encode(test)
    drawn = codec.decode(numbers)
    coded = residuals.encode(test, drawn)
    sizes = {"codes": len(codec.prior.encode_stream(numbers)) / len(test)}
    sizes["residuals"] = len(coded) / len(test)
    same = (residuals.decode(coded, drawn) == test).flatten(1).all(1)
    seen(len(test))
    tables = len(zlib.compress(residuals.frequencies.astype("<u2").tobytes(), 9))
    totals = {"bytes": sum(sizes.values()), "tables": tables, "restored": int(same.sum())}
    return sizes | totals
