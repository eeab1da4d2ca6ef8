"""Test images as points of a plane: t-SNE, PCA, or the code itself, and how well classes part."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import pandas as pd
from openTSNE import TSNE
from sklearn.metrics import silhouette_score

from aecore import checks
from aecore.analysis import neighbors
from aecore.analysis.errors import principal_components
from aecore.data import as_floats, load
from aecore.engine.measured import Asked, Where, answers
from aecore.models import FAMILIES
from aecore.runs import Run

PROJECTIONS = 1  # goes up whenever a change alters what these functions return

METHODS = ("t-SNE", "PCA", "code")
MEASURES = ("agreement", "agreement_before", "silhouette")
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
        spec = self.run.spec
        return f"{self.method} of {FAMILIES[spec.architecture].title}, d = {spec.latent_dim}"


def tsne(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE (van der Maaten & Hinton 2008) of `values` (N, d) into the plane: (N, 2).

    By openTSNE from PCA's plane, with exact neighbors and the Barnes-Hut gradient, on one thread:
    a function of its arguments. The perplexity is 30, or a third of few points.
    """
    exact = {"neighbors": "exact", "negative_gradient_method": "bh", "n_jobs": 1}
    solver = TSNE(perplexity=min(30.0, (len(values) - 1) / 3), random_state=seed, **exact)
    return np.asarray(solver.fit(np.asarray(values, dtype=np.float64)))


def chance(labels: np.ndarray) -> float:
    """What `label_agreement` would be if neighbors were drawn at random: Σ (share of class)²."""
    return float(np.square(np.bincount(labels) / len(labels)).sum())


def label_agreement(points: np.ndarray, labels: np.ndarray, k: int = NEIGHBORS) -> float:
    """Share, among the k nearest neighbors of every point (N, d), of those with its label (N,).

    By Euclidean distance. Raises `InvalidValue` unless there are k other points.
    """
    found = neighbors.nearest(points, k)
    return float(neighbors.agreement(found, labels, k).mean())


def project(
    ways: Sequence[tuple[Run | str, str]], images: int = 2000, **where: Unpack[Where]
) -> list[Projection]:
    """The first `images` test images by each way: a run, or a data set for its pixels, and method.

    Methods are "t-SNE", "PCA" and, for runs of d = 2, "code": its two numbers themselves. A run
    that diverged has no codes: its points and measures are NaN. Raises `InvalidValue` for another
    method, "code" of anything else, or a code of one number.
    """
    asked, runs = [], [None if isinstance(of, str) else of for of, _ in ways]
    blank = _text(np.full((images, 2), np.nan)), dict.fromkeys(MEASURES, np.nan)
    for (of, method), run in zip(ways, runs, strict=True):
        checks.choice("method", method, METHODS)
        d = run and run.spec.latent_dim
        if d == 1 or (method == "code" and d != 2):
            must = "of a run with d = 2" if method == "code" else "of more than one number"
            raise checks.InvalidValue.of("method", method, must)
        what = {"run": run.key} if run else {"data": load(of).digest}
        question = {"table": "projection", "version": PROJECTIONS, "method": method} | what
        asked.append(Asked(question | {"images": images}, (of, method, images), images, blank))
    label = f"projecting {len(ways)} {'code' if len(ways) == 1 else 'codes'}"
    found = answers(asked, _projected, label, **where)
    projections = []
    for (_, method), run, (content, measures) in zip(ways, runs, found, strict=True):
        points = np.frombuffer(base64.b64decode(content), "<f4").reshape(-1, 2)
        projections.append(Projection(run, method, points, **measures))
    return projections


def every_way(dataset: str, runs: Sequence[Run]) -> list[tuple[Run | str, str]]:
    """t-SNE and PCA of the pixels and of every run; of a run with d = 2 its code as it is."""
    return [(dataset, "t-SNE"), (dataset, "PCA")] + [
        (run, method)
        for run in runs
        for method in (("code",) if run.spec.latent_dim == 2 else ("t-SNE", "PCA"))
    ]


def by_name(projections: Sequence[Projection]) -> dict[str, list[Projection]]:
    """The projections of each name, one a seed."""
    names = dict.fromkeys(projection.name for projection in projections)
    return {name: [each for each in projections if each.name == name] for name in names}


def separation(projections: Mapping[str, Sequence[Projection]]) -> pd.DataFrame:
    """How well the classes part, a row for each name; each cell has a value for every seed.

    Columns: `before` and `plane`, the label agreement in the space projected and in the plane,
    and `silhouette`.
    """
    measures = {"before": "agreement_before", "plane": "agreement", "silhouette": "silhouette"}
    rows = {
        name: {column: [getattr(p, of) for p in group] for column, of in measures.items()}
        for name, group in projections.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _projected(of: Run | str, method: str, images: int) -> tuple[str, dict[str, float]]:
    """The points as `_text`, and what is measured of them."""
    data = load(of if isinstance(of, str) else of.spec.dataset)
    shown, labels = data.test_images[:images], data.test_labels[:images].numpy()
    codes = as_floats(shown) if isinstance(of, str) else of.encode(shown)
    values = points = codes.flatten(1).numpy()
    if method == "t-SNE":
        points = tsne(values)
    elif method == "PCA":
        points = principal_components(values, 2).transform(values)
    measured = dict.fromkeys(MEASURES, np.nan)
    if 1 < len(np.unique(labels)) < len(labels):
        k = min(NEIGHBORS, len(values) - 1)
        agreements = (label_agreement(space, labels, k) for space in (points, values))
        silhouette = float(silhouette_score(points, labels))
        measured = dict(zip(MEASURES, (*agreements, silhouette), strict=True))
    return _text(points), measured


def _text(points: np.ndarray) -> str:
    """Base64 of little-endian float32."""
    return base64.b64encode(points.astype("<f4").tobytes()).decode()


def panels(
    projections: Mapping[str, Sequence[Projection]], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """The points of the first projection of each name, under the name and its agreement if any."""
    shown = [projections[name][0] for name in names]
    alike = [f"<br>{one.agreement:.0%} alike" if one.agreement >= 0 else "" for one in shown]
    return {f"{one.name}{share}": one.points for one, share in zip(shown, alike, strict=True)}
