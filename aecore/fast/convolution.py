"""The networks' convolutions and their transposes, on a CPU several times as fast as PyTorch's own.

A 3 x 3 convolution with stride 2 and its transpose are each other's gradient, so `correlated` and
`spread` are all that both layers need, forward and backward. Milliseconds of PyTorch's transposed
convolution and of `spread` for MNIST's three layers on one thread, batch 256: 1.37 and 0.44, 1.85
and 0.82, 3.80 and 0.43.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aecore.fast.compiled import compiled

Axes = tuple[int, int]


class Conv2d(nn.Conv2d):
    """PyTorch's layer with 3 x 3 kernels and stride 2, on a CPU computed by `Down`.

    Takes (N, C_in, H, W) and returns (N, C_out, h, w), h = (H + 2p - 3) // 2 + 1 with padding p.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The smaller images; on a CPU channels last, whatever the layout of `x`."""
        if x.device.type != "cpu":
            return super().forward(x)
        return Down.apply(x, self.weight, self.bias, self.padding)


class ConvTranspose2d(nn.ConvTranspose2d):
    """PyTorch's layer with 3 x 3 kernels and stride 2, on a CPU computed by `Up`.

    Takes (N, C_in, h, w) and returns (N, C_out, 2h + 1 - 2p + o, 2w + 1 - 2p + o'), with padding p
    and output padding o of the height, o' of the width, each 0 or 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The larger images; on a CPU channels last, whatever the layout of `x`."""
        if x.device.type != "cpu":
            return super().forward(x)
        size = tuple(
            2 * n + 1 - 2 * p + extra
            for n, p, extra in zip(x.shape[2:], self.padding, self.output_padding, strict=True)
        )
        return Up.apply(x, self.weight, self.bias, self.padding, size)


FAST = {nn.Conv2d: Conv2d, nn.ConvTranspose2d: ConvTranspose2d}


def accelerate(model: nn.Module) -> nn.Module:
    """`model` itself, with those of its layers replaced that are faster here: same weights."""
    for layer in model.modules():
        if type(layer) in FAST and _fits(layer):
            layer.__class__ = FAST[type(layer)]
    return model


def _fits(layer: nn.Module) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.dilation, layer.groups, layer.padding_mode)
    return shape == ((3, 3), (2, 2), (1, 1), 1, "zeros") and max(layer.padding) <= 1


class Down(torch.autograd.Function):
    """`correlated`, differentiable. (With a `setup_context` a call would take 70 µs more.)"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: Axes) -> Tensor:
        """Images (N, C_out, h, w) of x (N, C_in, H, W) and weight (C_out, C_in, 3, 3)."""
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return correlated(x, weight, bias, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias for `grad` (N, C_out, h, w)."""
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        return (
            Up.apply(grad, weight, None, ctx.padding, tuple(x.shape[2:])) if of_x else None,
            weight_gradient(x, grad, weight, ctx.padding) if of_weight else None,
            grad.sum((0, 2, 3)) if of_bias else None,
            None,
        )


class Up(torch.autograd.Function):
    """`spread`, differentiable."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: Axes, size: Axes
    ) -> Tensor:
        """Images (N, C_out, H, W) of x (N, C_in, h, w) and weight (C_in, C_out, 3, 3)."""
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return spread(x, weight, bias, padding, size)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias for `grad` (N, C_out, H, W)."""
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
        return (
            Down.apply(grad, weight, None, ctx.padding) if of_x else None,
            weight_gradient(grad, x, weight, ctx.padding) if of_weight else None,
            grad.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )


def correlated(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Axes) -> Tensor:
    """`F.conv2d` with stride 2, of channels last."""
    x = x.contiguous(memory_format=torch.channels_last)
    y = F.conv2d(x, weight, bias, stride=2, padding=padding)
    return y.contiguous(memory_format=torch.channels_last)


def spread(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Axes, size: Axes) -> Tensor:
    """`F.conv_transpose2d` with stride 2, to images of `size`.

    One matrix product gives what every pixel adds to 3 x 3 others; then these are added up.
    """
    inputs, channels = weight.shape[:2]
    count, _, h, w = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(-1, inputs)  # (N h w, C_in)
    start = x.new_zeros(channels) if bias is None else bias
    if channels == 1 and padding == (1, 1):
        parts = (weight.flatten(1).T @ pixels.T).view(3, 3, count, h, w)  # a plane for each tap
        y = x.new_empty(count, *size)
        _interleave()(*_arrays(parts, start, y))
        return y[:, None]
    taps = weight.permute(0, 2, 3, 1).reshape(inputs, -1)  # (C_in, 9 C_out)
    parts = (pixels @ taps).view(count, h, w, 3, 3 * channels)
    y = x.new_empty(count, *size, channels)
    _overlap_add(channels)(*_arrays(parts, start, y), *padding)
    return y.permute(0, 3, 1, 2)


def weight_gradient(large: Tensor, small: Tensor, weight: Tensor, padding: Axes) -> Tensor:
    """Gradient (C_small, C_large, 3, 3) of the kernels between large and small images."""
    geometry = ((2, 2), padding, (1, 1), False, (0, 0), 1)
    return torch.ops.aten.convolution_backward(
        small, large, weight, None, *geometry, (False, True, False)
    )[1]


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]


@functools.cache
def _interleave() -> Callable[..., None]:
    """Adds the planes (3, 3, N, h, w) of a kernel's taps, padding 1, to images (N, H, W).

    Along each axis pixel 2j is x_j w_1, pixel 2j + 1 is x_j w_2 + x_{j+1} w_0.
    """

    @compiled(fastmath=True)
    def add(taps, bias, y):  # type: ignore[no-untyped-def]
        _, _, count, h, w = taps.shape
        _, height, width = y.shape
        before, even, odd = np.zeros((3, w + 1), taps.dtype)
        for n in range(count):
            for r in range(height):
                i, u = r // 2, 1 + r % 2
                for j in range(w):
                    before[j] = taps[u, 0, n, i, j]
                    even[j] = taps[u, 1, n, i, j] + bias[0]
                    odd[j] = taps[u, 2, n, i, j] + bias[0]
                if u == 2 and i + 1 < h:
                    for j in range(w):
                        before[j] += taps[0, 0, n, i + 1, j]
                        even[j] += taps[0, 1, n, i + 1, j]
                        odd[j] += taps[0, 2, n, i + 1, j]
                row = y[n, r]
                for j in range(width // 2):
                    row[2 * j] = even[j]
                    row[2 * j + 1] = odd[j] + before[j + 1]
                if width % 2:
                    row[width - 1] = even[w - 1]

    return add


@functools.cache
def _overlap_add(channels: int) -> Callable[..., None]:
    """Adds parts (N, h, w, 3, 3 C) of overlapping 3 x 3 pixels, two apart, to a bias (C,)."""
    reach = 3 * channels

    @compiled(fastmath=True)
    def add(parts, bias, y, top, left):  # type: ignore[no-untyped-def]
        count, h, w, _, _ = parts.shape
        _, height, width, _ = y.shape
        for n in range(count):
            rows = y[n].reshape(height, width * channels)
            for r in range(height):
                for place in range(width):
                    for c in range(channels):
                        rows[r, place * channels + c] = bias[c]
            for i in range(h):
                for u in range(3):
                    r = 2 * i - top + u
                    if r < 0 or r >= height:
                        continue
                    row = rows[r]
                    for j in range(w):
                        part = parts[n, i, j, u]
                        first = (2 * j - left) * channels
                        if first >= 0 and first + reach <= width * channels:
                            for c in range(reach):
                                row[first + c] += part[c]
                        else:
                            for c in range(max(0, -first), min(reach, width * channels - first)):
                                row[first + c] += part[c]

    return add
