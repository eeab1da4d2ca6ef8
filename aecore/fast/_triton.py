"""The kernels of `stacked.py` in Triton's language: what each of a GPU's programs does.

The shapes of a layer are known when they are compiled; how many images and networks there are is
not, so that a last batch and a smaller stack need no kernels of their own.
"""

import triton
import triton.language as tl

from aecore.fast import dropout

FIRST, SECOND, GOLDEN = map(tl.constexpr, (dropout.FIRST, dropout.SECOND, dropout.GOLDEN))


@triton.jit(do_not_specialize=["positions", "M"])
def gathered(
    large, weight, bias, small, positions, M,
    C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, h: tl.constexpr, w: tl.constexpr,
    PY: tl.constexpr, PX: tl.constexpr, D: tl.constexpr,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, BIAS: tl.constexpr,
):  # fmt: skip
    """`WIDTH` channels of `BLOCK` pixels of small images of one network."""
    m, at = tl.program_id(1), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[None, :]
    i, j, d = at // w % h, at % w, tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)[:, None]
    network = (at // (h * w)).to(tl.int64) * M + m
    kernels = weight + m * (C * 9 * D) + d
    sums = tl.zeros((WIDTH, BLOCK), tl.float32)
    if BIAS:
        sums += tl.load(bias + m * D + d, mask=d < D, other=0.0)
    for ky in tl.static_range(3):
        for kx in tl.static_range(3):
            y, x = 2 * i + ky - PY, 2 * j + kx - PX
            inside = (at < positions) & (y >= 0) & (y < H) & (x >= 0) & (x < W)
            place, kernel = large + network * (C * H * W) + (y * W + x), kernels + (3 * ky + kx) * D
            for c in range(C):
                pixels = tl.load(place + c * (H * W), mask=inside, other=0.0)
                sums += pixels * tl.load(kernel + c * (9 * D), mask=d < D, other=0.0)
    out = small + (network * D + d) * (h * w) + (i * w + j)
    tl.store(out, sums, mask=(at < positions) & (d < D))


@triton.jit(do_not_specialize=["positions", "M"])
def spread(
    small, weight, bias, large, positions, M,
    C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, h: tl.constexpr, w: tl.constexpr,
    PY: tl.constexpr, PX: tl.constexpr, D: tl.constexpr,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, BIAS: tl.constexpr,
):  # fmt: skip
    """`WIDTH` channels of `BLOCK` squares of 2 x 2 pixels of large images of one network.

    They get what they get from 2 x 2 pixels of the small ones, each by another part of the kernel.
    """
    rows: tl.constexpr = (H + 1) // 2
    columns: tl.constexpr = (W + 1) // 2
    m, at = tl.program_id(1), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[None, :]
    r, s = at // columns % rows, at % columns
    c = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)[:, None]
    network = (at // (rows * columns)).to(tl.int64) * M + m
    kernels = weight + m * (D * 9 * C) + c
    begun = tl.zeros((WIDTH, BLOCK), tl.float32)
    if BIAS:
        begun += tl.load(bias + m * C + c, mask=c < C, other=0.0)
    upper_left, upper_right, lower_left, lower_right = begun, begun, begun, begun
    for d in range(D):
        kernel = kernels + d * (9 * C)
        for a in tl.static_range(2):
            for b in tl.static_range(2):
                i, j = r + a + PY - 1, s + b + PX - 1
                inside = (at < positions) & (i >= 0) & (i < h) & (j >= 0) & (j < w)
                place = small + (network * D + d) * (h * w) + (i * w + j)
                pixels = tl.load(place, mask=inside, other=0.0)
                ky, kx = 2 - PY - 2 * a, 2 - PX - 2 * b  # for the upper left of the 2 x 2
                upper_left = _added(upper_left, pixels, kernel, ky, kx, C, c)
                upper_right = _added(upper_right, pixels, kernel, ky, kx + 1, C, c)
                lower_left = _added(lower_left, pixels, kernel, ky + 1, kx, C, c)
                lower_right = _added(lower_right, pixels, kernel, ky + 1, kx + 1, C, c)
    y, x, inside = 2 * r, 2 * s, (at < positions) & (c < C)
    out = large + (network * C + c) * (H * W) + (y * W + x)
    tl.store(out, upper_left, mask=inside)
    tl.store(out + 1, upper_right, mask=inside & (x + 1 < W))
    tl.store(out + W, lower_left, mask=inside & (y + 1 < H))
    tl.store(out + W + 1, lower_right, mask=inside & (y + 1 < H) & (x + 1 < W))


@triton.jit
def _added(sums, pixels, kernel, ky: tl.constexpr, kx: tl.constexpr, C: tl.constexpr, c):
    if ky >= 0 and ky < 3 and kx >= 0 and kx < 3:
        sums += pixels * tl.load(kernel + (3 * ky + kx) * C, mask=c < C, other=0.0)
    return sums


@triton.jit(do_not_specialize=["positions", "each", "M"])
def correlated(
    small, large, out, positions, each, M,
    C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, h: tl.constexpr, w: tl.constexpr,
    PY: tl.constexpr, PX: tl.constexpr, D: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The products of one network's small images with patches of the large, summed over a part.

    Of `ROWS` channels of the small ones with `COLUMNS` of the 9 weights for each of the large.
    """
    part, m = tl.program_id(0), tl.program_id(1)
    across: tl.constexpr = (9 * C + COLUMNS - 1) // COLUMNS
    row, column = tl.program_id(2) // across * ROWS, tl.program_id(2) % across * COLUMNS
    d, q = row + tl.arange(0, ROWS)[:, None], column + tl.arange(0, COLUMNS)[:, None]
    c, ky, kx = q // 9, q % 9 // 3 - PY, q % 3 - PX
    of_unit, of_patch = d * (h * w), c * (H * W) + ky * W + kx
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    end = min((part + 1) * each, positions)
    for start in range(part * each, end, BLOCK):
        at = start + tl.arange(0, BLOCK)[None, :]
        network = (at // (h * w)).to(tl.int64) * M + m
        i, j = at // w % h, at % w
        known = at < end
        units = small + network * (D * h * w) + (i * w + j) + of_unit
        units = tl.load(units, mask=known & (d < D), other=0.0)
        y, x = 2 * i + ky, 2 * j + kx
        inside = known & (c < C) & (y >= 0) & (y < H) & (x >= 0) & (x < W)
        patches = large + network * (C * H * W) + 2 * (i * W + j) + of_patch
        patches = tl.load(patches, mask=inside, other=0.0)
        sums = tl.dot(units, tl.trans(patches), sums, input_precision=PRECISION)
    q = column + tl.arange(0, COLUMNS)[None, :]
    tl.store(out + ((part * M + m) * D + d) * (9 * C) + q, sums, mask=(d < D) & (q < 9 * C))


@triton.jit(do_not_specialize=["count", "M", "layer", "layers", "keys"])
def masked(
    units, above, out, halves, which, least, scale, count, M, layer, layers, keys,
    C: tl.constexpr, each: tl.constexpr,
    RELU: tl.constexpr, GIVEN: tl.constexpr, DROP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """ReLU, or 0 where `above` is not above 0; and `dropout.hashed` of each unit's place."""
    m, at = tl.program_id(1), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    n, unit, inside = at // (C * each), at % (C * each), at < count
    place = (n.to(tl.int64) * M + m) * (C * each) + unit
    value = tl.load(units + place, mask=inside, other=0.0)
    if RELU:
        value = tl.where(value < 0, 0.0, value)
    if GIVEN:
        value = tl.where(tl.load(above + place, mask=inside, other=0.0) <= 0, 0.0, value)
    if DROP:
        key = layer * keys + tl.load(which + m)
        low = tl.load(halves + key).to(tl.uint32, bitcast=True)
        high = tl.load(halves + layers * keys + key).to(tl.uint32, bitcast=True)
        counted = (n * each + unit % each) * C + unit // each
        z = counted.to(tl.uint32) * GOLDEN + low
        z = (z ^ (z >> 16)) * FIRST + high
        z = (z ^ (z >> 15)) * SECOND
        z = (z ^ (z >> 15)) ^ 0x80000000
        kept = z.to(tl.int32, bitcast=True) >= tl.load(least + m)
        value = tl.where(kept, value * tl.load(scale + m), 0.0)
    tl.store(out + place, value, mask=inside)


@triton.jit
def tried(out):
    """Nothing that matters: whether a kernel can be compiled and run."""
    tl.store(out, 0.0)
