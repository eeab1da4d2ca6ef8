"""The loops of `convolution.py` and `dropout.py`, compiled by numba, which keeps them on disk.

They know each other as the module's own: numba finds no loop again that has others in its closure.
Images are flat, of N, H, W, C; patches (n, h, w, 3, 3, C) lie between them and images of h, w. A
layer's images are taken `piece` at a time; C are the channels on the large side. Sums are products
of matrices, of whatever BLAS SciPy brings.
"""

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - where numba finds the products
from numba import float32, uint32, uintp

from aecore.fast.compiled import compiled
from aecore.fast.dropout import FIRST, GOLDEN, SECOND

LOOSE = {"reassoc", "contract", "arcp", "nsz"}  # what sums may do; NaN has to stay NaN
BYTES = 32  # moved at once: numba moves numbers one at a time, lest the arrays overlap
WIDE = np.dtype([("bytes", "u1", BYTES)])


@compiled()
def hashed(index, low, high):  # type: ignore[no-untyped-def]
    """`dropout.hashed` of one place: its index and the halves of the key to 32 bits."""
    z = uint32(uint32(index) * uint32(GOLDEN) + low)
    z = uint32(uint32(z ^ (z >> uint32(16))) * uint32(FIRST) + high)
    z = uint32(uint32(z ^ (z >> uint32(15))) * uint32(SECOND))
    return uint32(z ^ (z >> uint32(15)))


@compiled("void(float32[::1], float32[::1], uint32, uint32, uint32, float32)")
def mask(values, out, low, high, threshold, scale):  # type: ignore[no-untyped-def]
    """The hash, the comparison and the product in one pass, sixteen units at a time."""
    for i in range(values.size):
        kept = hashed(i, low, high) >= threshold
        out[i] = values[i] * scale if kept else float32(0)


@compiled(fastmath=LOOSE)
def move(x, patches, first, count, C, H, W, h, w, top, left):  # type: ignore[no-untyped-def]
    """`gather`, of numbers or of whole pieces of 32 bytes: C of them are a pixel."""
    zero, reach = np.zeros(1, x.dtype)[0], 3 * C
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
                    last = x[at] if left < inside else zero  # what the next patch begins with
                    for _ in range(left, inside):
                        patches[to] = last
                        patches[to + uintp(1)] = x[at + uintp(1)]
                        last = x[at + uintp(2)]
                        patches[to + uintp(2)] = last
                        to += uintp(9)
                        at += uintp(2)
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
def gather(x, patches, first, count, C, *shape):  # type: ignore[no-untyped-def]
    """Write the patches of images first … first + count."""
    wide, rest = divmod(C * x.itemsize, BYTES)
    if rest:
        move(x, patches, first, count, C, *shape)
    else:
        move(x.view(WIDE), patches.view(WIDE), first, count, wide, *shape)


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


@compiled(fastmath=LOOSE)
def down(x, weight, bias, y, N, piece, C, H, W, h, w, top, left, relu, low, high, threshold, scale):  # type: ignore[no-untyped-def]
    """A convolution and what follows it."""
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
    """The gradients of `down`: of x, unless `of_x` is empty, weight and bias."""
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
def up(x, weight, bias, y, N, piece, C, H, W, h, w, top, left, relu, low, high, threshold, scale):  # type: ignore[no-untyped-def]
    """A transposed convolution and what follows it."""
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
    """The gradients of `up`, as `down_gradients` has them."""
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
