"""How a search draws: priors, and Optuna's part: proposals, importance, its dashboard's file."""

import math
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aecore import checks
from aecore.checks import InvalidValue, field

with warnings.catch_warnings():
    # Optuna imports tqdm.auto, which in a notebook asks for widgets that nothing here uses.
    warnings.filterwarnings("ignore", "IProgress not found")
    import optuna
    from optuna import distributions as kinds
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.samplers import TPESampler
    from optuna.storages.journal import JournalFileBackend, JournalStorage
    from optuna.trial import FrozenTrial, TrialState, create_trial

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every study that it creates


@dataclass(frozen=True)
class Uniform:
    """A number uniform in [low, high]."""

    low: float = field(MISSING, checks.real)
    high: float = field(MISSING, checks.real)

    def __post_init__(self) -> None:
        checks.check_fields(self)
        checks.real("high", self.high, self.low)

    def draw(self, random: np.random.Generator) -> float:
        """One value."""
        return float(random.uniform(self.low, self.high))


@dataclass(frozen=True)
class LogUniform(Uniform):
    """A positive number whose logarithm is uniform in [log low, log high]."""

    low: float = field(MISSING, checks.real, above=0)

    def draw(self, random: np.random.Generator) -> float:
        """One value."""
        value = math.exp(random.uniform(math.log(self.low), math.log(self.high)))
        return min(max(value, self.low), self.high)  # exp(log(x)) may round past x


@dataclass(frozen=True)
class Whole(Uniform):
    """A whole number uniform in low, low + 1, …, high."""

    low: int = field(MISSING, checks.whole)
    high: int = field(MISSING, checks.whole)

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
            raise InvalidValue.of("values", self.values, "a list of at least one value")
        if self.weights is not None:
            positive = partial(checks.real, above=0)
            checks.several("weights", list(self.weights), positive, len(self.values))

    def draw(self, random: np.random.Generator) -> Any:
        """One value."""
        weights = np.ones(len(self.values)) if self.weights is None else np.asarray(self.weights)
        return self.values[int(random.choice(len(self.values), p=weights / weights.sum()))]


Prior = Uniform | Choice


def distributions(priors: Mapping[str, Prior]) -> dict[str, kinds.BaseDistribution]:
    """The priors as Optuna has them, in alphabetical order; it knows no weights of a choice."""

    def of(prior: Prior) -> kinds.BaseDistribution:
        if isinstance(prior, Choice):
            return kinds.CategoricalDistribution(tuple(prior.values))
        if isinstance(prior, Whole):
            return kinds.IntDistribution(prior.low, prior.high)
        return kinds.FloatDistribution(prior.low, prior.high, log=isinstance(prior, LogUniform))

    return {name: of(priors[name]) for name in sorted(priors)}


def freeze(
    settings: Mapping[str, Any],
    priors: Mapping[str, Prior],
    losses: Mapping[int, float],
    complete: bool,
    **attributes: Any,
) -> FrozenTrial:
    """A trial with the `settings` drawn from `priors` as Optuna has it.

    `losses` maps epochs to losses, the last of which counts if the trial is `complete`. One that
    is not is "pruned", without any loss the worst of all to Optuna.
    """
    return create_trial(
        state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        value=list(losses.values())[-1] if complete else None,
        params=dict(settings),
        distributions=distributions(priors),
        intermediate_values=dict(losses),
        user_attrs=attributes,
    )


def ask(
    trials: Sequence[FrozenTrial], priors: Mapping[str, Prior], count: int, seed: int
) -> list[dict[str, Any]]:
    """`count` configurations to try at once after `trials`: a function of its arguments alone.

    From Optuna's tree-structured Parzen estimator over all settings together (Bergstra et al.
    2011). Each one counts as bad for those asked after it (the constant liar of Ginsbourger et al.
    2010), so that the batch spreads.
    """
    sampler = TPESampler(n_startup_trials=0, multivariate=True, constant_liar=True, seed=seed)
    study = optuna.create_study(sampler=sampler)
    study.add_trials(trials)
    return [study.ask(distributions(priors)).params for _ in range(count)]


def importance(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """The share of each setting in the variance of the loss over its prior, adding up to 1.

    By functional ANOVA on a random forest (Hutter, Hoos & Leyton-Brown 2014), over the trials that
    came to their end; NaN where these are fewer than four.
    """
    study = optuna.create_study()
    study.add_trials(trials)
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    if len(complete) < 4:
        return dict.fromkeys(sorted(trials[0].params) if trials else [], math.nan)
    return dict(get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)))


def pruned(losses: Iterable[Sequence[float]]) -> list[int | None]:
    """After how many epochs Optuna's default pruner stops each trial, None where it does not.

    `losses` are the trials' losses by epoch, in the order in which they are tried. It stops one
    whose lowest loss so far is above the median, at that epoch, of those that came to their end,
    once these are five. One whose loss is NaN stops there.
    """
    study, stops = optuna.create_study(), []
    for of_trial in losses:
        trial, stop = study.ask(), None
        for epoch, loss in enumerate(of_trial, 1):
            trial.report(loss, epoch)
            if math.isnan(loss) or trial.should_prune():
                stop = epoch
                break
        study.tell(trial, None if stop else loss, TrialState.PRUNED if stop else None)
        stops.append(stop)
    return stops


def record(path: Path, trials: Sequence[FrozenTrial]) -> None:
    """Make the file at `path` hold a study with at least `trials`, for `optuna-dashboard`.

    A file that holds their beginning gets the others appended, which an open dashboard follows;
    one that is missing, torn or of other trials is written anew, and then replaced at once. Raises
    `OSError` if it can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    there = _read(path)
    pairs = zip(map(_content, there or ()), map(_content, trials), strict=False)
    if there is None or any(old != new for old, new in pairs):
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            draft = Path(folder) / path.name
            _study(draft).add_trials(trials)
            os.replace(draft, path)
    elif len(there) < len(trials):
        _study(path).add_trials(trials[len(there) :])


def _study(path: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.create_study(storage=storage, study_name=path.stem, load_if_exists=True)


def _read(path: Path) -> list[FrozenTrial] | None:
    try:
        if not path.read_bytes().endswith(b"\n"):  # torn, which Optuna passes over in silence
            return None
        storage = JournalStorage(JournalFileBackend(str(path)))
        return optuna.load_study(study_name=path.stem, storage=storage).trials
    except Exception:  # whatever a damaged file does to its reader: it is a copy, to be made again
        return None


def _content(trial: FrozenTrial) -> tuple:
    return trial.state, trial.params, trial.values, trial.intermediate_values, trial.user_attrs
