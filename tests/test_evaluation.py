import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA

from aecore.analysis import errors as measures
from aecore.analysis.errors import crossings, loss_curves, pca_errors, reconstruction_errors
from aecore.corruption import GaussianNoise, Occlusion, corrupt
from aecore.data import load
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


def test_errors_are_told_apart_by_the_names_given(runs, store):
    tested = {"clean": None, "weak": GaussianNoise(0.1), "strong": GaussianNoise(0.8, clip=True)}
    named = reconstruction_errors(runs, tested, store=store)
    assert list(named["tested_on"][:3]) == [*tested]
    assert list(named["level"][:3]) == [0, 0.1, 0.8]
    plain = reconstruction_errors(runs, list(tested.values()), store=store)
    assert list(plain["tested_on"][:3]) == ["clean", "GaussianNoise", "GaussianNoise"]
    assert plain["mse"].equals(named["mse"])
    noisy = runs[0].spec.replace(corruption=tested["strong"])
    trained = reconstruction_errors(fit([noisy], store=store), tested, store=store)
    assert set(trained["trained_on"]) == {"strong"}


def test_pca_errors_are_scikit_learns(tiny, store):
    data = load(tiny)
    found = pca_errors(data, 5, store=store)
    train, test = (x.flatten(1).numpy() / 255.0 for x in (data.train_images, data.test_images))
    for d, mse in found.itertuples(index=False):
        pca = PCA(d, svd_solver="full").fit(train)
        expected = np.square(pca.inverse_transform(pca.transform(test)) - test).mean()
        assert mse == pytest.approx(expected, rel=1e-4)
    assert len(found) == 5
    assert pca_errors(data, 5, store=store).equals(found)
    assert len(pca_errors(data, 1000, store=store)) == 144, "no more than there are pixels"
    assert len(pca_errors(data, 1000, train_images=20, store=store)) == 20


@pytest.mark.parametrize(
    ("shape", "solver"),
    [
        ((90, 40), "covariance_eigh"),
        ((40, 300), "full"),
        ((90, 80), "arpack"),
        ((80, 300), "arpack"),
    ],
)
def test_components_are_those_of_the_singular_values_whatever_the_shape(monkeypatch, shape, solver):
    monkeypatch.setattr(measures, "LARGE", 60)
    random = np.random.default_rng(0)
    values = random.normal(size=shape) * 0.9 ** np.arange(shape[1]) + random.normal(size=shape[1])
    pca = measures.principal_components(values, 5)
    assert pca.svd_solver == solver
    _, sizes, rows = np.linalg.svd(values - values.mean(0), full_matrices=False)
    assert np.allclose(np.abs((pca.components_ * rows[:5]).sum(1)), 1)
    assert np.allclose(pca.singular_values_, sizes[:5])
    codes = pca.transform(values)
    assert np.array_equal(measures.principal_components(values, 5).transform(values), codes)


def test_a_diverged_run_has_no_error_and_shifts_no_other(tiny, store, monkeypatch):
    base = Spec(dataset=tiny, epochs=1, batch_size=50, optimizer="sgd")
    runs = fit([base, base.replace(learning_rate=1e20), base.replace(seed=1)], store=store)
    assert [run.diverged for run in runs] == [False, True, False]
    tested = [None, GaussianNoise(0.3)]
    for _ in range(2):  # computed, then from the store
        errors = reconstruction_errors(runs, tested, store=store)
        assert list(errors["key"]) == [run.key for run in runs for _ in tested]
        assert list(errors["level"]) == 3 * [0, 0.3]
        assert list(np.isnan(errors["mse"])) == [False, False, True, True, False, False]
        monkeypatch.setattr("aecore.engine.measured.run_jobs", None)
    assert loss_curves(runs)["train_loss"].dtype == float


def test_what_is_redrawn_needs_no_weights_once_it_was_made(tiny, store):
    base = Spec(dataset=tiny, epochs=1, batch_size=50, optimizer="sgd")
    runs = fit([base, base.replace(learning_rate=1e20)], store=store)
    rows = [3, 0, 41]
    first, none = measures.redrawn(runs, rows, store=store)
    output = runs[0].reconstruct(load(tiny).test_images[rows])
    np.testing.assert_allclose(first, output, atol=0.5 / 255 + 1e-6)
    assert none.shape == first.shape
    assert none.isnan().all()
    bare = [dataclasses.replace(run, weights={}) for run in runs]
    again, _ = measures.redrawn(bare, rows, store=store)
    assert torch.equal(again, first)


def test_crossings_by_hand():
    rows = []
    curves = {
        (0, "clean"): [1.0, 2.0, 3.0], (0, "noise"): [1.5, 2.5, 2.0],  # gap .5, .5, -1: at 4/3
        (1, "clean"): [1.0, 2.0, 3.0], (1, "noise"): [math.nan] * 3,  # diverged
        (2, "clean"): [1.0, 2.0, 3.0], (2, "noise"): [0.5, 1.0, 2.0],  # below throughout
        (3, "clean"): [1.0, 2.0, 3.0], (3, "noise"): [0.5, 1.0, 4.0],  # above at the end
    }  # fmt: skip
    for way, values in curves.items():
        rows += [(*way, level, mse) for level, mse in enumerate(values)]
    errors = pd.DataFrame(rows, columns=["seed", "trained_on", "level", "mse"])
    found = crossings(errors, "clean", "noise")
    np.testing.assert_allclose(found, [4 / 3, math.nan, 0, math.nan])
