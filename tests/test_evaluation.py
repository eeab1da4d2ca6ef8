import numpy as np
import pytest
from sklearn.decomposition import PCA

from aecore.checks import InvalidValue
from aecore.corruption import GaussianNoise, Occlusion
from aecore.data import load
from aecore.evaluation import corrupt, crossings, pca_errors, reconstruction_errors
from aecore.runs import fit
from aecore.spec import Spec


@pytest.fixture
def runs(tiny, store):
    base = Spec(dataset=tiny, epochs=3, batch_size=50, learning_rate=0.01)
    return fit([base.replace(latent_dim=d, seed=s) for d in (1, 2) for s in (0, 1)], store=store)


def test_errors_are_the_mean_over_all_pixels(tiny, runs, store):
    tested = [None, GaussianNoise(0.3), Occlusion(0.25)]
    errors = reconstruction_errors(runs, tested, store=store)
    images = load(tiny).test_images.float() / 255
    assert len(errors) == 12
    assert list(errors["tested_on"][:3]) == ["clean", "GaussianNoise", "Occlusion"]
    assert list(errors["level"][:3]) == [0.0, 0.3, 0.25]
    for _, row in errors.iterrows():
        run = next(run for run in runs if run.key == row["key"])
        corruption = {"clean": None, "GaussianNoise": tested[1], "Occlusion": tested[2]}
        output = run.model(corrupt(images, corruption[row["tested_on"]])).numpy()
        expected = np.square(output.astype(np.float64) - images.numpy()).mean()
        assert row["mse"] == pytest.approx(expected, rel=1e-5)
        assert (row["latent_dim"], row["seed"]) == (run.spec.latent_dim, run.spec.seed)


def test_errors_are_stored(runs, store, monkeypatch):
    first = reconstruction_errors(runs, [GaussianNoise(0.3)], store=store)
    monkeypatch.setattr("aecore.evaluation.run_jobs", None)
    again = reconstruction_errors(runs, [GaussianNoise(0.3)], store=store)
    assert first.equals(again)


def test_pca_errors_are_scikit_learns(tiny, store):
    data = load(tiny)
    found = pca_errors(data, [1, 2, 5], store=store)
    train, test = (x.flatten(1).numpy() / 255.0 for x in (data.train_images, data.test_images))
    for d, mse in found.itertuples(index=False):
        pca = PCA(d, svd_solver="full").fit(train)
        expected = np.square(pca.inverse_transform(pca.transform(test)) - test).mean()
        assert mse == pytest.approx(expected, rel=1e-4)
    assert pca_errors(data, [1, 2, 5], store=store).equals(found)
    with pytest.raises(InvalidValue, match="latent_dims up to 145"):
        pca_errors(data, [145], store=store)


def test_crossings_by_hand():
    import pandas as pd

    rows = []
    curves = {
        (0, "clean"): [1.0, 2.0, 3.0], (0, "noise"): [1.5, 2.5, 2.0],  # gap .5, .5, -1: at 4/3
        (1, "clean"): [1.0, 2.0, 3.0], (1, "noise"): [0.5, 1.0, 2.0],  # below throughout
        (2, "clean"): [1.0, 2.0, 3.0], (2, "noise"): [0.5, 1.0, 4.0],  # above at the end
    }  # fmt: skip
    for (seed, trained_on), values in curves.items():
        for level, mse in enumerate(values):
            rows.append({"seed": seed, "trained_on": trained_on, "level": level, "mse": mse})
    found = crossings(pd.DataFrame(rows), "clean", "noise")
    assert found == [pytest.approx(4 / 3), 0.0, None]
