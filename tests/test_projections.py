"""Projections against what they are by definition, and against scikit-learn."""

import dataclasses

import numpy as np
import pytest
from sklearn.manifold import trustworthiness
from sklearn.metrics import silhouette_score

from aecore.analysis import projections
from aecore.analysis.projections import by_name, chance, every_way, label_agreement, project, tsne
from aecore.checks import InvalidValue
from aecore.data import load
from aecore.runs import fit
from aecore.spec import Spec


@pytest.fixture(scope="module")
def runs(tiny):
    recipe = Spec(dataset=tiny, epochs=2, batch_size=64)
    return fit([recipe.replace(latent_dim=d) for d in (2, 5)], device="cpu")


def test_label_agreement_is_a_count():
    random = np.random.default_rng(0)
    points, labels = random.normal(size=(50, 3)), random.integers(0, 3, 50)
    shares = []
    for i, point in enumerate(points):
        order = sorted((np.linalg.norm(point - other), j) for j, other in enumerate(points))
        nearest = [j for _, j in order if j != i][:7]
        shares.append(np.mean([labels[j] == labels[i] for j in nearest]))
    assert label_agreement(points, labels, 7) == pytest.approx(np.mean(shares))
    with pytest.raises(InvalidValue, match="k=50"):
        label_agreement(points, labels, 50)


def test_without_order_the_agreement_is_chance():
    random = np.random.default_rng(1)
    labels = random.choice(3, 4000, p=[0.6, 0.3, 0.1])
    found = label_agreement(random.normal(size=(4000, 2)), labels)
    assert chance(labels) == pytest.approx(0.46, abs=0.02)
    assert found == pytest.approx(chance(labels), abs=0.02)


def test_tsne_keeps_neighbors_and_repeats_itself():
    random = np.random.default_rng(2)
    values = np.concatenate([random.normal(center, 1, (60, 8)) for center in (0, 6, 12)])
    points = tsne(values, seed=3)
    assert points.shape == (180, 2)
    assert np.array_equal(points, tsne(values, seed=3))
    assert trustworthiness(values, points, n_neighbors=10) > 0.9
    assert label_agreement(points, np.repeat([0, 1, 2], 60)) > 0.99


def test_every_way_is_projected_once(runs, tiny, store):
    ways = every_way(tiny, runs)
    found = project(ways, 40, store=store)
    names = ["t-SNE of pixels", "PCA of pixels", "code of autoencoder, d = 2",
             "t-SNE of autoencoder, d = 5", "PCA of autoencoder, d = 5"]  # fmt: skip
    assert list(by_name(found)) == names
    data, code = load(tiny), found[2]
    codes, labels = runs[0].encode(data.test_images[:40]).numpy(), data.test_labels[:40].numpy()
    assert np.array_equal(code.points, codes)
    assert code.agreement == code.agreement_before == label_agreement(codes, labels)
    assert found[1].points.shape == (40, 2)
    assert found[1].agreement_before == found[0].agreement_before
    assert code.silhouette == pytest.approx(silhouette_score(codes, labels))

    nobody = object()  # cannot be asked for anything
    again = project(ways, 40, executor=nobody, store=store)
    assert all(np.array_equal(a.points, b.points) for a, b in zip(found, again, strict=True))
    table = projections.separation(by_name(again))
    assert list(table.index) == names
    assert table.loc[names[2], "plane"] == [code.agreement]


def test_a_run_that_diverged_stays_in_the_tables_without_numbers(runs, store):
    lost = dataclasses.replace(runs[0], history=[{"train_loss": None, "validation_loss": None}])
    found = project([(lost, "code"), (runs[0], "code")], 40, store=store)
    assert np.isnan(found[0].points).all() and np.isnan(found[0].silhouette)
    (row,) = projections.separation(by_name(found))["plane"]
    assert np.isnan(row[0]) and row[1] == found[1].agreement


def test_what_has_no_plane_is_told(runs, tiny, store):
    two, five = runs
    for way in ((five, "code"), (tiny, "code"), (two, "UMAP")):
        with pytest.raises(InvalidValue, match="method="):
            project([way], 40, store=store)
