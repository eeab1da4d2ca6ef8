"""The nearest images by their pixels: exact, searched by blocks on all cores, and stored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import faiss
import numpy as np
import torch

from aecore.data import load
from aecore.neighbors import BLOCK, nearest_images
from aecore.pool import Counter, run_jobs
from aecore.spec import digest
from aecore.store import Store
from aecore.training import reproducible

NEIGHBORS = 1  # goes up whenever a change alters what these functions return

LISTED = 200  # neighbors that are stored of each image, after the report


def originals(
    dataset: str, wanted: Sequence[tuple[int, str]], executor: Executor | None, store: Store
) -> dict[tuple[int, str], tuple[np.ndarray, float]]:
    """For each of `wanted`, (images, metric): lists (N, 200) of an image's nearest, and seconds.

    They are row numbers among the first so many training images, by their pixels; fewer than 200
    where there are fewer others. The seconds are those of one core, where they were searched.
    """
    data = load(dataset)
    blocks = [
        (images, metric, first, min(first + BLOCK, images))
        for images, metric in wanted
        for first in range(0, images, BLOCK)
    ]
    keys = [
        digest(
            {
                "neighbors": NEIGHBORS,
                "data": data.digest,
                "images": images,
                "metric": metric,
                "block": [first, last],
                "listed": LISTED,
            }
        )
        for images, metric, first, last in blocks
    ]
    entries = {key: store.read("neighborhood", key) for key in keys}
    found = {
        key: (entry.arrays["neighbors"], entry.document["seconds"])
        for key, entry in entries.items()
        if entry is not None
    }
    todo = [n for n, key in enumerate(keys) if key not in found]
    if todo:
        jobs = [(dataset, *blocks[n]) for n in todo]
        sizes = [blocks[n][3] - blocks[n][2] for n in todo]
        for number, (neighbors, seconds) in run_jobs(
            _search_job, jobs, sizes, "searching neighbors", executor
        ):
            images, metric, *block = blocks[todo[number]]
            document = {"images": images, "metric": metric, "block": block, "seconds": seconds}
            store.write("neighborhood", keys[todo[number]], document, {"neighbors": neighbors})
            found[keys[todo[number]]] = neighbors, seconds
    lists: dict[tuple[int, str], tuple[np.ndarray, float]] = {}
    for one in wanted:
        parts = [found[key] for key, block in zip(keys, blocks, strict=True) if block[:2] == one]
        lists[one] = np.concatenate([part for part, _ in parts]), sum(s for _, s in parts)
    return lists


def _search_job(
    dataset: str,
    images: int,
    metric: str,
    first: int,
    last: int,
    counter_path: Path | None = None,
) -> tuple[np.ndarray, float]:
    counter, threads = Counter(counter_path), faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        with reproducible():
            shown = load(dataset).train_images[:images]
            rows = torch.arange(first, last)
            started = time.perf_counter()
            found = nearest_images(shown, rows, min(LISTED, images - 1), metric, counter)
            seconds = time.perf_counter() - started
    finally:
        faiss.omp_set_num_threads(threads)
    counter.tell()
    return found, round(seconds, 3)
