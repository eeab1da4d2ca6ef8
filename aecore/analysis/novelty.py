"""Images of a kind that the network has never seen, and whether its error tells them apart."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Unpack

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import Generator, Tensor

from aecore.data import as_floats, load
from aecore.engine.measured import Asked, Where, answers, frame
from aecore.engine.pool import seen
from aecore.randomness import generator
from aecore.runs import Run
from aecore.store.sources import DATASETS, DataError

NOVELTY = 1  # goes up whenever a change alters what these functions return

KNOWN = "test images"  # the name of the images that are no strangers
OTHER = {"mnist": "Fashion-MNIST", "fashion_mnist": "MNIST"}  # the other set of the same shape


def shuffled(images: Tensor, source: Generator) -> Tensor:
    """The same pixels in another order, a different one for each image."""
    places = images[:, 0].flatten(1)
    order = torch.rand(places.shape, generator=source).argsort(1)[:, None]
    return images.flatten(2).gather(2, order.expand(-1, images.shape[1], -1)).view_as(images)


def blank(images: Tensor, source: Generator) -> Tensor:
    """One brightness all over, drawn uniformly from [0, 1] for each image."""
    return torch.rand(len(images), 1, 1, 1, generator=source).expand(images.shape)


def stripes(images: Tensor, source: Generator) -> Tensor:
    """Black and white stripes, upright or lying, 1 pixel to a quarter of the image wide."""
    across, down = _bands(images, source)
    upright = torch.randint(2, (len(images), 1, 1, 1), generator=source) == 1
    return torch.where(upright, across, down).float().expand(images.shape)


def checkerboard(images: Tensor, source: Generator) -> Tensor:
    """Black and white squares, 1 pixel to a quarter of the image wide."""
    across, down = _bands(images, source)
    return (across ^ down).float().expand(images.shape)


def _bands(images: Tensor, source: Generator) -> tuple[Tensor, Tensor]:
    """Booleans (N, 1, 1, W) and (N, 1, H, 1) that change after every so many pixels."""
    count, _, height, width = images.shape
    size = torch.randint(1, max(2, width // 4 + 1), (count, 1, 1, 1), generator=source)
    start = torch.randint(2 * width, (2, count, 1, 1, 1), generator=source)
    across = (torch.arange(width) + start[0]) // size % 2 == 1
    down = (torch.arange(height)[:, None] + start[1]) // size % 2 == 1
    return across, down


# Each makes, of images (N, C, H, W) in [0, 1], as many that the network has not seen the like of.
KINDS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "mirrored": lambda images, source: images.flip(3),  # left and right exchanged
    "inverted": lambda images, source: 1 - images,  # dark where the images are bright
    "shuffled pixels": shuffled,
    "uniform noise": lambda images, source: torch.rand(images.shape, generator=source),
    "blank": blank,
    "stripes": stripes,
    "checkerboard": checkerboard,
}


def strangers(dataset: str, count: int) -> dict[str, Tensor]:
    """Images (at most `count`, C, H, W) in [0, 1] by kind: test images first, then strangers.

    The strangers are all of the shape of the data set's own images: those of the other of
    MNIST and Fashion-MNIST, where it is to be had, and all `KINDS`. The same for every run.
    """
    known, far = as_floats(load(dataset).test_images[:count]), other(dataset)
    found = {KNOWN: known} | ({} if far is None else {OTHER[dataset]: as_floats(far[:count])})
    made = {k: make(known, generator(0, f"strangers {k}")) for k, make in KINDS.items()}
    return found | made


def other(dataset: str) -> Tensor | None:
    """Test images of the other of MNIST and Fashion-MNIST; None for images of one's own.

    None too where the other set can't be had: then a study goes on without it.
    """
    try:
        names = [name for name in DATASETS if dataset in OTHER and name != dataset]
        return load(names[0]).test_images if names else None
    except DataError:
        return None


def image_errors(run: Run, images: Tensor) -> Tensor:
    """Mean over pixels of (reconstruction - image)² for each of `images` (N, C, H, W): (N,)."""
    return (run.reconstruct(images) - as_floats(images)).square().flatten(1).mean(1)


def errors_by_kind(runs: Sequence[Run], count: int = 1000, **where: Unpack[Where]) -> pd.DataFrame:
    """The error of every run on every image of `strangers`, a row each.

    Columns, after those of `measured.frame`: `kind` and `mse`, the mean over pixels; NaN for a run
    that diverged.
    """
    kinds = [list(strangers(run.spec.dataset, 1)) for run in runs]
    question, asked = {"table": "novelty", "version": NOVELTY, "count": count}, []
    for run, names in zip(runs, kinds, strict=True):
        of = {"run": run.key, "kinds": names}
        unknown = [math.nan] * len(load(run.spec.dataset).test_images[:count])
        blank = dict.fromkeys(names, unknown)
        asked.append(Asked(question | of, (run, count), count * len(names), blank))
    found = answers(asked, _errors, "showing strangers", **where)
    rows = [[{"kind": name, "mse": mse} for name in names for mse in errors[name]]
            for names, errors in zip(kinds, found, strict=True)]  # fmt: skip
    return frame(runs, rows, ["kind", "mse"])


def _errors(run: Run, count: int) -> dict[str, list[float]]:
    errors = {}
    for kind, images in strangers(run.spec.dataset, count).items():
        # Five digits are enough, and a third of what is stored.
        errors[kind] = [float(f"{mse:.5g}") for mse in image_errors(run, images).tolist()]
        seen(len(images))
    return errors


def detection(errors: pd.DataFrame) -> pd.DataFrame:
    """How well the error tells each kind of stranger from test images: a row a run and kind.

    `errors` is a table of `errors_by_kind`. Columns: `latent_dim`, `seed`, `kind`; `auroc`, area
    under the receiver operating characteristic, the probability that a stranger's error is above
    a test image's: 1 tells all apart, ½ is chance; `passed`, the share of strangers with an error
    no larger than 95 % of the test images have. NaN where an error is.
    """
    rows = []
    for (d, seed), run in errors.groupby(["latent_dim", "seed"]):
        known = run.loc[run["kind"] == KNOWN, "mse"].to_numpy()
        for kind, strange in run[run["kind"] != KNOWN].groupby("kind", sort=False)["mse"]:
            truth = np.repeat([0, 1], [len(known), len(strange)])
            both, auroc, passed = np.concatenate([known, strange]), math.nan, math.nan
            if not np.isnan(both).any():
                auroc = roc_auc_score(truth, both)
                passed = float((strange <= np.quantile(known, 0.95)).mean())
            rows.append([d, seed, kind, auroc, passed])
    return pd.DataFrame(rows, columns=["latent_dim", "seed", "kind", "auroc", "passed"])


def blank_errors(runs: Sequence[Run], levels: Sequence[float]) -> pd.DataFrame:
    """The error on blank images, after the columns of `measured.frame`: `brightness` and `mse`.

    The `levels` of brightness are in [0, 1]; `mse` is NaN for a run that diverged.
    """
    blanks, rows = torch.tensor(levels, dtype=torch.float32)[:, None, None, None], []
    for run in runs:
        errors = [math.nan] * len(levels)
        if not run.diverged:
            errors = image_errors(run, blanks.expand(-1, *run.image_shape)).tolist()
        rows.append([{"brightness": b, "mse": e} for b, e in zip(levels, errors, strict=True)])
    return frame(runs, rows, ["brightness", "mse"])


def missing(dataset: str, found: Mapping[str, Tensor]) -> str:
    """A sentence that says which other data set was not to be had; empty where none is missed."""
    if OTHER.get(dataset, KNOWN) in found:
        return ""
    return f"{OTHER[dataset]} is not to be had here: this page goes on without it."
