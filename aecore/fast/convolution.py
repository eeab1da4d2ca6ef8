"""The networks' convolutions and their transposes, on a CPU together with all that follows them.

A 3 x 3 convolution with stride 2 multiplies patches, each pixel's 3 x 3 neighbors, by a matrix; its
transpose multiplies by a matrix and adds up patches. Each is done a few images at a time, so that
the patches stay in a core's cache, and in the same pass the layer's bias, ReLU and dropout. Alone,
MNIST's three layers, forward and back, are 1.0 to 1.3 times as fast as PyTorch's, their transposes
1.8 to 3.1 times (one thread, batch 256).
"""

import functools
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aecore.fast.compiled import compiled
from aecore.fast.dropout import Dropout, hash_of, threshold

CACHED = 2**15  # floats of patches at once, a fraction of a core's cache
LOOSE = {"reassoc", "contract", "arcp", "nsz"}  # what sums may do; NaN has to stay NaN

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
        kernel = _kernels().up if self.up else _kernels().down
        kernel(*arrays, *self.shape, self.relu, *key, np.uint32(threshold(after.rate)), self.scale)

    def gradients(self, grad: np.ndarray, of_input: bool) -> tuple[np.ndarray, Tensor, Tensor]:
        """Those of the input (empty unless wanted), the weight and the bias, for the output's."""
        of_x = np.empty(self.input.size if of_input else 0, grad.dtype)
        of_weight, of_bias = np.zeros_like(self.matrix), np.zeros_like(self.bias)
        arrays = grad, self.input, self.output, of_x, self.matrix, of_weight, of_bias
        kernel = _kernels().up_gradients if self.up else _kernels().down_gradients
        kernel(*arrays, *self.shape, self.relu, self.scale)
        kernels = torch.from_numpy(of_weight).view(len(of_weight), 3, 3, -1).permute(0, 3, 1, 2)
        return of_x, kernels, torch.from_numpy(of_bias)


@functools.cache
def _patches() -> tuple[Callable[..., None], ...]:
    """`gather` and `scatter`, from images to patches and back.

    Images are flat, of N, H, W, C; patches (n, h, w, 3, 3, C) lie between them and images of h, w.
    """
    from numba import uintp

    @compiled(fastmath=LOOSE)
    def gather(x, patches, first, count, C, H, W, h, w, top, left):  # type: ignore[no-untyped-def]
        """Write the patches of images first … first + count."""
        zero, reach = x.dtype.type(0), 3 * C
        inside = min(w, (W - 3 + left) // 2 + 1)  # from here on, patches reach over the right edge
        for n in range(count):
            for i in range(h):
                for u in range(3):
                    r = 2 * i - top + u
                    to = uintp((((n * h + i) * w) * 3 + u) * reach)
                    if r < 0 or r >= H:
                        for _ in range(w):
                            for c in range(reach):
                                patches[to + uintp(c)] = zero
                            to += uintp(3 * reach)
                        continue
                    at = uintp(((first + n) * H + r) * W * C)
                    if left:
                        for c in range(C):
                            patches[to + uintp(c)] = zero
                        for c in range(2 * C):
                            patches[to + uintp(C + c)] = x[at + uintp(c)] if c < W * C else zero
                        to += uintp(3 * reach)
                        at += uintp(C)
                    if C == 1:
                        for _ in range(left, inside):
                            for c in range(3):
                                patches[to + uintp(c)] = x[at + uintp(c)]
                            to += uintp(9)
                            at += uintp(2)
                    elif C % 8 == 0:  # a loop whose length is known becomes two instructions
                        for _ in range(left, inside):
                            for k in range(reach // 8):
                                for c in range(8):
                                    patches[to + uintp(8 * k + c)] = x[at + uintp(8 * k + c)]
                            to += uintp(3 * reach)
                            at += uintp(2 * C)
                    else:
                        for _ in range(left, inside):
                            for c in range(reach):
                                patches[to + uintp(c)] = x[at + uintp(c)]
                            to += uintp(3 * reach)
                            at += uintp(2 * C)
                    for j in range(max(left, inside), w):
                        there = (W - (2 * j - left)) * C
                        for c in range(reach):
                            patches[to + uintp(c)] = x[at + uintp(c)] if c < there else zero
                        to += uintp(3 * reach)
                        at += uintp(2 * C)

    @compiled(fastmath=LOOSE)
    def scatter(patches, y, line, first, count, C, H, W, h, w, top, left):  # type: ignore[no-untyped-def]
        """Write images first … first + count: what the patches add up to.

        A row gets the middle row of one line of patches, or the last and the first of two; so do
        its pixels, of which `line` (w, 3, C) has the rows' sum.
        """
        zero, reach, step = y.dtype.type(0), 3 * C, uintp(9 * C)
        for n in range(count):
            for r in range(H):
                i, middle = divmod(r + top, 2)
                to = uintp(((first + n) * H + r) * W * C)
                if middle and i >= h:
                    for c in range(W * C):
                        y[to + uintp(c)] = zero
                    continue
                both, u = not middle and 1 <= i < h, middle
                if i >= h:
                    i, u = h - 1, 2
                a, t = uintp(((n * h + i) * w * 3 + u) * reach), uintp(0)
                b = uintp(((n * h + i - 1) * w * 3 + 2) * reach) if both else a
                if C == 1:
                    odd, even = to + uintp(1 - left), to + uintp(2 - left)
                    for j in range(w):
                        value = patches[a + uintp(9 * j + 1)]
                        if both:
                            value += patches[b + uintp(9 * j + 1)]
                        y[odd + uintp(2 * j)] = value
                    for j in range(1, w):
                        value = patches[a + uintp(9 * j)] + patches[a + uintp(9 * j - 7)]
                        if both:
                            value += patches[b + uintp(9 * j)] + patches[b + uintp(9 * j - 7)]
                        y[even + uintp(2 * j - 2)] = value
                    line[0] = patches[a] + (patches[b] if both else zero)
                    last = uintp(9 * w - 7)
                    line[3 * w - 1] = patches[a + last] + (patches[b + last] if both else zero)
                elif both:
                    for _ in range(w):
                        for c in range(reach):
                            line[t + uintp(c)] = patches[a + uintp(c)] + patches[b + uintp(c)]
                        a += step
                        b += step
                        t += uintp(reach)
                else:
                    for _ in range(w):
                        for c in range(reach):
                            line[t + uintp(c)] = patches[a + uintp(c)]
                        a += step
                        t += uintp(reach)
                if C > 1:
                    at, t = to + uintp((1 - left) * C), uintp(C)
                    for _ in range(w):
                        for c in range(C):
                            y[at + uintp(c)] = line[t + uintp(c)]
                        at += uintp(2 * C)
                        t += uintp(reach)
                    at, t, before = to + uintp((2 - left) * C), uintp(reach), uintp(reach - C)
                    for _ in range(1, w):
                        for c in range(C):
                            y[at + uintp(c)] = line[t + uintp(c)] + line[before + uintp(c)]
                        at += uintp(2 * C)
                        t += uintp(reach)
                        before += uintp(reach)
                for c in range(C):
                    if not left:
                        y[to + uintp(c)] = line[uintp(c)]
                    if 2 * w - left < W:
                        y[to + uintp((2 * w - left) * C + c)] = line[uintp(w * reach - C + c)]
                    if 2 * w + 1 - left < W:
                        y[to + uintp((2 * w + 1 - left) * C + c)] = zero

    return gather, scatter


@functools.cache
def _pointwise() -> tuple[Callable[..., None], ...]:
    """`finish` and `undo`: what follows the sums, and its gradient."""
    from numba import uintp

    hashed = hash_of()

    @compiled(fastmath=LOOSE)
    def finish(y, first, size, tile, relu, low, high, threshold, scale):  # type: ignore[no-untyped-def]
        """Add the bias to y[first : first + size], then ReLU, then `dropout.masked`.

        `tile` repeats the bias often enough to make a long loop.
        """
        zero, first = y.dtype.type(0), uintp(first)
        for start in range(0, size, tile.size):
            at = first + uintp(start)
            for c in range(min(tile.size, size - start)):
                value = y[at + uintp(c)] + tile[uintp(c)]
                y[at + uintp(c)] = zero if relu and value < zero else value
        if threshold:
            for i in range(size):
                at = first + uintp(i)
                y[at] = y[at] * scale if hashed(at, low, high) >= threshold else zero

    @compiled(fastmath=LOOSE)
    def undo(grad, y, first, out, relu, scale, ones, of_bias):  # type: ignore[no-untyped-def]
        """Rows `out` (…, channels): the gradient before what `finish` did; adds to the bias's."""
        zero, first, flat = y.dtype.type(0), uintp(first), out.ravel()
        for i in range(flat.size):
            at = first + uintp(i)
            flat[uintp(i)] = zero if relu and y[at] <= zero else grad[at] * scale
        of_bias += np.dot(out.T, ones[: len(out)])

    return finish, undo


@functools.cache
def _kernels() -> SimpleNamespace:
    """The loops over a layer's images, `piece` at a time; C are the channels on the large side.

    Sums are products of matrices, of whatever BLAS SciPy brings.
    """
    import scipy.linalg.cython_blas  # noqa: F401 - where numba finds the products

    (gather, scatter), (finish, undo) = _patches(), _pointwise()

    @compiled(fastmath=LOOSE)
    def down(
        x, weight, bias, y, N, piece, C, H, W, h, w, top, left, relu, low, high, threshold, scale
    ):  # type: ignore[no-untyped-def]
        outputs, pixels = bias.size, h * w
        patches, rows = np.empty((piece * pixels, 9 * C), x.dtype), y.reshape(N * pixels, outputs)
        tile = np.repeat(bias, 1 + 64 // outputs).reshape(outputs, -1).T.copy().ravel()
        for n in range(0, N, piece):
            some, at = min(piece, N - n) * pixels, n * pixels
            gather(x, patches.ravel(), n, some // pixels, C, H, W, h, w, top, left)
            np.dot(patches[:some], weight.T, rows[at : at + some])
            first, size = at * outputs, some * outputs
            finish(y, first, size, tile, relu, low, high, threshold, scale)

    @compiled(fastmath=LOOSE)
    def down_gradients(
        grad, x, y, of_x, weight, of_weight, of_bias,
        N, piece, C, H, W, h, w, top, left, relu, scale,
    ):  # type: ignore[no-untyped-def]  # fmt: skip
        outputs, pixels = of_bias.size, h * w
        patches = np.empty((piece * pixels, 9 * C), x.dtype)
        inner, ones = np.empty((piece * pixels, outputs), x.dtype), np.ones(piece * pixels, x.dtype)
        part, line = np.empty_like(of_weight), np.empty(3 * w * C, x.dtype)
        for n in range(0, N, piece):
            count = min(piece, N - n)
            some = count * pixels
            undo(grad, y, n * pixels * outputs, inner[:some], relu, scale, ones, of_bias)
            gather(x, patches.ravel(), n, count, C, H, W, h, w, top, left)
            np.dot(inner[:some].T, patches[:some], part)
            of_weight += part
            if of_x.size:
                np.dot(inner[:some], weight, patches[:some])
                scatter(patches.ravel(), of_x, line, n, count, C, H, W, h, w, top, left)

    @compiled(fastmath=LOOSE)
    def up(
        x, weight, bias, y, N, piece, C, H, W, h, w, top, left, relu, low, high, threshold, scale
    ):  # type: ignore[no-untyped-def]
        pixels, large = h * w, H * W * C
        patches = np.empty((piece * pixels, 9 * C), x.dtype)
        rows = x.reshape(N * pixels, len(weight))
        line = np.empty(3 * w * C, x.dtype)
        tile = np.repeat(bias, 1 + 64 // C).reshape(C, -1).T.copy().ravel()
        for n in range(0, N, piece):
            count, at = min(piece, N - n), n * pixels
            some = count * pixels
            np.dot(rows[at : at + some], weight, patches[:some])
            scatter(patches.ravel(), y, line, n, count, C, H, W, h, w, top, left)
            finish(y, n * large, count * large, tile, relu, low, high, threshold, scale)

    @compiled(fastmath=LOOSE)
    def up_gradients(
        grad, x, y, of_x, weight, of_weight, of_bias,
        N, piece, C, H, W, h, w, top, left, relu, scale,
    ):  # type: ignore[no-untyped-def]  # fmt: skip
        pixels, large = h * w, H * W
        patches = np.empty((piece * pixels, 9 * C), x.dtype)
        rows = x.reshape(N * pixels, len(weight))
        inner, ones = np.empty((piece * large, C), x.dtype), np.ones(piece * large, x.dtype)
        of_rows = of_x.reshape(of_x.size // len(weight), len(weight))
        part = np.empty_like(of_weight)
        for n in range(0, N, piece):
            count, at = min(piece, N - n), n * pixels
            some = count * pixels
            undo(grad, y, n * large * C, inner[: count * large], relu, scale, ones, of_bias)
            gather(inner.ravel(), patches.ravel(), 0, count, C, H, W, h, w, top, left)
            np.dot(rows[at : at + some].T, patches[:some], part)
            of_weight += part
            if of_x.size:
                np.dot(patches[:some], weight.T, of_rows[at : at + some])

    return SimpleNamespace(
        down=down, down_gradients=down_gradients, up=up, up_gradients=up_gradients
    )
