"""Corruptions of float images (N, C, H, W), in [0, 1] but where noise is not clipped.

One more is one class here: its equation, its fields, its strength.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from aecore import checks
from aecore.checks import InvalidValue, field

if TYPE_CHECKING:
    from torch import Generator, Tensor

KINDS: dict[str, type[Corruption]] = {}  # every corruption by its label


class Corruption(ABC):
    """One way to damage images; `KINDS` has all of them."""

    def __init_subclass__(cls) -> None:
        KINDS[cls.__name__] = cls

    def __post_init__(self) -> None:
        checks.check_fields(self)

    @property
    def label(self) -> str:
        """What tables and figures call it."""
        return type(self).__name__

    @property
    @abstractmethod
    def strength(self) -> float:
        """How much it damages, 0 for not at all, in its own unit."""

    @abstractmethod
    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        """The damaged images, a function of the generator; the given ones stay as they are."""


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    """x' = x + n with n ~ N(mean, sigma²) for every pixel; with `clip`, limited to [0, 1].

    Without clipping the noise keeps its mean; clipped, it turns half of a black background gray.
    """

    sigma: float = field(MISSING, checks.real, 0)  # in units of the pixel range
    mean: float = field(0.0, checks.real)
    clip: bool = field(False, checks.flag)
    strength = property(attrgetter("sigma"))

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        noise = images.new_empty(images.shape).normal_(self.mean, self.sigma, generator=generator)
        return (images + noise).clamp_(0, 1) if self.clip else images + noise


@dataclass(frozen=True)
class Speckle(Corruption):
    """x' = x + x n with n ~ N(0, sigma²) for every pixel; with `clip`, limited to [0, 1]."""

    sigma: float = field(MISSING, checks.real, 0)
    clip: bool = field(False, checks.flag)
    strength = property(attrgetter("sigma"))

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        noise = images.new_empty(images.shape).normal_(0, self.sigma, generator=generator)
        noisy = images + images * noise
        return noisy.clamp_(0, 1) if self.clip else noisy


@dataclass(frozen=True)
class SaltAndPepper(Corruption):
    """x' = 0 or 1, each with probability `amount` / 2 for every pixel, x otherwise."""

    amount: float = field(MISSING, checks.real, 0, 1)
    strength = property(attrgetter("amount"))

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        lot = images.new_empty(images.shape).uniform_(generator=generator)
        half = self.amount / 2
        return images.masked_fill(lot < half, 0).masked_fill_((lot >= half) & (lot < 2 * half), 1)


@dataclass(frozen=True)
class Masking(Corruption):
    """x' = 0 with probability `fraction` for every pixel, x otherwise (Vincent et al. 2010).

    With `rescale`, x / (1 - fraction) otherwise, so that the mean stays: dropout of the input.
    """

    fraction: float = field(MISSING, checks.real, 0, 1)
    rescale: bool = field(False, checks.flag)
    strength = property(attrgetter("fraction"))

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        lot = images.new_empty(images.shape).uniform_(generator=generator)
        kept = images.masked_fill(lot < self.fraction, 0)
        return kept / (1 - self.fraction) if self.rescale and self.fraction < 1 else kept


@dataclass(frozen=True)
class Occlusion(Corruption):
    """x' = `fill` inside a rectangle that covers `fraction` of the image, x outside.

    It has the image's proportions, sides round(√fraction · H) and round(√fraction · W), and a
    place drawn uniformly for each image.
    """

    fraction: float = field(MISSING, checks.real, 0, 1)
    fill: float = field(0.0, checks.real, 0, 1)
    strength = property(attrgetter("fraction"))

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        def covered(size: int) -> Tensor:
            side = round(math.sqrt(self.fraction) * size)
            start = images.new_empty(len(images), 1).random_(size - side + 1, generator=generator)
            offset = images.new_ones(size).cumsum(0) - 1 - start  # (N, size)
            return (offset >= 0) & (offset < side)

        height, width = images.shape[2:]
        hidden = covered(height)[:, None, :, None] & covered(width)[:, None, None, :]
        return images.masked_fill(hidden, self.fill)


@dataclass(frozen=True)
class Blur(Corruption):
    """x' = G_h x G_wᵀ with G_ij ∝ exp(-(i - j)² / 2 sigma²): the Gaussian blur, in pixels.

    The bell ends after 4 sigma, and beyond the image all is black, as with
    `scipy.ndimage.gaussian_filter(mode="constant")`.
    """

    sigma: float = field(MISSING, checks.real, 0)
    strength = property(attrgetter("sigma"))

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        radius, scale = int(4 * self.sigma + 0.5), 2 * self.sigma**2 or 1.0
        whole = sum(math.exp(-(i**2) / scale) for i in range(-radius, radius + 1))

        def bell(size: int) -> Tensor:
            place = images.new_ones(size).cumsum(0)
            apart = place[:, None] - place  # (size, size)
            return (-(apart**2) / scale).exp().masked_fill(apart.abs() > radius, 0) / whole

        return bell(images.shape[2]) @ images @ bell(images.shape[3]).T


def a_corruption(name: str, value: object) -> Corruption:
    """`value` if it is a corruption; raises `InvalidValue` otherwise."""
    if not isinstance(value, Corruption):
        raise InvalidValue.of(name, value, f"of {', '.join(KINDS)}")
    return value


def parts_of(name: str, value: object) -> tuple[Corruption, ...]:
    """One or more corruptions; raises `InvalidValue` for anything else."""
    if not isinstance(value, tuple | list) or not value:
        raise InvalidValue.of(name, value, "corruptions")
    return tuple(a_corruption(name, part) for part in value)


@dataclass(frozen=True)
class Chain(Corruption):
    """x' = f_n(… f_1(x)): the corruptions `parts` one after another; of no certain strength: 0."""

    parts: tuple[Corruption, ...] = field(MISSING, parts_of)
    strength = 0.0

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        for part in self.parts:
            images = part(images, generator=generator)
        return images


@dataclass(frozen=True)
class OneOf(Corruption):
    """x' = f_i(x), with i drawn uniformly for each image; of no certain strength: 0."""

    parts: tuple[Corruption, ...] = field(MISSING, parts_of)
    strength = 0.0

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        choice = images.new_empty(len(images), 1, 1, 1)
        choice.random_(len(self.parts), generator=generator)
        result = images
        for number, part in enumerate(self.parts):
            result = result.where(choice != number, part(images, generator=generator))
        return result


def corrupt(images: Tensor, corruption: Corruption | None, step: int = 0) -> Tensor:
    """Test images (N, C, H, W) in [0, 1], damaged: the same random numbers for every model."""
    if corruption is None:
        return images
    from aecore import randomness  # brings torch, which a spec does without

    source = randomness.generator(0, f"test {corruption.label}", step=step)
    return corruption(images, generator=source)


def to_dict(corruption: Corruption) -> dict[str, Any]:
    """The corruption as plain data without defaults, `{"kind": "Occlusion", "fraction": 0.2}`."""
    values = checks.changed(corruption)
    if "parts" in values:
        values["parts"] = [to_dict(part) for part in values["parts"]]
    return {"kind": corruption.label, **values}


def from_dict(data: dict[str, Any]) -> Corruption:
    """The inverse of `to_dict`; raises `InvalidValue` for an unknown kind or field."""
    values = dict(data)
    kind = KINDS[checks.choice("kind", values.pop("kind", None), tuple(KINDS))]
    if isinstance(parts := values.get("parts"), list):
        values["parts"] = [from_dict(part) if isinstance(part, dict) else part for part in parts]
    try:
        return kind(**values)
    except TypeError as error:
        raise InvalidValue(f"{kind.__name__}: {error}") from None
