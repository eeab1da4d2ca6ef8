"""Corruptions of images: each one is an equation, each call a function of its generator."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, get_args

from aecore import checks

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class GaussianNoise:
    """x' = x + n with n ~ N(mean, sigma²) for every pixel; with `clip`, limited to [0, 1].

    Takes float images (N, C, H, W) in [0, 1]; sigma ≥ 0, in units of the pixel range. Without
    clipping the noise keeps its mean; clipping turns half of it on a black background to gray.
    """

    sigma: float
    mean: float = 0.0
    clip: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", checks.real("sigma", self.sigma, 0))
        object.__setattr__(self, "mean", checks.real("mean", self.mean))
        object.__setattr__(self, "clip", checks.flag("clip", self.clip))

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        noise = images.new_empty(images.shape).normal_(self.mean, self.sigma, generator=generator)
        noisy = images + noise
        return noisy.clamp_(0, 1) if self.clip else noisy


@dataclass(frozen=True)
class Occlusion:
    """x' = 0 inside a rectangle that covers `fraction` of the image, x outside.

    The rectangle has the image's proportions, sides round(√fraction · H) and round(√fraction · W),
    and a place drawn uniformly for each image. Takes and returns float images (N, C, H, W);
    0 ≤ fraction ≤ 1.
    """

    fraction: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "fraction", checks.real("fraction", self.fraction, 0, 1))

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        count, _, height, width = images.shape
        scale = math.sqrt(self.fraction)

        def covered(size: int) -> Tensor:
            side = round(scale * size)
            start = images.new_empty(count, 1).random_(size - side + 1, generator=generator)
            offset = images.new_ones(size).cumsum(0) - 1 - start  # (N, size)
            return (offset >= 0) & (offset < side)

        hidden = covered(height)[:, None, :, None] & covered(width)[:, None, None, :]
        return images.masked_fill(hidden, 0)


@dataclass(frozen=True)
class SaltAndPepper:
    """x' = 0 or 1, each with probability `amount` / 2 for every pixel, x otherwise.

    Takes and returns float images (N, C, H, W) in [0, 1]; 0 ≤ amount ≤ 1.
    """

    amount: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "amount", checks.real("amount", self.amount, 0, 1))

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        lot = images.new_empty(images.shape).uniform_(generator=generator)
        half = self.amount / 2
        return images.masked_fill(lot < half, 0).masked_fill_((lot >= half) & (lot < 2 * half), 1)


@dataclass(frozen=True)
class Speckle:
    """x' = x + x n with n ~ N(0, sigma²) for every pixel; with `clip`, limited to [0, 1].

    Takes float images (N, C, H, W) in [0, 1]; sigma ≥ 0. A black pixel stays black.
    """

    sigma: float
    clip: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", checks.real("sigma", self.sigma, 0))
        object.__setattr__(self, "clip", checks.flag("clip", self.clip))

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        noise = images.new_empty(images.shape).normal_(0, self.sigma, generator=generator)
        noisy = images + images * noise
        return noisy.clamp_(0, 1) if self.clip else noisy


@dataclass(frozen=True)
class Masking:
    """x' = 0 with probability `fraction` for every pixel, x otherwise (Vincent et al. 2010).

    Takes and returns float images (N, C, H, W) in [0, 1]; 0 ≤ fraction ≤ 1.
    """

    fraction: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "fraction", checks.real("fraction", self.fraction, 0, 1))

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        lot = images.new_empty(images.shape).uniform_(generator=generator)
        return images.masked_fill(lot < self.fraction, 0)


@dataclass(frozen=True)
class Chain:
    """x' = f_n(… f_1(x)): the corruptions `parts` one after another."""

    parts: tuple[Corruption, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", _checked_parts(self.parts))

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        for part in self.parts:
            images = part(images, generator=generator)
        return images


@dataclass(frozen=True)
class OneOf:
    """x' = f_i(x), with i drawn uniformly for each image: one of the corruptions `parts`."""

    parts: tuple[Corruption, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", _checked_parts(self.parts))

    def __call__(self, images: Tensor, *, generator: Generator) -> Tensor:
        choice = images.new_empty(len(images), 1, 1, 1)
        choice.random_(len(self.parts), generator=generator)
        result = images
        for number, part in enumerate(self.parts):
            result = result.where(choice != number, part(images, generator=generator))
        return result


Corruption = GaussianNoise | Occlusion | SaltAndPepper | Speckle | Masking | Chain | OneOf
KINDS: dict[str, type[Corruption]] = {kind.__name__: kind for kind in get_args(Corruption)}


def _checked_parts(parts: object) -> tuple[Corruption, ...]:
    if not isinstance(parts, tuple | list) or not parts:
        raise checks.InvalidValue(f"parts={parts!r} is not allowed: must be corruptions")
    for part in parts:
        if not isinstance(part, Corruption):
            allowed = ", ".join(KINDS)
            raise checks.InvalidValue(f"parts={part!r} is not allowed: must be of {allowed}")
    return tuple(parts)


def to_dict(corruption: Corruption) -> dict[str, Any]:
    """The corruption as plain data without defaults, `{"kind": "Occlusion", "fraction": 0.2}`."""
    values = {
        field.name: getattr(corruption, field.name)
        for field in fields(corruption)
        if getattr(corruption, field.name) != field.default
    }
    if "parts" in values:
        values["parts"] = [to_dict(part) for part in values["parts"]]
    return {"kind": type(corruption).__name__, **values}


def from_dict(data: dict[str, Any]) -> Corruption:
    """The inverse of `to_dict`; raises `InvalidValue` for an unknown kind or field."""
    values = dict(data)
    kind = KINDS[checks.choice("kind", values.pop("kind", None), tuple(KINDS))]
    if isinstance(values.get("parts"), list):
        parts = values["parts"]
        values["parts"] = [from_dict(part) if isinstance(part, dict) else part for part in parts]
    try:
        return kind(**values)
    except TypeError as error:
        raise checks.InvalidValue(f"{kind.__name__}: {error}") from None


def corrupt(images: Tensor, tested: Corruption | None, step: int = 0) -> Tensor:
    """Test images (N, C, H, W) in [0, 1], corrupted; the same numbers for every model and level."""
    if tested is None:
        return images
    from aecore import randomness  # brings torch, which a spec does without

    return tested(images, generator=randomness.generator(0, f"test {name(tested)}", step=step))


def name(corruption: Corruption | None) -> str:
    """What tables and figures call a corruption."""
    return "clean" if corruption is None else type(corruption).__name__


def level(corruption: Corruption | None) -> float:
    """The strength of a corruption: sigma, fraction or amount; 0 for none and for a mix."""
    strengths = (getattr(corruption, field, 0.0) for field in ("sigma", "fraction", "amount"))
    return max(strengths)
