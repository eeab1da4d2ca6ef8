"""One way to keep what takes long to compute: a question, and its answer in the store."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd

from aecore.corruption import to_dict
from aecore.data import load
from aecore.engine.jobs import check_data
from aecore.engine.pool import Counter, reproducible, run_jobs
from aecore.store.entries import Store, digest
from aecore.store.forms import is_path


class Where(TypedDict, total=False):
    """By which executor jobs are run and in which store results are kept, as for `runs.fit`."""

    executor: Executor | None
    store: Store | None


@dataclass(frozen=True)
class Asked:
    """A `question`, plain data that decides its answer, and the arguments that answer it.

    Its `table` says what kind it is, its `version` goes up when the computation changes. `size`
    is how many images (or what the unit is) will be looked at, for the progress; `blank` stands in
    for the answer of a run that diverged.
    """

    question: Mapping[str, Any]
    arguments: tuple
    size: int = 1
    blank: Any = None

    @cached_property
    def key(self) -> str:
        """The name of the answer in the store."""
        return digest(_plain(self.question))

    def check_data(self) -> None:
        """Raise `DataError` if the files of a run that it is asked of have been replaced."""
        for one in self.arguments:
            if hasattr(one, "key") and hasattr(one, "spec") and is_path(one.spec.dataset):
                check_data(one.spec, one.key, load(one.spec.dataset))

    @property
    def pointless(self) -> bool:
        """Whether it is asked of a run that diverged."""
        return any(getattr(argument, "diverged", False) for argument in self.arguments)


def answers(
    asked: Sequence[Asked],
    function: Callable[..., Any],
    label: str,
    unit: str = "images",
    executor: Executor | None = None,
    store: Store | None = None,
) -> list[Any]:
    """The answer to each of `asked`: read from the store, or computed on all cores and stored.

    An answer is `function(*arguments)`, on one thread: numbers, texts, lists, dicts and NumPy
    arrays (they come back as lists), with NaN where there is none. Of a run that diverged nothing
    is computed: its `blank` is the answer. `pool.seen(images)` within the function moves the
    progress on. Raises `StoreError` before anything is computed, and `DataError` where the data of
    a run were replaced.
    """
    store = store or Store()
    wanted = {one.key: one for one in asked if not one.pointless}
    entries = {key: store.read("table", key) for key in wanted}
    # A document of another form, as the first versions stored a few, is as good as none.
    found = {k: e.document["answer"] for k, e in entries.items() if e and "answer" in e.document}
    missing = [one for key, one in wanted.items() if key not in found]
    if missing:
        store.check_writable()
        jobs, sizes = [(function, one) for one in missing], [one.size for one in missing]
        for number, answer in run_jobs(_job, jobs, sizes, label, executor, unit):
            one = missing[number]
            one.check_data()
            store.write("table", one.key, {"question": _plain(one.question), "answer": answer}, {})
            found[one.key] = answer
    return [one.blank if one.pointless else _numbers(found[one.key]) for one in asked]


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
    blank: Callable[[Any], Any] = lambda run: None,
    **settings: Any,
) -> list[Any]:
    """`function(run, **settings)` of each of `runs`, or its `blank`, as `answers` has it.

    The settings, corruptions among them, are part of the question.
    """
    question = {"table": table, "version": version, **settings}
    asked = [Asked({**question, "run": run.key}, (run, *settings.values()), size(run),
                   blank(run))
             for run in runs]  # fmt: skip
    return answers(asked, function, label, unit, executor, store)


def frame(of: Sequence[Any], found: Sequence[Any], columns: Sequence[str]) -> pd.DataFrame:
    """A tidy table of `answers`: what each is of, a dict or a run, and the `columns` found.

    Of a run these are `key`, `architecture`, `latent_dim` and `seed`. What is found is a dict or,
    for several rows, a list of them; None, of a run that diverged, is a row of NaN.
    """
    rows, fields = [], ["architecture", "latent_dim", "seed"]
    for one, answer in zip(of, found, strict=True):
        own = one if isinstance(one, dict) else {"key": one.key} | {
            name: getattr(one.spec, name) for name in fields
        }  # fmt: skip
        several = answer if isinstance(answer, list) else [answer or {}]
        rows += [own | {name: _numbers(row.get(name)) for name in columns} for row in several]
    return pd.DataFrame(rows, columns=None if rows else ["key", *fields, *columns])


def _job(function: Callable[..., Any], one: Asked, counter_path: Path | None = None) -> Any:
    counter = Counter(counter_path)
    with reproducible():
        answer = function(*one.arguments)
    counter.add(one.size - counter.images)
    counter.tell()
    return _plain(answer)


def _plain(value: Any) -> Any:
    """`value` as JSON holds it: None for NaN and infinities, dicts for corruptions."""
    text = json.dumps(value, default=lambda x: x.tolist() if hasattr(x, "tolist") else to_dict(x))
    return json.loads(text, parse_constant=lambda name: None)


def _numbers(value: Any) -> Any:
    """The inverse of `_plain`, as far as numbers go: NaN for None."""
    if isinstance(value, dict):
        return {key: _numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_numbers(part) for part in value]
    return math.nan if value is None else value
