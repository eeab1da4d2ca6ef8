"""Test images as points of a plane: t-SNE, PCA, or the code itself, and how well classes part."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from openTSNE import TSNE
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from aecore import checks
from aecore.data import as_floats, load
from aecore.engine.measured import answers
from aecore.engine.pool import Counter, reproducible
from aecore.page.show import spread
from aecore.runs import Run
from aecore.store.entries import Store

PROJECTIONS = 1  # goes up whenever a change alters what these functions return

METHODS = ("t-SNE", "PCA", "code")
NEIGHBORS = 10


@dataclass(frozen=True)
class Projection:
    """The first test images in the plane: `points` (N, 2) by `method`, of a run or of pixels.

    `agreement` is `label_agreement` in the plane and `agreement_before` in the space projected;
    `silhouette` is the mean silhouette of the classes in the plane (Rousseeuw 1987), in [-1, 1].
    """

    run: Run | None
    method: str
    points: np.ndarray
    agreement: float
    agreement_before: float
    silhouette: float

    @property
    def name(self) -> str:
        """What it shows: "t-SNE of pixels", "code of VAE, d = 2"; alike for every seed."""
        if self.run is None:
            return f"{self.method} of pixels"
        kind = {"vae": "VAE"}.get(self.run.spec.architecture, "autoencoder")
        return f"{self.method} of {kind}, d = {self.run.spec.latent_dim}"


def tsne(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE (van der Maaten & Hinton 2008) of `values` (N, d) into the plane: (N, 2).

    By openTSNE from PCA's plane, with exact neighbors and the Barnes-Hut gradient, on one thread:
    a function of its arguments. The perplexity is 30, or a third of few points.
    """
    perplexity = min(30.0, (len(values) - 1) / 3)
    solver = TSNE(
        perplexity=perplexity,
        neighbors="exact",
        negative_gradient_method="bh",
        n_jobs=1,
        random_state=seed,
    )
    return np.asarray(solver.fit(np.asarray(values, dtype=np.float64)))


def pca(values: np.ndarray) -> np.ndarray:
    """The first two principal components (N, 2) of `values` (N, d)."""
    return PCA(2, svd_solver="full").fit_transform(np.asarray(values, dtype=np.float64))


def chance(labels: np.ndarray) -> float:
    """What `label_agreement` would be if neighbors were drawn at random: Σ (share of class)²."""
    return float(np.square(np.bincount(labels) / len(labels)).sum())


def label_agreement(points: np.ndarray, labels: np.ndarray, k: int = NEIGHBORS) -> float:
    """Share, among the k nearest neighbors of every point (N, d), of those with its label (N,).

    By Euclidean distance. Raises `InvalidValue` unless there are k other points.
    """
    checks.whole("k", k, 1, len(points) - 1)
    found = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)
    return float((labels[found] == labels[:, None]).mean())


def project(
    ways: Sequence[tuple[Run | str, str]],
    images: int = 2000,
    executor: Executor | None = None,
    store: Store | None = None,
) -> list[Projection]:
    """The first `images` test images by each way: a run, or a data set for its pixels, and method.

    Methods are "t-SNE", "PCA" and, for runs of d = 2, "code": its two numbers themselves. Raises
    `InvalidValue` for another method, "code" of anything else, a code of one number, or a run that
    diverged and has no codes.
    """
    for of, method in ways:
        checks.choice("method", method, METHODS)
        _check(of, method)
    found = answers(
        [_question(of, method, images) for of, method in ways],
        _job,
        [(of, method, images) for of, method in ways],
        [images] * len(ways),
        f"projecting {len(ways)} {'code' if len(ways) == 1 else 'codes'}",
        executor,
        store,
    )
    return [
        Projection(None if isinstance(of, str) else of, method, _points(text), **measured)
        for (of, method), (text, measured) in zip(ways, found, strict=True)
    ]


def every_way(dataset: str, runs: Sequence[Run]) -> list[tuple[Run | str, str]]:
    """t-SNE and PCA of the pixels and of every run; of a run with d = 2 its code as it is."""
    return [(dataset, "t-SNE"), (dataset, "PCA")] + [
        (run, method)
        for run in runs
        for method in (("code",) if run.spec.latent_dim == 2 else ("t-SNE", "PCA"))
    ]


def by_name(projections: Sequence[Projection]) -> dict[str, list[Projection]]:
    """The projections of each name, one a seed."""
    groups: dict[str, list[Projection]] = {}
    for projection in projections:
        groups.setdefault(projection.name, []).append(projection)
    return groups


def separation(projections: Mapping[str, Sequence[Projection]]) -> pd.DataFrame:
    """How well the classes part, a row for each name: means ± deviations over seeds, as text.

    Columns: `before` and `plane`, the label agreement in the space projected and in the plane,
    and `silhouette`.
    """
    return pd.DataFrame(
        {
            name: {
                "before": spread([p.agreement_before for p in group], 3),
                "plane": spread([p.agreement for p in group], 3),
                "silhouette": spread([p.silhouette for p in group], 2),
            }
            for name, group in projections.items()
        }
    ).T


def _check(of: Run | str, method: str) -> None:
    if not isinstance(of, str) and of.diverged:
        raise checks.InvalidValue(f"run {of.key[:8]} is not allowed: it diverged, without codes")
    d = None if isinstance(of, str) else of.spec.latent_dim
    if d == 1 or (method == "code" and d != 2):
        must = "of a run with d = 2" if method == "code" else "of more than one number"
        raise checks.InvalidValue(f"method={method!r} is not allowed here: must be {must}")


def _question(of: Run | str, method: str, images: int) -> dict[str, object]:
    what = {"data": load(of).digest} if isinstance(of, str) else {"run": of.key}
    return {
        "table": "projection",
        "version": PROJECTIONS,
        "method": method,
        "images": images,
        **what,
    }


def _job(
    of: Run | str, method: str, images: int, counter_path: Path | None = None
) -> tuple[str, dict[str, float]]:
    """The points as base64 of little-endian float32, and what is measured of them."""
    data = load(of if isinstance(of, str) else of.spec.dataset)
    shown, labels = data.test_images[:images], data.test_labels[:images].numpy()
    with reproducible():
        codes = as_floats(shown) if isinstance(of, str) else of.encode(shown)
        values = codes.flatten(1).numpy()
        match method:
            case "t-SNE":
                points = tsne(values)
            case "PCA":
                points = pca(values)
            case _:
                points = values
    k = min(NEIGHBORS, len(values) - 1)
    measured = {
        "agreement": label_agreement(points, labels, k),
        "agreement_before": label_agreement(values, labels, k),
        "silhouette": float(silhouette_score(points, labels)),
    }
    Counter(counter_path).add(images)
    return base64.b64encode(points.astype("<f4").tobytes()).decode(), measured


def _points(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, 2)
