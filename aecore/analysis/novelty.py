"""Images of a kind that the network has never seen, and whether its error tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import Generator, Tensor

from aecore.data import as_floats, load
from aecore.engine.measured import answers
from aecore.engine.pool import Counter, reproducible
from aecore.randomness import generator
from aecore.runs import Run
from aecore.store.entries import Store
from aecore.store.sources import DATASETS, DataError

NOVELTY = 1  # goes up whenever a change alters what these functions return

KNOWN = "test images"  # the name of the images that are no strangers
OTHER = {"mnist": "Fashion-MNIST", "fashion_mnist": "MNIST"}  # the other set of the same shape


def mirrored(images: Tensor, *, generator: Generator) -> Tensor:
    """The images (N, C, H, W), left and right exchanged."""
    return images.flip(3)


def inverted(images: Tensor, *, generator: Generator) -> Tensor:
    """1 - x: dark where the images are bright."""
    return 1 - images


def shuffled(images: Tensor, *, generator: Generator) -> Tensor:
    """The same pixels in another order, a different one for each image."""
    places = images[:, 0].flatten(1)
    order = torch.rand(places.shape, generator=generator).argsort(1)[:, None]
    return images.flatten(2).gather(2, order.expand(-1, images.shape[1], -1)).view_as(images)


def uniform_noise(images: Tensor, *, generator: Generator) -> Tensor:
    """Every value drawn uniformly from [0, 1]."""
    return torch.rand(images.shape, generator=generator)


def blank(images: Tensor, *, generator: Generator) -> Tensor:
    """One brightness all over, drawn uniformly from [0, 1] for each image."""
    return torch.rand(len(images), 1, 1, 1, generator=generator).expand(images.shape)


def stripes(images: Tensor, *, generator: Generator) -> Tensor:
    """Black and white stripes, upright or lying, 1 pixel to a quarter of the image wide."""
    across, down = _bands(images, generator)
    upright = torch.randint(2, (len(images), 1, 1, 1), generator=generator) == 1
    return torch.where(upright, across, down).float().expand(images.shape)


def checkerboard(images: Tensor, *, generator: Generator) -> Tensor:
    """Black and white squares, 1 pixel to a quarter of the image wide."""
    across, down = _bands(images, generator)
    return (across ^ down).float().expand(images.shape)


def _bands(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Booleans (N, 1, 1, W) and (N, 1, H, 1) that change after every so many pixels."""
    count, _, height, width = images.shape
    size = torch.randint(1, max(2, width // 4 + 1), (count, 1, 1, 1), generator=generator)
    start = torch.randint(2 * width, (2, count, 1, 1, 1), generator=generator)
    across = (torch.arange(width) + start[0]) // size % 2 == 1
    down = (torch.arange(height)[:, None] + start[1]) // size % 2 == 1
    return across, down


KINDS: dict[str, Callable[..., Tensor]] = {
    "mirrored": mirrored,
    "inverted": inverted,
    "shuffled pixels": shuffled,
    "uniform noise": uniform_noise,
    "blank": blank,
    "stripes": stripes,
    "checkerboard": checkerboard,
}


def strangers(dataset: str, count: int) -> dict[str, Tensor]:
    """Images (at most `count`, C, H, W) in [0, 1] by kind: test images first, then strangers.

    The strangers are all of the shape of the data set's own images: those of the other of
    MNIST and Fashion-MNIST, where it is to be had (see `other`), and all `KINDS`. The same for
    every run.
    """
    known = as_floats(load(dataset).test_images[:count])
    found = {KNOWN: known}
    if (images := other(dataset)) is not None:
        found[OTHER[dataset]] = as_floats(images[:count])
    return found | {
        name: make(known, generator=generator(0, f"strangers {name}"))
        for name, make in KINDS.items()
    }


def other(dataset: str) -> Tensor | None:
    """Test images of the other of MNIST and Fashion-MNIST; None for images of one's own.

    None too where the other set can't be had: then a study goes on without it.
    """
    if dataset not in OTHER:
        return None
    try:
        return load(next(name for name in DATASETS if name != dataset)).test_images
    except DataError:
        return None


def image_errors(run: Run, images: Tensor) -> Tensor:
    """Mean over pixels of (reconstruction - image)² for each of `images` (N, C, H, W): (N,)."""
    return (run.reconstruct(images) - as_floats(images)).square().flatten(1).mean(1)


def errors_by_kind(
    runs: Sequence[Run],
    count: int = 1000,
    executor: Executor | None = None,
    store: Store | None = None,
) -> pd.DataFrame:
    """The error of every run on every image of `strangers`, a row each.

    Columns: `key`, `latent_dim`, `seed`, `kind` and `mse`, the mean over pixels.
    """
    runs = list(runs)
    kinds = [_kinds(run.spec.dataset) for run in runs]
    asked = {"table": "novelty", "version": NOVELTY, "count": count}
    questions = [
        {**asked, "run": run.key, "kinds": names} for run, names in zip(runs, kinds, strict=True)
    ]
    label = f"showing strangers to {len(runs)} {'model' if len(runs) == 1 else 'models'}"
    sizes = [count * len(names) for names in kinds]
    jobs = [(run, count) for run in runs]
    errors = answers(questions, _errors_job, jobs, sizes, label, executor, store)
    return pd.concat(
        [
            pd.DataFrame({"kind": kind, "mse": of_run[kind]}).assign(
                key=run.key, latent_dim=run.spec.latent_dim, seed=run.spec.seed
            )
            for run, names, of_run in zip(runs, kinds, errors, strict=True)
            for kind in names
        ],
        ignore_index=True,
    )


def _kinds(dataset: str) -> list[str]:
    """The names of `strangers`, in order."""
    return [KNOWN, *([OTHER[dataset]] if other(dataset) is not None else []), *KINDS]


def _errors_job(run: Run, count: int, counter_path: Path | None = None) -> dict[str, list[float]]:
    counter, errors = Counter(counter_path), {}
    with reproducible():
        for kind, images in strangers(run.spec.dataset, count).items():
            # Five digits are enough, and a third of what is stored.
            errors[kind] = [float(f"{mse:.5g}") for mse in image_errors(run, images).tolist()]
            counter.add(len(images))
    counter.tell()
    return errors


def detection(errors: pd.DataFrame) -> pd.DataFrame:
    """How well the error tells each kind of stranger from test images: a row a run and kind.

    `errors` is a table of `errors_by_kind`. Columns: `latent_dim`, `seed`, `kind`; `auroc`, the
    probability that a stranger's error is above a test image's, ties counting half, which is the
    area under the receiver operating characteristic: 1 tells all apart, ½ is chance, below it
    strangers are reconstructed better; `passed`, the share of strangers with an error no larger
    than 95 % of the test images have.
    """
    rows = []
    for (d, seed), run in errors.groupby(["latent_dim", "seed"]):
        known = run.loc[run["kind"] == KNOWN, "mse"].to_numpy()
        threshold = np.quantile(known, 0.95)
        for kind, strange in run[run["kind"] != KNOWN].groupby("kind", sort=False)["mse"]:
            truth = np.repeat([0, 1], [len(known), len(strange)])
            auroc = roc_auc_score(truth, np.concatenate([known, strange]))
            passed = float((strange <= threshold).mean())
            rows.append(
                {"latent_dim": d, "seed": seed, "kind": kind, "auroc": auroc, "passed": passed}
            )
    return pd.DataFrame(rows)


def blank_errors(runs: Sequence[Run], levels: Sequence[float]) -> pd.DataFrame:
    """The error on blank images: `latent_dim`, `seed`, `brightness` in [0, 1], `mse`."""
    rows = []
    for run in runs:
        images = torch.tensor(levels, dtype=torch.float32)[:, None, None, None]
        errors = image_errors(run, images.expand(-1, *run.image_shape))
        rows += [
            {
                "latent_dim": run.spec.latent_dim,
                "seed": run.spec.seed,
                "brightness": level,
                "mse": mse,
            }
            for level, mse in zip(levels, errors.tolist(), strict=True)
        ]
    return pd.DataFrame(rows)
