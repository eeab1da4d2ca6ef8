"""Random search: priors, and trials that are functions of (seed, number)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from aecore import checks
from aecore.checks import InvalidValue
from aecore.runs import Run
from aecore.spec import Spec


@dataclass(frozen=True)
class Uniform:
    """A number uniform in [low, high]."""

    low: float
    high: float

    def __post_init__(self) -> None:
        checks.real("low", self.low)
        checks.real("high", self.high, self.low)

    def draw(self, random: np.random.Generator) -> float:
        """One value."""
        return float(random.uniform(self.low, self.high))


@dataclass(frozen=True)
class LogUniform:
    """A positive number whose logarithm is uniform in [log low, log high]."""

    low: float
    high: float

    def __post_init__(self) -> None:
        checks.real("low", self.low, 0, above=True)
        checks.real("high", self.high, self.low)

    def draw(self, random: np.random.Generator) -> float:
        """One value."""
        return math.exp(random.uniform(math.log(self.low), math.log(self.high)))


@dataclass(frozen=True)
class Choice:
    """One of `values`, with probabilities in the ratio of `weights` (equal if left out)."""

    values: Sequence[Any]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if len(self.values) == 0:
            raise InvalidValue("values=[] is not allowed: must hold at least one value")
        if self.weights is not None:
            if len(self.weights) != len(self.values):
                raise InvalidValue(
                    f"{len(self.weights)} weights are not allowed: "
                    f"must be as many as values, {len(self.values)}"
                )
            for weight in self.weights:
                checks.real("weights", weight, 0, above=True)

    def draw(self, random: np.random.Generator) -> Any:
        """One value."""
        weights = np.ones(len(self.values)) if self.weights is None else np.asarray(self.weights)
        return self.values[int(random.choice(len(self.values), p=weights / weights.sum()))]


Prior = Uniform | LogUniform | Choice


def random_search(base: Spec, priors: Mapping[str, Prior], trials: int, seed: int) -> list[Spec]:
    """`trials` specs: `base` with the fields in `priors` drawn, trial i from (seed, i) alone.

    So more trials extend a search and repeat none (Bergstra & Bengio 2012 on why random beats a
    grid). Raises `InvalidValue` for a field that `Spec` does not have or a value it rejects.
    """
    checks.whole("trials", trials, 1)
    specs = []
    for trial in range(trials):
        random = np.random.default_rng([checks.whole("seed", seed, 0), trial])
        drawn = {field: priors[field].draw(random) for field in sorted(priors)}
        specs.append(Spec.from_dict({**base.to_dict(), **drawn}))
    return specs


def trials_table(runs: Sequence[Run], fields: Sequence[str]) -> pd.DataFrame:
    """A row a trial, best first: `trial`, the drawn `fields`, and `validation_loss`.

    A diverged run has the loss NaN and stands last.
    """
    rows = [
        {
            "trial": number,
            **{field: getattr(run.spec, field) for field in fields},
            "validation_loss": math.nan if run.diverged else run.validation_loss,
        }
        for number, run in enumerate(runs)
    ]
    return pd.DataFrame(rows).sort_values("validation_loss", ignore_index=True)


def marginal_trend(x: Sequence[float], y: Sequence[float], groups: int = 4) -> pd.DataFrame:
    """Median of `y` in `groups` equally large groups of rising `x`: columns `x`, `y` (medians).

    Equal values of `x` stay in one group, so that a discrete `x` has a group for each value.
    """
    frame = pd.DataFrame({"x": x, "y": y}).dropna()
    if frame["x"].nunique() <= groups:
        group = frame["x"].rank(method="dense").rename("group")
    else:
        group = pd.qcut(frame["x"], groups, labels=False, duplicates="drop").rename("group")
    return frame.groupby(group).median().reset_index(drop=True)


def summarize(runs: Sequence[Run], fields: Sequence[str]) -> tuple[pd.DataFrame, pd.Series, float]:
    """`trials_table`, Spearman's ρ of each field with the loss, and what |ρ| chance stays below.

    ρ in [-1, 1] is the correlation of the ranks; chance is 1.96 / √(n - 1), the large-sample bound
    that n independent pairs keep in 95 of 100 cases. Raises `InvalidValue` if all but one diverged.
    """
    trials = trials_table(runs, fields)
    if trials["validation_loss"].notna().sum() < 2:
        raise InvalidValue("fewer than two trials came to an end: widen or lower the priors")
    finished = trials.dropna(subset="validation_loss").rank()
    correlation = finished[list(fields)].corrwith(finished["validation_loss"])
    return trials, correlation, min(1.0, 1.96 / math.sqrt(max(len(finished) - 1, 1)))
