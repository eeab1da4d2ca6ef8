"""The latent space: centroids, the smoothness surface D(x, y), basins, samples, paths, slopes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.stats import binomtest
from torch import Generator, Tensor

from aecore import checks
from aecore.data import load
from aecore.engine.pool import BATCH, in_threads
from aecore.runs import Run

Decode = Callable[[Tensor], Tensor]  # codes (N, d) -> images (N, …)

PATHS = 50  # between two classes that are decoded at once


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


def distance_surface(decode: Decode, centroids: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """D(z) = ‖g(z) - g(c(z))‖² at each point (N,), and the class (N,) of c(z).

    `centroids` (K, d) and `points` (N, d) are codes; nearness is Euclidean in code space, the
    distance is summed over pixels. From Dainese, "Compressing MNIST dataset with autoencoders", V.
    """
    centers = decode(centroids).flatten(1)

    def measured(part: Tensor) -> tuple[Tensor, Tensor]:
        nearest = _nearest(part, centroids)
        theirs = centers.index_select(0, nearest)  # a copy: what follows needs no further array
        return theirs.sub_(decode(part).flatten(1)).square_().sum(1), nearest

    distance, nearest = zip(*in_threads(measured, points.split(BATCH)), strict=True)
    return torch.cat(distance), torch.cat(nearest)


@dataclass(frozen=True)
class Plane:
    """A 2-D latent space on a square grid: codes (N, 2), centroids (K, 2), `x` and `y` (points,).

    The grid goes `plane`'s margin beyond the `corners` (2, 2) of the box around the centroids.
    `distance` and `nearest` (points, points), a row for each y, are `distance_surface` on the grid;
    `jump` is its `border_jump`.
    """

    codes: Tensor
    centroids: Tensor
    corners: Tensor
    x: Tensor
    y: Tensor
    distance: Tensor
    nearest: Tensor
    jump: float


def border_jump(decode: Decode, centroids: Tensor, grid: Tensor, nearest: Tensor) -> float:
    """How far D jumps where the basin changes, over its mean height there: 0 if it is continuous.

    `grid` (rows, columns, 2) are places and `nearest` (rows, columns) their basins. D is taken
    from both sides exactly where a line of the grid crosses from one basin to the next, so that a
    finer grid finds the same jump. At most 2; NaN for a plane in one basin.
    """
    places, sides = [], []
    for axis in (0, 1):
        start, end = (grid.narrow(axis, n, grid.shape[axis] - 1) for n in (0, 1))
        own, other = (nearest.narrow(axis, n, nearest.shape[axis] - 1) for n in (0, 1))
        across = own != other
        start, end, pair = start[across], end[across], torch.stack([own[across], other[across]])
        # Farther from the other's centroid than from one's own, squared: linear along the line.
        lead = [(p[None] - centroids[pair]).square().sum(2).diff(dim=0)[0] for p in (start, end)]
        places.append(start + (lead[0] / (lead[0] - lead[1]))[:, None] * (end - start))
        sides.append(pair)
    pictures, centers = decode(torch.cat(places)).flatten(1), decode(centroids).flatten(1)
    heights = (pictures - centers[torch.cat(sides, 1)]).square().sum(2)  # (2, crossings)
    return float(heights.diff(dim=0).abs().mean() / heights.mean())


def plane(run: Run, images: Tensor, labels: Tensor, points: int, margin: float = 0.2) -> Plane:
    """The plane of a run with d = 2: its `corners`' box and this part of it more on each side.

    `images` (N, C, H, W) and `labels` (N,) give the centroids; the grid has `points`² places.
    """
    codes = run.encode(images)
    centers = centroids(codes, labels)
    low, high = box = corners(codes, centers)
    more = margin * (high - low)
    ends = zip((low - more).tolist(), (high + more).tolist(), strict=True)
    x, y = (torch.linspace(start, end, points) for start, end in ends)
    # x varies fastest, so that the grid has a row for each y, as plotly wants it.
    grid = torch.cartesian_prod(y, x).flip(1)
    surface = distance_surface(run.decode, centers, grid)
    distance, nearest = (values.view(points, points) for values in surface)
    jump = border_jump(run.decode, centers, grid.view(points, points, 2), nearest)
    return Plane(codes, centers, box, x, y, distance, nearest, jump)


def corners(codes: Tensor, centroids: Tensor) -> Tensor:
    """The lowest and the highest corner (2, d) of the box around `centroids` (K, d).

    A single one has no box: then of that which holds nine tenths of each number of `codes` (N, d).
    """
    if len(centroids) > 1:
        return torch.stack([centroids.amin(0), centroids.amax(0)])
    return codes.quantile(torch.tensor([0.05, 0.95]), dim=0)


def borders(nearest: Tensor, classes: int) -> Tensor:
    """Which of so many basins touch on the grid `nearest` (rows, columns): bool (K, K)."""
    touch = torch.zeros(classes, classes, dtype=torch.bool)
    touch[nearest[:, :-1], nearest[:, 1:]] = True
    touch[nearest[:-1], nearest[1:]] = True
    return touch | touch.T


def adjacency(touch: Sequence[ArrayLike]) -> np.ndarray:
    """Share of planes, given by `borders`, in which two basins touch: (K, K), NaN on itself."""
    share = np.mean([np.asarray(one, dtype=float) for one in touch], axis=0)
    np.fill_diagonal(share, np.nan)
    return share


def touching(touch: Sequence[ArrayLike], pairs: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """How often the basins of each of `pairs` of classes touch: a row each.

    `touch` are the `borders` of every plane. Columns: `share` of the planes, `low` and `high` of
    its 95 % interval (Wilson's), `base`, the mean share of all pairs of classes, and `adjacent`:
    whether the whole interval lies above the base, False where it lies below, else None.
    """
    shares, n = adjacency(touch), len(touch)
    base, rows = float(np.nanmean(shares)), {}
    for pair in pairs:
        share = float(shares[pair])
        low, high = binomtest(round(share * n), n).proportion_ci(method="wilson")
        adjacent = True if low > base else False if high < base else None
        rows[pair] = share, low, high, base, adjacent
    columns = ["share", "low", "high", "base", "adjacent"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype=object)


def sample_box(corners: Tensor, count: int, *, generator: Generator) -> Tensor:
    """Codes (count, d) drawn uniformly from the box between two opposite `corners` (2, d)."""
    low, high = corners
    return low + (high - low) * torch.rand(count, len(low), generator=generator)


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

    Where it is the same everywhere, equal distances in the code are equal distances between
    pictures. By central differences of ± `step`.
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


def straight(starts: Tensor, ends: Tensor, points: int) -> Tensor:
    """Straight paths (M, points, …) from `starts` (M, …) to `ends` (M, …): of codes or images."""
    way = torch.linspace(0, 1, points).view(-1, *[1] * (starts.dim() - 1))
    return starts[:, None] + way * (ends - starts)[:, None]


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
        """Largest step of the picture over the mean step: 1 is even, as is a way without steps."""
        return float(self.moved.max() / self.moved.mean()) if self.moved.any() else 1.0


def morph(decode: Decode, start: Tensor, end: Tensor, steps: int) -> Path:
    """The straight path from code `start` (d,) to `end` (d,) in `steps` points, decoded."""
    [codes] = straight(start[None], end[None], checks.whole("steps", steps, 2))
    images = decode(codes)
    moved = images.diff(dim=0).flatten(1).square().mean(1).sqrt()
    return Path(codes, images, moved)


def unevenness(decode: Decode, centroids: Tensor, steps: int) -> Tensor:
    """`Path.unevenness` of the path between every two centroids (K, d): (K, K), NaN on itself."""
    values = torch.full((len(centroids), len(centroids)), torch.nan)
    checks.whole("steps", steps, 2)
    for pairs in torch.combinations(torch.arange(len(centroids))).split(PATHS):
        paths = straight(*centroids[pairs].unbind(1), steps)  # (M, steps, d)
        images = decode(paths.flatten(0, 1)).flatten(1)
        moved = images.unflatten(0, (-1, steps)).diff(dim=1).square().mean(2).sqrt()
        found = torch.where(moved.any(1), moved.amax(1) / moved.mean(1), 1.0)
        values[pairs[:, 0], pairs[:, 1]] = values[pairs[:, 1], pairs[:, 0]] = found
    return values


def sample_prior(count: int, d: int, *, generator: Generator) -> Tensor:
    """Codes (count, d) from N(0, I), the prior of a variational autoencoder."""
    return torch.randn(count, d, generator=generator)


def centroids_of(runs: Sequence[Run]) -> list[Tensor]:
    """Each run's `centroids` of the test images of its data set."""
    pairs = [(run, load(run.spec.dataset)) for run in runs]
    return [centroids(run.encode(data.test_images), data.test_labels) for run, data in pairs]


def fade(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Images (steps, C, H, W) that fade from one (C, H, W) to another, pixel by pixel."""
    return straight(start[None], end[None], steps)[0]


def paths_between(runs: Sequence[Run], images: Tensor, steps: int) -> list[Path]:
    """Each run's straight path between the codes of two images (2, C, H, W)."""
    return [morph(run.decode, *run.encode(images), steps) for run in runs]


def steps_of(paths: Mapping[str, Sequence[Path]]) -> pd.DataFrame:
    """How far each step of the named paths moves the picture: `model`, `step`, `moved`."""
    named = [(name, path.moved.tolist()) for name, group in paths.items() for path in group]
    rows = [(name, *each) for name, moved in named for each in enumerate(moved, 1)]
    return pd.DataFrame(rows, columns=["model", "step", "moved"])
