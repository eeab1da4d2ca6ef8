"""How much of the neighborhood of images their codes keep, and what a search by code finds."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import faiss
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from torch import Tensor

from aecore import checks
from aecore.analysis.errors import principal_components, seeds_of
from aecore.analysis.neighbors import METRICS, agreement, nearest, preserved, score
from aecore.analysis.pairs import nearest_of_all
from aecore.analysis.projections import tsne
from aecore.data import as_floats, load
from aecore.engine.measured import Asked, Where, answers, frame, of_runs
from aecore.runs import Run
from aecore.store.entries import Store, digest

# These go up whenever a change alters what the functions return.
NEIGHBORS, KEEPING, RETRIEVAL = 2, 1, 1

LISTED = 200  # neighbors that are stored of each image, after the report
QUERIES = 1000  # images whose ranks trustworthiness and continuity are taken from, at most
MEASURES = ["k", "score", "by_label", "before", "after", "difference"]
MEASURES += ["trustworthiness", "continuity", "search_before", "search_after"]

Way = Run | str | np.ndarray  # a run, "PCA" or "t-SNE"; or points (N, 2) that are there already


def keeping(
    ways: Mapping[str, Sequence[Run | str]],
    dataset: str,
    images: int | None,
    ks: Sequence[int],
    tsne_images: int | None = None,
    tested: bool = False,
    metrics: Sequence[str] = METRICS,
    **where: Unpack[Where],
) -> pd.DataFrame:
    """How much of the neighborhood of the first training images each way of coding keeps.

    If `tested`, of the first test images. `ways` maps a name to runs, "PCA" (fitted to these
    images) or "t-SNE" (of the first `tsne_images`). A row for each way, seed, metric and k, with
    columns `model`, `seed`, `metric` (of `metrics`), `images`, `k`, `score`, `by_label` (the score
    of each class), `before` and `after` (mean label agreement), `difference` (sum over the images
    of its absolute change), `trustworthiness` and `continuity` (both of the L2 ranks of the first
    1000; NaN where not defined), and seconds of all cores: `search_before` and `search_after`. Of a
    run that diverged all measures are NaN.
    Raises `InvalidValue` for another metric, and a k of more than 200 or than there are others.
    """
    data, ks, lists, asked, of = load(dataset), list(ks), {}, [], []
    store = where["store"] = where.get("store") or Store()
    for name, way, metric in ((n, w, m) for n, some in ways.items() for w in some for m in metrics):
        checks.choice("metric", metric, METRICS)
        count = len(_shown(dataset, images, tested)[: tsne_images if way == "t-SNE" else None])
        for k in ks:
            checks.whole("k", k, 1, min(LISTED, count - 1))
        run = way if isinstance(way, Run) else None
        seed = run.spec.seed if run else 0
        of.append({"model": name, "seed": seed, "metric": metric, "images": count})
        question = {"table": "neighbors", "version": KEEPING, "data": data.digest, "images": count}
        question["of"] = run.key if run else checks.choice("way", way, ("PCA", "t-SNE"))
        question |= {"metric": metric, "ks": ks, **_part(tested)}
        arguments: tuple = (way,)
        if not (run and run.diverged) and store.read("table", digest(question)) is None:
            if (count, metric) not in lists:
                lists[count, metric] = originals(dataset, count, metric, store, tested)
            before, seconds = lists[count, metric]
            points = embedding(dataset, count, tested, **where) if way == "t-SNE" else way
            before = before[:, : max(ks)]
            arguments = (points, dataset, count, metric, ks, before, seconds, tested)
        asked.append(Asked(question, arguments, count, {"rows": [{"k": k} for k in ks]}))
    found = answers(asked, _kept, "comparing neighbors", **where)
    rows = [[row | answer for row in answer["rows"]] for answer in found]
    return frame(of, rows, MEASURES)


def by_class(kept: pd.DataFrame, k: int, metric: str) -> pd.DataFrame:
    """The score at k of each class, a row for each model: means over seeds of a `keeping` table."""
    rows = kept[(kept["k"] == k) & (kept["metric"] == metric)].dropna(subset="score")
    scores = pd.DataFrame(rows["by_label"].tolist(), index=rows["model"], dtype=float)
    return scores.groupby(level=0, sort=False).mean()


def by_seed(kept: pd.DataFrame, model: str, metric: str, column: str) -> dict[str, list[float]]:
    """One model's values of a `keeping` table's column, for each k those of its seeds."""
    rows = kept[(kept["model"] == model) & (kept["metric"] == metric)]
    return seeds_of(rows, "k", column, "k = {}")


def cost(kept: pd.DataFrame, runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Seconds for one of each of the named models, mean over seeds.

    `training`, as long as it took where it was trained, and `search_before` and `search_after`, by
    L1 and L2 on one core.
    """
    columns = ["search_before", "search_after"]
    first = kept.drop_duplicates(["model", "seed", "metric"])
    both = first.groupby(["model", "seed"], sort=False, dropna=False)[columns].sum()
    seconds = both.groupby("model", sort=False).mean()
    training = {
        name: np.mean([run.provenance["seconds"] for run in group]) for name, group in runs.items()
    }
    seconds.insert(0, "training", pd.Series(training, dtype=float))
    return seconds


def originals(
    dataset: str, images: int, metric: str, store: Store, tested: bool = False
) -> tuple[np.ndarray, float]:
    """Lists (N, 200) of the nearest by pixels among the first so many images, and seconds.

    Row numbers; fewer than 200 where there are fewer others. The seconds are those of one core,
    where they were searched.
    """
    data = load(dataset)
    question = {"neighbors": NEIGHBORS, "data": data.digest, "images": images, "metric": metric}
    question |= {"listed": LISTED, **_part(tested)}
    key = digest(question)
    if (entry := store.read("neighborhood", key)) is not None:
        return entry.arrays["neighbors"], entry.document["seconds"]
    store.check_writable()
    shown = _shown(dataset, images, tested)
    found, seconds = nearest_of_all(shown, min(LISTED, images - 1), metric)
    document = {"question": question, "seconds": round(seconds, 3)}
    store.write("neighborhood", key, document, {"neighbors": found})
    return found, document["seconds"]


def embedding(
    dataset: str, images: int, tested: bool = False, **where: Unpack[Where]
) -> np.ndarray:
    """The t-SNE (N, 2) of the pixels of the first training or test images, to three decimals."""
    question = {"table": "t-SNE", "version": KEEPING, "data": load(dataset).digest}
    question |= {"images": images, **_part(tested)}
    asked = [Asked(question, (dataset, images, tested), images)]
    return np.array(answers(asked, _embedded, f"t-SNE of {images} images", **where)[0])


def picked(
    ways: Mapping[str, Run],
    dataset: str,
    images: int | None,
    queries: Sequence[int],
    k: int = 10,
    **where: Unpack[Where],
) -> dict[str, np.ndarray]:
    """The k nearest (Q, k), by L2, of `queries` among the first training images: row numbers.

    Under "before" by their pixels, and under each name of `ways` by the codes of its run, unless it
    diverged.
    """
    data, asked = load(dataset), []
    images, queries = len(data.train_images[:images]), list(queries)
    question = {"table": "picked neighbors", "version": KEEPING, "data": data.digest}
    question |= {"images": images, "queries": queries, "k": k}
    for run in (None, *ways.values()):
        of = {"of": run.key if run else "pixels"}
        asked.append(Asked(question | of, (run, dataset, images, queries, k), images))
    found = answers(asked, _picked, "picking neighbors", **where)
    named = zip(("before", *ways), found, strict=True)
    return {name: np.array(rows) for name, rows in named if rows is not None}


def points_of(way: Way, images: Tensor) -> np.ndarray:
    """The codes (N, d), in doubles, of `images` (N, C, H, W) by a run or by PCA into the plane.

    Raises `InvalidValue` for a way that is not known; all NaN for a run that diverged.
    """
    if isinstance(way, np.ndarray):
        return way
    if isinstance(way, Run):
        if way.diverged:
            return np.full((len(images), way.spec.latent_dim), np.nan)
        return way.encode(images).numpy().astype(np.float64)
    checks.choice("way", way, ("PCA",))
    pixels = _pixels(images)
    return principal_components(pixels, 2).transform(pixels).astype(np.float64)


def codes_of(
    runs: Sequence[Run], images: int, tested: bool = False, **where: Unpack[Where]
) -> list[np.ndarray]:
    """Every run's codes (N, d) of the first training or test images, to three decimals.

    All NaN for a run that diverged. Once made they can be shown without the runs' weights.
    """
    how = {**where, "blank": lambda run: np.full((images, run.spec.latent_dim), np.nan)}
    how |= {"images": images, "tested": tested}
    return [*map(np.array, of_runs("codes", KEEPING, _codes, runs, "coding images", **how))]


def _codes(run: Run, images: int, tested: bool) -> np.ndarray:
    return run.encode(_shown(run.spec.dataset, images, tested)).numpy().astype(float).round(3)


def retrieval(
    runs: Sequence[Run], k: int = 10, queries: int = 1000, **where: Unpack[Where]
) -> pd.DataFrame:
    """How well test images find training images of their class, a row for each way of searching.

    The first `queries` test images are searched for among the training images of the runs (alike
    for all): by the codes of each run, by as many principal components, and by pixels. Columns:
    `by` ("autoencoder", "PCA", "pixels"), `latent_dim` (of pixels: how many), `seed`, `precision`
    at k, `bytes` an image takes in the index (one a pixel, four a number of a code), and
    `milliseconds` a query took on one core when the row was made; NaN for a run that diverged.
    Raises `InvalidValue` if k is larger than the training images are many.
    """
    spec = runs[0].spec
    data = load(spec.dataset)
    images = data.train_images[: spec.train_images]
    checks.whole("k", k, 1, len(images))
    pixels, dims = images[0].numel(), sorted({run.spec.latent_dim for run in runs})
    ways = [("autoencoder", run.spec.latent_dim, run) for run in runs]
    ways += [("PCA", d, None) for d in dims if d <= min(pixels, len(images))]
    ways += [("pixels", pixels, None)]
    question = {"table": "retrieval", "version": RETRIEVAL, "data": data.digest}
    question |= {"train_images": len(images), "queries": queries, "k": k}
    asked, of = [], []
    for by, d, run in ways:
        seed, size = run.spec.seed if run else 0, d if by == "pixels" else 4 * d
        of.append({"by": by, "latent_dim": d, "seed": seed, "bytes": size})
        arguments = (by, d, run, spec.dataset, spec.train_images, k, queries)
        key = {"by": run.key if run else f"{by} {d}"}
        asked.append(Asked(question | key, arguments, len(images)))
    found = answers(asked, _retrieved, f"searching {len(ways)} indexes", **where)
    return frame(of, found, ["precision", "milliseconds"])


def _pixels(images: Tensor) -> np.ndarray:
    return as_floats(images).flatten(1).numpy()


def _shown(dataset: str, images: int | None, tested: bool) -> Tensor:
    """The first training or test images."""
    data = load(dataset)
    return (data.test_images if tested else data.train_images)[:images]


def _part(tested: bool) -> dict[str, str]:
    """What a question says of the images: nothing, of training images."""
    return {"part": "test"} if tested else {}


def _embedded(dataset: str, images: int, tested: bool) -> np.ndarray:
    return tsne(_pixels(_shown(dataset, images, tested))).round(3)


def _picked(
    way: Run | None, dataset: str, images: int, queries: Sequence[int], k: int
) -> np.ndarray:
    shown = load(dataset).train_images[:images]
    return nearest(shown if way is None else points_of(way, shown), k, rows=queries)


def _kept(
    way: Way,
    dataset: str,
    images: int,
    metric: str,
    ks: Sequence[int],
    before: np.ndarray,
    search_before: float,
    tested: bool,
) -> dict[str, Any]:
    data, shown = load(dataset), _shown(dataset, images, tested)
    labels = (data.test_labels if tested else data.train_labels)[:images].numpy()
    points = points_of(way, shown)
    started = time.perf_counter()
    after = nearest(points, max(ks), metric=metric)
    search_after = round(time.perf_counter() - started, 3)
    kept_ranks, rows = [(np.nan, np.nan)] * len(ks), []
    if metric == "L2":
        kept_ranks = preserved(shown, points, ks, QUERIES)
    for k, (trust, continuity) in zip(ks, kept_ranks, strict=True):
        kept = score(before, after, k)
        rates = [agreement(neighbors, labels, k) for neighbors in (before, after)]
        if data.tested < 2:  # to be of the one class that there is says nothing
            rates = [np.full(len(kept), np.nan)] * 2
        classes = [kept[labels == label] for label in range(data.classes)]
        by_label = [of_class.mean() if len(of_class) else np.nan for of_class in classes]
        difference = np.abs(rates[0] - rates[1]).sum()
        measures = (k, kept.mean(), by_label, rates[0].mean(), rates[1].mean(), difference)
        rows.append(dict(zip(MEASURES, (*measures, trust, continuity), strict=False)))
    return {"search_before": search_before, "search_after": search_after, "rows": rows}


def _retrieved(
    by: str, d: int, run: Run | None, dataset: str, train_images: int | None, k: int, queries: int
) -> dict[str, float]:
    data = load(dataset)
    images, asked = data.train_images[:train_images], data.test_images[:queries]
    if run is not None:
        base, asked = run.encode(images).numpy(), run.encode(asked).numpy()
    else:
        base, asked = _pixels(images), _pixels(asked)
        if by == "PCA":
            pca = principal_components(base, d)
            base, asked = pca.transform(base), pca.transform(asked)
    with threadpool_limits(1, user_api="openmp"):
        index = faiss.IndexFlatL2(base.shape[1])  # as an index of images would have it
        index.add(np.ascontiguousarray(base, dtype=np.float32))
        started = time.perf_counter()
        found = index.search(np.ascontiguousarray(asked, dtype=np.float32), k)[1]
        seconds = time.perf_counter() - started
    right = data.train_labels.numpy()[found] == data.test_labels[:queries].numpy()[:, None]
    return {"precision": right.mean(), "milliseconds": round(1000 * seconds / len(asked), 4)}


def found_for(query: Tensor, base: Tensor, run: Run, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (k,) of the images in `base` nearest to one, (1, C, H, W): by pixels, by code.

    A run that diverged finds none by code: (0,).
    """
    [by_pixels] = nearest(_pixels(base), k, queries=_pixels(query))
    if run.diverged:
        return by_pixels, by_pixels[:0]
    [by_code] = nearest(run.encode(base).numpy(), k, queries=run.encode(query).numpy())
    return by_pixels, by_code
