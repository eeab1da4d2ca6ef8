"""Dropout whose decisions are a function of a key: no state, no order of drawing, no mask to keep.

Unit i of a layer is dropped if `hashed(i, key)` falls below the rate. So a network alone, one of a
stack and one on another device drop the same units.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from aecore import randomness

GOLDEN = 0x9E3779B9  # 2³² over the golden ratio
FIRST, SECOND = 0x21F0AAAD, 0x735A2D97  # Wellons' hash prospector, the least biased of its form


class Dropout:
    """Sets units of a hidden layer to 0 with probability `rate`, divides the others by 1 - rate.

    Called once for every hidden layer of one step, in their order, with h (N, …); returns the same
    shape. The decisions are those of `key`, of how many layers came before, and of the unit's
    place, counted in (N, F) and in (N, H, W, C).
    """

    def __init__(self, rate: float, key: int) -> None:
        self.rate, self.key, self.layer = rate, key, 0

    def __call__(self, h: Tensor) -> Tensor:
        return Dropped.apply(h, self.rate, self.next_key())

    def next_key(self) -> int:
        """The key of the next layer."""
        self.layer += 1
        return randomness.key(self.key, self.layer)


class Dropped(torch.autograd.Function):
    """h times its mask; the gradient is multiplied by the same mask, made again."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, rate: float, key: int) -> Tensor:
        """The masked h."""
        ctx.rate, ctx.key = rate, key
        return masked(h, rate, key)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """The masked gradient."""
        return masked(grad, ctx.rate, ctx.key), None, None


def masked(h: Tensor, rate: float, key: int) -> Tensor:
    """h (N, …) with its dropped units 0 and the others divided by 1 - rate."""
    rows = h.movedim(1, -1)  # units in the order in which they are counted
    low, high, scale = key & 0xFFFFFFFF, key >> 32, 1 / (1 - rate)
    if h.device.type != "cpu":
        keep = hashes(rows.shape, signed(low), signed(high), h.device) >= least(rate)
        return h * (keep * scale).movedim(-1, 1)
    rows = rows.contiguous()
    out = torch.empty_like(rows)
    values, target = (t.detach().view(-1).numpy() for t in (rows, out))
    from aecore.fast import _loops  # brings numba

    _loops.mask(values, target, low, high, threshold(rate), scale)
    return out.movedim(-1, 1)


def hashes(
    shape: Sequence[int], low: Tensor | int, high: Tensor | int, device: torch.device | str
) -> Tensor:
    """int32 in the order of numbers without sign, of units of `shape` as they are counted.

    `low` and `high` are the halves of a key, or tensors (U, 1, …) of U keys for (U, *shape).
    """
    index = torch.arange(math.prod(shape), dtype=torch.int32, device=device).view(*shape)
    return hashed(index, low, high).bitwise_xor_(-(2**31))


def least(rate: float) -> int:
    """The least of `hashes` whose unit is kept."""
    return signed(threshold(rate) ^ 2**31)


def hashed(index: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    """Hashes, the bits of int32, of places `index`, int32, under the halves of a 63-bit key.

    Wellons' 32-bit hash of two multiplications ("lowbias32", 2018), the halves of the key added
    before and within.
    """
    z = index * signed(GOLDEN) + low
    z = (z ^ (z >> 16 & 0xFFFF)).mul_(FIRST).add_(high)
    z = (z ^ (z >> 15 & 0x1FFFF)).mul_(SECOND)
    return z ^ (z >> 15 & 0x1FFFF)


def threshold(rate: float) -> int:
    """The number of 2³² hashes below which a unit is dropped."""
    return round(rate * 2**32)


def signed(bits: int) -> int:
    """The int32 of the same 32 bits."""
    return (bits ^ 2**31) - 2**31
