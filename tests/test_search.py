import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import kstest, spearmanr

from aecore.checks import InvalidValue
from aecore.search import Choice, LogUniform, Uniform, marginal_trend, random_search, summarize
from aecore.spec import Spec

PRIORS = {
    "learning_rate": LogUniform(1e-3, 1e-1),
    "dropout": Uniform(0, 0.25),
    "epochs": Choice([10, 20, 30], [0.5, 0.3, 0.2]),
}


def test_priors_have_their_distributions():
    specs = random_search(Spec(), PRIORS, 2000, seed=0)
    rates = [(math.log10(s.learning_rate) + 3) / 2 for s in specs]
    assert kstest(rates, "uniform").pvalue > 0.01
    assert kstest([s.dropout / 0.25 for s in specs], "uniform").pvalue > 0.01
    counts = np.bincount([s.epochs for s in specs], minlength=31)[[10, 20, 30]] / 2000
    np.testing.assert_allclose(counts, [0.5, 0.3, 0.2], atol=0.04)
    assert abs(spearmanr(rates, [s.dropout for s in specs]).statistic) < 0.06


def test_more_trials_extend_a_search():
    short = random_search(Spec(), PRIORS, 5, seed=3)
    assert random_search(Spec(), PRIORS, 9, seed=3)[:5] == short
    assert random_search(Spec(), PRIORS, 5, seed=4) != short
    assert len(set(short)) == 5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LogUniform(0, 1), "low=0"),
        (lambda: LogUniform(1, 0.1), "high=0.1"),
        (lambda: Uniform(2, 1), "high=1"),
        (lambda: Choice([]), "values"),
        (lambda: Choice([1, 2], [1]), "1 weights"),
        (lambda: Choice([1, 2], [1, -1]), "weights=-1"),
        (lambda: random_search(Spec(), PRIORS, 0, 0), "trials=0"),
        (lambda: random_search(Spec(), {"lr": Uniform(0, 1)}, 1, 0), "'lr'"),
    ],
)
def test_bad_searches_are_refused(build, message):
    with pytest.raises(InvalidValue, match=message):
        build()


def trial(learning_rate, loss):
    spec = Spec(learning_rate=learning_rate)
    return SimpleNamespace(spec=spec, validation_loss=loss, diverged=loss is None)


def test_summary_ranks_trials_and_agrees_with_scipy():
    x = [0.1, 0.02, 0.3, 0.04, 0.05, 0.9, 0.07]
    y = [0.5, 0.1, 0.9, 0.1, None, 0.2, 0.3]
    table, correlation, chance = summarize([trial(*t) for t in zip(x, y, strict=True)],
                                           ["learning_rate"])  # fmt: skip
    assert list(table["trial"]) == [1, 3, 5, 6, 0, 2, 4]
    assert math.isnan(table["validation_loss"].iloc[-1])
    finished = [(a, b) for a, b in zip(x, y, strict=True) if b is not None]
    expected = spearmanr(*zip(*finished, strict=True)).statistic
    assert correlation["learning_rate"] == pytest.approx(expected)
    assert chance == pytest.approx(1.96 / math.sqrt(5))


def test_marginal_trend_by_hand():
    trend = marginal_trend([1, 2, 3, 4, 5, 6, 7, 8], [1, 3, 2, 4, 8, 6, 5, 7], groups=2)
    assert trend["x"].tolist() == [2.5, 6.5]
    assert trend["y"].tolist() == [2.5, 6.5]
    discrete = marginal_trend([10, 10, 20, 20], [1, 3, 4, 6], groups=4)
    assert discrete.to_numpy().tolist() == [[10, 2], [20, 5]]
