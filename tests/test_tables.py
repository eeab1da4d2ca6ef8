import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aecore.corruption import GaussianNoise
from aecore.engine import pool
from aecore.engine.measured import Asked, answers, frame, of_runs
from aecore.spec import Spec, digest

RESULTS = Path(__file__).parent.parent / "results"
CALLS = []


def double(number):
    CALLS.append(number)
    if number < 0:
        raise ArithmeticError(f"asked for {number}")
    return {"double": np.float32(2 * number), "none": math.inf, "all": np.arange(number)}


def ask(numbers, store, version=1):
    asked = [n and Asked({"table": "double", "version": version, "of": n}, (n,)) for n in numbers]
    with ThreadPoolExecutor(1) as executor:
        found = answers(asked, double, "doubling", executor=executor, store=store)
    return [answer and answer["double"] for answer in found]


def test_only_what_is_missing_is_computed(store):
    CALLS.clear()
    assert ask([1, 2, None, 1], store) == [2, 4, None, 2]
    assert ask([2, 3], store) == [4, 6]
    assert sorted(CALLS) == [1, 2, 3]
    ask([2], store, version=2)
    assert CALLS[-1] == 2


def test_one_error_loses_no_other_answer(store):
    with pytest.raises(ArithmeticError, match="asked for -1"):
        ask([5, -1, 6], store)
    CALLS.clear()
    assert ask([5, 6], store) == [10, 12]
    assert CALLS == []


def test_a_document_of_another_form_is_none(store):
    question = {"table": "double", "version": 1, "of": 2}
    store.write("table", digest(question), {**question, "double": 5}, {})
    assert ask([2], store) == [4]


def test_an_answer_is_alike_fresh_and_stored(store):
    one = Asked({"table": "double", "of": 2, "on": [None, GaussianNoise(0.1)]}, (2,))
    with ThreadPoolExecutor(1) as executor:
        both = [answers([one], double, "doubling", "", executor, store)[0] for _ in range(2)]
    for answer in both:
        assert math.isnan(answer.pop("none"))
        assert answer == {"double": 4, "all": [0, 1]}
    (entry,) = (store.read(kind, key) for kind, key, _ in store.entries())
    assert entry.document["question"]["on"] == [None, {"kind": "GaussianNoise", "sigma": 0.1}]


def test_diverged_runs_are_not_computed_and_keep_their_rows(store):
    specs = [Spec(seed=seed) for seed in range(3)]
    runs = [SimpleNamespace(key=f"{s.seed}", spec=s, diverged=s.seed == 1) for s in specs]
    with ThreadPoolExecutor(1) as executor:
        found = of_runs("seed", 1, seeds, runs, "", executor=executor, store=store, times=10)
    assert found == [{"value": 0}, None, {"value": 20}]
    table = frame(runs, found, ["value", "other"])
    assert list(table["seed"]) == [0, 1, 2]
    np.testing.assert_array_equal(table["value"], [0, np.nan, 20])
    assert table["other"].isna().all()
    assert table["other"].dtype == float


def seeds(run, times):
    return {"value": times * run.spec.seed}


def counted(images, path):
    counter = pool.Counter(path)
    for _ in range(images):
        pool.seen(1)
        time.sleep(0.001)
    return counter.images


def test_jobs_in_threads_count_each_for_itself():
    with ThreadPoolExecutor(4) as executor:
        sizes = [10, 20, 30, 40]
        jobs = [(size,) for size in sizes]
        assert dict(pool.run_jobs(counted, jobs, sizes, "", executor)) == dict(enumerate(sizes))


def test_every_published_table_is_found_under_the_digest_of_its_question():
    tables = sorted(RESULTS.glob("tables/*/*/table.json"))
    assert len(tables) > 200
    for path in tables:
        document = json.loads(path.read_text())["document"]
        if "importance" not in document:
            assert digest(document["question"]) == path.parent.name
            assert "answer" in document
