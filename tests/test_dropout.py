"""Dropout: its statistics, its gradient, and the same decisions whoever makes them."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from aecore import randomness
from aecore.fast import _loops
from aecore.fast.compiled import compiled
from aecore.fast.dropout import Dropout, hashed, hashes, least, masked, signed, threshold


def numpy_hash(index, key):
    """The hash in NumPy's 32-bit arithmetic."""
    low, high = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)
    with np.errstate(over="ignore"):
        z = index.astype(np.uint32) * np.uint32(0x9E3779B9) + low
        z = (z ^ (z >> np.uint32(16))) * np.uint32(0x21F0AAAD) + high
        z = (z ^ (z >> np.uint32(15))) * np.uint32(0x735A2D97)
    return z ^ (z >> np.uint32(15))


@pytest.mark.parametrize("place", ["nowhere", "a full disk"])
def test_kernels_that_cannot_be_kept_are_compiled_again(monkeypatch, place):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    kept = _loops.mask
    if place == "nowhere":
        monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    else:
        monkeypatch.setattr("aecore.fast.compiled.TemporaryFile", full)
    with pytest.warns(UserWarning, match="set NUMBA_CACHE_DIR to a folder that can be written"):
        again = compiled("(f4[::1], f4[::1], u4, u4, u4, f4)")(kept.py_func)
    values, found = np.ones((2, 1000), np.float32), np.empty((2, 1000), np.float32)
    for kernel, row in ((again, 0), (kept, 1)):
        kernel(values[row], found[row], 7, 8, 2**31, 2.0)
    assert set(found[0]) == {0, 2}
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("key", [0, 2**63 - 1, randomness.key(3, "dropout", 1, 2)])
def test_hash_is_numpys_and_uniform(key):
    index = np.arange(200_000, dtype=np.int32)
    halves = np.array([key & 0xFFFFFFFF, key >> 32], np.uint32).view(np.int32)
    found = hashed(torch.from_numpy(index), *torch.from_numpy(halves)).numpy().view(np.uint32)
    np.testing.assert_array_equal(found, numpy_hash(index, key))
    for bits in (found >> 24, found & 255):  # the high and the low ones
        assert chisquare(np.bincount(bits, minlength=256)).pvalue > 1e-4


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("shape", [(64, 16, 7, 7), (500, 64)])
def test_kernel_drops_what_the_mask_says_whatever_the_layout(rate, shape):
    torch.manual_seed(0)
    key, h = randomness.key(0, "dropout"), torch.randn(shape)
    rows = h.movedim(1, -1)
    halves = [[signed(of & 0xFFFFFFFF), signed(of >> 32)] for of in (key, key + 1)]
    kept, other = (hashes(rows.shape, *of, "cpu") >= least(rate) for of in halves)
    assert not torch.equal(other, kept)
    expected = (rows * kept / (1 - rate)).movedim(-1, 1)
    layouts = [h, h.contiguous(memory_format=torch.channels_last)] if h.dim() == 4 else [h, h.T.T]
    for given in layouts:
        torch.testing.assert_close(masked(given, rate, key), expected, rtol=1e-6, atol=0)
    zero = (masked(torch.ones(shape), rate, key) == 0).float().mean()
    assert abs(zero - rate) < 4 * np.sqrt(rate * (1 - rate) / h.numel())


def test_gradient_is_masked_alike():
    drop = Dropout(0.4, key=5)
    h = torch.randn(30, 20, requires_grad=True)
    y = drop(h)
    y.backward(torch.ones_like(y))
    torch.testing.assert_close(h.grad, torch.where(y == 0, 0.0, 1 / 0.6))


def test_layers_steps_and_neighboring_seeds_share_nothing():
    ones = torch.ones(1, 4000)

    def kept(seed, step, layer):
        drop = Dropout(0.5, randomness.key(seed, "dropout", 0, step))
        for _ in range(layer):
            mask = drop(ones)
        return (mask > 0).float()

    masks = [kept(*place) for place in ((0, 0, 1), (0, 0, 2), (0, 1, 1), (1, 0, 1))]
    for i, one in enumerate(masks):
        assert torch.equal(one, masks[i])
        for other in masks[i + 1 :]:
            assert abs((one == other).float().mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)
    assert torch.equal(kept(0, 0, 2), masks[1])


def test_threshold_is_the_rate():
    assert [threshold(rate) for rate in (0, 0.25, 0.5)] == [0, 2**30, 2**31]
