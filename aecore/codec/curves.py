"""Bytes against error: what quantized codes cost and leave, and curves of that compared."""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from aecore.analysis.errors import test_images
from aecore.codec import files
from aecore.codec.prior import Prior
from aecore.codec.transforms import Autoencoder, Codec, PrincipalComponents, Transform
from aecore.data import Dataset, as_floats, load
from aecore.engine.measured import Asked, Where, answers, frame, of_runs
from aecore.engine.pool import seen
from aecore.models import FAMILIES
from aecore.runs import Run, Runs

VERSION = 1  # goes up whenever a change alters what these functions return
CHOOSING = 5000  # training images, the last, on which what is compared is chosen; or a sixth
COLUMNS = ["step", "estimated", "bytes", "alone", "mse", "psnr"]
COLUMNS += ["train_bytes", "train_mse", "model"]


def autoencoder_rates(
    runs: Sequence[Run], steps: Sequence[float], **where: Unpack[Where]
) -> pd.DataFrame:
    """What every run's codes cost, rounded to multiples of every step, a row each.

    Columns, after those of `measured.frame`: `method`, `weight` (of the rate), `step`; bytes of a
    test image as the prior's ideal length (`estimated`), in one stream with all (`bytes`), and
    `alone`; `mse` and `psnr` (of the mean MSE, in dB) of the decoded bytes in [0, 1]; `train_bytes`
    and `train_mse`, the estimate and the error on the last training images, to choose by; and
    `model`, the bytes of what decodes. NaN for a run that diverged.
    """
    how = {"size": lambda run: len(test_images(run)) * len(steps), **where}
    how["steps"] = [float(step) for step in steps]
    found = of_runs("bytes", VERSION, _of_run, runs, "coding images", **how)
    each = [{"method": FAMILIES[run.spec.architecture].title, "weight": run.spec.rate_weight}
            for run in runs]  # fmt: skip
    rows = [[own | row for row in answer or [{}]] for own, answer in zip(each, found, strict=True)]
    return frame(runs, rows, ["method", "weight", *COLUMNS])


def _of_run(run: Run, steps: Sequence[float]) -> list[dict[str, float]]:
    transform, train = Autoencoder.of(run), _trained_on(run)
    return _rates(transform, steps, train, test_images(run), lambda c: len(files.model_bytes(c)))


def pca_rates(
    data: Dataset,
    dims: Sequence[int],
    steps: Sequence[float],
    train_images: int | None = None,
    **where: Unpack[Where],
) -> pd.DataFrame:
    """The same of d principal components, of the first `train_images` training images.

    Columns as of `autoencoder_rates`. Two bytes a number are taken for what decodes.
    """
    train, steps = data.train_images[:train_images], [float(step) for step in steps]
    dims = sorted({min(d, len(train), train[0].numel()) for d in dims})
    question = {"table": "pca bytes", "version": VERSION, "data": data.digest, "steps": steps}
    question |= {"train_images": len(train)}
    asked = [Asked(question | {"d": d}, (data, len(train), d, steps), len(data.test_images))
             for d in dims]  # fmt: skip
    found = answers(asked, _of_components, "coding principal components", **where)
    of = [{"key": "", "architecture": "PCA", "latent_dim": d, "seed": 0, "method": "PCA"}
          for d in dims]  # fmt: skip
    return frame(of, found, COLUMNS)


def _of_components(
    data: Dataset, count: int, d: int, steps: Sequence[float]
) -> list[dict[str, float]]:
    train = data.train_images[:count]
    components = PrincipalComponents(train, d)
    model = 2 * (d + 1) * train[0].numel()
    return _rates(components, steps, train, data.test_images, lambda codec: model)


def _rates(
    transform: Transform,
    steps: Sequence[float],
    train: Tensor,
    test: Tensor,
    model: Callable[[Codec], int],
) -> list[dict[str, float]]:
    last = train[-min(CHOOSING, max(1, len(train) // 6)) :]
    codes, rows = transform.encode(train), []
    for step in steps:
        codec = Codec.learned(transform, step, codes)
        row: dict[str, Any] = {"step": step, "model": model(codec)}
        numbers = codec.encode(last)
        row["train_bytes"] = codec.prior.bits(numbers).mean() / 8
        row["train_mse"] = mean_squared_error(codec.decode(numbers), last)
        numbers, prior = codec.encode(test), codec.prior
        row["estimated"] = prior.bits(numbers).mean() / 8
        row["bytes"] = len(prior.encode_stream(numbers)) / len(test)
        row["alone"] = np.mean([len(prior.encode(one)) for one in numbers])
        row["mse"] = mean_squared_error(codec.decode(numbers), test)
        rows.append(row | {"psnr": psnr(row["mse"])})
        seen(len(test))
    return rows


def mean_squared_error(decoded: Tensor, images: Tensor) -> float:
    """Mean over all pixels of the squared difference of uint8 images, in [0, 1]."""
    difference = decoded.numpy().astype(np.int32) - images.numpy()
    return float(np.square(difference).mean(dtype=float) / 255**2)


def psnr(mse: Any) -> Any:
    """The peak signal-to-noise ratio in dB of a mean squared error of pixels in [0, 1]."""
    with np.errstate(divide="ignore"):
        return -10 * np.log10(mse)


def frontier(rates: pd.DataFrame) -> pd.DataFrame:
    """The rows worth choosing, of each `method` and `seed`: in order of bytes.

    Those on the lower convex hull of error against bytes on training images, which are all that a
    weighted sum of both can ask for. The test images have no say.
    """
    groups = rates.dropna(subset="mse").groupby(["method", "seed"], sort=False)
    parts = [rows.iloc[_hull(rows["train_bytes"], rows["train_mse"])] for _, rows in groups]
    return pd.concat(parts, ignore_index=True)


def _hull(x: Sequence[float], y: Sequence[float]) -> list[int]:
    """Which points are on the lower left convex hull, from left to right, while y falls."""
    x, y, hull = np.asarray(x), np.asarray(y), []
    for n in np.lexsort([y, x]):
        if hull and y[n] >= y[hull[-1]]:
            continue
        while len(hull) > 1:
            a, b = hull[-2:]
            if (y[b] - y[a]) * (x[n] - x[a]) < (y[n] - y[a]) * (x[b] - x[a]):
                break
            hull.pop()
        hull.append(n)
    return hull


def compared(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of several, without the rows of runs that diverged."""
    return pd.concat([part for part in parts if len(part)], ignore_index=True).dropna(subset="mse")


def codecs(runs: Sequence[Run], step: float, **where: Unpack[Where]) -> list[Codec | None]:
    """The codec of every run at one step, its prior that of the run's own training images.

    None for a run that diverged.
    """
    how = {"size": lambda run: len(_trained_on(run)), **where, "step": float(step)}
    found = of_runs("prior", VERSION, _prior, runs, "learning priors", **how)
    return [of and Codec(Autoencoder.of(run), float(step),
                         Prior(np.array(of["lows"]), [*map(np.array, of["frequencies"])]))
            for run, of in zip(runs, found, strict=True)]  # fmt: skip


def _prior(run: Run, step: float) -> dict[str, Any]:
    transform, train = Autoencoder.of(run), _trained_on(run)
    prior = Codec.learned(transform, step, transform.encode(train)).prior
    return {"lows": prior.lows, "frequencies": [*prior.frequencies]}


def _trained_on(run: Run) -> Tensor:
    return load(run.spec.dataset).train_images[: run.spec.train_images]


def decoded(runs: Runs, rates: pd.DataFrame, images: Tensor) -> dict[str, Tensor]:
    """Images (N, C, H, W) in [0, 1] as each row of `rates` leaves them, by what it takes.

    `runs` are those of the rows of `autoencoder_rates`; all NaN where one diverged.
    """
    names = [f"{row.bytes:.1f} bytes: d = {row.latent_dim}, step {row.step:g}"
             for row in rates.itertuples()]  # fmt: skip
    return dict(zip(names, _decoded(runs, rates, images), strict=True))


def pictured(
    rates: pd.DataFrame, runs: Sequence[Run], images: Tensor, **where: Unpack[Where]
) -> tuple[pd.DataFrame, Tensor]:
    """`rates` with a column `picture` that numbers pictures (P, C, H, N·W) in [0, 1], and these.

    A picture has `images` (N, C, H, W), uint8, side by side as a row of one of `runs` leaves them;
    other rows have none.
    """
    own = rates[rates["key"].isin([run.key for run in runs])]
    drawn = [torch.cat([*of], -1) for of in _decoded(runs, own, images, **where)]
    numbers = pd.Series(range(len(own)), own.index, dtype=object)
    return rates.assign(picture=numbers.reindex(rates.index, fill_value=None)), torch.stack(drawn)


def _decoded(
    runs: Sequence[Run], rates: pd.DataFrame, images: Tensor, **where: Unpack[Where]
) -> list[Tensor]:
    of, made = {run.key: run for run in runs}, {}
    for step, keys in rates.groupby("step")["key"]:
        of_step = codecs([of[key] for key in keys], step, **where)
        made |= {(key, step): codec for key, codec in zip(keys, of_step, strict=True)}
    rows = [made.get((row.key, row.step)) for row in rates.itertuples()]
    nothing = torch.full(images.shape, torch.nan)
    return [as_floats(of.decode(of.encode(images))) if of else nothing for of in rows]


def bytes_at(curves: pd.DataFrame, errors: Sequence[float], column: str = "bytes") -> pd.DataFrame:
    """Bytes at each test MSE, for each `method` a row of lists, one value a seed.

    Along each curve straight lines in both logarithms; NaN where a curve does not reach.
    """
    found = {}
    for key, rows in curves.groupby(["method", "seed"], sort=False):
        rows = rows.sort_values("mse")
        logs = np.log(rows["mse"]), np.log(rows[column])
        found[key] = np.exp(np.interp(np.log(errors), *logs, left=np.nan, right=np.nan))
    table = pd.DataFrame(found.values(), pd.MultiIndex.from_tuples(found), errors)
    return table.groupby(level=0, sort=False).agg(list).rename_axis("method")


def always_fewer(needed: pd.DataFrame, method: str, other: str) -> bool | None:
    """Whether a method takes fewer bytes than another at every error that a seed of each gets to.

    `needed` is a table of `bytes_at`; each seed counts. None, so that nothing is said, where they
    share no error, or one of them is not there.
    """
    shared = []
    if not {method, other} <= set(needed.index):
        return None
    for error in needed:
        one, two = (np.array(needed.loc[name, error]) for name in (method, other))
        one, two = one[np.isfinite(one)], two[np.isfinite(two)]
        shared += [one.max() < two.min()] if len(one) and len(two) else []
    return all(shared) if shared else None


def with_model(curves: pd.DataFrame, error: float, counts: Sequence[int]) -> pd.DataFrame:
    """Bytes an image at a test MSE when the model is in the file, by how many images share it.

    For each `method` that has a model a row of lists, one value a seed.
    """
    own = curves.dropna(subset="model")
    codes, models = (bytes_at(own, [error], column)[error] for column in ("bytes", "model"))
    each = {f"{count:,} images": codes.map(np.array) + models.map(np.array) / count
            for count in counts}  # fmt: skip
    return pd.DataFrame(each)


def bd_rate(rates: Sequence[Sequence[float]], quality: Sequence[Sequence[float]]) -> float:
    """How many percent more bytes the second of two curves takes for the same quality, on average.

    Bjøntegaard's delta (VCEG-M33, 2001) of `rates` and PSNRs: the mean distance of the logarithms
    over the qualities that both have, by monotone cubics (PCHIP) through the points. NaN where
    there are no such, or a curve has a single point.
    """
    curves = []
    for of, q in zip(rates, quality, strict=True):
        q, first = np.unique(np.asarray(q, float), return_index=True)
        if len(q) < 2:
            return float("nan")
        curves.append(PchipInterpolator(q, np.log(np.asarray(of, float)[first])))
    low, high = max(c.x[0] for c in curves), min(c.x[-1] for c in curves)
    if low >= high:
        return float("nan")
    one, other = (float(curve.integrate(low, high)) / (high - low) for curve in curves)
    return float(np.expm1(other - one) * 100)


def bd_rates(curves: pd.DataFrame, against: str) -> dict[str, list[float]]:
    """`bd_rate` of every other method against one, in percent: of each seed against its first."""
    groups = curves.groupby(["method", "seed"], sort=False)
    base = next(rows for (method, _), rows in groups if method == against)
    found: dict[str, list[float]] = {}
    for (method, _), rows in groups:
        if method != against:
            pairs = [[of[column] for of in (base, rows)] for column in ("bytes", "psnr")]
            found.setdefault(method, []).append(bd_rate(*pairs))
    return found


def bd_table(curves: pd.DataFrame, bases: Sequence[str]) -> pd.DataFrame:
    """`bd_rates` of every method (rows) against each of `bases` (columns), lists over seeds."""
    against = {base: bd_rates(curves, base) for base in bases}
    methods = curves["method"].unique()
    columns = {base: [found.get(name, []) for name in methods] for base, found in against.items()}
    return pd.DataFrame(columns, index=pd.Index(methods, name="method"))
