"""The nearest images of every image among all: exact, each pair looked at once, on all cores.

Pixels are bytes. The L1 distance of two images is a sum of absolute differences, which a processor
takes 64 bytes at a time; the squared L2 distance is a matrix product, exact in floats as long as
its sums are whole numbers below 2²⁴.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement

import loky
import numpy as np
import torch
from torch import Tensor

from aecore import checks
from aecore.analysis import _loops
from aecore.engine.pool import run_jobs

METRICS = ("L1", "L2")
TILE = 2000  # images on each side of a square of pairs
EXACT = 1024  # pixels whose products of numbers in [-128, 127] add up to 2²⁴ at most
SPARE = 64  # places in a list beyond its k, filled before it is shortened again


class Lists:
    """The k nearest of each of N images so far, as whole numbers: distance times N plus row."""

    def __init__(self, images: int, k: int) -> None:
        self.k = k
        self.held = np.full((images, k + SPARE), np.iinfo(np.int64).max)
        self.count = np.zeros(images, dtype=np.int64)
        self.bound = np.full(images, np.iinfo(np.int64).max)  # the k-th distance
        self.locks = [threading.Lock() for _ in range(-(-images // TILE))]

    def offer(self, block: int, others: int, distances: np.ndarray) -> None:
        """Take `distances` (rows, columns) of one block of images to another into account."""
        with self.locks[block]:
            own = slice(block * TILE, block * TILE + len(distances))
            arrays = (self.held[own], self.count[own], self.bound[own])
            _loops.offer(distances, *arrays, own.start, others * TILE, len(self.held), self.k)

    def result(self) -> np.ndarray:
        """Rows (N, k) of the nearest, in order; equally far ones in the order of their rows."""
        _loops.shorten(self.held, self.count, self.bound, len(self.held), self.k)
        return (np.sort(self.held[:, : self.k], axis=1) % len(self.held)).astype(np.int32)


def nearest_of_all(images: Tensor, k: int, metric: str) -> tuple[np.ndarray, float]:
    """Row numbers (N, k) of the nearest to each of `images` (N, …), bytes; and seconds on a core.

    By "L1" or "L2", in order, without the image itself; equally far images come in the order of
    their rows. Progress goes to stderr. Raises `InvalidValue` unless 1 ≤ k < N.
    """
    checks.whole("k", k, 1, len(images) - 1)
    checks.choice("metric", metric, METRICS)
    pixels = images.flatten(1).numpy()
    lists, starts = Lists(len(pixels), k), range(0, len(pixels), TILE)
    blocks = [pixels[start : start + TILE] for start in starts]
    tiles = list(combinations_with_replacement(range(len(blocks)), 2))
    sizes = [len(blocks[i]) * len(blocks[j]) for i, j in tiles]

    def work(i: int, j: int, counter_path: object) -> float:
        started = time.perf_counter()
        found = distances(blocks[i], blocks[j], metric)
        lists.offer(i, j, found)
        if i != j:
            lists.offer(j, i, np.ascontiguousarray(found.T))
        return time.perf_counter() - started

    one_thread = {"initializer": torch.set_num_threads, "initargs": (1,)}
    with ThreadPoolExecutor(loky.cpu_count(), **one_thread) as pool:
        label = f"comparing {len(pixels)} images by {metric}"
        seconds = sum(s for _, s in run_jobs(work, tiles, sizes, label, pool, "pairs"))
    return lists.result(), seconds


def distances(first: np.ndarray, second: np.ndarray, metric: str) -> np.ndarray:
    """Distances (n, m), whole numbers, between images (n, D) and (m, D) of bytes; L2 is squared."""
    kind = np.int32 if first.shape[1] * 255**2 < 2**31 else np.int64
    found = np.empty((len(first), len(second)), dtype=kind)
    if metric == "L1":
        _loops.l1(first, second, found)
        return found
    one, other = (block.astype(np.float32) - 128 for block in (first, second))
    lengths = [np.square(block, dtype=np.float64).sum(1).astype(kind) for block in (one, other)]
    np.add.outer(*lengths, out=found)
    for start in range(0, one.shape[1], EXACT):
        part = slice(start, start + EXACT)
        product = torch.from_numpy(one[:, part]) @ torch.from_numpy(other[:, part]).T
        _loops.l2(product.numpy(), found)
    return found
