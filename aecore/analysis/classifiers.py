"""What codes are good for: classifiers on frozen encoders, beside others with as few labels."""

import math
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from aecore import checks
from aecore.analysis.neighbors import nearest
from aecore.data import as_floats, load, split
from aecore.engine.measured import Asked, answers
from aecore.engine.pool import seen
from aecore.runs import Run, fit
from aecore.spec import Spec
from aecore.store.entries import Store
from aecore.training import EVALUATION_BATCH

PROBE = 1  # goes up whenever a change alters what these functions return

NEIGHBORS = 5
# L-BFGS steps and the gradient that ends it earlier. On the pixels of all 60,000 digits five times
# as many steps change the accuracy by 0.05 %.
STEPS, TOLERANCE = 100, 3e-4

FROZEN = "head on the frozen encoder"
SCRATCH = "the same network from scratch"
ON_PIXELS = "logistic regression on pixels"
ON_CODES = "logistic regression on codes"
BY_CODE = f"{NEIGHBORS} nearest codes"


def label_counts(asked: Sequence[int], available: int) -> list[int]:
    """Those of the numbers of labels `asked` for that there are, in order, and all `available`."""
    return sorted({count for count in asked if count < available} | {available})


def with_labels(spec: Spec, labels: int, least_steps: int = 1) -> Spec:
    """`spec` for the first `labels` training images, in `least_steps` steps or more.

    An epoch of few images has few steps, 100 images in batches of 128 a single one: such a spec
    gets as many more epochs as it needs.
    """
    spec = spec.replace(train_images=labels)
    steps = math.ceil(labels / spec.batch_size)
    return spec.replace(epochs=max(spec.epochs, math.ceil(least_steps / steps)))


def logits(run: Run, images: Tensor, encoder: Run | None = None) -> Tensor:
    """What the classifier `run` makes of images (N, C, H, W): logits (N, classes).

    `encoder` is the run that its spec's `frozen` names, None where it has none.
    """
    given = images if encoder is None else encoder.encode(images)
    return torch.cat([run.model(as_floats(part)) for part in given.split(EVALUATION_BATCH)])


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How many images of each class (row) are taken for each class (column): counts (K, K)."""
    pairs = torch.bincount(labels * classes + predicted, minlength=classes * classes)
    return pairs.view(classes, classes)


def mistaken(counts: Sequence[np.ndarray]) -> np.ndarray:
    """Share of each class (row) that is taken for another (column), mean of confusion matrices.

    Takes counts (K, K) and gives shares of the rows (K, K), NaN on the diagonal.
    """
    shares = np.mean([matrix / matrix.sum(1, keepdims=True) for matrix in counts], axis=0)
    np.fill_diagonal(shares, math.nan)
    return shares


def accuracies(
    runs: Sequence[Run], executor: Executor | None = None, store: Store | None = None
) -> pd.DataFrame:
    """Share of images that each of these classifiers gets right, a row a run.

    Columns: `key`, `method` (`FROZEN` or `SCRATCH`), `seed`, `labels` (how many it was trained or
    validated with), `weights` (how many were trained), `epochs` (trained, those that patience took
    included), `train`, `validation` (NaN without a split), `test`, and `confusion`: the test
    images' counts (K, K), a row a true class. Raises `InvalidValue` for what is no classifier.
    """
    runs, store = list(runs), store or Store()
    for run in runs:
        checks.choice("architecture", run.spec.architecture, ("classifier",))
    frozen = list(dict.fromkeys(run.spec.frozen for run in runs if run.spec.frozen))
    encoders = dict(zip(frozen, fit(frozen, executor, store=store), strict=True))
    labels = [len(load(run.spec.dataset).train_labels[: run.spec.train_images]) for run in runs]
    asked = [
        None
        if run.diverged
        else Asked(
            {"table": "classifier", "version": PROBE, "run": run.key},
            (run, encoders.get(run.spec.frozen)),
            count,
        )
        for run, count in zip(runs, labels, strict=True)
    ]
    found = answers(asked, _accuracy, "testing classifiers", executor=executor, store=store)
    rows = []
    for run, count, row in zip(runs, labels, found, strict=True):
        counts = np.array(row["confusion"]) if row else np.full((run.classes,) * 2, math.nan)
        rows.append(
            {
                "key": run.key,
                "method": FROZEN if run.spec.frozen else SCRATCH,
                "seed": run.spec.seed,
                "labels": count,
                "weights": sum(array.size for array in run.weights.values()),
                "epochs": len(run.history),
                "train": row["train"] if row else math.nan,
                "validation": row["validation"] if row else math.nan,
                "test": np.trace(counts) / np.sum(counts),
                "confusion": counts,
            }
        )
    return pd.DataFrame(rows)


def baselines(
    encoders: Sequence[Run],
    counts: Sequence[int],
    executor: Executor | None = None,
    store: Store | None = None,
) -> pd.DataFrame:
    """Test accuracy from the first so many labels without a network, a row each.

    Columns: `method` (logistic regression on pixels or on codes, with the L2 penalty C = 1 of
    scikit-learn, and the vote of the nearest codes), `labels`, `seed` (of the encoder), `test`.
    The encoders are alike but for their seeds.
    """
    spec, counts = encoders[0].spec, list(counts)
    data = load(spec.dataset).digest
    question = {"table": "baseline", "version": PROBE}
    ways: list[tuple[Run | None, list[int]]] = [
        *((encoder, counts) for encoder in encoders if not encoder.diverged),
        *((None, [count]) for count in counts),
    ]
    asked = [
        Asked(
            {**question, "counts": counts, "on": data if encoder is None else encoder.key},
            (spec.dataset, encoder, counts),
            sum(counts),
        )
        for encoder, counts in ways
    ]
    found = answers(asked, _baseline, "testing simple classifiers", executor=executor, store=store)
    rows = [
        {
            "method": method,
            "labels": count,
            "seed": 0 if encoder is None else encoder.spec.seed,
            "test": accuracy,
        }
        for (encoder, counts), answer in zip(ways, found, strict=True)
        for method in (ON_PIXELS, ON_CODES, BY_CODE)
        for count, accuracy in zip(counts, answer.get(method, ()), strict=False)
    ]
    return pd.DataFrame(rows)


def logistic_regression(known: Tensor, labels: Tensor, asked: Tensor) -> np.ndarray:
    """Classes (Q,) of `asked` (Q, …) by logistic regression on `known` (N, …) with `labels` (N,).

    Multinomial, by L-BFGS. Where all labels are of one class, that class.
    """
    if len(labels.unique()) == 1:
        return labels[:1].expand(len(asked)).numpy()
    model = LogisticRegression(max_iter=STEPS, tol=TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # see STEPS
        model.fit(known.flatten(1).numpy(), labels.numpy())
    return model.predict(asked.flatten(1).numpy())


def vote(known: Tensor, labels: Tensor, asked: Tensor, k: int = NEIGHBORS) -> np.ndarray:
    """Classes (Q,) of `asked` (Q, d): the most frequent among the k nearest of `known` (N, d).

    Of equally frequent ones the first; k is at most N.
    """
    voters = labels.numpy()[nearest(known, min(k, len(known)), queries=asked)]  # (Q, k)
    return np.eye(int(labels.max()) + 1, dtype=int)[voters].sum(1).argmax(1)


def _accuracy(run: Run, encoder: Run | None) -> dict[str, float | list[list[int]]]:
    spec, data = run.spec, load(run.spec.dataset)
    labels = data.train_labels[: spec.train_images]
    train, held_out = split(len(labels), spec.validation, spec.split_seed, spec.folds, spec.fold)
    predicted = logits(run, data.train_images[: spec.train_images], encoder).argmax(1)
    tested = logits(run, data.test_images, encoder).argmax(1)
    right = (predicted == labels).double()
    return {
        "train": float(right[train].mean()),
        "validation": float(right[held_out].mean()),
        "confusion": confusion(tested, data.test_labels, run.classes).tolist(),
    }


def _baseline(dataset: str, encoder: Run | None, counts: Sequence[int]) -> dict[str, list[float]]:
    """Test accuracy of each method by number of labels; without an encoder, of pixels."""
    data = load(dataset)
    methods = {ON_PIXELS: logistic_regression}
    represent = as_floats
    if encoder is not None:
        methods = {ON_CODES: logistic_regression, BY_CODE: vote}
        represent = encoder.encode
    known, asked = represent(data.train_images[: max(counts)]), represent(data.test_images)
    found: dict[str, list[float]] = {method: [] for method in methods}
    for count in counts:
        for method, classify in methods.items():
            predicted = classify(known[:count], data.train_labels[:count], asked)
            found[method].append(float((predicted == data.test_labels.numpy()).mean()))
        seen(count)
    return found


def available(spec: Spec) -> int:
    """How many labeled images there are to train on."""
    return len(load(spec.dataset).train_labels[: spec.train_images])


def gaps(runs: Sequence[Run]) -> list[float]:
    """Validation loss of the best epoch over training loss of the last, for each run."""
    return [
        math.nan if r.diverged else r.validation_loss / r.history[-1]["train_loss"] for r in runs
    ]


def learns(runs: Sequence[Run]) -> bool:
    """Whether the validation loss of every run is lower at its best epoch than after the first."""
    return all(
        not run.diverged and run.validation_loss < run.history[0]["validation_loss"] for run in runs
    )
