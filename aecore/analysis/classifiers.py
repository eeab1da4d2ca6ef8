"""What codes are good for: classifiers on frozen encoders, beside others with as few labels."""

import math
import warnings
from collections.abc import Sequence
from typing import Unpack

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from torch import Tensor

from aecore import checks
from aecore.analysis.neighbors import nearest
from aecore.data import as_floats, load, split
from aecore.engine.measured import Asked, Where, answers, frame
from aecore.engine.pool import seen
from aecore.runs import Run, fit
from aecore.spec import Spec
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


def mistaken(counts: Sequence[np.ndarray]) -> np.ndarray:
    """Share of each class (row) that is taken for another (column), mean of confusion matrices.

    Takes counts (K, K) and gives shares of the rows (K, K), NaN on the diagonal.
    """
    shares = np.mean([matrix / matrix.sum(1, keepdims=True) for matrix in counts], axis=0)
    np.fill_diagonal(shares, math.nan)
    return shares


def accuracies(runs: Sequence[Run], **where: Unpack[Where]) -> pd.DataFrame:
    """Share of images that each of these classifiers gets right, a row a run.

    Beside what identifies it: `method` (`FROZEN` or `SCRATCH`), `labels` (how many it was trained
    or validated with), `weights` (how many were trained), `epochs` (trained, those that patience
    took included), `train`, `validation` (NaN without a split), `test`, and `confusion`: the test
    images' counts (K, K), a row a true class. Raises `InvalidValue` for what is no classifier.
    """
    for run in runs:
        checks.choice("architecture", run.spec.architecture, ("classifier",))
    frozen = list(dict.fromkeys(run.spec.frozen for run in runs if run.spec.frozen))
    encoders = dict(zip(frozen, fit(frozen, weights=False, **where), strict=True))
    question, labels = {"table": "classifier", "version": PROBE}, [available(r.spec) for r in runs]
    asked = [Asked(question | {"run": run.key}, (run, encoders.get(run.spec.frozen)), count,
                   {"confusion": np.full((run.classes, run.classes), math.nan)})
             for run, count in zip(runs, labels, strict=True)]  # fmt: skip
    found = answers(asked, _accuracy, "testing classifiers", **where)
    table = frame(runs, found, ["train", "validation", "confusion"])
    table["confusion"] = table["confusion"].map(np.array)
    table["test"] = [np.trace(counts) / np.sum(counts) for counts in table["confusion"]]
    table["method"] = [FROZEN if run.spec.frozen else SCRATCH for run in runs]
    table["weights"] = [sum(array.size for array in run.weights.values()) for run in runs]
    return table.assign(labels=labels, epochs=[len(run.history) for run in runs])


def baselines(
    encoders: Sequence[Run], counts: Sequence[int], **where: Unpack[Where]
) -> pd.DataFrame:
    """Test accuracy from the first so many labels without a network, a row each.

    Columns: `method` (logistic regression on pixels or on codes, with the L2 penalty C = 1 of
    scikit-learn, and the vote of the nearest codes), `labels`, `seed` (of the encoder), `test`.
    The encoders are alike but for their seeds.
    """
    dataset, counts = encoders[0].spec.dataset, list(counts)
    ways = [*((encoder, counts) for encoder in encoders), *((None, [count]) for count in counts)]
    asked = []
    for encoder, some in ways:
        on = encoder.key if encoder else load(dataset).digest
        question = {"table": "baseline", "version": PROBE, "counts": some, "on": on}
        asked.append(Asked(question, (dataset, encoder, some), sum(some), {}))
    found = answers(asked, _baseline, "testing simple classifiers", **where)
    rows = []
    for (encoder, some), answer in zip(ways, found, strict=True):
        seed = encoder.spec.seed if encoder else 0
        for method in (ON_PIXELS, ON_CODES, BY_CODE):
            pairs = zip(some, answer.get(method, ()), strict=False)
            rows += [(method, *pair, seed) for pair in pairs]
    return pd.DataFrame(rows, columns=["method", "labels", "test", "seed"])


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
        "confusion": confusion_matrix(data.test_labels, tested, labels=range(run.classes)),
    }


def _baseline(dataset: str, encoder: Run | None, counts: Sequence[int]) -> dict[str, list[float]]:
    """Test accuracy of each method by number of labels; without an encoder, of pixels."""
    data, represent, methods = load(dataset), as_floats, {ON_PIXELS: logistic_regression}
    if encoder is not None:
        represent = encoder.encode
        methods = {ON_CODES: logistic_regression, BY_CODE: vote}
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
    pairs = [(run.validation_loss, run.history[-1]["train_loss"]) for run in runs]
    return [best / last if best and last else math.nan for best, last in pairs]
