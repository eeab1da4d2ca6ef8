"""The latent space: centroids, the smoothness surface D(x, y), basins, samples, paths, slopes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from aecore.checks import InvalidValue
from aecore.engine.pool import BATCH, in_threads

Decode = Callable[[Tensor], Tensor]  # codes (N, d) -> images (N, …)


class Coder(Protocol):
    """Anything that encodes and decodes, such as a `Run`."""

    def encode(self, images: Tensor) -> Tensor: ...

    def decode(self, codes: Tensor) -> Tensor: ...


def centroids(codes: Tensor, labels: Tensor) -> Tensor:
    """Mean code (K, d) of each of the K = max(labels) + 1 classes; NaN for a class without images.

    `codes` is (N, d), `labels` int64 (N,).
    """
    classes = int(labels.max()) + 1
    sums = codes.new_zeros(classes, codes.shape[1]).index_add_(0, labels, codes)
    return sums / labels.bincount(minlength=classes)[:, None]


def own_basin(codes: Tensor, labels: Tensor, centroids: Tensor) -> float:
    """Share of `codes` (N, d) whose nearest of the `centroids` (K, d) is that of their own class.

    `labels` is int64 (N,). Chance is 1 / K.
    """
    return float((_nearest(codes, centroids) == labels).float().mean())


def _nearest(points: Tensor, centroids: Tensor) -> Tensor:
    return torch.cdist(points, centroids, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)


@dataclass(frozen=True)
class Surface:
    """D at each point (N,), and the class (N,) of the centroid nearest to it in code space."""

    distance: Tensor
    nearest: Tensor


def distance_surface(decode: Decode, centroids: Tensor, points: Tensor) -> Surface:
    """D(z) = ‖g(z) - g(c(z))‖², with g the decoder and c(z) the centroid nearest to z.

    `centroids` (K, d) and `points` (N, d) are codes; nearness is Euclidean in code space, the
    distance is summed over pixels. From Dainese, "Compressing MNIST dataset with autoencoders", V.
    """
    centers = decode(centroids).flatten(1)

    def measured(part: Tensor) -> tuple[Tensor, Tensor]:
        nearest = _nearest(part, centroids)
        return (decode(part).flatten(1) - centers[nearest]).square_().sum(1), nearest

    distance, nearest = zip(*in_threads(measured, points.split(BATCH)), strict=True)
    return Surface(torch.cat(distance), torch.cat(nearest))


def adjacent(nearest: Tensor) -> set[tuple[int, int]]:
    """Pairs (a, b), a < b, of classes whose basins touch on a grid (rows, columns) of classes."""
    sides = torch.cat(
        [
            torch.stack([nearest[:, :-1].flatten(), nearest[:, 1:].flatten()], 1),
            torch.stack([nearest[:-1].flatten(), nearest[1:].flatten()], 1),
        ]
    )
    pairs = sides[sides[:, 0] != sides[:, 1]].sort(1).values.unique(dim=0)
    return {(a, b) for a, b in pairs.tolist()}


def ridge_ratio(surface: Tensor, nearest: Tensor) -> float:
    """How much steeper D is where the basin changes than inside: ratio of mean |ΔD| of neighbors.

    `surface` and `nearest` are grids (rows, columns). Above 1 there are ridges between basins;
    0/0 and a plane in one basin give NaN.
    """
    steps = torch.cat([surface.diff(dim=0).abs().flatten(), surface.diff(dim=1).abs().flatten()])
    across = torch.cat([nearest.diff(dim=0).flatten(), nearest.diff(dim=1).flatten()]) != 0
    return float(steps[across].mean() / steps[~across].mean())


@dataclass(frozen=True)
class Plane:
    """A 2-D latent space on a square grid: codes (N, 2), centroids (K, 2), `x` and `y` (points,).

    `distance` and `nearest` (points, points), a row for each y, are the `Surface` on the grid.
    """

    codes: Tensor
    centroids: Tensor
    x: Tensor
    y: Tensor
    distance: Tensor
    nearest: Tensor

    @property
    def adjacent(self) -> set[tuple[int, int]]:
        """Pairs of classes whose basins touch."""
        return adjacent(self.nearest)

    @property
    def ridge_ratio(self) -> float:
        """How much steeper D is between basins than inside."""
        return ridge_ratio(self.distance, self.nearest)


def plane(run: Coder, images: Tensor, labels: Tensor, points: int) -> Plane:
    """The plane of a run with d = 2: its centroids' box and a fifth more on each side.

    `images` (N, C, H, W) and `labels` (N,) give the centroids; the grid has `points`² places.
    """
    codes = run.encode(images)
    centers = centroids(codes, labels)
    margin = 0.2 * (centers.amax(0) - centers.amin(0))
    x, y = (
        torch.linspace(float(low), float(high), points)
        for low, high in zip(centers.amin(0) - margin, centers.amax(0) + margin, strict=True)
    )
    # x varies fastest, so that the grid has a row for each y, as plotly wants it.
    places = torch.cartesian_prod(y, x).flip(1)
    surface = distance_surface(run.decode, centers, places)
    shape = (points, points)
    return Plane(codes, centers, x, y, surface.distance.view(shape), surface.nearest.view(shape))


def adjacency(planes: Sequence[Plane]) -> Tensor:
    """Share of `planes` in which two basins touch: (K, K) in [0, 1], NaN on the diagonal."""
    classes = len(planes[0].centroids)
    share = torch.zeros(classes, classes)
    for plane in planes:
        for a, b in plane.adjacent:
            share[a, b] += 1 / len(planes)
    share += share.T.clone()
    return share.fill_diagonal_(torch.nan)


def sample_box(centroids: Tensor, count: int, *, generator: Generator) -> Tensor:
    """Codes (count, d) drawn uniformly from the centroids' bounding box."""
    low, high = centroids.amin(0), centroids.amax(0)
    return low + (high - low) * torch.rand(count, centroids.shape[1], generator=generator)


def sample_normal(codes: Tensor, count: int, *, generator: Generator) -> Tensor:
    """Codes (count, d) from the normal distribution with the mean and covariance of `codes` (N, d).

    An autoencoder without a prior of its own is given this one (Ghosh et al. 2020, sec. 4).
    """
    values, directions = torch.linalg.eigh(torch.cov(codes.T.double()).reshape(codes.shape[1], -1))
    spread = directions * values.clamp(min=0).sqrt()  # a root of the covariance, singular or not
    noise = torch.randn(count, codes.shape[1], generator=generator, dtype=torch.float64)
    return (codes.mean(0) + noise @ spread.T).to(codes.dtype)


def sample_between(codes: Tensor, count: int, *, generator: Generator) -> Tensor:
    """Codes (count, d), each somewhere on the straight way between two of `codes` (N, d)."""
    first, second = torch.randint(len(codes), (2, count), generator=generator)
    way = torch.rand(count, 1, generator=generator)
    return codes[first] + way * (codes[second] - codes[first])


def jacobian_norms(decode: Decode, codes: Tensor, step: float = 0.01) -> Tensor:
    """‖∂g/∂z‖, the Frobenius norm of the decoder's Jacobian, at each of `codes` (N, d): (N,).

    How far the picture moves for a small step of the code, over all directions. Where it is the
    same everywhere, equal distances in the code are equal distances between pictures. By central
    differences of ± `step`.
    """
    squares = codes.new_zeros(len(codes))
    for change in step * torch.eye(codes.shape[1], dtype=codes.dtype):
        moved = decode(codes + change) - decode(codes - change)
        squares += moved.flatten(1).square().sum(1)
    return squares.sqrt() / (2 * step)


def active_units(codes: Tensor, threshold: float = 0.01) -> int:
    """How many of the d numbers of `codes` (N, d) vary from image to image by over `threshold`.

    `codes` are a variational autoencoder's means, whose unused numbers stay at 0; the measure is
    the variance, with the threshold of Burda, Grosse & Salakhutdinov 2016, sec. 5.
    """
    return int((codes.var(0) > threshold).sum())


@dataclass(frozen=True)
class Path:
    """A way through the latent space: codes (steps, d), images (steps, …) and how far each moves.

    `moved` (steps - 1,) is the root of the mean squared change of a pixel from step to step.
    """

    codes: Tensor
    images: Tensor
    moved: Tensor

    @property
    def unevenness(self) -> float:
        """Largest step of the picture over the mean step: 1 is perfectly even."""
        return float(self.moved.max() / self.moved.mean())


def morph(decode: Decode, start: Tensor, end: Tensor, steps: int) -> Path:
    """The straight path from code `start` (d,) to `end` (d,) in `steps` points, decoded."""
    if steps < 2:
        raise InvalidValue(f"steps={steps} is not allowed: must be at least 2")
    way = torch.linspace(0, 1, steps)[:, None]
    codes = start + way * (end - start)
    images = decode(codes)
    moved = images.diff(dim=0).flatten(1).square().mean(1).sqrt()
    return Path(codes, images, moved)


def unevenness(decode: Decode, centroids: Tensor, steps: int) -> Tensor:
    """`Path.unevenness` of the path between every two centroids (K, d): (K, K), NaN on itself."""
    classes = len(centroids)
    values = torch.full((classes, classes), torch.nan)
    for a in range(classes):
        for b in range(a):
            path = morph(decode, centroids[a], centroids[b], steps)
            values[a, b] = values[b, a] = path.unevenness
    return values
