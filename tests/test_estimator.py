import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from aecore.checks import InvalidValue
from aecore.estimator import Autoencoder


@parametrize_with_checks([Autoencoder(epochs=2)])
def test_it_keeps_the_rules_of_scikit_learn(estimator, check):
    check(estimator)


def test_a_linear_one_finds_the_plane_that_pca_finds():
    """Baldi & Hornik 1989: the best linear autoencoder spans the first principal components."""
    random = np.random.default_rng(0)
    plane = random.normal(size=(400, 2)) @ random.normal(size=(2, 6))
    rows = plane + 0.1 * random.normal(size=plane.shape)
    linear = Autoencoder(widths=(), learning_rate=0.02, batch_size=50, epochs=60, random_state=0)
    found = make_pipeline(StandardScaler(), linear).fit(rows)
    best = make_pipeline(StandardScaler(), PCA(2)).fit(rows)
    errors = [np.square(one.inverse_transform(one.transform(rows)) - rows).mean()
              for one in (found, best)]  # fmt: skip
    assert errors[1] * 0.99 < errors[0] < errors[1] * 1.05
    assert list(found.get_feature_names_out()) == ["autoencoder0", "autoencoder1"]
    losses = [row["train_loss"] for row in linear.history_]
    assert len(losses) == 60 and losses[-1] < losses[0]


def test_a_wrong_parameter_is_told_in_one_line():
    with pytest.raises(InvalidValue, match=r"widths\[0\]=0 is not allowed"):
        Autoencoder(widths=(0,)).fit(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="n_components=0"):
        Autoencoder(0).fit(np.zeros((4, 3)))
