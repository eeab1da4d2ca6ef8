import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestCentroid

from aecore.analysis import latent
from aecore.analysis.regularity import (
    MEASURED,
    basins,
    coarse,
    comparison,
    precision_and_recall,
    regularity,
    unevenness,
)
from aecore.checks import InvalidValue
from aecore.corruption import GaussianNoise, corrupt
from aecore.data import load
from aecore.runs import fit
from aecore.spec import Spec


def test_precision_and_recall_by_counting():
    random = np.random.default_rng(0)
    real, drawn = random.normal(0, 1, (50, 4)), random.normal(1, 0.5, (40, 4))

    def inside(among, pictures, k=3):
        count = 0
        for picture in pictures:
            for center in among:
                radius = sorted(math.dist(center, fellow) for fellow in among)[k]
                if math.dist(center, picture) <= radius:
                    count += 1
                    break
        return count / len(pictures)

    found = precision_and_recall(torch.from_numpy(real), torch.from_numpy(drawn))
    assert found == pytest.approx((inside(real, drawn), inside(drawn, real)))
    with pytest.raises(InvalidValue, match=r"k=3 .* whole number at least 1 and at most 2"):
        precision_and_recall(torch.rand(4, 2), torch.rand(3, 2))


@pytest.mark.parametrize("count", [100, 20])  # more and fewer than pixels
def test_coarse_shapes_are_scikit_learns_first_components(count):
    source = torch.Generator().manual_seed(0)
    images, others = (torch.rand(n, 1, 5, 6, generator=source) for n in (count, 7))
    pca = PCA(8, svd_solver="full").fit(images.flatten(1).numpy())
    for found, given in zip(coarse(images, others), (images, others), strict=True):
        expected = pca.transform(given.flatten(1).numpy())
        np.testing.assert_allclose(found.abs().numpy(), np.abs(expected), atol=1e-4)
    assert coarse(images[:5])[0].shape == (5, 5)


def test_a_row_for_each_run_whatever_its_architecture(tiny, store, monkeypatch):
    base = Spec(dataset=tiny, epochs=30, batch_size=50, latent_dim=2)
    vae = base.replace(architecture="vae", loss="elbo")
    lost = base.replace(optimizer="sgd", learning_rate=1e20)
    runs = fit([base, vae, vae.replace(latent_dim=5), lost], store=store)
    table = regularity(runs, steps=6, points=12, store=store)
    assert list(table["architecture"]) == ["conv", "vae", "vae", "conv"]
    assert table.loc[3, list(MEASURED)].isna().all(), "diverged"
    assert 0 < table["border_jump"][0] < 2
    assert np.isnan(table["border_jump"][2]), "only a plane has ridges"
    data = load(tiny)
    for run, row in zip(runs[:3], table.itertuples(), strict=False):
        images = data.test_images.float() / 255
        expected = (run.model.decode(run.model.encode(images)) - images).square().mean()
        assert row.mse == pytest.approx(float(expected), rel=1e-5)
        centers = latent.centroids(run.encode(images), data.test_labels)
        uneven = latent.unevenness(run.decode, centers, 6)
        pairs = [float(uneven[a, b]) for a, b in ((0, 1), (0, 2), (1, 2))]
        assert row.unevenness == pytest.approx(np.mean(pairs), rel=1e-3)
        for share in (row.precision, row.recall, row.box_precision, row.box_recall):
            assert 0 <= share <= 1
        assert row.slope_variation > 0
        assert 0 <= row.active_units <= run.spec.latent_dim
        codes = run.encode(images).numpy()
        noisy = run.encode(corrupt(images, GaussianNoise(0.1))).numpy()
        apart = np.square(codes[:, None] - codes).sum(2)
        expected = np.square(noisy - codes).sum(1).mean() / apart[~np.eye(60, dtype=bool)].mean()
        assert row.code_shift == pytest.approx(math.sqrt(expected), rel=1e-3)
    monkeypatch.setattr("aecore.engine.measured.run_jobs", None)
    assert regularity(runs, steps=6, points=12, store=store).equals(table)


def test_planes_and_paths_are_kept_as_numbers(tiny, store):
    base = Spec(dataset=tiny, epochs=30, batch_size=50, latent_dim=2)
    runs = fit([base, base.replace(optimizer="sgd", learning_rate=1e20)], store=store)
    data, classes = load(tiny), runs[0].classes
    found, paths = basins(runs, 12, store=store), unevenness(runs, 6, store=store)
    assert found.loc[1, ["jump", "own", "touch"]].isna().all(), "diverged"
    assert np.isnan(paths[1]).all(), "diverged"
    plane = latent.plane(runs[0], data.test_images, data.test_labels, 12)
    shown, touch = plane.nearest.numpy(), np.zeros((classes, classes), bool)
    for row, column in np.ndindex(shown.shape):
        for other in (shown[row : row + 2, column], shown[row, column : column + 2]):
            touch[shown[row, column], other] = touch[other, shown[row, column]] = True
    np.testing.assert_array_equal(np.array(found["touch"][0]), touch)
    assert found["jump"][0] == plane.jump
    near = NearestCentroid().fit(plane.codes.numpy(), data.test_labels.numpy())
    assert found["own"][0] == pytest.approx(near.score(plane.codes.numpy(), data.test_labels))
    first, last = latent.centroids_of(runs[:1])[0][[0, classes - 1]]
    assert paths[0, 0, -1] == pytest.approx(
        latent.morph(runs[0].decode, first, last, 6).unevenness, rel=1e-5
    )


def test_comparison_has_the_values_of_all_seeds():
    rows = {name: [1.0, 2.0, 3.0] for name in MEASURED}
    both = {("conv", 2): rows, ("VAE", 2): rows | {"border_jump": [np.nan] * 3}}
    cells = comparison({model: pd.DataFrame(of) for model, of in both.items()})["VAE, d = 2"]
    assert list(cells.index) == list(MEASURED.values())
    assert cells["precision of draws"] == [1, 2, 3]
    assert np.isnan(cells[MEASURED["border_jump"]]).all()
    alone = comparison({("VAE", 2): pd.DataFrame(both["VAE", 2])})
    assert {*cells.index} - {*alone.index} == {MEASURED["border_jump"]}
