"""How regular a latent space is, in numbers: one row a run, whatever its architecture."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aecore import checks
from aecore.analysis import latent
from aecore.analysis.errors import mean_squared_error, principal_components
from aecore.corruption import GaussianNoise, corrupt
from aecore.data import as_floats, load, one_of_each
from aecore.engine.measured import Where, frame, of_runs
from aecore.models import FAMILIES, VariationalAutoencoder
from aecore.randomness import generator
from aecore.runs import Run

REGULARITY = 2  # goes up whenever a change alters what these functions return

COMPONENTS = 8
DRAWS = 2000  # codes drawn, and test images that their pictures are held against
NOISE = 0.1
SLOPES = 500  # places at which the decoder's Jacobian is taken

MEASURED = {
    "mse": "test MSE",
    "slope_variation": "slope variation (0 is even)",
    "code_shift": "shift of a code under noise (1 is as far as another image)",
    "unevenness": "unevenness between centroids (1 is even)",
    "image_unevenness": "unevenness between images (1 is even)",
    "border_jump": "jump of D between basins (0 is none)",
    "precision": "precision of draws",
    "recall": "recall of draws",
    "box_precision": "precision of draws from the box",
    "box_recall": "recall of draws from the box",
    "active_units": "numbers in use",
}


def regularity(
    runs: Sequence[Run], steps: int = 10, points: int = 100, **where: Unpack[Where]
) -> pd.DataFrame:
    """Numbers for how regular the latent space of each run is, a row each.

    Columns, after those of `measured.frame`, are those of `MEASURED`: `slope_variation` is standard
    deviation over mean of `latent.jacobian_norms` between the codes of test images; `code_shift`
    how far Gaussian noise of σ = `NOISE` moves a code over how far two images' codes are apart, by
    root mean squares; both kinds of unevenness means over all pairs of class centroids, or of one
    test image a class, on paths of `steps` pictures; `latent.border_jump` of a grid of `points`²,
    only with d = 2. Pictures are drawn from N(0, I) for a variational autoencoder, from a normal
    distribution fitted to the codes for the others, or from the box around the centroids.
    """
    how = {"unit": "models", "steps": steps, "points": points, **where}
    found = of_runs("regularity", REGULARITY, measure, runs, "measuring models", **how)
    return frame(runs, found, list(MEASURED))


def comparison(
    measured: Mapping[tuple[str, int], pd.DataFrame], titles: Mapping[str, str] = MEASURED
) -> pd.DataFrame:
    """Tables of `regularity`, by name and latent dimension, as one: a row for each measure.

    Or other tables, with the `titles` of their columns. A column for each table; a cell is the
    list of the measure's values, one a seed. A measure that no model has, as that of a jump between
    classes where there is one, has no row.
    """
    known = [name for name in titles if any(rows[name].notna().any() for rows in measured.values())]
    columns = {
        f"{name}, d = {d}": [rows[measure].tolist() for measure in known]
        for (name, d), rows in measured.items()
    }
    return pd.DataFrame(columns, index=pd.Index([titles[name] for name in known], name="measure"))


def measure(run: Run, steps: int, points: int) -> dict[str, float]:
    """The columns `MEASURED` of `regularity`, for one run."""
    data = load(run.spec.dataset)
    images, labels = data.test_images, data.test_labels
    codes = run.encode(images)
    centers, some = latent.centroids(codes, labels), codes[one_of_each(labels)]
    between = latent.sample_between(codes, SLOPES, generator=generator(0, "between"))
    slopes = latent.jacobian_norms(run.decode, between)
    drawn = latent.sample_normal(codes, DRAWS, generator=generator(0, "normal"))
    if isinstance(run.model, VariationalAutoencoder):
        drawn = latent.sample_prior(*drawn.shape, generator=generator(0, "normal"))
    corners = latent.corners(codes, centers)
    boxed = latent.sample_box(corners, DRAWS, generator=generator(0, "box"))
    real = as_floats(images[:DRAWS])
    moved = run.encode(corrupt(real, GaussianNoise(NOISE))) - codes[:DRAWS]
    shapes, *others = coarse(real, run.decode(drawn), run.decode(boxed))
    shares = [share for other in others for share in precision_and_recall(shapes, other)]
    flat = codes.shape[1] == 2
    return {
        "mse": mean_squared_error(run, images),
        "slope_variation": float(slopes.std() / slopes.mean()),
        # Two codes drawn at random are √2 times as far apart as each is from the mean code.
        "code_shift": math.sqrt(moved.square().sum(1).mean() / codes.var(0).sum() / 2),
        "unevenness": float(latent.unevenness(run.decode, centers, steps).nanmean()),
        "image_unevenness": float(latent.unevenness(run.decode, some, steps).nanmean()),
        "border_jump": latent.plane(run, images, labels, points).jump if flat else math.nan,
        **dict(zip(("precision", "recall", "box_precision", "box_recall"), shares, strict=True)),
        "active_units": latent.active_units(codes),
    }


def basins(
    runs: Sequence[Run], points: int = 100, margin: float = 0.2, **where: Unpack[Where]
) -> pd.DataFrame:
    """The `latent.plane` of each run with d = 2, on a grid of `points`², as numbers: a row each.

    Columns, after those of `measured.frame`: `jump` (`latent.border_jump`), `own`
    (`latent.own_basin` of the test images) and `touch` (`latent.borders`, a list of lists).
    """
    how = {"unit": "planes", "points": points, "margin": margin, **where}
    found = of_runs("basins", REGULARITY, _basins, runs, "measuring planes", **how)
    return frame(runs, found, ["jump", "own", "touch"])


def _basins(run: Run, points: int, margin: float) -> dict[str, Any]:
    data = load(run.spec.dataset)
    plane = latent.plane(run, data.test_images, data.test_labels, points, margin)
    own = latent.own_basin(plane.codes, data.test_labels, plane.centroids)
    touch = latent.borders(plane.nearest, len(plane.centroids))
    return {"jump": plane.jump, "own": own, "touch": touch}


def unevenness(runs: Sequence[Run], steps: int = 10, **where: Unpack[Where]) -> np.ndarray:
    """Each run's `latent.unevenness` between its centroids of the test images: (runs, K, K).

    All NaN for a run that diverged.
    """
    how = {"unit": "models", "steps": steps, **where}
    how["blank"] = lambda run: np.full((run.classes, run.classes), np.nan)
    return np.array(of_runs("unevenness", REGULARITY, _unevenness, runs, "walking in codes", **how))


def _unevenness(run: Run, steps: int) -> Tensor:
    [centers] = latent.centroids_of([run])
    return latent.unevenness(run.decode, centers, steps)


def coarse(images: Tensor, *others: Tensor) -> list[Tensor]:
    """All images (N, …) as their first `COMPONENTS` principal components, those of the first.

    By all pixels a blurred picture would be near every other.
    """
    rows = [pictures.flatten(1).numpy() for pictures in (images, *others)]
    pca = principal_components(rows[0], COMPONENTS)
    return [torch.from_numpy(pca.transform(part)) for part in rows]


def precision_and_recall(real: Tensor, drawn: Tensor, k: int = 3) -> tuple[float, float]:
    """Share of `drawn` pictures that lie among `real` ones, and of real ones among the drawn.

    A picture lies among others if it is no farther from one of them than that one is from its
    `k`-th nearest fellow, by Euclidean distance (Kynkäänniemi et al. 2019, eq. 1 and 2, of
    features). Takes (N, …) and (M, …); raises `InvalidValue` for k fellows that are not there.
    """
    checks.whole("k", k, 1, min(len(real), len(drawn)) - 1)
    real, drawn = real.flatten(1), drawn.flatten(1)

    def reach(images: Tensor) -> Tensor:
        return torch.cdist(images, images).kthvalue(k + 1).values  # the nearest is itself

    apart = torch.cdist(real, drawn)
    inside = (apart <= reach(real)[:, None]).any(0), (apart <= reach(drawn)).any(1)
    return tuple(float(one.float().mean()) for one in inside)


def by_model(measured: pd.DataFrame) -> dict[tuple[str, int], pd.DataFrame]:
    """A table of `regularity` by what an architecture is called and its latent dimension."""
    groups = measured.groupby(["architecture", "latent_dim"], sort=False)
    return {(FAMILIES[kind].title, d): rows for (kind, d), rows in groups}
