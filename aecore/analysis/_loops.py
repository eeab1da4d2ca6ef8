"""The loops of `pairs.py`, compiled by numba, which keeps them on disk; they hold no lock."""

import numpy as np
from numba import int32

from aecore.fast.compiled import compiled


@compiled()
def l1(first, second, out):  # type: ignore[no-untyped-def]
    """Sums of absolute differences of all of the first with all of the second."""
    # Few rows of the second at a time, so that they stay in the cache for all of the first.
    for start in range(0, len(second), 32):
        for n in range(len(first)):
            one = first[n]
            for m in range(start, min(len(second), start + 32)):
                other, total = second[m], int32(0)
                for d in range(one.size):
                    total = int32(total + int32(abs(int32(int32(one[d]) - int32(other[d])))))
                out[n, m] = total


@compiled()
def l2(product, out):  # type: ignore[no-untyped-def]
    """`out`, sums of two squared lengths, less twice the products."""
    for n in range(out.shape[0]):
        for m in range(out.shape[1]):
            out[n, m] -= 2 * int32(product[n, m])


@compiled()
def shorten(held, count, bound, images, k):  # type: ignore[no-untyped-def]
    """The k best of each full list, and the distance that the next have to beat."""
    for n in range(len(held)):
        if count[n] > k:
            held[n, :k] = np.partition(held[n, : count[n]], k - 1)[:k]
            count[n] = k
            bound[n] = held[n, :k].max() // images


@compiled()
def offer(distances, held, count, bound, own, others, images, k):  # type: ignore[no-untyped-def]
    """Take what is near enough into the lists, each of which is shortened when it is full."""
    room = held.shape[1]
    for n in range(distances.shape[0]):
        limit = bound[n]
        for m in range(distances.shape[1]):
            if distances[n, m] <= limit and others + m != own + n:
                held[n, count[n]] = np.int64(distances[n, m]) * images + others + m
                count[n] += 1
                if count[n] == room:
                    shorten(held[n : n + 1], count[n : n + 1], bound[n : n + 1], images, k)
                    limit = bound[n]
