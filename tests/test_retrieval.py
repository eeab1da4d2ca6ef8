import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from aecore.analysis.neighborhood import retrieval
from aecore.checks import InvalidValue
from aecore.data import load
from aecore.runs import fit
from aecore.spec import Spec


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
