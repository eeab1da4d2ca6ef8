import itertools
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr, ttest_rel

from aecore.checks import InvalidValue
from aecore.search.trends import (
    as_said,
    contest,
    correlations,
    fold_losses,
    fold_spread,
    interval,
    luck,
    marginal_trend,
    paired_difference,
    progress,
    pruned,
    rank_correlation,
    shortfall,
    trials_table,
)
from aecore.search.trials import Trial
from aecore.spec import Spec


def trial(number, *losses, images=0, key=None, **fields):
    spec = Spec(validation=0.2, **fields)
    runs = tuple(
        SimpleNamespace(spec=spec, key=key or str(number), validation_loss=loss,
                        diverged=loss is None)
        for loss in losses
    )  # fmt: skip
    made = Trial(number, spec, runs)
    made.__dict__["images"] = images
    return made


def test_the_table_has_the_last_loss_of_every_trial_best_first():
    trials = [trial(i, loss) for i, loss in enumerate([0.5, 0.1, None, 0.3])] + [trial(0, 0.2)]
    table = trials_table(trials, ["learning_rate"])
    assert list(table["trial"]) == [1, 0, 3, 2]
    assert list(table["validation_loss"][:3]) == [0.1, 0.2, 0.3]
    assert math.isnan(table["validation_loss"].iloc[-1])
    with pytest.raises(InvalidValue, match="fewer than two trials"):
        trials_table([trial(0, 0.1), trial(1, None)], ["learning_rate"])


def test_marginal_trend_by_hand():
    trend = marginal_trend([1, 2, 3, 4, 5, 6, 7, 8], [1, 3, 2, 4, 8, 6, 5, 7], groups=2)
    assert trend["x"].tolist() == [2.5, 6.5]
    assert trend["y"].tolist() == [2.5, 6.5]
    discrete = marginal_trend([10, 10, 20, 20], [1, 3, 4, 6], groups=4)
    assert discrete.to_numpy().tolist() == [[10, 2], [20, 5]]


def test_rank_correlation_is_scipy_s_and_passes_over_what_diverged():
    x = [0.1, 0.02, 0.3, 0.04, 0.05, 0.9, 0.07]
    y = [0.5, 0.1, 0.9, 0.1, math.nan, 0.2, 0.3]
    rho, low, high = rank_correlation(x, y)
    assert rho == pytest.approx(spearmanr(x, y, nan_policy="omit").statistic)
    half = 1.959964 * math.sqrt((1 + rho**2 / 2) / (6 - 3))
    assert math.atanh(high) - math.atanh(rho) == pytest.approx(half)
    assert math.atanh(rho) - math.atanh(low) == pytest.approx(half)


def test_few_or_equal_values_say_nothing():
    assert rank_correlation([1, 2, 3], [1, 2, 3])[1:] == (-1, 1)
    assert rank_correlation([1, 1, 1, 1, 1], [1, 2, 3, 4, 5])[1:] == (-1, 1)
    rho, low, high = rank_correlation(range(5), range(5))
    assert rho == pytest.approx(1) and -1 < low < 0.9 < high < 1


@pytest.mark.parametrize("pearson", [0.0, 0.5, -0.8])
def test_the_interval_covers_the_truth_as_often_as_it_says(pearson):
    """Of a normal pair Spearman's ρ is 6/π asin(r/2) (Kruskal 1958)."""
    truth = 6 / math.pi * math.asin(pearson / 2)
    random = np.random.default_rng(0)
    pairs = random.multivariate_normal([0, 0], [[1, pearson], [pearson, 1]], (600, 25))
    intervals = [rank_correlation(x, y)[1:] for x, y in pairs.transpose(0, 2, 1)]
    assert np.mean([low <= truth <= high for low, high in intervals]) == pytest.approx(
        0.95, abs=0.025
    )


def test_verdicts_follow_from_the_intervals():
    random = np.random.default_rng(1)
    loss = random.normal(size=400)
    trials = pd.DataFrame(
        {
            "up": loss + random.normal(size=400),
            "down": -loss,
            "nothing": random.permutation(400),
            "name": np.where(loss > 0, "sgd", "adam"),
            "validation_loss": loss,
        }
    )
    found = correlations(trials, ["up", "down", "nothing", "name"])
    assert list(found["loss"]) == ["rises", "falls", "hardly moves", "rises"]
    codes = (trials["name"] == "sgd").astype(int)
    assert found.loc["name", "rho"] == pytest.approx(spearmanr(codes, loss).statistic)
    assert correlations(trials[:8], ["nothing"])["loss"].item() == "open"
    found = found.rename(index={"up": "weight_decay"})
    found.loc["name", "loss"] = "open"
    assert as_said(found, {"weight_decay": "rises"}) == {
        "the L2 penalty": True, "the down": False, "the nothing": True, "the name": None,
    }  # fmt: skip


def test_folds_by_hand():
    losses = fold_losses([trial(0, 1.0, 3.0), trial(1, 5.0, 5.0), trial(2, 9.0, None)])
    assert losses[:2].tolist() == [[1, 3], [5, 5]] and math.isnan(losses[2, 1])
    between_folds, between_trials = fold_spread(losses)
    assert between_folds == pytest.approx(1)  # variances 2 and 0
    assert between_trials == pytest.approx(math.sqrt(4.5))  # means 2 and 5


def test_the_paired_difference_is_that_of_the_t_test():
    first, second = [1.0, 2.0, 4.0, 8.0, math.nan], [0.9, 2.2, 3.5, 7.0, 3.0]
    mean, error = paired_difference(first, second)
    assert mean / error == pytest.approx(ttest_rel(first[:4], second[:4]).statistic)


def test_progress_counts_no_training_twice():
    trials = [
        trial(0, None, images=10, key="a"),
        trial(1, 0.5, images=20, key="b"),
        trial(1, 0.5, images=20, key="b"),
        trial(2, 0.7, images=5, key="c"),
        trial(3, 0.2, images=5, key="d"),
    ]
    found = progress(trials)
    assert found["images"].tolist() == [10, 30, 30, 35, 40]
    assert math.isnan(found["best"][0])
    assert found["best"][1:].tolist() == [0.5, 0.5, 0.5, 0.2]


def test_the_pruner_stops_what_is_worse_than_the_median(n=40, epochs=6):
    random = np.random.default_rng(0)
    losses = random.uniform(size=(n, 1)) + random.uniform(size=(n, epochs))
    losses[2] = losses[7] = losses[-1, 3] = np.nan
    ended, spent = [], 0
    for of in losses:
        for epoch in range(epochs):
            spent += 10
            medians = [np.median([other[epoch] for other in ended])] if len(ended) >= 5 else []
            if np.isnan(of[epoch]) or any(of[: epoch + 1].min() > median for median in medians):
                break
        else:
            ended.append(of)
    trials = [trial(i, of[-1], images=10 * epochs) for i, of in enumerate(losses)]
    for one, of in zip(trials, losses, strict=True):
        one.runs[0].history = [{"validation_loss": None if np.isnan(x) else x} for x in of]
    assert 0 < len(ended) < n - 10
    assert pruned({"random": trials}).loc["random"].to_dict() == {
        "stopped early": n - len(ended),
        "images": pytest.approx(spent),
        "of all": pytest.approx(spent / (10 * epochs * n)),
        "best loss": min(of[-1] for of in ended),
    }


def test_luck_agrees_with_every_order_of_seven_trials():
    losses = [0.4, 0.1, math.nan, 0.3, 0.8, 0.7, 0.2]
    band = luck([10, 20, 30, 40, 50, 60, 70], losses, orders=20_000)
    assert band["images"].tolist() == [40, 80, 120, 160, 200, 240, 280]
    orders = np.array(list(itertools.permutations(np.nan_to_num(losses, nan=np.inf))))
    best = np.sort(np.minimum.accumulate(orders, 1), 0)  # (5040, 7)
    for column, share in (("low", 0.1), ("median", 0.5), ("high", 0.9)):
        exact = best[math.ceil(share * 5040) - 1]
        np.testing.assert_array_equal(band[column], np.where(np.isinf(exact), np.nan, exact))
    assert band.iloc[-1][["low", "high"]].tolist() == [0.1, 0.1]


def test_a_guest_is_placed_among_the_trials():
    table = pd.DataFrame({"validation_loss": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, math.nan]})
    guests = {"a": trial(0, 0.15), "b": trial(0, 0.25), "c": trial(0, None)}
    found = contest(guests, dict.fromkeys(guests, table))
    assert found["place"].tolist() == [2, 3, 8]
    assert found["among"].tolist() == [8, 8, 8]
    assert found["near_top"].tolist() == [True, False, False]
    assert found["best"].tolist() == [0.1] * 3


def test_an_interval_is_told_with_its_signs():
    assert interval((0.5, -0.123, 0.9)) == "+0.50, 95 % interval -0.12 to +0.90"


def test_a_search_is_as_large_as_was_planned(tiny):
    """However few images its networks saw before their patience ended."""
    found = [trial(n, 0.1, images=0, epochs=5, dataset=tiny) for n in range(4)]
    assert [one.planned for one in found] == [5 * 240] * 4  # a fifth of 300 is held out
    assert shortfall(found, 4, 0.0048) == ""
    assert shortfall(found, 5, 0.0048) == "4 of 5 trials, 0.0 of 0.0048 million images"
    assert shortfall(found, 4, 0.0060).startswith("4 of 4 trials")
