"""How much of the neighborhood of images their codes keep: the stored answers, and the jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from torch import Tensor

from aecore import checks
from aecore.analysis.neighbors import (
    CHUNK,
    METRICS,
    agreement,
    distances_to,
    nearest_images,
    nearest_points,
    ranks,
    score,
    trustworthiness,
)
from aecore.analysis.originals import LISTED, originals
from aecore.analysis.projections import tsne
from aecore.data import as_floats, load
from aecore.engine.measured import answers
from aecore.engine.pool import Counter, reproducible
from aecore.runs import Run
from aecore.spec import digest
from aecore.store.entries import Store

KEEPING = 1  # goes up whenever a change alters what these functions return

QUERIES = 1000  # images whose ranks trustworthiness and continuity are taken from, at most

MEASURES = (
    "k", "score", "by_label", "before", "after", "difference", "trustworthiness", "continuity",
)  # fmt: skip

Way = Run | str | np.ndarray  # a run, "PCA" or "t-SNE"; or points (N, 2) that are there already


def keeping(
    ways: Mapping[str, Sequence[Run | str]],
    dataset: str,
    images: int | None,
    ks: Sequence[int],
    tsne_images: int | None = None,
    executor: Executor | None = None,
    store: Store | None = None,
) -> pd.DataFrame:
    """How much of the neighborhood of the first training images each way of coding keeps.

    `ways` maps a name to runs, "PCA" (fitted to these images) or "t-SNE" (of the first
    `tsne_images`). A row for each way, seed, metric and k, with columns `model`, `seed`, `metric`,
    `k`, `score`, `by_label` (the score of each class), `before` and `after` (mean label
    agreement), `difference` (sum over the images of its absolute change), `trustworthiness` and
    `continuity` (both of the L2 ranks of the first 1000; NaN where not defined), `images`, and
    seconds of all cores: `search_before` and `search_after`. Raises `InvalidValue` for a k of more
    than 200 or than there are other images.
    """
    store, data = store or Store(), load(dataset)
    every = [(name, way) for name, group in ways.items() for way in group]
    counts = [
        len(data.train_images[:images][: tsne_images if way == "t-SNE" else None])
        for _, way in every
    ]
    for k in ks:
        checks.whole("k", k, 1, min(LISTED, min(counts) - 1))
    asked = [(n, metric) for n in range(len(every)) for metric in METRICS]
    questions = [
        {
            "table": "neighbors",
            "version": KEEPING,
            "data": data.digest,
            "images": counts[n],
            "of": _of(every[n][1]),
            "metric": metric,
            "ks": list(ks),
        }
        for n, metric in asked
    ]
    jobs: list[tuple] = [()] * len(asked)
    missing = [i for i, one in enumerate(questions) if store.read("table", digest(one)) is None]
    if missing:
        store.check_writable()
        wanted = {(counts[asked[i][0]], asked[i][1]): None for i in missing}
        lists = originals(dataset, wanted, store)
        for i in missing:
            n, metric = asked[i]
            way, (before, seconds) = every[n][1], lists[counts[n], metric]
            if way == "t-SNE":
                way = embedding(dataset, counts[n], executor, store)
            jobs[i] = (way, dataset, counts[n], metric, list(ks), before[:, : max(ks)], seconds)
    sizes = [counts[n] for n, _ in asked]
    found = answers(questions, _keeping_job, jobs, sizes, "comparing neighbors", executor, store)
    return pd.DataFrame(
        [
            {
                "model": every[n][0],
                "seed": way.spec.seed if isinstance(way := every[n][1], Run) else 0,
                "metric": metric,
                "images": counts[n],
                **{name: answer[name] for name in ("search_before", "search_after")},
                **{name: np.nan if row[name] is None else row[name] for name in MEASURES},
            }
            for (n, metric), answer in zip(asked, found, strict=True)
            for row in answer["rows"]
        ]
    )


def by_class(kept: pd.DataFrame, k: int, metric: str) -> pd.DataFrame:
    """The score at k of each class, a row for each model: means over seeds of a `keeping` table."""
    rows = kept[(kept["k"] == k) & (kept["metric"] == metric)]
    scores = pd.DataFrame(rows["by_label"].tolist(), index=rows["model"], dtype=float)
    return scores.groupby(level=0, sort=False).mean()


def by_seed(kept: pd.DataFrame, model: str, metric: str, column: str) -> list[list[float]]:
    """The values of a `keeping` table's column for one model: for each k those of its seeds."""
    rows = kept[(kept["model"] == model) & (kept["metric"] == metric)]
    return [values[column].tolist() for _, values in rows.groupby("k", sort=False)]


def within(measured: Sequence[Sequence[float]], reported: Sequence[float], factor: float) -> bool:
    """Whether the mean of each of `measured` is within a factor of the number `reported` for it."""
    ratios = [np.mean(values) / number for values, number in zip(measured, reported, strict=True)]
    return all(1 / factor <= ratio <= factor for ratio in ratios)


def cost(kept: pd.DataFrame, runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Seconds for each of the named models, all seeds: `training`, as long as it took where it
    was trained, and `search_before` and `search_after`, by L1 and L2 on one core.
    """
    first = kept.drop_duplicates(["model", "seed", "metric"])
    seconds = first.groupby("model", sort=False)[["search_before", "search_after"]].sum()
    training = {name: sum(r.provenance["seconds"] for r in group) for name, group in runs.items()}
    seconds.insert(0, "training", pd.Series(training, dtype=float))
    return seconds


def embedding(
    dataset: str, images: int, executor: Executor | None = None, store: Store | None = None
) -> np.ndarray:
    """The t-SNE (N, 2) of the pixels of the first `images` training images, to three decimals."""
    data = load(dataset)
    question = {"table": "t-SNE", "version": KEEPING, "data": data.digest, "images": images}
    job, label = (dataset, images), f"t-SNE of {images} images"
    return np.array(answers([question], _tsne_job, [job], [images], label, executor, store)[0])


def picked(
    ways: Mapping[str, Run],
    dataset: str,
    images: int | None,
    queries: Sequence[int],
    k: int = 10,
    executor: Executor | None = None,
    store: Store | None = None,
) -> dict[str, np.ndarray]:
    """The k nearest (Q, k), by L2, of `queries` among the first training images: row numbers.

    Under "before" by their pixels, and under each name of `ways` by the codes of its run.
    """
    data, names = load(dataset), ["before", *ways]
    images = len(data.train_images[:images])
    every: list[Run | None] = [None, *ways.values()]
    questions = [
        {
            "table": "picked neighbors",
            "version": KEEPING,
            "data": data.digest,
            "images": images,
            "of": "pixels" if way is None else way.key,
            "queries": list(queries),
            "k": k,
        }
        for way in every
    ]
    jobs = [(way, dataset, images, list(queries), k) for way in every]
    sizes = [images] * len(jobs)
    found = answers(questions, _picked_job, jobs, sizes, "picking neighbors", executor, store)
    return {name: np.array(rows) for name, rows in zip(names, found, strict=True)}


def points_of(way: Way, images: Tensor) -> np.ndarray:
    """The codes (N, d), in doubles, of `images` (N, C, H, W) by a run or by PCA into the plane.

    Raises `InvalidValue` for a way that is not known, or codes that are not finite.
    """
    if isinstance(way, np.ndarray):
        return way
    if isinstance(way, Run):
        points = way.encode(images).numpy()
    else:
        checks.choice("way", way, ("PCA",))
        points = PCA(2, svd_solver="covariance_eigh").fit_transform(_rows(images))
    if not np.isfinite(points).all():
        raise checks.InvalidValue("the codes are not allowed: must be finite, so the run diverged")
    return points.astype(np.float64)


def spread_of_codes(run: Run, images: int = 1000) -> float:
    """The largest standard deviation of a number of the code over the first training images.

    It is 0 for a network that has collapsed: every image has the same code.
    """
    shown = load(run.spec.dataset).train_images[:images]
    return float(run.encode(shown).double().std(0, correction=0).max())


def _rows(images: Tensor) -> np.ndarray:
    return as_floats(images).flatten(1).numpy()


def _of(way: Run | str) -> str:
    return way.key if isinstance(way, Run) else checks.choice("way", way, ("PCA", "t-SNE"))


def _tsne_job(dataset: str, images: int, counter_path: Path | None = None) -> list[list[float]]:
    with reproducible():
        points = tsne(_rows(load(dataset).train_images[:images]))
    _tell(counter_path, images)
    return points.round(3).tolist()


def _picked_job(
    way: Run | None,
    dataset: str,
    images: int,
    queries: Sequence[int],
    k: int,
    counter_path: Path | None = None,
) -> list[list[int]]:
    shown = load(dataset).train_images[:images]
    with reproducible():
        if way is None:
            found = nearest_images(shown, torch.tensor(queries), k, "L2")
        else:
            found = nearest_points(points_of(way, shown), np.array(queries), k, "L2")
    _tell(counter_path, images)
    return found.tolist()


def _keeping_job(
    way: Way,
    dataset: str,
    images: int,
    metric: str,
    ks: Sequence[int],
    before: np.ndarray,
    search_before: float,
    counter_path: Path | None = None,
) -> dict[str, Any]:
    data = load(dataset)
    shown, labels = data.train_images[:images], data.train_labels[:images].numpy()
    with reproducible():
        points = points_of(way, shown)
        started = time.perf_counter()
        after = nearest_points(points, np.arange(images), max(ks), metric)
        search_after = time.perf_counter() - started
        preserved = _preserved(shown, points, ks) if metric == "L2" else [(None, None)] * len(ks)
    rows = []
    for k, (trust, continuity) in zip(ks, preserved, strict=True):
        kept = score(before, after, k)
        rates = [agreement(neighbors, labels, k) for neighbors in (before, after)]
        by_label = [kept[labels == label] for label in range(data.classes)]
        rows.append(
            {
                "k": k,
                "score": float(kept.mean()),
                "by_label": [float(one.mean()) if len(one) else None for one in by_label],
                "before": float(rates[0].mean()),
                "after": float(rates[1].mean()),
                "difference": float(np.abs(rates[0] - rates[1]).sum()),
                "trustworthiness": trust,
                "continuity": continuity,
            }
        )
    _tell(counter_path, images)
    seconds = {"search_before": search_before, "search_after": round(search_after, 3)}
    return {**seconds, "rows": rows}


def _preserved(
    images: Tensor, points: np.ndarray, ks: Sequence[int]
) -> list[tuple[float | None, float | None]]:
    """Trustworthiness and continuity at each k, of the first images among all, by L2."""
    measure, queries = distances_to(images, "L2"), min(QUERIES, len(images))
    sums = np.zeros((len(ks), 2))
    for own in torch.arange(queries).split(CHUNK):
        before = ranks(measure(own).numpy(), own.numpy())
        after = ranks(cdist(points[own.numpy()], points), own.numpy())
        for number, k in enumerate(ks):
            if 2 * k < len(images):
                both = trustworthiness(before, after, k), trustworthiness(after, before, k)
                sums[number] += np.array(both) * len(own) / queries
    return [
        (float(trust), float(continuity)) if 2 * k < len(images) else (None, None)
        for k, (trust, continuity) in zip(ks, sums, strict=True)
    ]


def _tell(counter_path: Path | None, images: int) -> None:
    counter = Counter(counter_path)
    counter.add(images)
    counter.tell()
