"""One way to keep what takes long to compute: a question, and its answer in the store."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aecore import corruption
from aecore.engine.pool import Counter, reproducible, run_jobs
from aecore.spec import digest
from aecore.store.entries import Store


@dataclass(frozen=True)
class Asked:
    """A `question`, plain data that decides its answer, and the arguments that answer it.

    The question's `table` says what kind it is, its `version` goes up when the computation
    changes. `size` is how many images (or what the unit is) will be looked at, for the progress.
    """

    question: Mapping[str, Any]
    arguments: tuple
    size: int = 1


def answers(
    asked: Sequence[Asked | None],
    function: Callable[..., Any],
    label: str,
    unit: str = "images",
    executor: Executor | None = None,
    store: Store | None = None,
) -> list[Any]:
    """The answer to each of `asked`: read from the store, or computed on all cores and stored.

    An answer is `function(*arguments)`, on one thread: numbers, texts, lists, dicts and NumPy
    arrays (which come back as lists), with NaN where there is none. Nothing is asked for None, and
    None is its answer. `pool.seen(images)` within the function moves the progress on. Raises
    `StoreError` before anything is computed.
    """
    store = store or Store()
    keys = [None if one is None else digest(_plain(one.question)) for one in asked]
    wanted = {key: one for key, one in zip(keys, asked, strict=True) if key is not None}
    entries = {key: store.read("table", key) for key in wanted}
    found = {key: entry.document["answer"] for key, entry in entries.items() if entry is not None}
    missing = [key for key in wanted if key not in found]
    if missing:
        store.check_writable()
        jobs = [(function, wanted[key].arguments, wanted[key].size) for key in missing]
        sizes = [wanted[key].size for key in missing]
        for number, answer in run_jobs(_job, jobs, sizes, label, executor, unit):
            key = missing[number]
            document = {"question": _plain(wanted[key].question), "answer": answer}
            store.write("table", key, document, {})
            found[key] = answer
    return [None if key is None else _numbers(found[key]) for key in keys]


def of_runs(
    table: str,
    version: int,
    function: Callable[..., Any],
    runs: Sequence[Any],
    label: str,
    size: Callable[[Any], int] = lambda run: 1,
    unit: str = "images",
    executor: Executor | None = None,
    store: Store | None = None,
    **settings: Any,
) -> list[Any]:
    """`function(run, **settings)` of each of `runs`, as `answers` has it; None of a diverged one.

    The settings, corruptions among them, are part of the question.
    """
    asked = [
        None
        if run.diverged
        else Asked(
            {"table": table, "version": version, **settings, "run": run.key},
            (run, *settings.values()),
            size(run),
        )
        for run in runs
    ]
    return answers(asked, function, label, unit, executor, store)


def frame(runs: Sequence[Any], found: Sequence[Any], columns: Sequence[str]) -> pd.DataFrame:
    """A tidy table of what `of_runs` found: `key`, `architecture`, `latent_dim`, `seed`, `columns`.

    What is found of a run is a dict or, for several rows, a list of them. A diverged run keeps a
    row, with NaN in all of `columns`.
    """
    rows = []
    for run, answer in zip(runs, found, strict=True):
        spec = run.spec
        own = {"key": run.key, "architecture": spec.architecture}
        own |= {"latent_dim": spec.latent_dim, "seed": spec.seed}
        several = answer if isinstance(answer, list) else [answer or dict.fromkeys(columns)]
        rows += [{**own, **{name: row.get(name, math.nan) for name in columns}} for row in several]
    return pd.DataFrame(rows, columns=["key", "architecture", "latent_dim", "seed", *columns])


def _job(
    function: Callable[..., Any], arguments: tuple, size: int, counter_path: Path | None = None
) -> Any:
    with Counter(counter_path) as counter, reproducible():
        answer = function(*arguments)
    counter.add(size - counter.images)
    counter.tell()
    return _plain(answer)


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it: None for NaN and infinities, corruptions as dicts."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, corruption.Corruption):
        return corruption.to_dict(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(value: Any) -> Any:
    """The inverse of `_plain`, as far as numbers go: NaN for None."""
    if isinstance(value, dict):
        return {key: _numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_numbers(part) for part in value]
    return math.nan if value is None else value
