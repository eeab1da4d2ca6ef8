"""Layers of many networks at once on a GPU, by kernels that Triton compiles.

cuDNN takes one network of a stack after another, and most of its time for the gradients of a few
weights. Here a convolution of all networks is one kernel, and so are ReLU and dropout. Images of
the networks lie side by side: (N, M, C, H, W) of M networks.
"""

import functools
import math
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.library import custom_op

TILE = {"BLOCK": 32, "PRECISION": "ieee", "num_stages": 1, "num_warps": 4}
WIDTH, BLOCK = 8, 128  # channels, at most, and pixels of one program, measured on an H200
PROGRAMS = 2048  # that a GPU is given at least, so that all of it works
Axes = tuple[int, int]


def on(device: torch.device) -> bool:
    """Whether the kernels work there: on a GPU, and on "meta", where nothing is computed."""
    return device.type == "meta" or (device.type == "cuda" and _kernels() is not None)


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor, padding: Axes, size: Axes, transposed: bool
) -> Tensor:
    """Convolutions of M networks with kernels of 3 x 3 and stride 2, or their transposes.

    `x` is (N, M·C, H, W) or, transposed, (N, M·D, h, w), `weight` (M, D, C, 3, 3), `bias` (M, D) or
    (M, C), `size` height and width of the larger images. Returns the other of the two.
    """
    beside = x.unflatten(1, (len(weight), -1)).contiguous()
    return Convolution.apply(beside, weight, bias, padding, size, transposed).flatten(1, 2)


class Convolution(torch.autograd.Function):
    """One layer of all networks, and its gradients."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: Axes, size: Axes, up: bool
    ) -> Tensor:
        """Images (N, M, …) of images x."""
        ctx.settings = padding, size, up
        ctx.save_for_backward(x, weight)
        return (_spread if up else _gathered)(x, weight, bias, padding, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight and bias."""
        (x, weight), (padding, size, up), grad = ctx.saved_tensors, ctx.settings, grad.contiguous()
        of_x, none = None, weight.new_zeros(0)
        if ctx.needs_input_grad[0]:
            of_x = (_gathered if up else _spread)(grad, weight, none, padding, size)
        of_weight = _correlated(*((x, grad) if up else (grad, x)), padding)
        return of_x, of_weight, grad.sum((0, 3, 4)), None, None, None


@custom_op("aecore::gathered", mutates_args=())
def _gathered(
    large: Tensor, weight: Tensor, bias: Tensor, padding: Sequence[int], size: Sequence[int]
) -> Tensor:
    """A convolution: images (N, M, D, h, w) of (N, M, C, H, W); `bias` (M, D) may be empty."""
    small = large.new_empty(_gathered_shape(large, weight, padding))
    (n, m, c, *_), (d, *of_small) = large.shape, small.shape[2:]
    kernels, positions = weight.permute(0, 2, 3, 4, 1).contiguous(), n * math.prod(of_small)
    width = min(_power(d), WIDTH)
    _kernels().gathered[_blocks(positions, BLOCK), m, _blocks(d, width)](
        large, kernels, bias.contiguous(), small, positions, m, c, *size, *of_small, *padding, d,
        WIDTH=width, BLOCK=BLOCK, BIAS=bias.numel() > 0, num_warps=2,
    )  # fmt: skip
    return small


@custom_op("aecore::spread", mutates_args=())
def _spread(
    small: Tensor, weight: Tensor, bias: Tensor, padding: Sequence[int], size: Sequence[int]
) -> Tensor:
    """A transposed convolution: images (N, M, C, H, W) of (N, M, D, h, w); `bias` may be empty."""
    large = small.new_empty(_spread_shape(small, weight, size))
    (n, m, d, *of_small), c = small.shape, large.shape[2]
    kernels = weight.permute(0, 1, 3, 4, 2).contiguous()  # (M, D, 3, 3, C)
    positions = n * math.prod((length + 1) // 2 for length in size)
    width = min(_power(c), WIDTH)
    _kernels().spread[_blocks(positions, BLOCK), m, _blocks(c, width)](
        small, kernels, bias.contiguous(), large, positions, m, c, *size, *of_small, *padding, d,
        WIDTH=width, BLOCK=BLOCK, BIAS=bias.numel() > 0, num_warps=2,
    )  # fmt: skip
    return large


@custom_op("aecore::correlated", mutates_args=())
def _correlated(small: Tensor, large: Tensor, padding: Sequence[int]) -> Tensor:
    """The gradient (M, D, C, 3, 3) of the weights between (N, M, D, h, w) and (N, M, C, H, W)."""
    (n, m, d, *of_small), (c, *size) = small.shape, large.shape[2:]
    positions = n * math.prod(of_small)
    parts = max(1, min(_blocks(PROGRAMS, m), _blocks(positions, 64)))
    each = 64 * _blocks(positions, 64 * parts)
    sums = small.new_empty(parts, *_correlated_shape(small, large))
    rows, columns = (max(16, min(_power(n), most)) for n, most in ((d, 32), (9 * c, 128)))
    _kernels().correlated[parts, m, _blocks(d, rows) * _blocks(9 * c, columns)](
        small, large, sums, positions, each, m, c, *size, *of_small, *padding, d,
        ROWS=rows, COLUMNS=columns, **TILE,
    )  # fmt: skip
    return sums.sum(0)


class Mask(NamedTuple):
    """What M networks drop in a layer.

    The halves (2, layers, U) of U keys; for each network (M,) which of these is its own, the least
    hash of a unit that is kept, and what such a unit is multiplied by.
    """

    halves: Tensor
    which: Tensor
    least: Tensor
    scale: Tensor
    layer: int


def after(h: Tensor, mask: Mask | None, relu: bool) -> Tensor:
    """ReLU, if asked for, and dropout of hidden units h (N, M, C, H, W) or (N, M, F)."""
    return After.apply(h.contiguous(), mask, relu)


class After(torch.autograd.Function):
    """ReLU and dropout, which is made again for the gradient."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, mask: Mask | None, relu: bool) -> Tensor:
        """The units that go on."""
        ctx.mask = ([], 0) if mask is None else ([*mask[:-1]], mask.layer)
        y = _masked(h, None, *ctx.mask, relu)
        ctx.save_for_backward(y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of h."""
        return _masked(grad.contiguous(), *ctx.saved_tensors, *ctx.mask, False), None, None


@custom_op("aecore::masked", mutates_args=())
def _masked(h: Tensor, y: Tensor | None, mask: Sequence[Tensor], layer: int, relu: bool) -> Tensor:
    """h (N, M, …), masked: with `relu` 0 where it is below, with `y` 0 where that is not above."""
    out, (halves, *others) = torch.empty_like(h), mask or [h] * 4
    n, m, channels, *size = h.shape
    each, (_, layers, keys) = math.prod(size), halves.shape if mask else (0, 0, 0)
    _kernels().masked[_blocks(n * channels * each, 1024), m](
        h, h if y is None else y, out, halves, *others, n * channels * each, m, layer, layers, keys,
        channels, each, RELU=relu, GIVEN=y is not None, DROP=bool(mask), BLOCK=1024,
    )  # fmt: skip
    return out


def _gathered_shape(large: Tensor, weight: Tensor, padding: Sequence[int]) -> tuple[int, ...]:
    axes = zip(large.shape[3:], padding, strict=True)
    return (*large.shape[:2], weight.shape[1], *((n + 2 * p - 3) // 2 + 1 for n, p in axes))


def _spread_shape(small: Tensor, weight: Tensor, size: Sequence[int]) -> tuple[int, ...]:
    return (*small.shape[:2], weight.shape[2], *size)


def _correlated_shape(small: Tensor, large: Tensor) -> tuple[int, ...]:
    return (small.shape[1], small.shape[2], large.shape[2], 3, 3)


# What they return where nothing is computed.
_gathered.register_fake(
    lambda large, weight, bias, padding, size: large.new_empty(
        _gathered_shape(large, weight, padding)
    )
)
_spread.register_fake(
    lambda small, weight, bias, padding, size: small.new_empty(_spread_shape(small, weight, size))
)
_correlated.register_fake(
    lambda small, large, padding: small.new_empty(_correlated_shape(small, large))
)
_masked.register_fake(lambda h, y, mask, layer, relu: torch.empty_like(h))


def _power(n: int) -> int:
    """The least power of 2 that is not below n."""
    return 1 << (n - 1).bit_length()


def _blocks(n: int, size: int) -> int:
    return -(-n // size)


@functools.cache
def _kernels() -> ModuleType | None:
    """The kernels, compiled at their first call; None, with a warning, where that can't be done."""
    try:
        from aecore.fast import _triton

        if torch.cuda.is_available():
            _triton.tried[(1,)](torch.empty(1, device="cuda"))
    except Exception as error:  # no Triton, compiler or header: each has its own
        slower = "PyTorch's layers are used, which are several times slower for many networks"
        warnings.warn(f"Triton can't compile kernels here ({error}): {slower}", stacklevel=1)
        return None
    return _triton
