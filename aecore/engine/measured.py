"""Small results that take long to compute: one stored answer to each question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from aecore.engine.pool import run_jobs
from aecore.spec import digest
from aecore.store.entries import Store

Question = dict[str, Any]


def answers(
    questions: Sequence[Question],
    function: Callable[..., Any],
    jobs: Sequence[tuple],
    sizes: Sequence[int],
    label: str,
    executor: Executor | None = None,
    store: Store | None = None,
    unit: str = "images",
) -> list[Any]:
    """The answer to each of `questions`, read from the store or computed on all cores and stored.

    A question is plain data that decides its answer, and its `table` says what kind it is: put a
    version into it that goes up when the computation changes. Number i is answered by
    `function(*jobs[i], counter_path)`, plain data without NaN; `sizes`, `label` and `unit` are
    for the progress, as in `pool.run_jobs`. Raises `StoreError` before anything is computed.
    """
    store = store or Store()
    keys = [digest(question) for question in questions]
    entries = {key: store.read("table", key) for key in dict.fromkeys(keys)}
    found = {key: entry.document["answer"] for key, entry in entries.items() if entry is not None}
    wanted = {key: number for number, key in enumerate(keys) if key not in found}
    if wanted:
        store.check_writable()
        names, numbers = list(wanted), list(wanted.values())
        todo = [jobs[number] for number in numbers], [sizes[number] for number in numbers]
        for number, answer in run_jobs(function, *todo, label, executor, unit):
            document = {"question": questions[numbers[number]], "answer": answer}
            store.write("table", names[number], document, {})
            found[names[number]] = answer
    return [found[key] for key in keys]
