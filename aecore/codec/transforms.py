"""From images to codes and back, as a file needs it: the way back is the same on every machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from aecore import models
from aecore.analysis.errors import principal_components
from aecore.checks import InvalidValue, choice
from aecore.codec.prior import Prior
from aecore.engine.pool import in_threads
from aecore.runs import Run
from aecore.spec import Spec
from aecore.store.entries import Arrays

WEIGHT_BITS, FRACTION_BITS = 14, 10  # after the point, of weights (at most) and of hidden units
LARGEST = 2.0**13  # of a hidden unit
BATCH = 64  # codes that a thread decodes at once: their doubles stay in its core's cache


class Transform(Protocol):
    """What quantization stands between: `encode` and `decode`."""

    def encode(self, images: Tensor) -> Tensor:
        """Codes (N, d), float, of uint8 images (N, C, H, W)."""

    def decode(self, codes: Tensor) -> Tensor:
        """Images, uint8 (N, C, H, W), of codes (N, d)."""


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """A convolutional autoencoder that decodes the same codes to the same bytes on every machine.

    The decoder's weights are whole numbers of 16 bits times a power of two, hidden units are
    rounded to multiples of 2⁻¹⁰. So a double holds every sum of their products exactly, in whatever
    order it is added up. What is left to the machine is one sigmoid a pixel, and of that the
    nearest of 256 values. The encoder, if there is one, computes as PyTorch does.
    """

    spec: Spec
    image_shape: tuple[int, ...]
    weights: Arrays  # int16 by the names of the model
    exponents: dict[str, int]  # a weight is its whole number times 2 to minus this
    run: Run | None = None  # which encodes

    @classmethod
    def of(cls, run: Run) -> Self:
        """That of a run; raises `InvalidValue` for other networks than convolutional ones.

        And for other hidden units than ReLU, whose values may differ between machines.
        """
        if not isinstance(run.plain(), models.ConvAutoencoder):
            conv = [n for n, family in models.FAMILIES.items() if family.live]
            raise InvalidValue.of(
                "architecture", run.spec.architecture, f"one of {', '.join(conv)}"
            )
        choice("activation", run.spec.activation, ("relu",))
        own = {name: of for name, of in run.weights.items() if name.startswith("decoder.")}
        exponents = {name: _exponent(of) for name, of in own.items()}
        whole = {name: np.rint(np.ldexp(of, exponents[name])) for name, of in own.items()}
        whole = {name: of.astype(np.int16) for name, of in whole.items()}
        return cls(run.spec, run.image_shape, whole, exponents, run)

    @cached_property
    def model(self) -> models.Network:
        """The network, in doubles, with the decoder's weights alone."""
        model = models.build(self.spec, self.image_shape).double().requires_grad_(False).eval()
        pairs = {name: np.ldexp(of, -self.exponents[name]) for name, of in self.weights.items()}
        tensors = {name: torch.from_numpy(of.astype(float)) for name, of in pairs.items()}
        if wrong := model.load_state_dict(tensors, strict=False).unexpected_keys:
            raise InvalidValue(f"{wrong[0]} is no weight of this decoder")
        return model

    def encode(self, images: Tensor) -> Tensor:
        """Codes (N, d) of uint8 images (N, C, H, W); `InvalidValue` of a decoder without a run."""
        if self.run is None:
            raise InvalidValue("a model that was read from a file decodes only")
        return self.run.encode(images)

    def decode(self, codes: Tensor) -> Tensor:
        """Images, uint8 (N, C, H, W), of codes (N, d)."""
        return torch.cat(in_threads(self._part, codes.double().split(BATCH)))

    def _part(self, codes: Tensor) -> Tensor:
        drawn = self.model.decode(rounded(codes), rounded)
        return drawn.mul_(255).round_().to(torch.uint8).contiguous()


def _exponent(values: np.ndarray) -> int:
    """The largest power of two, up to 2¹⁴, by which `values` stay within 16 bits."""
    _, bits = np.frexp(np.abs(values).max())
    return min(WEIGHT_BITS, 14 - int(bits))


def rounded(h: Tensor) -> Tensor:
    """The nearest multiples of 2⁻¹⁰ within ±2¹³."""
    unit = 2.0**FRACTION_BITS
    return h.clamp(-LARGEST, LARGEST).mul_(unit).round_().div_(unit)


class PrincipalComponents:
    """The first d principal components of training images, as a transform coder has them."""

    def __init__(self, images: Tensor, d: int) -> None:
        self.shape = images.shape[1:]
        self.pca = principal_components(images.flatten(1).numpy() / np.float32(255), d)

    def encode(self, images: Tensor) -> Tensor:
        """Codes (N, d) of uint8 images (N, C, H, W), largest variance first."""
        flat = images.flatten(1).numpy() / np.float32(255)
        return torch.from_numpy(self.pca.transform(flat))

    def decode(self, codes: Tensor) -> Tensor:
        """Images, uint8 (N, C, H, W), of codes (N, d)."""
        flat = torch.from_numpy(self.pca.inverse_transform(codes.float().numpy()))
        return (flat.clamp(0, 1) * 255).round().to(torch.uint8).unflatten(1, self.shape)


@dataclass(frozen=True, eq=False)
class Codec:
    """Images to whole numbers and back: a transform, the step between two numbers, and a prior."""

    transform: Transform
    step: float
    prior: Prior

    @classmethod
    def learned(cls, transform: Transform, step: float, codes: Tensor) -> Self:
        """With the prior of training codes (N, d)."""
        return cls(transform, step, Prior.learned(quantized(codes, step)))

    def encode(self, images: Tensor) -> np.ndarray:
        """The numbers (N, d) of uint8 images (N, C, H, W)."""
        return self.prior.nearest(quantized(self.transform.encode(images), self.step))

    def decode(self, numbers: np.ndarray) -> Tensor:
        """Images, uint8 (N, C, H, W), of numbers (N, d)."""
        return self.transform.decode(torch.from_numpy(numbers * self.step))


def quantized(codes: Tensor | Sequence, step: float) -> np.ndarray:
    """The whole numbers of steps nearest to the codes: int64, of the same shape."""
    return np.rint(np.asarray(codes, dtype=float) / step).astype(np.int64)
