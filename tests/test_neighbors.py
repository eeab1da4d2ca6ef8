"""Neighbors against scikit-learn and faiss, and what is kept of them against direct counts."""

import shutil
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness as scikit_trustworthiness
from sklearn.neighbors import NearestNeighbors

from aecore.analysis import neighborhood
from aecore.analysis import pairs as allpairs
from aecore.analysis.neighborhood import keeping, picked
from aecore.analysis.neighbors import (
    agreement,
    examples,
    fitting,
    nearest,
    ranks,
    score,
    trustworthiness,
)
from aecore.analysis.pairs import nearest_of_all
from aecore.checks import InvalidValue
from aecore.data import load
from aecore.engine.pool import reproducible
from aecore.page import live as widgets
from aecore.runs import fit
from aecore.spec import Spec

ASSETS = Path(__file__).parent.parent / "book" / "assets"
SCRIPTS, STYLE = (ASSETS / "parts.js", ASSETS / "live.js"), ASSETS / "style.css"

PLAIN = {"L1": "manhattan", "L2": "euclidean"}
FAISS = {"L1": faiss.METRIC_L1, "L2": faiss.METRIC_L2}


def byte_images(count, shape=(1, 28, 28), seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *shape), generator=source, dtype=torch.uint8)


def brute(points, k, metric):
    plain = NearestNeighbors(n_neighbors=k, algorithm="brute", metric=PLAIN[metric]).fit(points)
    return plain.kneighbors(return_distance=False)


def nearest_images(images, rows, k, metric):
    return nearest(images, k, rows=np.asarray(rows), metric=metric)


def nearest_points(points, rows, k, metric):
    return nearest(points, k, rows=rows, metric=metric)


def among_all(images, rows, k, metric):
    return nearest_of_all(images, k, metric)[0][rows.numpy()]


searches = pytest.mark.parametrize("search", [nearest_images, among_all])


@searches
@pytest.mark.parametrize("metric", ["L1", "L2"])
def test_images_nearest_are_scikit_learns_and_faiss(search, metric, monkeypatch):
    monkeypatch.setattr(allpairs, "TILE", 70)
    monkeypatch.setattr(allpairs, "EXACT", 100)
    images = byte_images(300, (3, 13, 10))
    pixels, rows = images.flatten(1).numpy().astype(np.float32), np.arange(20, 270)
    found = search(images, torch.from_numpy(rows), 12, metric)
    assert not (found == rows[:, None]).any()
    # By their distances, for in L1 some of them are equally far.
    order = 1 if metric == "L1" else 2
    far = np.linalg.norm(pixels[found] - pixels[rows][:, None], axis=2, ord=order)
    plain = NearestNeighbors(n_neighbors=12, algorithm="brute", metric=PLAIN[metric]).fit(pixels)
    np.testing.assert_allclose(far, plain.kneighbors()[0][20:270], rtol=1e-6)
    index = faiss.IndexFlat(pixels.shape[1], FAISS[metric])
    index.add(pixels)
    theirs = index.search(pixels[rows], 13)[0][:, 1:]
    np.testing.assert_allclose(far**order, theirs, rtol=1e-5)


@searches
def test_distances_that_floats_would_round_are_told_apart(search):
    """Two squares above 2^24 that differ by 1 are one number in float32."""
    images = torch.zeros(4, 784, dtype=torch.uint8)
    images[1:, :400] = 250
    images[1, 500:502] = torch.tensor([2, 1])
    images[2, 500] = 2
    images[3, 500] = 1
    np.testing.assert_array_equal(search(images, torch.tensor([0]), 3, "L2"), [[3, 2, 1]])


@searches
@pytest.mark.parametrize("metric", ["L1", "L2"])
def test_images_of_many_pixels_are_told_apart(search, metric):
    """Squares above 2^31."""
    images = torch.zeros(3, 40_000, dtype=torch.uint8)
    images[1], images[2] = 255, 254
    np.testing.assert_array_equal(search(images, torch.tensor([0, 1]), 2, metric), [[2, 1], [2, 0]])


@searches
@pytest.mark.parametrize("metric", ["L1", "L2"])
def test_equally_far_images_come_in_their_order_without_the_image_itself(search, metric):
    images = torch.tensor([[5], [5], [5], [7], [3], [5]], dtype=torch.uint8)
    found = search(images, torch.tensor([2, 3]), 5, metric)
    np.testing.assert_array_equal(found, [[0, 1, 5, 3, 4], [0, 1, 2, 5, 4]])


@pytest.mark.parametrize("d", [2, 30])  # by a tree, and by faiss
@pytest.mark.parametrize("metric", ["L1", "L2"])
def test_points_nearest_are_scikit_learns(d, metric):
    points = np.random.default_rng(0).normal(size=(400, d)).astype(np.float32)
    rows = np.arange(100, 400)
    found = nearest_points(points, rows, 30, metric)
    np.testing.assert_array_equal(found, brute(points, 30, metric)[100:])
    plain = NearestNeighbors(n_neighbors=9, algorithm="brute", metric=PLAIN[metric])
    expected = plain.fit(points[:200]).kneighbors(points[200:], return_distance=False)
    others = nearest(points[:200], 9, queries=torch.from_numpy(points[200:]), metric=metric)
    np.testing.assert_array_equal(others, expected)


def test_points_in_one_place_are_never_their_own_neighbors():
    rows = np.arange(50)
    found = nearest_points(np.zeros((50, 2)), rows, 5, "L2")
    assert found.shape == (50, 5)
    assert not (found == rows[:, None]).any()
    assert all(len(set(row)) == 5 for row in found.tolist())


def test_scores_and_agreement_are_a_direct_count():
    random = np.random.default_rng(1)
    before, after = (
        np.array([random.permutation([j for j in range(50) if j != i])[:20] for i in range(50)])
        for _ in range(2)
    )
    labels = random.integers(0, 4, 50)
    for k in (1, 7, 20):
        kept, same = score(before, after, k), agreement(after, labels, k)
        for i in range(50):
            common = sum(j in after[i, :k].tolist() for j in before[i, :k].tolist())
            assert kept[i] == common / k
            assert same[i] == sum(labels[j] == labels[i] for j in after[i, :k]) / k


@pytest.mark.parametrize("k", [1, 5, 24])
def test_trustworthiness_is_scikit_learns_and_continuity_the_other_way_round(k):
    random = np.random.default_rng(2)
    wide, flat = random.normal(size=(50, 8)), random.normal(size=(50, 2))
    own = np.arange(50)
    before, after = (ranks(np.linalg.norm(x[:, None] - x[None], axis=2), own) for x in (wide, flat))
    expected = scikit_trustworthiness(wide, flat, n_neighbors=k)
    assert trustworthiness(before, after, k) == pytest.approx(expected, abs=1e-12)
    swapped = scikit_trustworthiness(flat, wide, n_neighbors=k)
    assert trustworthiness(after, before, k) == pytest.approx(swapped, abs=1e-12)
    assert trustworthiness(before, before, k) == 1


def test_what_cannot_be_asked_is_refused_in_one_line():
    images, points = byte_images(10), np.zeros((10, 2))
    for k in (0, 10):
        with pytest.raises(InvalidValue, match=f"k={k} is not allowed: .* at most 9"):
            nearest_images(images, torch.arange(2), k, "L1")
        with pytest.raises(InvalidValue, match=f"k={k} is not allowed: .* at most 9"):
            nearest_of_all(images, k, "L1")
        with pytest.raises(InvalidValue, match=f"k={k} is not allowed: .* at most 9"):
            nearest_points(points, np.arange(2), k, "L1")
    with pytest.raises(InvalidValue, match="metric='L3' is not allowed: must be one of L1, L2"):
        nearest_images(images, torch.arange(2), 1, "L3")
    with pytest.raises(InvalidValue, match="metric='L3' is not allowed: must be one of L1, L2"):
        nearest_of_all(images, 1, "L3")
    with pytest.raises(InvalidValue, match=r"k=5 is not allowed: .* at most 4"):
        trustworthiness(*[ranks(np.ones((10, 10)), np.arange(10))] * 2, 5)


def test_the_k_that_fit_and_the_examples():
    assert fitting([5, 10, 20], 11) == [5, 10]
    assert fitting([50, 100], 30) == [29]
    assert examples(torch.tensor([1, 0, 1, 1, 0]), 4) == [1, 4, 0, 2]


def order_by_distance(values, metric):
    """All others by the distance in full, equally far ones in their order."""
    power = 1 if metric == "L1" else 2
    distances = (np.abs(values[:, None] - values[None]) ** power).sum(2)
    np.fill_diagonal(distances, np.inf)
    return distances.argsort(1, kind="stable")


@pytest.fixture
def run(tiny, store):
    # Linear, so that no two images have the same code and each order is the only right one.
    linear = {"activation": "linear", "output_activation": "linear"}
    spec = Spec(dataset=tiny, architecture="dense", latent_dim=2, epochs=2, **linear)
    return fit([spec], store=store)[0]


def test_what_is_kept_by_each_way_of_coding(tiny, store, run, monkeypatch):
    ways, ks = {"dense": [run], "PCA": ["PCA"], "t-SNE": ["t-SNE"]}, [3, 10]
    monkeypatch.setattr(allpairs, "TILE", 90)  # so that the search is in several parts
    table = keeping(ways, tiny, 200, ks, tsne_images=60, store=store)
    assert len(table) == 3 * 2 * 2
    assert list(table.groupby("model", sort=False)["images"].first()) == [200, 200, 60]
    data = load(tiny)
    images, labels = data.train_images[:200], data.train_labels[:200].numpy()
    with reproducible():  # else the codes' last bits differ, and with them a neighbor
        pixels, codes = images.flatten(1).double().numpy(), run.encode(images).double().numpy()
    for metric in ("L1", "L2"):
        before, after = (order_by_distance(values, metric) for values in (pixels, codes))
        for k in ks:
            row = table.query("model == 'dense' and metric == @metric and k == @k").iloc[0]
            shares = np.array(
                [len(set(b[:k]) & set(a[:k])) / k for b, a in zip(before, after, strict=True)]
            )
            rates = [(labels[n[:, :k]] == labels[:, None]).mean(1) for n in (before, after)]
            assert row["score"] == pytest.approx(shares.mean())
            assert row["by_label"] == pytest.approx([shares[labels == c].mean() for c in range(3)])
            assert (row["before"], row["after"]) == pytest.approx([rate.mean() for rate in rates])
            assert row["difference"] == pytest.approx(np.abs(rates[0] - rates[1]).sum())
            if metric == "L2":
                expected = scikit_trustworthiness(pixels, codes, n_neighbors=k)
                assert row["trustworthiness"] == pytest.approx(expected, abs=1e-4)  # up to ties
                swapped = scikit_trustworthiness(codes, pixels, n_neighbors=k)
                assert row["continuity"] == pytest.approx(swapped, abs=1e-4)
    assert table.query("metric == 'L1'")["trustworthiness"].isna().all()
    # With the answers alone, as they are published, nothing is searched for.
    shutil.rmtree(store.root / "neighborhoods")
    monkeypatch.setattr(neighborhood, "nearest_of_all", None)
    assert keeping(ways, tiny, 200, ks, tsne_images=60, store=store).equals(table)
    by_l2 = keeping(ways, tiny, 200, ks, tsne_images=60, metrics=["L2"], store=store)
    assert by_l2.equals(table.query("metric == 'L2'").reset_index(drop=True))
    with pytest.raises(InvalidValue, match="metric='cosine'"):
        keeping(ways, tiny, 200, ks, tsne_images=60, metrics=["cosine"], store=store)


def test_what_is_kept_of_test_images_is_apart_from_that_of_training_images(tiny, store, run):
    """As if these were the training images of another data set; t-SNE is fitted to them."""
    data, ways = load(tiny), {"dense": [run], "t-SNE": ["t-SNE"]}
    trained = keeping(ways, tiny, 60, [5], 60, store=store)
    tested = keeping(ways, tiny, 60, [5], 60, tested=True, store=store)
    pixels = data.test_images.flatten(1).double().numpy()
    with reproducible():
        codes = run.encode(data.test_images).double().numpy()
    (found,) = neighborhood.codes_of([run], 60, tested=True, store=store)
    np.testing.assert_allclose(found, codes, atol=6e-4)
    placed = neighborhood.embedding(tiny, 60, tested=True, store=store)
    before = brute(pixels, 5, "L2")
    for name, points in {"dense": codes, "t-SNE": placed}.items():
        row = tested[(tested["model"] == name) & (tested["metric"] == "L2")].iloc[0]
        after = order_by_distance(points, "L2")[:, :5]
        shares = [len(set(b) & set(a)) / 5 for b, a in zip(before, after, strict=True)]
        assert row["score"] == pytest.approx(np.mean(shares), abs=0.01)  # up to ties
    assert not tested["score"].equals(trained["score"])


def test_k_beyond_the_images_are_refused_before_anything_is_searched(tiny, store, run):
    with pytest.raises(InvalidValue, match=r"k=60 is not allowed: .* at most 59"):
        keeping({"dense": [run], "t-SNE": ["t-SNE"]}, tiny, 200, [5, 60], 60, store=store)
    with pytest.raises(InvalidValue, match=r"k=201 is not allowed: .* at most 200"):
        keeping({"dense": [run]}, tiny, None, [201], store=store)


def test_the_neighbors_that_can_be_picked(tiny, store, run):
    found = picked({"dense": run}, tiny, 100, [4, 50], k=6, store=store)
    images = load(tiny).train_images[:100]
    np.testing.assert_array_equal(
        found["before"], nearest_images(images, torch.tensor([4, 50]), 6, "L2")
    )
    codes = run.encode(images).double().numpy()
    np.testing.assert_array_equal(found["dense"], brute(codes, 6, "L2")[[4, 50]])


@pytest.mark.parametrize(
    ("labels", "marks", "sentence"),
    [
        (
            [0, 0, 0, 1, 1, 1],
            [["same", "same"], ["same kept", "other"]],
            "Of the same class as this 1: by pixels: 2 of 2, by code: 1 of 2.",
        ),
        ([0] * 6, [["same", "same"], ["same kept", "same"]], "Also by pixels: by code: 1 of 2."),
    ],
    ids=["classes", "no labels"],
)
def test_a_picked_image_shows_its_neighbors_before_and_after(
    shown, browser, labels, marks, sentence
):
    images = torch.zeros(6, 1, 12, 10)
    images[5] = 1
    near = {"by pixels": np.array([[1, 2], [5, 3]]), "by code": np.array([[2, 4], [3, 0]])}
    widgets.neighbor_picker(images, labels, near, [0, 4], "Pick one.")
    page = browser.new_page(viewport={"width": 900, "height": 700})
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    scripts = "".join(f"<script>{path.read_text()}</script>" for path in SCRIPTS)
    page.set_content(f"<style>{STYLE.read_text()}</style>{scripts}")
    page.evaluate(
        "html => { document.body.innerHTML = html;"
        " document.dispatchEvent(new Event('DOMContentLoaded')); }",
        "".join(bundle["text/html"] for bundle in shown),
    )
    page.wait_for_selector(".aecore-neighbors[data-drawn] .stage canvas")
    page.click(".choices button:nth-child(2)")
    classes = page.eval_on_selector_all(
        ".stage .strip", "rows => rows.map(row => [...row.children].map(c => c.className))"
    )
    shown = page.eval_on_selector(
        ".stage canvas", "c => c.getContext('2d').getImageData(5, 5, 1, 1).data[0]"
    )
    said = page.inner_text(".aecore-neighbors output")
    assert page.get_attribute(".choices button:nth-child(2)", "aria-pressed") == "true"
    assert errors == []
    plain = [[c.removeprefix("aecore-image ") for c in row] for row in classes]
    assert plain == marks
    assert shown > 250  # image 5, the bright one
    assert said == sentence
