"""How well runs reconstruct: test errors, clean and corrupted, and PCA as the measure of ease."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from aecore import checks
from aecore import corruption as corruptions
from aecore.corruption import Corruption, corrupt, level, name
from aecore.data import Dataset, as_floats, load
from aecore.engine.measured import answers
from aecore.engine.pool import Counter, reproducible
from aecore.runs import Run
from aecore.spec import digest
from aecore.store.entries import Store
from aecore.training import EVALUATION_BATCH

EVALUATION = 1  # goes up whenever a change alters what these functions return


def reconstruction_errors(
    runs: Sequence[Run],
    test_corruptions: Sequence[Corruption | None] | Mapping[str, Corruption | None] = (None,),
    executor: Executor | None = None,
    store: Store | None = None,
) -> pd.DataFrame:
    """Test error of every run under every corruption of its input, a row each.

    Columns: `key`, `latent_dim`, `seed`, `trained_on` and `tested_on` (what `test_corruptions`
    calls a corruption, else its kind, or "clean"), `level` (sigma, fraction or amount tested, 0 for
    clean) and `mse`: the mean over all pixels of all test images of
    (reconstruction - clean image)²; NaN for a run that diverged. The corrupted images are the same
    for all.
    """
    called = {}
    if isinstance(test_corruptions, Mapping):
        called = {corruption: label for label, corruption in test_corruptions.items()}
        test_corruptions = test_corruptions.values()
    runs, test_corruptions = list(runs), list(test_corruptions)
    asked = {
        "table": "reconstruction",
        "version": EVALUATION,
        "on": [None if c is None else corruptions.to_dict(c) for c in test_corruptions],
    }
    images = [len(load(run.spec.dataset).test_images) for run in runs]
    found = answers(
        [{**asked, "run": run.key} for run in runs],
        _errors_job,
        [(run, test_corruptions) for run in runs],
        [count * len(test_corruptions) for count in images],
        "testing models",
        executor,
        store,
    )
    rows = [
        {
            "key": run.key,
            "latent_dim": run.spec.latent_dim,
            "seed": run.spec.seed,
            "trained_on": called.get(run.spec.corruption, name(run.spec.corruption)),
            "tested_on": called.get(tested, name(tested)),
            "level": level(tested),
            "mse": math.nan if mse is None else mse,
        }
        for run, errors in zip(runs, found, strict=True)
        for tested, mse in zip(test_corruptions, errors, strict=True)
    ]
    return pd.DataFrame(rows)


def loss_curves(runs: Sequence[Run]) -> pd.DataFrame:
    """The history of every run, a row an epoch.

    Columns: `key`, `latent_dim`, `seed`, `trained_on`, and those of `Run.history`: `epoch`,
    `train_loss`, `validation_loss`, NaN where there is none.
    """
    rows = [
        {
            "key": run.key,
            "latent_dim": run.spec.latent_dim,
            "seed": run.spec.seed,
            "trained_on": name(run.spec.corruption),
            **row,
        }
        for run in runs
        for row in run.history
    ]
    return pd.DataFrame(rows)


def _errors_job(
    run: Run, test_corruptions: Sequence[Corruption | None], counter_path: Path | None = None
) -> list[float | None]:
    counter, images = Counter(counter_path), load(run.spec.dataset).test_images
    with reproducible():
        errors = [mean_squared_error(run, images, tested, counter) for tested in test_corruptions]
    return [mse if math.isfinite(mse) else None for mse in errors]  # JSON has no NaN


def mean_squared_error(
    run: Run, images: Tensor, tested: Corruption | None = None, counter: Counter | None = None
) -> float:
    """Mean of (reconstruction of the corrupted image - clean image)² over all pixels and images."""
    total = 0.0
    for step, batch in enumerate(images.split(EVALUATION_BATCH)):
        clean = as_floats(batch)
        output = run.reconstruct(corrupt(clean, tested, step))
        total += float((output - clean).square().sum(dtype=torch.float64))
        if counter is not None:
            counter.add(len(batch))
    return total / images.numel()


def principal_components(values: np.ndarray, d: int) -> PCA:
    """The first `d` principal components of `values` (N, k), or as many as N and k allow.

    Fitted: `transform` gives codes, largest variance first; `components_` (d, k) are orthonormal
    and `mean_` is (k,). Computed in the precision of `values`.
    """
    # The eigenvectors of the covariance are quickest unless it is larger than `values` itself.
    solver = "covariance_eigh" if values.shape[1] <= len(values) else "full"
    return PCA(min(d, *values.shape), svd_solver=solver).fit(values)


def pca_errors(
    data: Dataset, largest: int, train_images: int | None = None, store: Store | None = None
) -> pd.DataFrame:
    """Test error of principal component analysis for d = 1 … `largest`: `latent_dim` and `mse`.

    Fitted to the first `train_images` training images; the mean over pixels in [0, 1] of
    (reconstruction - image)². Ends earlier where there are fewer pixels or images than `largest`.
    """
    store = store or Store()
    pixels = data.train_images[:train_images].flatten(1)
    largest = min(checks.whole("largest", largest, 1), *pixels.shape)
    question = {
        "table": "pca",
        "version": EVALUATION,
        "data": data.digest,
        "train_images": len(pixels),
        "largest": largest,
    }
    key = digest(question)
    if (entry := store.read("table", key)) is None:
        store.check_writable()
        pca = principal_components(pixels.numpy() / np.float32(255), largest)
        test = data.test_images.flatten(1).numpy() / np.float32(255)
        codes = pca.transform(test)
        # The components are orthonormal, so each takes the mean square of its code off the error.
        error = np.square(test - pca.mean_).sum(1).mean()
        errors = ((error - np.square(codes).mean(0).cumsum()) / test.shape[1]).tolist()
        store.write("table", key, {**question, "mse": errors}, {})
    else:
        errors = entry.document["mse"]
    return pd.DataFrame({"latent_dim": range(1, largest + 1), "mse": errors})


def crossings(errors: pd.DataFrame, first: str, second: str) -> list[float | None]:
    """For each seed the level above which models trained on `second` err less than on `first`.

    `errors` is a table of `reconstruction_errors` under one kind of corruption. The curves are
    taken as piecewise linear; None where `second` is not below at the largest level, the smallest
    level where it is below throughout.
    """
    found = []
    for _, rows in errors.groupby("seed"):
        curves = rows.pivot_table(index="level", columns="trained_on", values="mse")
        levels, gap = curves.index.to_numpy(), (curves[second] - curves[first]).to_numpy()
        above = np.flatnonzero(gap >= 0)
        if len(above) == 0:
            found.append(float(levels[0]))
        elif above[-1] == len(levels) - 1:
            found.append(None)
        else:
            i = above[-1]
            step = (levels[i + 1] - levels[i]) * gap[i] / (gap[i] - gap[i + 1])
            found.append(float(levels[i] + step))
    return found
