"""The nearest images by their pixels, of every image among the first so many, and stored."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from aecore.analysis.pairs import nearest_of_all
from aecore.data import load
from aecore.spec import digest
from aecore.store.entries import Store

NEIGHBORS = 2  # goes up whenever a change alters what these functions return

LISTED = 200  # neighbors that are stored of each image, after the report


def originals(
    dataset: str, wanted: Iterable[tuple[int, str]], store: Store
) -> dict[tuple[int, str], tuple[np.ndarray, float]]:
    """For each of `wanted`, (images, metric): lists (N, 200) of an image's nearest, and seconds.

    They are row numbers among the first so many training images, by their pixels; fewer than 200
    where there are fewer others. The seconds are those of one core, where they were searched.
    """
    return {one: _listed(dataset, *one, store) for one in wanted}


def _listed(dataset: str, images: int, metric: str, store: Store) -> tuple[np.ndarray, float]:
    data = load(dataset)
    question = {"neighbors": NEIGHBORS, "data": data.digest, "images": images, "metric": metric}
    key = digest({**question, "listed": LISTED})
    if (entry := store.read("neighborhood", key)) is not None:
        return entry.arrays["neighbors"], entry.document["seconds"]
    found, seconds = nearest_of_all(data.train_images[:images], min(LISTED, images - 1), metric)
    seconds = round(seconds, 3)
    document = {"images": images, "metric": metric, "seconds": seconds}
    store.write("neighborhood", key, document, {"neighbors": found})
    return found, seconds
