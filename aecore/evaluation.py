"""How well runs reconstruct: test errors, clean and corrupted, and PCA as the measure of ease."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from aecore import checks, randomness
from aecore import corruption as corruptions
from aecore.corruption import Corruption
from aecore.data import Dataset, load
from aecore.pool import Counter, run_jobs
from aecore.runs import Run
from aecore.spec import digest
from aecore.store import Store
from aecore.training import EVALUATION_BATCH, as_floats, reproducible

EVALUATION = 1  # goes up whenever a change alters what these functions return


def reconstruction_errors(
    runs: Sequence[Run],
    test_corruptions: Sequence[Corruption | None] = (None,),
    executor: Executor | None = None,
    store: Store | None = None,
) -> pd.DataFrame:
    """Test error of every run under every corruption of its input, a row each.

    Columns: `key`, `latent_dim`, `seed`, `trained_on` and `tested_on` (name of a corruption, or
    "clean"), `level` (sigma or fraction tested, 0 for clean) and `mse`: the mean over all pixels of
    all test images of (reconstruction - clean image)²; NaN for a run that diverged. The corrupted
    images are the same for all.
    """
    store = store or Store()
    runs, test_corruptions = list(runs), list(test_corruptions)
    described = [None if c is None else corruptions.to_dict(c) for c in test_corruptions]
    keys = [
        digest({"table": "reconstruction", "version": EVALUATION, "run": run.key, "on": described})
        for run in runs
    ]
    entries = {key: store.read("table", key) for key in keys}
    errors = {key: entry.document["mse"] for key, entry in entries.items() if entry is not None}
    wanted = {key: run for key, run in zip(keys, runs, strict=True) if key not in errors}
    if wanted:
        store.check_writable()
        jobs = [(run, test_corruptions) for run in wanted.values()]
        sizes = [
            len(load(run.spec.dataset).test_images) * len(described) for run in wanted.values()
        ]
        label = f"testing {len(jobs)} {'model' if len(jobs) == 1 else 'models'}"
        for number, mse in run_jobs(_errors_job, jobs, sizes, label, executor):
            key = list(wanted)[number]
            mse = [value if math.isfinite(value) else None for value in mse]  # JSON has no NaN
            store.write("table", key, {"run": wanted[key].key, "on": described, "mse": mse}, {})
            errors[key] = mse
    rows = [
        {
            "key": run.key,
            "latent_dim": run.spec.latent_dim,
            "seed": run.spec.seed,
            "trained_on": name(run.spec.corruption),
            "tested_on": name(tested),
            "level": level(tested),
            "mse": math.nan if mse is None else mse,
        }
        for key, run in zip(keys, runs, strict=True)
        for tested, mse in zip(test_corruptions, errors[key], strict=True)
    ]
    return pd.DataFrame(rows)


def _errors_job(
    run: Run, test_corruptions: Sequence[Corruption | None], counter_path: Path | None = None
) -> list[float]:
    counter, images = Counter(counter_path), load(run.spec.dataset).test_images
    with reproducible():
        return [mean_squared_error(run, images, tested, counter) for tested in test_corruptions]


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


def corrupt(images: Tensor, tested: Corruption | None, step: int = 0) -> Tensor:
    """Test images (N, C, H, W) in [0, 1], corrupted; the same numbers for every model and level."""
    if tested is None:
        return images
    return tested(images, generator=randomness.generator(0, f"test {name(tested)}", step=step))


def name(corruption: Corruption | None) -> str:
    """What tables and figures call a corruption."""
    return "clean" if corruption is None else type(corruption).__name__


def level(corruption: Corruption | None) -> float:
    """The strength of a corruption: sigma, fraction or amount; 0 for none and for a mix."""
    strengths = (getattr(corruption, field, 0.0) for field in ("sigma", "fraction", "amount"))
    return max(strengths)


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
        pca = PCA(largest, svd_solver="covariance_eigh").fit(pixels.numpy() / np.float32(255))
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


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation of the `values` of several seeds, as text.

    The mean alone where there is one value, nothing where there is none; NaN counts as none.
    """
    values = pd.Series(values, dtype=float).dropna()
    if values.empty:
        return ""
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {values.std():.{digits}f}"
