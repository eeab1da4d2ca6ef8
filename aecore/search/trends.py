"""What the trials of a search show: trends with their uncertainty, folds, and progress."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm, spearmanr

from aecore.checks import InvalidValue
from aecore.runs import Run
from aecore.search import samplers
from aecore.search.trials import Trial

WEAK = 0.3  # the largest rank correlation that is called weak: Cohen's (1988) medium effect


def trials_table(trials: Sequence[Trial], fields: Sequence[str]) -> pd.DataFrame:
    """A row a trial, best first: `trial`, the drawn `fields`, and `validation_loss`.

    Of a trial that was trained several times the last counts; a diverged one has the loss NaN and
    stands last. Raises `InvalidValue` if all but one diverged.
    """
    last = {trial.number: trial for trial in trials}
    rows = [[n, *(getattr(trial.spec, field) for field in fields), trial.loss]
            for n, trial in last.items()]  # fmt: skip
    table = pd.DataFrame(rows, columns=["trial", *fields, "validation_loss"])
    table = table.sort_values("validation_loss", ignore_index=True, kind="stable")
    if table["validation_loss"].notna().sum() < 2:
        raise InvalidValue("fewer than two trials came to an end: widen or lower the priors")
    return table


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


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Spearman's ρ in [-1, 1] of n pairs, and the low and high end of its 95 % interval.

    Fisher's z of ρ, ± the normal quantile times sqrt((1 + ρ²/2) / (n - 3)) (Bonett & Wright 2000,
    Psychometrika 65, 23–28). A perfect ρ counts in it as half a swap of neighbors less; up to 3
    pairs, or a constant, say nothing: (-1, 1). Pairs with a NaN are left out.
    """
    pairs = pd.DataFrame({"x": x, "y": y}).dropna()
    n = len(pairs)
    if n < 2 or pairs["x"].nunique() < 2 or pairs["y"].nunique() < 2:
        return math.nan, -1.0, 1.0
    rho = float(spearmanr(pairs["x"], pairs["y"]).statistic)
    if n <= 3:
        return rho, -1.0, 1.0
    largest = 1 - 6 / (n**3 - n)
    z = math.atanh(min(max(rho, -largest), largest))
    half = norm.ppf(0.975) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return rho, math.tanh(z - half), math.tanh(z + half)


def marginal_trends(trials: pd.DataFrame, fields: Sequence[str]) -> dict[str, pd.DataFrame]:
    """`marginal_trend` of the loss in a `trials_table` with each of `fields`."""
    return {field: marginal_trend(trials[field], trials["validation_loss"]) for field in fields}


def correlations(trials: pd.DataFrame, fields: Sequence[str]) -> pd.DataFrame:
    """Rank correlation of each of `fields` with the loss in a `trials_table`: a row each.

    Columns `rho`, `low`, `high` (95 % interval) and `loss`: "rises" or "falls" with the setting
    where the interval leaves 0 out, "hardly moves" where it lies within ±0.3, else "open". Of
    names, such as optimizers, the ranks are alphabetical.
    """
    rows = {}
    for field in fields:
        rho, low, high = rank_correlation(ranks(trials[field]), trials["validation_loss"])
        if low > 0 or high < 0:
            verdict = "rises" if low > 0 else "falls"
        else:
            verdict = "hardly moves" if max(-low, high) <= WEAK else "open"
        rows[field] = {"rho": rho, "low": low, "high": high, "loss": verdict}
    return pd.DataFrame.from_dict(rows, orient="index")


def as_said(found: pd.DataFrame, said: Mapping[str, str]) -> dict[str, bool | None]:
    """For each row of `correlations` whether the loss does what is said of it; None where open.

    Of a field that `said` leaves out it is said that the loss "hardly moves".
    """
    return {
        f"the {title(field)}": None if loss == "open" else loss == said.get(field, "hardly moves")
        for field, loss in found["loss"].items()
    }


def interval(trend: Sequence[float] | pd.Series) -> str:
    """ρ and the ends of its interval, in this order at the beginning of `trend`, as text."""
    rho, low, high = list(trend)[:3]
    return f"{rho:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}"


def title(field: str) -> str:
    """What prose calls a field of `Spec`."""
    return "L2 penalty" if field == "weight_decay" else field.replace("_", " ")


def ranks(values: pd.Series) -> pd.Series:
    """Numbers as they are, names as their places 0, 1, … in the alphabet."""
    if pd.api.types.is_numeric_dtype(values):
        return values
    return values.rank(method="dense") - 1


def fold_losses(trials: Sequence[Trial]) -> np.ndarray:
    """Validation losses (n, k) of n trials on k folds, NaN where a run diverged."""
    return np.array([trial.fold_losses for trial in trials])


def fold_spread(losses: np.ndarray) -> tuple[float, float]:
    """Standard deviation of the loss between folds and between configurations, of losses (n, k).

    The first is the root of the mean over configurations of the variance between their folds, the
    second that of their means. Configurations with a NaN are left out.
    """
    kept = losses[np.isfinite(losses).all(1)]
    return float(np.sqrt(kept.var(1, ddof=1).mean())), float(kept.mean(1).std(ddof=1))


def paired_difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Mean of first - second over pairs without a NaN, and its standard error."""
    difference = np.subtract(first, second)
    difference = difference[np.isfinite(difference)]
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))


def progress(trials: Sequence[Trial]) -> pd.DataFrame:
    """The search as it went, a row a training: `images` seen up to its end, `best` loss so far.

    What had been trained before with the same key costs nothing again. `best` is NaN until a
    training ends without diverging.
    """
    keys = pd.Series([tuple(run.key for run in trial.runs) for trial in trials])
    images = np.where(keys.duplicated(), 0, [trial.images for trial in trials])
    best = pd.Series([trial.loss for trial in trials], dtype=float).cummin()
    return pd.DataFrame({"images": np.cumsum(images), "best": best})


def luck(images: Sequence[int], losses: Sequence[float], orders: int = 1000) -> pd.DataFrame:
    """How the best loss falls if the same independent trials come in another order.

    A row for each number of trials: `images` seen on average by then, and the `low`, `median` and
    `high` of the best loss (10 %, 50 % and 90 % of so many random orders).
    """
    random = np.random.default_rng(0)
    losses = np.nan_to_num(np.asarray(losses, float), nan=np.inf)
    shuffled = random.permuted(np.tile(losses, (orders, 1)), axis=1)
    best = np.minimum.accumulate(shuffled, axis=1)
    low, median, high = np.quantile(best, [0.1, 0.5, 0.9], axis=0, method="inverted_cdf")
    at = np.arange(1, len(losses) + 1) * np.mean(images)
    frame = pd.DataFrame({"images": at, "low": low, "median": median, "high": high})
    return frame.replace(np.inf, np.nan)


def contest(guests: Mapping[str, Trial], tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Where the loss of each guest stands in the `trials_table` of the same name: a row each.

    Columns `loss`, `best` (of the table), `place` from 1, `among` how many with the guest, and
    `near_top`, whether that is the first quarter or the first place.
    """
    rows = {}
    for name, guest in guests.items():
        losses = tables[name]["validation_loss"]
        among = len(losses) + 1
        better = int((losses < guest.loss).sum()) if math.isfinite(guest.loss) else among - 1
        near = 1 + better <= max(1, among / 4)
        rows[name] = [guest.loss, losses.min(), 1 + better, among, near]
    columns = ["loss", "best", "place", "among", "near_top"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def pruned(ways: Mapping[str, Sequence[Trial]]) -> pd.DataFrame:
    """What `samplers.pruned` makes of trials on a single split, trained to their end: a row a way.

    `stopped early` is how many, `images` what all would have seen, `of all` the part of those that
    they saw, and `best loss` the lowest of those that would have come to their end.
    """
    return pd.DataFrame.from_dict({way: _pruned(of) for way, of in ways.items()}, orient="index")


def _pruned(trials: Sequence[Trial]) -> dict[str, float]:
    histories = [pd.DataFrame(trial.runs[0].history).astype(float) for trial in trials]
    losses = [history["validation_loss"].tolist() for history in histories]
    stops = samplers.pruned(losses)
    spent = sum(trial.images * (stop or len(of)) / len(of)
                for trial, stop, of in zip(trials, stops, losses, strict=True))  # fmt: skip
    ended = [trial.loss for trial, stop in zip(trials, stops, strict=True) if stop is None]
    every, best = sum(trial.images for trial in trials), min(ended, default=math.nan)
    stopped = len(trials) - len(ended)
    return {"stopped early": stopped, "images": spent, "of all": spent / every, "best loss": best}


def runs_of(trials: Iterable[Trial]) -> list[Run]:
    """The runs of all trials, in order."""
    return [run for trial in trials for run in trial.runs]


def ends(progress: Mapping[str, pd.DataFrame], studies: Mapping[str, str]) -> pd.DataFrame:
    """The last row of each table of `progress`: `images`, `best loss`, and its study's name."""
    last = {way: steps.iloc[-1] for way, steps in progress.items()}
    frame = pd.DataFrame.from_dict(last, orient="index").rename(columns={"best": "best loss"})
    return frame.assign(studies=pd.Series(studies))


def shortfall(trials: Sequence[Trial], of_trials: int, of_millions: float) -> str:
    """What a search falls short of, in trials or in millions of images, as text; "" if nothing.

    The images are those planned: a report that stops early says what it planned, too.
    """
    count, millions = len({t.number for t in trials}), sum(trial.planned for trial in trials) / 1e6
    short = count < of_trials or millions < 0.9 * of_millions
    done = f"{count} of {of_trials} trials, {millions:.1f} of {of_millions:g} million images"
    return done if short else ""


def said_of(trial: pd.Series, fields: Iterable[str]) -> str:
    """The settings of a row of a `trials_table` as text."""
    values = {title(field): trial[field] for field in fields}
    return ", ".join(f"{n} {v if isinstance(v, str) else f'{v:.3g}'}" for n, v in values.items())
