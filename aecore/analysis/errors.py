"""How well runs reconstruct: test errors, clean and corrupted, and PCA as the measure of ease."""

import math
from collections.abc import Mapping, Sequence
from typing import Unpack

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from aecore import checks
from aecore.corruption import Corruption, corrupt
from aecore.data import Dataset, as_floats, load
from aecore.engine.measured import Asked, Where, answers, frame, of_runs
from aecore.engine.pool import seen
from aecore.runs import Run
from aecore.training import EVALUATION_BATCH

LARGE = 1000  # values an image, or images: beyond, all components take minutes
EVALUATION = 1  # goes up whenever a change alters what these functions return


def reconstruction_errors(
    runs: Sequence[Run],
    test_corruptions: Sequence[Corruption | None] | Mapping[str, Corruption | None] = (None,),
    **where: Unpack[Where],
) -> pd.DataFrame:
    """Test error of every run under every corruption of its input, a row each.

    Columns, after those of `measured.frame`: `trained_on` and `tested_on` (what `test_corruptions`
    calls a corruption, else its name, or "clean"), `trained_at` and `level` (their strengths) and
    `mse`: the mean over all pixels of all test images of (reconstruction - clean image)²; NaN for
    a run that diverged. The corrupted images are the same for all.
    """
    named = isinstance(test_corruptions, Mapping)
    called = {c: label for label, c in test_corruptions.items()} if named else {}
    tested = list(test_corruptions.values() if named else test_corruptions)
    how = {"size": lambda run: len(test_images(run)) * len(tested), **where, "on": tested}
    how["blank"] = lambda run: [math.nan] * len(tested)
    found = of_runs("reconstruction", EVALUATION, _errors, runs, "testing models", **how)
    columns, rows = ["trained_on", "trained_at", "tested_on", "level", "mse"], []
    for run, errors in zip(runs, found, strict=True):
        own = _named(run.spec.corruption, called)
        each = [(*own, *_named(c, called), mse) for c, mse in zip(tested, errors, strict=True)]
        rows.append([dict(zip(columns, row, strict=True)) for row in each])
    return frame(runs, rows, columns)


def _named(corruption: Corruption | None, called: Mapping) -> tuple[str, float]:
    """What tables call a corruption, "clean" for none, and its strength."""
    if corruption is None:
        return called.get(None, "clean"), 0.0
    return called.get(corruption, corruption.label), float(corruption.strength)


def test_images(run: Run) -> Tensor:
    """The test images (N, C, H, W), uint8, of the data set of a run."""
    return load(run.spec.dataset).test_images


def _errors(run: Run, tested: Sequence[Corruption | None]) -> list[float]:
    images, errors = test_images(run), []
    for one in tested:
        errors.append(mean_squared_error(run, images, one))
        seen(len(images))
    return errors


def mean_squared_error(run: Run, images: Tensor, tested: Corruption | None = None) -> float:
    """Mean of (reconstruction of the corrupted image - clean image)² over all pixels and images."""
    total = 0.0
    for step, batch in enumerate(images.split(EVALUATION_BATCH)):
        clean = as_floats(batch)
        output = run.reconstruct(corrupt(clean, tested, step))
        total += float((output - clean).square().sum(dtype=torch.float64))
    return total / images.numel()


def redrawn(runs: Sequence[Run], rows: Sequence[int], **where: Unpack[Where]) -> list[Tensor]:
    """What every run leaves of the test images of these rows: (N, C, H, W) in [0, 1], to a byte.

    All NaN for a run that diverged. Once made they can be shown without the runs' weights.
    """
    rows = [int(row) for row in rows]
    how = {"blank": lambda run: [math.nan] * len(rows) * math.prod(run.image_shape), **where}
    found = of_runs("redrawn", EVALUATION, _redrawn, runs, "drawing", **how, rows=rows)
    return [torch.tensor(pixels).view(len(rows), *run.image_shape) / 255
            for run, pixels in zip(runs, found, strict=True)]  # fmt: skip


def _redrawn(run: Run, rows: Sequence[int]) -> list[int]:
    output = run.reconstruct(test_images(run)[rows])
    return (255 * output.clamp(0, 1)).round().byte().flatten().tolist()


def loss_curves(runs: Sequence[Run]) -> pd.DataFrame:
    """The history of every run, a row an epoch.

    Columns, after those of `measured.frame`: `trained_on`, and `epoch`, `train_loss` and
    `validation_loss` of `Run.history`; NaN where there is none.
    """
    names = [_named(run.spec.corruption, {})[0] for run in runs]
    rows = [[{"trained_on": name, **epoch} for epoch in run.history]
            for name, run in zip(names, runs, strict=True)]  # fmt: skip
    return frame(runs, rows, ["trained_on", "epoch", "train_loss", "validation_loss"])


def principal_components(values: np.ndarray, d: int) -> PCA:
    """The first `d` principal components of `values` (N, k), or as many as N and k allow.

    Fitted: `transform` gives codes, largest variance first; `components_` (d, k) are orthonormal
    and `mean_` is (k,). Computed in the precision of `values`, by the way that its shape makes
    quickest: all give the same but for rounding.
    """
    n, k = values.shape
    d, solver = min(d, n, k), "full"
    if k <= min(n, LARGE):  # the eigenvectors of the covariance, which takes k³ steps
        solver = "covariance_eigh"
    elif min(n, k) > LARGE and 10 * d < min(n, k):  # Lanczos: the d that are asked for alone
        solver = "arpack"
    return PCA(d, svd_solver=solver, random_state=0).fit(values)


def pca_errors(
    data: Dataset | str, largest: int, train_images: int | None = None, **where: Unpack[Where]
) -> pd.DataFrame:
    """Test error of principal component analysis for d = 1 … `largest`: `latent_dim` and `mse`.

    Of a data set, or that of a name. Fitted to the first `train_images` training images; the mean
    over pixels in [0, 1] of (reconstruction - image)². Ends earlier where there are fewer pixels
    or images than `largest`.
    """
    data = load(data) if isinstance(data, str) else data
    train, test = data.train_images[:train_images].flatten(1), data.test_images.flatten(1)
    largest = min(checks.whole("largest", largest, 1), *train.shape)
    question = {"table": "pca", "version": EVALUATION, "data": data.digest}
    question |= {"train_images": len(train), "largest": largest}
    asked = [Asked(question, (train.numpy(), test.numpy(), largest), len(train))]
    (errors,) = answers(asked, _pca_errors, "principal components", **where)
    return pd.DataFrame({"latent_dim": range(1, largest + 1), "mse": errors})


def _pca_errors(train: np.ndarray, test: np.ndarray, largest: int) -> np.ndarray:
    pca, test = principal_components(train / np.float32(255), largest), test / np.float32(255)
    # The components are orthonormal, so each takes the mean square of its code off the error.
    error, taken = np.square(test - pca.mean_).sum(1).mean(), np.square(pca.transform(test))
    return (error - taken.mean(0).cumsum()) / test.shape[1]


def blank_error(data: Dataset, train_images: int | None = None) -> float:
    """Test error of one image for all: the mean of the first `train_images` training images."""
    mean = as_floats(data.train_images[:train_images]).mean(0)
    return float((as_floats(data.test_images) - mean).square().mean())


def crossings(errors: pd.DataFrame, first: str, second: str) -> list[float]:
    """For each seed the level above which models trained on `second` err less than on `first`.

    `errors` is a table of `reconstruction_errors` under one kind of corruption. The curves are
    taken as piecewise linear; the smallest level where `second` is below throughout, NaN where it
    is not below at the largest or where a model diverged.
    """
    found = []
    for _, rows in errors.groupby("seed"):
        curves = rows.groupby(["level", "trained_on"])["mse"].mean().unstack()
        levels, gap = curves.index.to_numpy(), (curves[second] - curves[first]).to_numpy()
        above = np.flatnonzero(gap >= 0)
        if not gap[-1] < 0:
            found.append(math.nan)
        elif len(above) == 0:
            found.append(float(levels[0]))
        else:
            ends = [above[-1] + 1, above[-1]]
            found.append(float(np.interp(0, gap[ends], levels[ends])))
    return found


def seeds_of(
    errors: pd.DataFrame, by: str | Sequence[str], column: str = "mse", form: str = "{}"
) -> dict[str, list[float]]:
    """The values of a column, one a seed, for each value of `by`, which `form` makes a name of."""
    keys = [by] if isinstance(by, str) else list(by)
    groups = errors.groupby(keys, sort=False)[column]
    return {form.format(*key): rows.tolist() for key, rows in groups}


def growth(errors: pd.DataFrame) -> pd.DataFrame:
    """How much the error grows from the clean images to the strongest damage: (seed, latent_dim).

    `errors` is a table of `reconstruction_errors` under one kind of corruption.
    """
    curves = errors.set_index(["level", "seed", "latent_dim"])["mse"].unstack()
    return curves.loc[errors["level"].max()] - curves.loc[0]


def components_for(pca: pd.DataFrame, mse: float) -> str:
    """How many components a table of `pca_errors` needs for that error, as text."""
    enough = pca.loc[pca["mse"] <= mse, "latent_dim"]
    return f"{enough.min()}" if len(enough) else f"more than {pca['latent_dim'].max()}"
