"""Which images are each other's neighbors, and how two ideas of nearness agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import faiss
import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from aecore import checks

METRICS = ("L1", "L2")
BLOCK = 2000  # images whose neighbors are compared at once
CHUNK = 200  # images whose distances to all others are in memory at once


def nearest_images(images: Tensor, rows: Tensor, k: int, metric: str) -> np.ndarray:
    """Row numbers (Q, k) of the nearest to each of `rows` (Q,) among the other images, in order.

    `images` (N, …) are bytes and `metric` is "L1" or "L2". Exact, since distances of bytes (for
    L2 their squares) are whole numbers: images equally far come in the order of their rows.
    Raises `InvalidValue` unless 1 ≤ k < N.
    """
    checks.whole("k", k, 1, len(images) - 1)
    measure, numbers = distances_to(images, metric), torch.arange(len(images))
    found = []
    for own in rows.split(CHUNK):
        order = measure(own) * len(images) + numbers  # one whole number: distance, then row
        order.scatter_(1, own[:, None], torch.iinfo(torch.int64).max)
        found.append(order.topk(k, largest=False).values % len(images))
    return torch.cat(found).numpy().astype(np.int32)


def distances_to(images: Tensor, metric: str) -> Callable[[Tensor], Tensor]:
    """A function from rows (Q,) to their distances (Q, N), int64, to all images; L2 is squared."""
    pixels = images.flatten(1)
    if checks.choice("metric", metric, METRICS) == "L1":
        base = pixels.numpy().astype(np.float32)
        return lambda rows: torch.from_numpy(
            faiss.pairwise_distances(base[rows.numpy()], base, metric=faiss.METRIC_L1)
        ).long()
    # In doubles, for the square of an image's length does not fit into a float.
    base, lengths = pixels.double(), pixels.double().square().sum(1)
    return lambda rows: (lengths[rows, None] + lengths - 2 * (base[rows] @ base.T)).long()


def nearest_points(points: np.ndarray, rows: np.ndarray, k: int, metric: str) -> np.ndarray:
    """Row numbers (Q, k) of the nearest to each of `rows` (Q,) among the other points, in order.

    For `points` (N, d) of few dimensions; exact, equally far points in no certain order. Raises
    `InvalidValue` unless 1 ≤ k < N.
    """
    checks.whole("k", k, 1, len(points) - 1)
    p = 1 + METRICS.index(checks.choice("metric", metric, METRICS))
    found = cKDTree(points).query(points[rows], k + 1, p=p)[1]
    others = found != rows[:, None]
    others[others.all(1), -1] = False  # so many points in one place that its own is not among them
    return found[others].reshape(len(rows), k).astype(np.int32)


def score(before: np.ndarray, after: np.ndarray, k: int) -> np.ndarray:
    """Share (N,) of each image's k nearest `before` that are among its k nearest `after`.

    Both are neighbor lists (N, ≥ k). The report's score@k is its mean.
    """
    return np.concatenate(
        [
            (first[:, :, None] == second[:, None, :]).any(2).mean(1)
            for first, second in zip(
                *(_parts(neighbors[:, :k]) for neighbors in (before, after)), strict=True
            )
        ]
    )


def agreement(neighbors: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Share (N,) of each image's k nearest neighbors that have its label; `labels` are (N,)."""
    return (labels[neighbors[:, :k]] == labels[:, None]).mean(1)


def ranks(distances: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The rank (Q, N) of each of N images by its distance to each query: 1 is the nearest.

    `distances` are (Q, N), and image `own[i]` is query i itself, which gets the last rank.
    Equally far images rank in their order.
    """
    distances = distances.astype(np.float64)
    distances[np.arange(len(own)), own] = np.inf
    order = distances.argsort(axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(1, order.shape[1] + 1)[None], axis=1)
    return places


def trustworthiness(before: np.ndarray, after: np.ndarray, k: int) -> float:
    """Trustworthiness in [0, 1] of ranks `after`, given ranks `before`, each (Q, N): 1 is perfect.

    Of every image among the k nearest after, what its rank before exceeds k by counts against it
    (Venna & Kaski 2001, eq. 1, its mean taken over the Q queries). With the two exchanged it is
    their continuity. Raises `InvalidValue` unless 1 ≤ k < N / 2, where it is defined.
    """
    queries, images = before.shape
    checks.whole("k", k, 1, (images - 1) // 2)
    excess = np.maximum(before - k, 0)[after <= k].sum()
    return float(1 - 2 * excess / (queries * k * (2 * images - 3 * k - 1)))


def fitting(ks: Sequence[int], images: int) -> list[int]:
    """Those of `ks` that are smaller than so many images; the largest possible one if none is."""
    return [k for k in ks if k < images] or [images - 1]


def examples(labels: Tensor, each: int = 3) -> list[int]:
    """Row numbers of the first `each` images of every class of `labels` (N,)."""
    return [
        row for label in labels.unique() for row in (labels == label).nonzero()[:each, 0].tolist()
    ]


def _parts(values: np.ndarray) -> Iterable[np.ndarray]:
    return (values[first : first + BLOCK] for first in range(0, len(values), BLOCK))


def nearest(base: Tensor, queries: Tensor, k: int) -> np.ndarray:
    """Row numbers (Q, k) in `base` (N, …) of the k nearest to each of `queries` (Q, …), in order.

    Exact, by Euclidean distance. Raises `InvalidValue` unless 1 ≤ k ≤ N.
    """
    index, asked = _index(base, k), _rows(queries)
    return index.search(asked, k)[1]


def precision(found: np.ndarray, base_labels: Tensor, query_labels: Tensor) -> float:
    """Share of the images `found` (Q, k) that are of their query's class: precision at k."""
    return float((base_labels.numpy()[found] == query_labels.numpy()[:, None]).mean())


def _index(base: Tensor | np.ndarray, k: int) -> faiss.IndexFlatL2:
    rows = _rows(base)
    checks.whole("k", k, 1, len(rows))
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    return index


def _rows(values: Tensor | np.ndarray) -> np.ndarray:
    """One row a value, contiguous floats, as faiss and scikit-learn want them."""
    return np.ascontiguousarray(values, dtype=np.float32).reshape(len(values), -1)
