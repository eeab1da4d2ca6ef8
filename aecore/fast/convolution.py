"""The networks' convolutions and their transposes, on a CPU together with all that follows them.

A 3 x 3 convolution with stride 2 multiplies patches, each pixel's 3 x 3 neighbors, by a matrix; its
transpose multiplies by a matrix and adds up patches. Each is done a few images at a time, so that
the patches stay in a core's cache, and in the same pass the layer's bias, ReLU and dropout. Alone,
MNIST's three layers, forward and back, are 1.0 to 1.3 times as fast as PyTorch's, their transposes
1.8 to 3.1 times (one thread, batch 256).
"""

import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aecore.fast.dropout import Dropout, threshold

CACHED = 2**15  # floats of patches at once, a fraction of a core's cache

Axes = tuple[int, int]
Drop = Callable[[Tensor], Tensor]


class Conv2d(nn.Conv2d):
    """PyTorch's layer with 3 x 3 kernels and stride 2, on a CPU computed by `Chain`.

    Takes (N, C_in, H, W) and returns (N, C_out, h, w), h = (H + 2p - 3) // 2 + 1 with padding p.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The smaller images; on a CPU channels last, whatever the layout of `x`."""
        return chained([self], x, [After()]) if x.device.type == "cpu" else super().forward(x)

    def sizes(self, size: Axes) -> tuple[Axes, Axes]:
        """Height and width of the large and of the small images, given those of the input."""
        pairs = zip(size, self.padding, strict=True)
        return size, tuple((n + 2 * p - 3) // 2 + 1 for n, p in pairs)


class ConvTranspose2d(nn.ConvTranspose2d):
    """PyTorch's layer with 3 x 3 kernels and stride 2, on a CPU computed by `Chain`.

    Takes (N, C_in, h, w) and returns (N, C_out, 2h + 1 - 2p + o, 2w + 1 - 2p + o'), with padding p
    and output padding o of the height, o' of the width, each 0 or 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The larger images; on a CPU channels last, whatever the layout of `x`."""
        return chained([self], x, [After()]) if x.device.type == "cpu" else super().forward(x)

    def sizes(self, size: Axes) -> tuple[Axes, Axes]:
        """Height and width of the large and of the small images, given those of the input."""
        axes = zip(size, self.padding, self.output_padding, strict=True)
        return tuple(2 * n + 1 - 2 * p + extra for n, p, extra in axes), size


FAST = {nn.Conv2d: Conv2d, nn.ConvTranspose2d: ConvTranspose2d}
Layer = Conv2d | ConvTranspose2d


def accelerate(model: nn.Module) -> nn.Module:
    """`model` itself, with those of its layers replaced that are faster here: same weights."""
    for layer in model.modules():
        if type(layer) in FAST and _fits(layer):
            layer.__class__ = FAST[type(layer)]
            layer.hidden = hidden
    return model


def _fits(layer: nn.Module) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.dilation, layer.groups, layer.padding_mode)
    return shape == ((3, 3), (2, 2), (1, 1), 1, "zeros") and max(layer.padding) <= 1


class After(NamedTuple):
    """What follows a layer: ReLU or nothing, and dropout at `rate` by the bits of `key`."""

    relu: bool = False
    rate: float = 0.0
    key: int = 0


def hidden(layers: Sequence[Layer], x: Tensor, drop: Drop | None) -> Tensor | None:
    """`layers` one after another, each with ReLU and dropout, if there is any.

    None where that is not done at once: on other devices than a CPU, and with other dropout.
    """
    if x.device.type != "cpu" or not (drop is None or isinstance(drop, Dropout)):
        return None
    if drop is None:
        return chained(layers, x, [After(relu=True)] * len(layers))
    return chained(layers, x, [After(True, drop.rate, drop.next_key()) for _ in layers])


def chained(layers: Sequence[Layer], x: Tensor, afters: Sequence[After]) -> Tensor:
    """`layers` one after another, each with what comes after it."""
    parameters = [of for layer in layers for of in (layer.weight, layer.bias)]
    return Chain.apply(x, layers, afters, *parameters)


class Chain(torch.autograd.Function):
    """Some layers as one function of their input, weights and biases."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        layers: Sequence[Layer],
        afters: Sequence[After],
        *parameters: Tensor | None,
    ) -> Tensor:
        """Images (N, C, H, W), channels last, of images x."""
        size, rows = x.shape[2:], x.detach().permute(0, 2, 3, 1).reshape(-1).numpy()
        ctx.shape, ctx.steps = x.shape, []
        for layer, after, weight, bias in zip(
            layers, afters, parameters[::2], parameters[1::2], strict=True
        ):
            step = _Step(layer, len(x), size, weight, bias, after, rows)
            size, rows = step.size, step.output
            ctx.steps.append(step)
        return torch.from_numpy(rows).view(len(x), *size, step.outputs).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weights and biases for the `grad` of the images."""
        rows, wanted = grad.permute(0, 2, 3, 1).reshape(-1).numpy(), ctx.needs_input_grad
        found: list[Tensor | None] = []
        for number, step in reversed(list(enumerate(ctx.steps))):
            rows, *of_weights = step.gradients(rows, number > 0 or wanted[0])
            found = [*of_weights, *found]
        _, channels, *size = ctx.shape
        images = torch.from_numpy(rows).view(-1, *size, channels).permute(0, 3, 1, 2)
        parts = zip(found, wanted[3:], strict=True)
        return images if wanted[0] else None, None, None, *(g if w else None for g, w in parts)


class _Step:
    """One layer's output for the images in `input`, and what its gradients need."""

    def __init__(
        self,
        layer: Layer,
        count: int,
        size: Axes,
        weight: Tensor,
        bias: Tensor | None,
        after: After,
        input: np.ndarray,
    ) -> None:
        large, small = layer.sizes(size)
        self.up = isinstance(layer, ConvTranspose2d)
        self.size, self.outputs = (large, weight.shape[1]) if self.up else (small, len(weight))
        inside = weight.shape[1]  # channels of the large images
        piece = max(1, min(count, CACHED // (9 * inside * math.prod(small))))
        self.shape = (count, piece, inside, *large, *small, *layer.padding)
        # Kernels (n, m, 3, 3) as rows (n, 9 m), each place's channels together.
        self.matrix = weight.detach().permute(0, 2, 3, 1).reshape(len(weight), -1).numpy()
        self.input = input
        self.output = np.empty(count * math.prod(self.size) * self.outputs, input.dtype)
        self.bias = np.zeros(self.outputs, input.dtype) if bias is None else bias.detach().numpy()
        self.relu, self.scale = after.relu, input.dtype.type(1 / (1 - after.rate))
        key = np.uint32(after.key & 0xFFFFFFFF), np.uint32(after.key >> 32)
        arrays = input, self.matrix, self.bias, self.output
        loops = _loops()
        (loops.up if self.up else loops.down)(
            *arrays, *self.shape, self.relu, *key, np.uint32(threshold(after.rate)), self.scale
        )

    def gradients(self, grad: np.ndarray, of_input: bool) -> tuple[np.ndarray, Tensor, Tensor]:
        """Those of the input (empty unless wanted), the weight and the bias, for the output's."""
        of_x = np.empty(self.input.size if of_input else 0, grad.dtype)
        of_weight, of_bias = np.zeros_like(self.matrix), np.zeros_like(self.bias)
        arrays = grad, self.input, self.output, of_x, self.matrix, of_weight, of_bias
        loops = _loops()
        (loops.up_gradients if self.up else loops.down_gradients)(
            *arrays, *self.shape, self.relu, self.scale
        )
        kernels = torch.from_numpy(of_weight).view(len(of_weight), 3, 3, -1).permute(0, 3, 1, 2)
        return of_x, kernels, torch.from_numpy(of_bias)


def _loops() -> ModuleType:
    """The compiled loops; numba is imported by whoever needs them."""
    from aecore.fast import _loops

    return _loops
