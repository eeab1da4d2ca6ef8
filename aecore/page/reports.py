"""What the five reports did and measured, read from `reports.yaml`, its one home."""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from aecore.checks import InvalidValue
from aecore.runs import Run, Runs, fit, sweep
from aecore.runs import known as known_runs
from aecore.spec import Spec

LEAST = 5  # seeds of an experiment; with fewer nothing is said of a figure
STUCK = 1.5  # times the median loss of its kind: a network above that has not learned,
RARELY = 0.2  # which is told apart where it befalls no more of them than this
NOT_YET = "its own recipe has still to be run: repeat=true trains it"
TOLERANCE = 0.15  # of a reported figure, unless two standard deviations are more
SCATTER = 0.25  # of a reported figure: a larger standard deviation would let nearly anything pass


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment of a report: what was done, what was found, and the notebook with ours.

    `figures` are judged where a page measures a quantity of that name; `recipe` are the report's
    settings as fields of `Spec`.
    """

    notebook: str
    done: str
    found: str
    figures: Mapping[str, float] = field(default_factory=dict)
    better: str = "lower"  # which side of a figure: lower, higher, or neither
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = LEAST  # networks by that recipe: more where some of them don't learn
    network: str = ""  # what the dense networks' page calls it
    trials: int = 0  # of a search
    millions: float = 0  # of images that its trainings were to see

    def verdict(self, name: str, values: Iterable[float]) -> str | None:
        """What our `values` of a figure, one a seed, say of it.

        None from fewer than `LEAST`, or where their standard deviation is more than `SCATTER`. Else
        "reproduced" if a number that rounds to the figure is within `TOLERANCE` or two standard
        deviations, whichever is more; beyond that "better" on the good side, else "not reproduced",
        as with a value that is not finite.
        """
        values, reported = np.asarray(list(values), dtype=float), self.figures[name]
        if len(values) < LEAST or values.std(ddof=1) > SCATTER * abs(reported):
            return None
        off, digits = values.mean() - reported, Decimal(str(reported)).as_tuple().exponent
        beyond = abs(off) - 10.0**digits / 2
        if beyond <= max(TOLERANCE * abs(reported), 2 * values.std(ddof=1)):
            return "reproduced"
        good = {"lower": off < 0, "higher": off > 0}.get(self.better, False)
        return "better" if good else "not reproduced"


def as_reported(
    experiment: str, dataset: str, repeat: bool, device: str = "auto", **values: Any
) -> Runs:
    """The runs of an experiment by the report's own recipe, for `values` as in `sweep`.

    One for each of its `seeds`, unless `values` name others. They don't depend on the profile, so
    the published ones serve every edition. If some are not known they are trained with `repeat`;
    else, and on other data than MNIST, there are none.
    """
    known = EXPERIMENTS[experiment]
    values.setdefault("seed", range(known.seeds))
    specs = sweep(Spec.from_dict(dict(known.recipe)), **values) if dataset == "mnist" else []
    if repeat:
        return fit(specs, device=device, weights=False)
    runs = known_runs(specs)
    return runs if len(runs) == len(specs) else Runs()


def learned(runs: Runs) -> tuple[Runs, str]:
    """The runs without those that have not learned, and a remark on these, "" if there are none.

    A network has not whose training loss is more than `STUCK` times the median of all that differ
    from it by their seed alone. Where it befalls more than `RARELY` of these, all of them stay: by
    their scatter nothing is then said of a figure.
    """
    kinds: dict[Spec, list[Run]] = {}
    for run in runs:
        kinds.setdefault(run.spec.replace(seed=0), []).append(run)
    kept = Runs(chain.from_iterable(map(_learned, kinds.values())))
    left = len(runs) - len(kept)
    verb = "is" if left == 1 else "are"
    remark = f"of {len(runs)} networks {left} never learned and {verb} left out"
    return kept, remark if left else ""


def _learned(alike: list[Run]) -> list[Run]:
    losses = [run.history[run.best_epoch - 1]["train_loss"] for run in alike]
    losses = [math.inf if loss is None else loss for loss in losses]
    most = STUCK * statistics.median(losses)
    found = [run for run, loss in zip(alike, losses, strict=True) if loss <= most]
    return found if len(alike) - len(found) <= RARELY * len(alike) else alike


def _read(path: Path) -> tuple[dict[str, str], dict[str, Experiment]]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        return content["reports"], {k: Experiment(**v) for k, v in content["experiments"].items()}
    except (TypeError, KeyError) as error:
        raise InvalidValue(f"{path.name} can't be read: {error}") from None


REPORTS, EXPERIMENTS = _read(Path(__file__).with_name("reports.yaml"))
