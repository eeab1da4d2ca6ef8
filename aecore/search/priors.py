"""Priors: what a setting may be, before anything is known, and how likely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aecore import checks
from aecore.checks import InvalidValue


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
        value = math.exp(random.uniform(math.log(self.low), math.log(self.high)))
        return min(max(value, self.low), self.high)  # exp(log(x)) may round past x


@dataclass(frozen=True)
class Whole:
    """A whole number uniform in low, low + 1, …, high."""

    low: int
    high: int

    def __post_init__(self) -> None:
        checks.whole("low", self.low)
        checks.whole("high", self.high, self.low)

    def draw(self, random: np.random.Generator) -> int:
        """One value."""
        return int(random.integers(self.low, self.high, endpoint=True))


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


Prior = Uniform | LogUniform | Whole | Choice
