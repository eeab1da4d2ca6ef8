"""The geometry that a decoder gives its latent space: how far pictures move, and shortest ways."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor

from aecore import checks
from aecore.analysis import latent
from aecore.analysis.latent import Decode, straight
from aecore.data import load
from aecore.engine.measured import Where, frame, of_runs
from aecore.randomness import generator
from aecore.runs import Run

GEOMETRY = 1  # goes up whenever a change alters what these functions return
PLACES = 500  # codes between those of two test images, at which the metric is taken
PAIRS = 4000  # of test images, whose distances are compared
FINE = 8  # parts into which each piece of a path is cut to measure it
CLASSES = 10  # between which shortest ways are looked for
MODES = 8  # sine waves that bend a path
ROUNDS = 300  # of L-BFGS, at most
NO_WAYS: dict[str, list] = {"pairs": [], "paths": [], "lengths": []}

MEASURED = {
    "stretch_variation": "variation of the stretch (0 is even)",
    "condition": "largest over smallest stretch, squared (1 is round)",
    "direction": "share of one direction in the stretch (1/d is round)",
    "near": "rank correlation of code and picture distances, near",
    "far": "the same, far apart",
    "detour": "straight way over shortest found (1 is straight)",
}


def metric(decode: Decode, codes: Tensor) -> Tensor:
    """The metric G = JᵀJ (N, d, d) that a decoder with Jacobian J gives each of `codes` (N, d).

    A small step v of the code moves the picture by √(vᵀ G v), summed over pixels. Exact, by forward
    differentiation (Arvanitidis, Hansen & Hauberg 2018, Eq. 3, without the variance).
    """
    directions = torch.eye(codes.shape[1], dtype=codes.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that torch tells of itself
        moved = [torch.func.jvp(decode, (codes,), (v.expand_as(codes),))[1] for v in directions]
    jacobian = torch.stack([m.flatten(1) for m in moved], 2).double()  # (N, pixels, d)
    return jacobian.mT @ jacobian


def log_stretch(metrics: Tensor) -> Tensor:
    """log of the geometric mean (N,) of the d stretches, √ of the eigenvalues of G (N, d, d)."""
    return torch.linalg.slogdet(metrics).logabsdet / 2 / metrics.shape[-1]


def indicatrices(places: Tensor, metrics: Tensor, moved: float) -> Tensor:
    """Around each of `places` (N, 2) the codes (N, 25, 2) whose picture has moved so far.

    To first order, by the metrics (N, 2, 2): Tissot's indicatrix, an ellipse; a circle of one size
    everywhere where equal distances in the code are equal distances between pictures.
    """
    turn = torch.linspace(0, 2 * torch.pi, 25, dtype=metrics.dtype)
    stretches, directions = torch.linalg.eigh(metrics)
    axes = moved * directions / stretches.clamp(min=1e-9).sqrt()[:, None]
    circle = torch.stack([turn.cos(), turn.sin()])
    return places[:, None] + (axes @ circle).mT.to(places.dtype)


def over_plane(run: Run, plane: latent.Plane) -> tuple[Tensor, Tensor]:
    """`log_stretch` (points, points) on a plane's grid, and some 12² `indicatrices` on it."""
    decode, points = run.plain().decode, len(plane.x)
    grid = torch.cartesian_prod(plane.y, plane.x).flip(1)
    stretch = log_stretch(metric(decode, grid)).view(points, points)
    every = max(1, points // 12)
    places = grid.view(points, points, 2)[every // 2 :: every, every // 2 :: every].flatten(0, 1)
    step = every * min(plane.x[1] - plane.x[0], plane.y[1] - plane.y[0])
    moved = float(step / 3 * stretch.median().exp())  # so that the middle one fits between two
    return stretch, indicatrices(places, metric(decode, places), moved)


def lengths(decode: Decode, paths: Tensor) -> Tensor:
    """How far the picture moves along each of `paths` (M, points, d), straight from code to code.

    (M,): the sum of the Euclidean distances between pictures, each piece cut into `FINE`.
    """
    parts = torch.arange(FINE)[:, None] / FINE
    start, step = paths[:, :-1, None], paths.diff(dim=1)[:, :, None]
    fine = torch.cat([(start + parts * step).flatten(1, 2), paths[:, -1:]], 1)
    pictures = decode(fine.flatten(0, 1)).flatten(1).unflatten(0, fine.shape[:2])
    return pictures.diff(dim=1).norm(dim=2).sum(1)


def geodesics(decode: Decode, starts: Tensor, ends: Tensor, points: int = 25) -> Tensor:
    """Shortest paths (M, points, d) between codes (M, d), as far as they are found.

    A path is the straight one and `MODES` sine waves, so that more points only measure it finer;
    its discrete energy Σ ‖g(zᵢ₊₁) - g(zᵢ)‖² (Shao, Kumar & Fletcher 2018, Eq. 6) is minimized from
    the straight one on by L-BFGS, so that a shorter way around may be missed. Where nothing is
    gained the straight path is returned.
    """
    checks.whole("points", points, 3)
    paths = straight(starts, ends, points)
    waves = torch.arange(1, MODES + 1) * torch.linspace(0, torch.pi, points)[:, None]
    waves = waves.sin() / torch.arange(1, MODES + 1)  # (points, modes)
    weights = paths.new_zeros(len(paths), MODES, paths.shape[2], requires_grad=True)
    descent = torch.optim.LBFGS([weights], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def energy() -> Tensor:
        descent.zero_grad()
        pictures = decode((paths + waves @ weights).flatten(0, 1)).flatten(1)
        total = pictures.unflatten(0, paths.shape[:2]).diff(dim=1).square().sum() * points
        total.backward()
        return total

    descent.step(energy)
    found = (paths + waves @ weights).detach()
    shorter = lengths(decode, found) < lengths(decode, paths)
    return torch.where(shorter[:, None, None], found, paths)


@dataclass(frozen=True)
class Ways:
    """Shortest ways between pairs of class centroids, and how long they are.

    `pairs` (M, 2) are classes, `paths` (M, points, d) what `geodesics` finds between them,
    `lengths` (M, 2) those of the straight way and of that path. M is 0 where there is one class or
    the run diverged.
    """

    pairs: Tensor
    paths: Tensor
    lengths: Tensor


def ways(runs: Sequence[Run], points: int = 13, **where: Unpack[Where]) -> list[Ways]:
    """The `Ways` of each run between all pairs of its centroids, so many `points` on each.

    Of more than `CLASSES` classes so many are taken, evenly chosen.
    """
    how = {"unit": "models", "points": points, "blank": lambda run: NO_WAYS, **where}
    found = of_runs("ways", GEOMETRY, _ways, runs, "looking for shortest ways", **how)
    return [Ways(**{name: torch.tensor(values) for name, values in of.items()}) for of in found]


def _ways(run: Run, points: int) -> dict[str, Any]:
    [centers], decode = latent.centroids_of([run]), run.plain().decode
    pairs = _pairs(centers)
    if not len(pairs):
        return NO_WAYS
    ends = centers[pairs].unbind(1)
    paths = geodesics(decode, *ends, points)
    both = [lengths(decode, way) for way in (straight(*ends, points), paths)]
    return {"pairs": pairs, "paths": paths, "lengths": torch.stack(both, 1)}


def _pairs(centers: Tensor) -> Tensor:
    """All pairs (M, 2) of the classes that have a center, or of `CLASSES` of them evenly chosen."""
    known = centers.isfinite().all(1).nonzero().flatten()
    if len(known) > CLASSES:
        known = known[torch.linspace(0, len(known) - 1, CLASSES).long()]
    return torch.combinations(known)


def geometry(runs: Sequence[Run], points: int = 25, **where: Unpack[Where]) -> pd.DataFrame:
    """Numbers for the geometry of each run's latent space, a row each; none depends on a grid.

    Columns, after those of `measured.frame`, are those of `MEASURED`. At `PLACES` codes between
    those of two test images: `stretch_variation`, the standard deviation of `log_stretch`;
    `condition`, the median condition number of the metric G; `direction`, the mean of Tr(G²) /
    Tr(G)². Over `PAIRS` pairs of test images, the nearer half by their codes and the farther one:
    Spearman's correlation of the distance of the codes with that of their pictures. `detour` is the
    mean over the pairs of class centroids (`CLASSES` of them at most) of the straight path's length
    over that of `geodesics` with so many `points`; NaN for a single class.
    """
    how = {"unit": "models", "points": points, **where}
    found = of_runs("geometry", GEOMETRY, measure, runs, "measuring geometry", **how)
    return frame(runs, found, list(MEASURED))


def measure(run: Run, points: int) -> dict[str, float]:
    """The columns `MEASURED` of `geometry`, for one run."""
    data, decode = load(run.spec.dataset), run.plain().decode
    codes = run.encode(data.test_images)
    places = latent.sample_between(codes, PLACES, generator=generator(0, "between"))
    metrics = metric(decode, places)
    stretches = torch.linalg.eigvalsh(metrics).clamp(min=torch.finfo(torch.float32).tiny)
    first, second = torch.randint(len(codes), (2, PAIRS), generator=generator(0, "pairs"))
    apart = (codes[first] - codes[second]).norm(dim=1)
    seen = (run.decode(codes[first]) - run.decode(codes[second])).flatten(1).norm(dim=1)
    near = apart <= apart.median()
    centers, detour = latent.centroids(codes, data.test_labels), math.nan
    if len(pairs := _pairs(centers)):
        a, b = centers[pairs].unbind(1)
        ways = straight(a, b, points), geodesics(decode, a, b, points)
        direct, shortest = (lengths(run.decode, way) for way in ways)
        detour = float((direct / shortest).mean())
    return {
        "stretch_variation": float(log_stretch(metrics).std()),
        "condition": float((stretches[:, -1] / stretches[:, 0]).median()),
        "direction": float((stretches.square().sum(1) / stretches.sum(1).square()).mean()),
        "near": float(spearmanr(apart[near], seen[near]).statistic),
        "far": float(spearmanr(apart[~near], seen[~near]).statistic),
        "detour": detour,
    }
