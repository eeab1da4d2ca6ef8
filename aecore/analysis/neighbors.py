"""Which images are each other's neighbors, and how two ideas of nearness agree."""

from collections.abc import Sequence

import faiss
import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from torch import Tensor

from aecore import checks
from aecore.analysis.pairs import METRICS, distances

FEW = 20  # dimensions up to which a tree finds neighbors faster than a look at all points
BLOCK = 2000  # images whose neighbors are compared at once
CHUNK = 200  # images whose distances to all others are in memory at once


def nearest(
    base: Tensor | np.ndarray,
    k: int,
    *,
    queries: Tensor | np.ndarray | None = None,
    rows: Sequence[int] | None = None,
    metric: str = "L2",
) -> np.ndarray:
    """Row numbers (Q, k) in `base` (N, …) of the k nearest to each query, in order.

    The queries are `queries` (Q, …), or else `rows` (Q,) of the base itself, by default all, each
    without itself. Exact, by "L1" or "L2". Distances of bytes are whole numbers: equally far images
    come in the order of their rows (`pairs.nearest_of_all` is the same for all rows, faster). Of
    floats in few dimensions a tree finds them, in doubles; in many, faiss. Raises `InvalidValue`
    unless there are k.
    """
    checks.choice("metric", metric, METRICS)
    own = None if queries is not None else np.arange(len(base)) if rows is None else np.array(rows)
    checks.whole("k", k, 1, len(base) - (own is not None))
    if isinstance(base, Tensor) and base.dtype == torch.uint8 and own is not None:
        return _nearest_bytes(base, torch.from_numpy(own), k, metric)
    points = _rows(base)
    asked = points[own] if queries is None else _rows(queries)
    found = _searched(points, asked, k + (own is not None), metric)
    if own is None:
        return found
    others = found != own[:, None]
    others[others.all(1), -1] = False  # so many points in one place that its own is not among them
    return found[others].reshape(len(own), k)


def _searched(points: np.ndarray, asked: np.ndarray, k: int, metric: str) -> np.ndarray:
    if points.shape[1] <= FEW:
        tree = cKDTree(points.astype(np.float64))
        found = tree.query(asked.astype(np.float64), k, p=1 + METRICS.index(metric))[1]
        return found.reshape(len(asked), k).astype(np.int32)
    kind = faiss.METRIC_L2 if metric == "L2" else faiss.METRIC_L1
    both = asked.astype(np.float32), points.astype(np.float32)
    return faiss.knn(*both, k, kind)[1].astype(np.int32)


def _nearest_bytes(images: Tensor, rows: Tensor, k: int, metric: str) -> np.ndarray:
    pixels, found = images.flatten(1).numpy(), []
    for own in rows.split(CHUNK):
        apart = torch.from_numpy(distances(pixels[own.numpy()], pixels, metric)).long()
        order = apart * len(images) + torch.arange(len(images))  # a whole number: distance, row
        order.scatter_(1, own[:, None], torch.iinfo(torch.int64).max)
        found.append(order.topk(k, largest=False).values % len(images))
    return torch.cat(found).numpy().astype(np.int32)


def score(before: np.ndarray, after: np.ndarray, k: int) -> np.ndarray:
    """Share (N,) of each image's k nearest `before` that are among its k nearest `after`.

    Both are neighbor lists (N, ≥ k). The report's score@k is its mean.
    """
    kept = []
    for first in range(0, len(before), BLOCK):
        one, other = (lists[first : first + BLOCK, :k] for lists in (before, after))
        kept.append((one[:, :, None] == other[:, None, :]).any(2).mean(1))
    return np.concatenate(kept)


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
    return rankdata(distances, method="ordinal", axis=1)


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


def preserved(
    images: Tensor, points: np.ndarray, ks: Sequence[int], queries: int
) -> list[tuple[float, float]]:
    """Trustworthiness and continuity at each k, by L2, of the first `queries` images among all.

    `images` are bytes (N, …), `points` (N, d) are their codes; NaN where it is not defined.
    """
    pixels, queries = images.flatten(1).numpy(), min(queries, len(images))
    sums = np.where(2 * np.array(ks) < len(images), 0.0, np.nan)[:, None].repeat(2, 1)
    for own in np.split(np.arange(queries), range(CHUNK, queries, CHUNK)):
        before = ranks(distances(pixels[own], pixels, "L2"), own)
        after = ranks(cdist(points[own], points), own)
        for number in np.flatnonzero(np.isfinite(sums[:, 0])):
            both = ((before, after), (after, before))
            parts = [trustworthiness(*pair, ks[number]) for pair in both]
            sums[number] += np.array(parts) * len(own) / queries
    return sums.tolist()


def fitting(ks: Sequence[int], images: int) -> list[int]:
    """Those of `ks` that are smaller than so many images; the largest possible one if none is."""
    return [k for k in ks if k < images] or [images - 1]


def examples(labels: Tensor, count: int = 30) -> list[int]:
    """Row numbers of some `count` images of those with `labels` (N,), the first of every class."""
    classes = labels.unique()
    each = max(1, count // len(classes))
    rows = [(labels == label).nonzero()[:each, 0].tolist() for label in classes]
    return [row for of_class in rows for row in of_class]


def _rows(values: Tensor | np.ndarray) -> np.ndarray:
    """One row a value, contiguous."""
    return np.ascontiguousarray(values).reshape(len(values), -1)
