"""Search: three ways to choose what to try next, and trials that the store remembers."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
import pandas as pd
import torch

from aecore import checks
from aecore.checks import InvalidValue
from aecore.data import load
from aecore.engine.jobs import STACKED, images_of, trained_on
from aecore.engine.measured import Asked, Where, answers
from aecore.runs import Run, fit
from aecore.search import samplers
from aecore.search.samplers import Choice, Prior
from aecore.spec import Spec
from aecore.store.entries import Store, StoreError, digest
from aecore.store.paths import typed
from aecore.training import RECIPE

ETA = 3  # halving: a third of the trials goes on, with three times the epochs
ROUND = 32  # random search on a CPU: trials at once, after which the dashboard sees them


class Proposal(NamedTuple):
    """What is to be trained next: configuration `spec` of trial `number`, for so many epochs."""

    number: int
    spec: Spec
    epochs: int


@dataclass(frozen=True)
class Trial:
    """One training of a proposed configuration, once for every fold if `spec` has folds."""

    number: int
    spec: Spec  # as proposed; its runs may have fewer epochs
    runs: tuple[Run, ...]

    @property
    def loss(self) -> float:
        """Validation loss, the mean over the folds; NaN where a run diverged."""
        return float(np.mean(self.fold_losses))

    @property
    def fold_losses(self) -> list[float]:
        """The validation loss of each fold; NaN where its run diverged."""
        return [math.nan if run.diverged else run.validation_loss for run in self.runs]

    @property
    def stopped(self) -> bool:
        """Whether it had fewer epochs than proposed."""
        return self.runs[0].spec.epochs < self.spec.epochs

    @cached_property
    def images(self) -> int:
        """Training images that its runs saw, over all epochs and folds."""
        return sum(len(run.history) * trained_on(run.spec) for run in self.runs)

    @cached_property
    def planned(self) -> int:
        """Those that they would have seen if patience had not ended one, and none had diverged."""
        return sum(images_of(run.spec) for run in self.runs)


@dataclass(frozen=True)
class Search:
    """`trials` configurations: `base` with the fields in `priors` drawn from them.

    A trial's loss is that on the images that `base` holds out, by `validation` or by `folds`.
    `startup` and `batch` are for the sampler "tpe". More trials extend a search and repeat none.
    Raises `InvalidValue` for a field or a prior that `Spec` rejects, or where nothing is held out.
    """

    base: Spec
    priors: Mapping[str, Prior]
    trials: int
    seed: int = 0
    startup: int = 10  # trials drawn at random before the guided ones, Optuna's default
    batch: int = 4  # guided trials proposed together

    def __post_init__(self) -> None:
        for name, low in (("trials", 1), ("seed", 0), ("startup", 1), ("batch", 1)):
            checks.whole(name, getattr(self, name), low)
        if self.base.folds is None and self.base.validation == 0:
            raise InvalidValue("validation=0 is not allowed in a search: must be above 0, or folds")
        for field, prior in self.priors.items():
            ends = prior.values if isinstance(prior, Choice) else astuple(prior)
            for end in ends:
                self._with({field: end})

    def draw(self, number: int) -> Spec:
        """The configuration of trial `number` of a random search: a function of (seed, number)."""
        random = np.random.default_rng([self.seed, number])
        return self._with({name: self.priors[name].draw(random) for name in sorted(self.priors)})

    def run(
        self, sampler: str = "random", *, device: str = "auto", **where: Unpack[Where]
    ) -> list[Trial]:
        """All trainings that `sampler` proposes, in its order, as `fit` has them.

        "random" draws from the priors (Bergstra & Bengio 2012 on why this beats a grid); "tpe"
        lets Optuna propose after `startup` of the same draws; "halving" trains the same draws
        briefly and only the best of them longer, each training a `Trial` of its own. What the
        store holds is not trained again, so that the same call goes on after a kill. The file at
        `path` follows. Raises like `fit`, and `InvalidValue` for an unknown sampler.
        """
        checks.choice("sampler", sampler, tuple(SAMPLERS))
        store, trials = where.get("store") or Store(), []
        batch = SAMPLERS[sampler](self, trials)
        while batch:
            trials += train(batch, device=device, **where)
            batch = SAMPLERS[sampler](self, trials)
            going_on = {proposal.number for proposal in batch}
            self._record(sampler, [t for t in trials if t.number not in going_on], store)
        return trials

    def name(self, sampler: str) -> str:
        """The study's name: its data set, its sampler, and a digest of all that decides a trial.

        The number of trials is not in it, because more of them are the same study, longer.
        """
        base = {key: value for key, value in self.base.to_dict().items() if key != "dataset"}
        priors = {name: [type(p).__name__, *astuple(p)] for name, p in self.priors.items()}
        data, settings = load(self.base.dataset), [self.seed, self.startup, self.batch, RECIPE]
        key = digest([base, priors, data.digest, settings])
        return f"{data.name}-{sampler}-{key[:10]}"

    def path(self, sampler: str, store: Store | None = None) -> Path:
        """The file of the study that `optuna-dashboard` opens."""
        return (store or Store()).root / "studies" / f"{self.name(sampler)}.log"

    def command(self, sampler: str) -> str:
        """What to type to open the study in Optuna's dashboard."""
        return f'optuna-dashboard "{typed(self.path(sampler))}"'

    def frozen(self, trials: Sequence[Trial]) -> list[samplers.FrozenTrial]:
        """The trials as Optuna has them, in the order in which they came to their end.

        Those stopped early or diverged are not complete, the latter without a loss.
        """
        last, losses, ended = {trial.number: trial for trial in trials}, defaultdict(dict), []
        for trial in trials:
            if math.isfinite(trial.loss):
                losses[trial.number][trial.runs[0].spec.epochs] = trial.loss
            if trial is last[trial.number]:
                settings = {name: getattr(trial.spec, name) for name in self.priors}
                complete = not trial.stopped and math.isfinite(trial.loss)
                told = {"trial": trial.number, "runs": [run.key for run in trial.runs]}
                so_far = losses[trial.number]
                ended.append(samplers.freeze(settings, self.priors, so_far, complete, **told))
        return ended

    def importance(self, trials: Sequence[Trial], store: Store | None = None) -> pd.Series:
        """`samplers.importance` of the trials, kept in the store."""
        keys = [[run.key for run in trial.runs] for trial in trials]
        # Without a version, as published answers were asked for: the first change brings one.
        question = {"table": "importance", "search": self.name("importance"), "runs": keys}
        asked = [Asked(question, (self.frozen(trials),), len(trials))]
        (found,) = answers(asked, samplers.importance, "weighing settings", "trials", store=store)
        return pd.Series(found, dtype=float)

    def _with(self, fields: Mapping[str, Any]) -> Spec:
        return Spec.from_dict({**self.base.to_dict(), **fields})

    def _record(self, sampler: str, trials: Sequence[Trial], store: Store) -> None:
        path = self.path(sampler, store)
        try:
            with store.lease(path.stem):
                samplers.record(path, self.frozen(trials))
        except OSError as error:
            raise StoreError(f"the study {path} can't be written: {error}") from error


def train(
    proposals: Sequence[Proposal], *, device: str = "auto", **where: Unpack[Where]
) -> list[Trial]:
    """The trials of `proposals`, each trained for every one of its folds, as `fit` has them."""
    pairs = [(p, fold) for p in proposals for fold in range(p.spec.folds or 1)]
    specs = [p.spec.replace(epochs=p.epochs, fold=fold) for p, fold in pairs]
    runs = iter(fit(specs, device=device, weights=False, **where))
    return [Trial(p.number, p.spec, tuple(islice(runs, p.spec.folds or 1))) for p in proposals]


def trained(specs: Mapping[str, Spec], *, device: str = "auto") -> dict[str, Trial]:
    """A trial of each named configuration, for its own epochs."""
    proposals = [Proposal(n, spec, spec.epochs) for n, spec in enumerate(specs.values())]
    return dict(zip(specs, train(proposals, device=device), strict=True))


def propose_random(search: Search, trials: Sequence[Trial]) -> list[Proposal]:
    """The next trials of a random search."""
    at_once = STACKED if torch.cuda.is_available() else ROUND
    numbers = range(len(trials), min(len(trials) + at_once, search.trials))
    specs = [search.draw(number) for number in numbers]
    return [Proposal(i, spec, spec.epochs) for i, spec in zip(numbers, specs, strict=True)]


def propose_tpe(search: Search, trials: Sequence[Trial]) -> list[Proposal]:
    """The next trials of a guided search: a function of the search and of the trials so far."""
    done, startup = len(trials), min(search.startup, search.trials)
    if done < startup:
        return propose_random(search, trials)[: startup - done]
    count = min(search.batch, search.trials - done)
    seed = int(np.random.SeedSequence([search.seed, done]).generate_state(1)[0])
    asked = samplers.ask(search.frozen(trials), search.priors, count, seed) if count else []
    specs = [search._with(configuration) for configuration in asked]
    return [Proposal(done + i, spec, spec.epochs) for i, spec in enumerate(specs)]


def propose_halving(search: Search, trials: Sequence[Trial]) -> list[Proposal]:
    """The next rung of successive halving (Jamieson & Talwalkar 2016), or nothing after the last.

    On the last rung trials have their own epochs, on the one before a third of them, and so on,
    at least 1; from each rung to the next goes the best third. Diverged trials count as worst.
    """
    drawn = [search.draw(number) for number in range(search.trials)]
    sizes, left = [search.trials], max(spec.epochs for spec in drawn)
    while sizes[-1] >= ETA and left >= ETA:
        sizes, left = [*sizes, sizes[-1] // ETA], left // ETA
    ends = np.cumsum(sizes).tolist()
    if len(trials) >= ends[-1]:
        return []
    rung = int(np.searchsorted(ends, len(trials), side="right"))
    before = trials[len(trials) - sizes[rung - 1] :] if rung else []
    best = sorted(before, key=lambda trial: (math.isnan(trial.loss), trial.loss, trial.number))
    numbers = [trial.number for trial in best[: sizes[rung]]] or range(search.trials)
    share = ETA ** (len(sizes) - 1 - rung)
    return [Proposal(i, drawn[i], max(1, round(drawn[i].epochs / share))) for i in sorted(numbers)]


SAMPLERS = {"random": propose_random, "tpe": propose_tpe, "halving": propose_halving}
