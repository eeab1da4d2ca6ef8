"""What the five student reports did and measured, read from `reports.yaml`, its one home."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from aecore.checks import InvalidValue


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment of a report: what was done, what was found, and the notebook with ours.

    Ours agrees with one of the `figures` if its mean is larger or smaller by a factor of `within`
    at most, or larger by one of `at_most`; without either the figure is not compared.
    """

    notebook: str
    done: str
    found: str
    figures: Mapping[str, float] = field(default_factory=dict)
    within: float | None = None
    at_most: float | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)  # fields of `Spec`
    network: str = ""  # what the dense networks' page calls it
    trials: int = 0  # of a search
    millions: float = 0  # of images that its trainings saw

    def agrees(self, name: str, mean: float, within: float | None = None) -> bool | None:
        """Whether the mean of what we measure agrees with the figure; None if it can't be said."""
        if (within := within or self.within) is not None:
            return 1 / within <= mean / self.figures[name] <= within
        return None if self.at_most is None else mean <= self.at_most * self.figures[name]


def _read(path: Path) -> tuple[dict[str, str], dict[str, Experiment]]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        return content["reports"], {k: Experiment(**v) for k, v in content["experiments"].items()}
    except (TypeError, KeyError) as error:
        raise InvalidValue(f"{path.name} can't be read: {error}") from None


REPORTS, EXPERIMENTS = _read(Path(__file__).with_name("reports.yaml"))
