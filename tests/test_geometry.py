"""The decoder's metric and shortest paths, against surfaces whose geometry is known on paper."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from aecore.analysis import geometry, latent
from aecore.checks import InvalidValue
from aecore.data import load
from aecore.runs import fit
from aecore.spec import Spec
from aecore.store.entries import Store


def sphere(codes):
    """The unit sphere by latitude and longitude, as images of three pixels."""
    theta, phi = codes.T
    return torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], 1)


def bowl(codes):
    return torch.cat([codes, codes.square().sum(1, keepdim=True)], 1)


def test_metric_is_that_of_the_surface_on_paper():
    x, y = codes = torch.tensor([[0.3, -1.2], [2.0, 0.5]]).T
    expected = [[1 + 4 * x * x, 4 * x * y], [4 * x * y, 1 + 4 * y * y]]
    expected = torch.stack([torch.stack(row) for row in expected]).permute(2, 0, 1).double()
    torch.testing.assert_close(geometry.metric(bowl, codes.T), expected)
    area = (1 + 4 * x * x + 4 * y * y).double().sqrt()  # of the bowl over the plane
    stretch = geometry.log_stretch(geometry.metric(bowl, codes.T))
    torch.testing.assert_close(stretch, area.log() / 2)


def test_metric_of_a_network_is_that_of_its_jacobian():
    decode = nn.Sequential(nn.Linear(3, 9), nn.Tanh(), nn.Linear(9, 20)).requires_grad_(False)
    codes = torch.randn(4, 3)
    for code, found in zip(codes, geometry.metric(decode, codes), strict=True):
        jacobian = torch.autograd.functional.jacobian(decode, code).double()
        torch.testing.assert_close(found, jacobian.T @ jacobian)


@pytest.mark.parametrize("points", [50, 200])
def test_shortest_paths_on_the_sphere_are_great_circles(points):
    starts, ends = torch.tensor([[1.0, 0.0], [0.6, 0.2]]), torch.tensor([[1.0, 1.5], [2.2, 1.4]])
    apart = (sphere(starts) * sphere(ends)).sum(1).arccos()
    paths = geometry.geodesics(sphere, starts, ends, points)
    assert paths.shape == (2, points, 2)
    torch.testing.assert_close(paths[:, 0], starts)
    torch.testing.assert_close(paths[:, -1], ends, atol=1e-5, rtol=0)
    torch.testing.assert_close(geometry.lengths(sphere, paths), apart, rtol=2e-3, atol=0)
    around = geometry.lengths(sphere, geometry.straight(starts, ends, points))
    assert around[0] == pytest.approx(1.5 * math.sin(1), rel=1e-3)  # along the parallel


def test_a_linear_decoder_is_straight_and_its_ellipses_are_equal():
    decode = nn.Linear(2, 30).requires_grad_(False)
    starts, ends = torch.randn(5, 2), torch.randn(5, 2)
    paths = geometry.geodesics(decode, starts, ends)
    apart = (decode(starts) - decode(ends)).norm(dim=1)
    torch.testing.assert_close(geometry.lengths(decode, paths), apart, rtol=1e-4, atol=0)
    metrics = geometry.metric(decode, starts)
    assert float(geometry.log_stretch(metrics).std()) < 1e-6
    rings = geometry.indicatrices(starts, metrics, 0.5)
    moved = (decode(rings) - decode(starts)[:, None]).norm(dim=2)
    torch.testing.assert_close(moved, torch.full_like(moved, 0.5), rtol=1e-4, atol=0)
    with pytest.raises(InvalidValue, match="points=2"):
        geometry.geodesics(decode, starts, ends, 2)


def test_geometry_of_runs_is_a_row_each_and_kept(tiny, tmp_path):
    store = Store(tmp_path, layers=())
    runs = fit([Spec(dataset=tiny, latent_dim=d, epochs=1) for d in (2, 3)], store=store)
    found = geometry.geometry(runs, points=5, store=store)
    assert list(found["latent_dim"]) == [2, 3] and not found.isna().any(axis=None)
    assert (found["detour"] >= 1).all() and (found["condition"] >= 1).all()
    assert ((1 / found["latent_dim"] <= found["direction"]) & (found["direction"] <= 1)).all()
    assert geometry.geometry(runs, points=5, store=store).equals(found)


def test_ways_join_all_pairs_of_classes_and_are_kept(tiny, tmp_path):
    store = Store(tmp_path, layers=())
    runs = fit(Spec(dataset=tiny, latent_dim=2, epochs=1), store=store)
    [found] = geometry.ways(runs, 5, store=store)
    [centers] = latent.centroids_of(runs)
    assert found.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert found.paths.shape == (3, 5, 2)
    for end in (0, 1):
        torch.testing.assert_close(found.paths[:, -end], centers[found.pairs[:, end]])
    straight = geometry.straight(*centers[found.pairs].unbind(1), 5)
    for n, paths in enumerate((straight, found.paths)):
        measured = geometry.lengths(runs[0].decode, paths)
        torch.testing.assert_close(found.lengths[:, n], measured, rtol=1e-4, atol=1e-6)
    assert (found.lengths[:, 1] <= found.lengths[:, 0]).all()
    [again] = geometry.ways(runs, 5, store=store)
    assert torch.equal(again.paths, found.paths)


def test_of_many_classes_ten_are_joined():
    centers = torch.arange(60.0).view(30, 2)
    centers[0] = torch.nan  # a class without a test image
    pairs = geometry._pairs(centers)
    assert len(pairs) == 45 and pairs.min() == 1 and pairs.max() == 29
    assert len(pairs.unique()) == 10


def test_a_single_class_has_no_way_to_another(tiny, tmp_path, monkeypatch):
    (run,) = fit(Spec(dataset=tiny, latent_dim=2, epochs=1), store=Store(tmp_path, layers=()))
    data = load(tiny)
    alone = replace(data, test_labels=torch.zeros_like(data.test_labels))
    monkeypatch.setattr(geometry, "load", lambda name: alone)
    found = geometry.measure(run, 5)
    assert math.isnan(found["detour"]) and found["condition"] >= 1
    monkeypatch.setattr(latent, "load", lambda name: alone)
    assert geometry._ways(run, 5) == {"pairs": [], "paths": [], "lengths": []}
