import json
import math
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aecore.analysis import errors, geometry, novelty
from aecore.analysis.regularity import regularity
from aecore.corruption import GaussianNoise, from_dict
from aecore.data import load
from aecore.engine import pool
from aecore.engine.jobs import run_key
from aecore.engine.measured import Asked, answers, frame, of_runs
from aecore.spec import Spec
from aecore.store.entries import Store, digest
from aecore.store.sources import DataError

RESULTS = Path(__file__).parent.parent / "results"
CALLS = []


def double(number):
    CALLS.append(number)
    if number < 0:
        raise ArithmeticError(f"asked for {number}")
    return {"double": np.float32(2 * number), "none": math.inf, "all": np.arange(number)}


def ask(numbers, store, version=1):
    asked = [Asked({"table": "double", "version": version, "of": n}, (n,)) for n in numbers]
    with ThreadPoolExecutor(1) as executor:
        found = answers(asked, double, "doubling", executor=executor, store=store)
    return [answer["double"] for answer in found]


def test_only_what_is_missing_is_computed(store):
    CALLS.clear()
    assert ask([1, 2, 1], store) == [2, 4, 2]
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


def test_an_answer_is_alike_fresh_and_stored(store):
    one = Asked({"table": "double", "of": 2, "on": [None, GaussianNoise(0.1)]}, (2,))
    with ThreadPoolExecutor(1) as executor:
        both = [answers([one], double, "doubling", "", executor, store)[0] for _ in range(2)]
    for answer in both:
        assert math.isnan(answer.pop("none"))
        assert answer == {"double": 4, "all": [0, 1]}
    question = store.read("table", one.key).document["question"]
    assert question["on"] == [None, {"kind": "GaussianNoise", "sigma": 0.1}]
    other = {"table": "double", "version": 1, "of": 2}
    store.write("table", digest(other), {**other, "double": 5}, {})
    assert ask([2], store) == [4], "a document of another form is none"


def test_a_run_is_asked_nothing_of_data_it_was_not_trained_on(tiny, store):
    spec = Spec(dataset=tiny)
    now, then = (
        {"key": key, "spec": spec, "diverged": False} for key in (run_key(spec), "ab" * 32)
    )
    with ThreadPoolExecutor(1) as executor:
        how = {"executor": executor, "store": store}
        assert of_runs("a", 1, seeds, [SimpleNamespace(**now)], "", **how, times=1)
        with pytest.raises(DataError, match="was replaced since"):
            of_runs("b", 1, seeds, [SimpleNamespace(**then)], "", **how, times=1)


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


def test_without_room_for_temporary_files_jobs_tell_no_progress(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/dev/null/none")
    with ThreadPoolExecutor(1) as executor:
        assert dict(pool.run_jobs(counted, [(3,)], [3], "", executor)) == {0: 3}
    counter = pool.Counter(Path("/dev/full"))
    counter.add(5000)
    counter.tell()
    assert counter.images == 5000


def test_published_tables_answer_without_computing(tmp_path, monkeypatch):
    monkeypatch.setattr("aecore.engine.measured.run_jobs", None)
    monkeypatch.setattr(novelty, "other", lambda name: load(name).test_images)
    store = Store(tmp_path, layers=(RESULTS,))
    asked = {
        "reconstruction": lambda run, q: errors.reconstruction_errors(
            run, [one and from_dict(one) for one in q["on"]], store=store
        ),
        "regularity": lambda run, q: regularity(run, q["steps"], q["points"], store=store),
        "geometry": lambda run, q: geometry.geometry(run, q["points"], store=store),
        "novelty": lambda run, q: novelty.errors_by_kind(run, q["count"], store=store),
        "pca": lambda _, q: errors.pca_errors(
            load("mnist"), q["largest"], q["train_images"], store=store
        ),
    }
    counts = Counter()
    for kind, key, folder in store.entries():
        document = json.loads((folder / f"{kind}.json").read_text())["document"]
        if kind == "table" and "importance" not in document:
            question, runs = document["question"], []
            assert digest(question) == key
            if "run" in question:
                spec = Spec.from_dict(store.read("run", question["run"]).document["spec"])
                runs = [SimpleNamespace(key=question["run"], spec=spec, diverged=False)]
            if question["table"] in asked:
                counts[question["table"]] += 1
                found = asked[question["table"]](runs, question)
                assert found.iloc[:, -1].notna().all()
    expected = {"reconstruction": 612, "regularity": 33, "geometry": 35, "novelty": 30, "pca": 2}
    assert counts == expected
