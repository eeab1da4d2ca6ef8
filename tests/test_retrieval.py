import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from aecore.analysis.neighbors import nearest, precision
from aecore.analysis.retrieval import retrieval
from aecore.checks import InvalidValue
from aecore.data import load
from aecore.runs import fit
from aecore.spec import Spec


def test_nearest_are_scikit_learns():
    source = torch.Generator().manual_seed(0)
    base, queries = (torch.rand(n, 1, 6, 5, generator=source) for n in (200, 20))
    plain = NearestNeighbors(n_neighbors=7, algorithm="brute").fit(base.flatten(1))
    expected = plain.kneighbors(queries.flatten(1), return_distance=False)
    np.testing.assert_array_equal(nearest(base, queries, 7), expected)
    for k in (0, 201):
        with pytest.raises(InvalidValue, match=f"k={k} is not allowed: .* at most 200"):
            nearest(base, queries, k)


def test_precision_by_hand():
    base, asked = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 2])
    assert precision(np.array([[0, 1], [3, 0]]), base, asked) == 3 / 4


def test_each_way_of_searching(tiny, store, monkeypatch):
    base = Spec(dataset=tiny, epochs=2, batch_size=50, learning_rate=0.01, train_images=200)
    runs = fit([base.replace(latent_dim=d) for d in (2, 3)], store=store)
    table = retrieval(runs, k=5, queries=40, store=store)
    assert list(table["by"]) == ["autoencoder", "autoencoder", "PCA", "PCA", "pixels"]
    assert list(table["bytes"]) == [8, 12, 8, 12, 144]
    data = load(tiny)
    images, asked = (
        x.flatten(1).numpy() / 255 for x in (data.train_images[:200], data.test_images[:40])
    )
    pca = PCA(3, svd_solver="full").fit(images)
    codes = [runs[1].encode(x) for x in (data.train_images[:200], data.test_images[:40])]
    places = {
        1: [x.numpy() for x in codes],
        3: [pca.transform(images), pca.transform(asked)],
        4: [images, asked],
    }
    for row, (known, queries) in places.items():
        found = (
            NearestNeighbors(n_neighbors=5).fit(known).kneighbors(queries, return_distance=False)
        )
        same = data.train_labels[:200].numpy()[found] == data.test_labels[:40].numpy()[:, None]
        assert table["precision"][row] == pytest.approx(same.mean(), abs=0.01)
    assert (table["milliseconds"] >= 0).all()
    monkeypatch.setattr("aecore.engine.measured.run_jobs", None)
    assert retrieval(runs, k=5, queries=40, store=store).equals(table)
    with pytest.raises(InvalidValue, match="k=201"):
        retrieval(runs, k=201, store=store)
