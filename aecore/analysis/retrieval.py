"""Search for similar images: by the distance of pixels, or of codes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import faiss
import pandas as pd
from sklearn.decomposition import PCA

from aecore import checks
from aecore.analysis.neighbors import _index, _rows, precision
from aecore.data import as_floats, load
from aecore.engine.measured import answers
from aecore.engine.pool import Counter, reproducible
from aecore.runs import Run
from aecore.store.entries import Store

RETRIEVAL = 1  # goes up whenever a change alters what these functions return


def retrieval(
    runs: Sequence[Run],
    k: int = 10,
    queries: int = 1000,
    executor: Executor | None = None,
    store: Store | None = None,
) -> pd.DataFrame:
    """How well test images find training images of their class, a row for each way of searching.

    The first `queries` test images are searched for among the training images of the runs (alike
    for all): by the codes of each run, by as many principal components, and by pixels. Columns:
    `by` ("autoencoder", "PCA", "pixels"), `latent_dim` (of pixels: how many), `seed`, `precision`
    at k, `bytes` an image takes in the index (one a pixel, four a number of a code), and
    `milliseconds` a query took on one core when the row was made. Raises `InvalidValue` if k is
    larger than the training images are many.
    """
    spec = runs[0].spec
    data = load(spec.dataset)
    images = data.train_images[: spec.train_images]
    checks.whole("k", k, 1, len(images))
    pixels = images[0].numel()
    dims = sorted({run.spec.latent_dim for run in runs})
    ways: list[tuple[str, int, Run | None]] = [
        *(("autoencoder", run.spec.latent_dim, run) for run in runs),
        *(("PCA", d, None) for d in dims if d <= min(pixels, len(images))),
        ("pixels", pixels, None),
    ]
    questions = [
        {
            "table": "retrieval",
            "version": RETRIEVAL,
            "data": data.digest,
            "train_images": len(images),
            "queries": queries,
            "k": k,
            "by": run.key if run else f"{by} {d}",
        }
        for by, d, run in ways
    ]
    jobs = [(way, spec.dataset, spec.train_images, k, queries) for way in ways]
    label = f"searching {len(ways)} indexes"
    found = answers(questions, _search_job, jobs, [len(images)] * len(ways), label, executor, store)
    return pd.DataFrame(
        [
            {
                "by": by,
                "latent_dim": d,
                "seed": run.spec.seed if run else 0,
                "bytes": d if by == "pixels" else 4 * d,
                "precision": row["precision"],
                "milliseconds": row["milliseconds"],
            }
            for row, (by, d, run) in zip(found, ways, strict=True)
        ]
    )


def _search_job(
    way: tuple[str, int, Run | None],
    dataset: str,
    train_images: int | None,
    k: int,
    queries: int,
    counter_path: Path | None = None,
) -> dict[str, float]:
    data, (by, d, run) = load(dataset), way
    images, labels = data.train_images[:train_images], data.train_labels[:train_images]
    asked, truth = data.test_images[:queries], data.test_labels[:queries]
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        with reproducible():
            if run is not None:
                base, asked = run.encode(images), run.encode(asked)
            elif by == "PCA":
                pixels = _rows(as_floats(images))
                pca = PCA(d, svd_solver="covariance_eigh").fit(pixels)
                base, asked = pca.transform(pixels), pca.transform(_rows(as_floats(asked)))
            else:
                base, asked = as_floats(images), as_floats(asked)
            index, asked = _index(base, k), _rows(asked)
            started = time.perf_counter()
            found = index.search(asked, k)[1]
            seconds = time.perf_counter() - started
    finally:
        faiss.omp_set_num_threads(threads)
    counter = Counter(counter_path)
    counter.add(len(images))
    counter.tell()
    return {
        "precision": precision(found, labels, truth),
        "milliseconds": round(1000 * seconds / len(asked), 4),
    }
