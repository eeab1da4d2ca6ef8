import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aecore.analysis import latent
from aecore.checks import InvalidValue
from aecore.models import build
from aecore.spec import Spec

# Ten points on paper: class 0 around (0, 0), class 1 around (4, 0), class 2 around (0, 6).
CODES = torch.tensor(
    [[-1, 0], [1, 0], [0, 1], [0, -1], [3, 0], [5, 0], [4, 0], [0, 5], [0, 7], [0, 6]],
    dtype=torch.float32,
)
LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
CENTROIDS = torch.tensor([[0.0, 0], [4, 0], [0, 6]])


def decode(codes):
    """Pictures of two pixels: (x, 10 y)."""
    return (codes * torch.tensor([1.0, 10.0]))[:, None, None, :]


def test_centroids_by_hand():
    assert torch.equal(latent.centroids(CODES, LABELS), CENTROIDS)
    gap = latent.centroids(CODES[:2], torch.tensor([0, 2]))
    assert gap[1].isnan().all()


def test_distance_surface_by_hand():
    points = torch.tensor([[0.0, 0], [1, 0], [3, 0], [0, 2], [0, 5], [4, 1], [2.5, 1]])
    distance, nearest = latent.distance_surface(decode, CENTROIDS, points)
    assert nearest.tolist() == [0, 0, 1, 0, 2, 1, 1]
    # Squared distances in (x, 10 y): e.g. (0, 5) to centroid (0, 6) is 10² in the picture.
    assert distance.tolist() == [0, 1, 1, 400, 100, 100, 102.25]


def test_own_basin_by_hand():
    assert latent.own_basin(CODES, LABELS, CENTROIDS) == 1
    # Of the ten only (0, 5), (0, 6) and (0, 7) stay nearest to their own: 3 labels of 2.
    moved = torch.tensor([[4.0, 0], [0, 0], [0, 6]])
    assert latent.own_basin(CODES, LABELS, moved) == pytest.approx(0.3)


def test_a_border_s_jump_by_hand():
    """g(x, y) = (x², y): on the border x = 1 of (0, 0) and (2, 0) D is 1 + y² and 9 + y²."""
    places = torch.tensor([[[0.2, y], [1.7, y], [1.9, y]] for y in (0.0, 1, 2)])
    jump = latent.border_jump(
        lambda z: torch.stack([z[:, 0] ** 2, z[:, 1]], 1),
        torch.tensor([[0.0, 0], [2, 0]]), places, torch.tensor([[0, 1, 1]] * 3),
    )  # fmt: skip
    heights = [(1 + y**2, 9 + y**2) for y in (0, 1, 2)]
    assert jump == pytest.approx(8 / np.mean(heights))
    none = latent.border_jump(lambda z: z, CENTROIDS, places, torch.zeros(3, 3, dtype=torch.int))
    assert math.isnan(none)


def test_a_finer_grid_finds_the_same_jump():
    source = torch.Generator().manual_seed(0)
    bend, spread = torch.randn(2, 30, generator=source), torch.randn(30, 50, generator=source)
    codes, labels = 3 * torch.randn(200, 2, generator=source), torch.arange(200) % 6
    coder = SimpleNamespace(
        encode=lambda images: codes, decode=lambda z: torch.tanh(z @ bend) @ spread
    )
    jumps = [latent.plane(coder, None, labels, points).jump for points in (50, 100, 200)]
    assert max(jumps) / min(jumps) < 1.1
    assert jumps[0] > 0.1
    straight = SimpleNamespace(encode=lambda images: codes, decode=lambda z: z @ bend[:, :2])
    identity = SimpleNamespace(encode=lambda images: codes, decode=lambda z: z)
    assert latent.plane(identity, None, labels, 50).jump == pytest.approx(0, abs=1e-4)
    assert latent.plane(straight, None, labels, 50).jump > 0.01  # stretched: not homogeneous


def test_plane_has_a_row_for_each_y():
    class Coder:
        def encode(self, images):
            return CODES

        def decode(self, codes):
            return decode(codes)

    plane = latent.plane(Coder(), torch.empty(10), LABELS, 5)
    assert plane.x.tolist() == pytest.approx([-0.8, 0.6, 2.0, 3.4, 4.8])
    assert plane.y.tolist() == pytest.approx([-1.2, 0.9, 3.0, 5.1, 7.2])
    for row, y in enumerate(plane.y.tolist()):
        for column, x in enumerate(plane.x.tolist()):
            distances = [math.dist((x, y), center) for center in CENTROIDS.tolist()]
            nearest = int(np.argmin(distances))
            assert plane.nearest[row, column] == nearest
            cx, cy = CENTROIDS[nearest].tolist()
            expected = (x - cx) ** 2 + 100 * (y - cy) ** 2
            assert float(plane.distance[row, column]) == pytest.approx(expected, abs=1e-3)


def test_samples_fill_the_box_of_the_centroids():
    corners = latent.corners(torch.empty(0, 2), CENTROIDS)
    samples = latent.sample_box(corners, 2000, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(samples.aminmax(dim=0), ([0, 0], [4, 6]), atol=0.02)
    np.testing.assert_allclose(samples.mean(0), [2, 3], atol=0.1)


def test_of_one_centroid_the_box_is_that_of_nine_tenths_of_the_codes():
    codes = torch.stack([torch.arange(101.0), torch.arange(101.0) ** 2], 1)
    corners = latent.corners(codes, torch.zeros(1, 2))
    torch.testing.assert_close(corners, torch.tensor([[5.0, 25.0], [95.0, 9025.0]]))


def test_morph_by_hand():
    path = latent.morph(decode, CENTROIDS[0], CENTROIDS[1], 5)
    assert path.codes.tolist() == [[0, 0], [1, 0], [2, 0], [3, 0], [4, 0]]
    assert path.images.shape == (5, 1, 1, 2)
    # Each step moves one of two pixels by 1: root of the mean square is sqrt(1/2).
    torch.testing.assert_close(path.moved, torch.full((4,), math.sqrt(0.5)))
    assert path.unevenness == pytest.approx(1)
    jump = latent.morph(lambda z: (z > 2).float(), CENTROIDS[0], CENTROIDS[1], 5)
    assert jump.unevenness == pytest.approx(4)  # the whole way in one of four steps
    still = latent.morph(lambda z: torch.zeros(len(z), 4), *CENTROIDS[:2], 5)
    assert still.unevenness == 1  # of a network that draws one image whatever the code
    values = latent.unevenness(lambda z: (z[:, :1] > 2).float(), CENTROIDS, 5)
    assert values.diagonal().isnan().all()
    assert torch.equal(values.nan_to_num(), values.T.nan_to_num())
    assert values[0, 1] == pytest.approx(4)
    with pytest.raises(InvalidValue, match="steps=1"):
        latent.morph(decode, CENTROIDS[0], CENTROIDS[1], 1)


def test_adjacency_counts_models():
    grids = [latent.borders(torch.tensor(nearest), 3)
             for nearest in ([[0, 1], [2, 2]], [[0, 0], [2, 2]], [[0, 0, 1]])]  # fmt: skip
    share = latent.adjacency(grids[:2])
    assert np.nan_to_num(share, nan=-1).tolist() == [[-1, 0.5, 1], [0.5, -1, 0.5], [1, 0.5, -1]]
    assert latent.adjacency(grids[2:])[2, :2].tolist() == [0, 0]
    table = latent.touching(20 * grids[2:], [(0, 1), (0, 2)])  # one pair of three touches, always
    assert table["base"].tolist() == pytest.approx([1 / 3] * 2)
    assert table["adjacent"].tolist() == [True, False]
    assert table["low"].iloc[0] == pytest.approx(20 / (20 + 1.959964**2))  # Wilson 1927, for 1
    assert latent.touching(grids[2:], [(0, 1)])["adjacent"].tolist() == [None]
    assert latent.touching(grids, []).empty


def test_normal_samples_have_the_codes_mean_and_covariance():
    codes = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
    codes = codes @ torch.tensor([[1.0, 2, 0], [0, 1, 0], [0, 0, 0]]) + torch.tensor([5.0, 0, 7])
    samples = latent.sample_normal(codes, 20000, generator=torch.Generator().manual_seed(0))
    assert samples.dtype == codes.dtype
    np.testing.assert_allclose(samples.mean(0), codes.mean(0), atol=0.06)
    np.testing.assert_allclose(np.cov(samples.numpy().T), np.cov(codes.numpy().T), atol=0.15)
    assert (samples[:, 2] == 7).all(), "a number without spread stays what it is"
    single = latent.sample_normal(codes[:, :1], 4, generator=torch.Generator().manual_seed(0))
    assert single.shape == (4, 1)


def test_samples_between_two_codes_lie_on_the_straight_way():
    codes = torch.tensor([[0.0, 0], [4, 4]])
    samples = latent.sample_between(codes, 1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(samples[:, 0], samples[:, 1])
    assert samples.min() >= 0
    assert samples.max() <= 4
    inside = samples[(samples[:, 0] > 0) & (samples[:, 0] < 4)]
    assert 400 < len(inside) < 600, "half of the pairs are of two different codes"
    assert 1.8 < inside.mean() < 2.2


def test_jacobian_norms_by_hand_and_by_automatic_differentiation():
    # ∂(x, 10 y)/∂(x, y) is diag(1, 10) everywhere.
    np.testing.assert_allclose(latent.jacobian_norms(decode, CODES), math.sqrt(101), rtol=1e-3)
    curved = latent.jacobian_norms(lambda z: z.square(), torch.tensor([[1.0, 2], [0, 3]]))
    np.testing.assert_allclose(curved, [math.sqrt(4 + 16), 6], rtol=1e-3)
    model = build(Spec(latent_dim=3), (1, 28, 28)).double().requires_grad_(False)
    codes = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = [
        torch.autograd.functional.jacobian(lambda z: model.decode(z[None]), code).norm()
        for code in codes
    ]
    np.testing.assert_allclose(latent.jacobian_norms(model.decode, codes, 1e-5), exact, rtol=1e-6)


def test_active_units_are_those_that_vary():
    random = np.random.default_rng(0)
    codes = torch.from_numpy(random.normal(0, [1.0, 0.2, 0.05, 0.0], (5000, 4)))
    assert latent.active_units(codes) == 2  # variances 1, 0.04, 0.0025, 0
    assert latent.active_units(codes, threshold=0.001) == 3
