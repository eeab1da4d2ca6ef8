from concurrent.futures import ThreadPoolExecutor

import pytest

from aecore.engine.measured import answers


def double(number, counter_path=None):
    if number < 0:
        raise ArithmeticError(f"asked for {number}")
    return {"double": 2 * number}


def ask(numbers, store, version=1):
    questions = [{"table": "double", "version": version, "of": number} for number in numbers]
    jobs = [(number,) for number in numbers]
    with ThreadPoolExecutor(1) as executor:
        return answers(questions, double, jobs, [1] * len(jobs), "doubling", executor, store)


def test_only_what_is_missing_is_computed(store, monkeypatch):
    calls = []
    plain = double
    monkeypatch.setitem(
        globals(), "double", lambda number, path: calls.append(number) or plain(number)
    )
    assert ask([1, 2, 1], store) == [{"double": 2}, {"double": 4}, {"double": 2}]
    assert ask([2, 3], store) == [{"double": 4}, {"double": 6}]
    assert sorted(calls) == [1, 2, 3]
    ask([2], store, version=2)
    assert calls[-1] == 2


def test_one_error_loses_no_other_answer(store):
    with pytest.raises(ArithmeticError, match="asked for -1"):
        ask([5, -1, 6], store)
    assert ask([5, 6], store) == [{"double": 10}, {"double": 12}]
