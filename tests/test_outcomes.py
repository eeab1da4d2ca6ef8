"""What the book says became of a fault: kept, broken, or not tested where there was no trial."""

import re
from types import SimpleNamespace

import conftest
import pytest
from command import CHECKOUT

from aecore.publish.fill import Edition


@pytest.fixture
def told(tmp_path, monkeypatch):
    """What the book says, trials and outcome, of faults whose tests came to such ends."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "templates").symlink_to(CHECKOUT / "book" / "templates")
    monkeypatch.setattr(conftest, "FAULTS", tmp_path / "_build" / "faults.json")
    config = SimpleNamespace(stash=pytest.Stash())

    def of(*ends):
        for outcome, kwargs, properties in ends:
            mark = pytest.mark.fault("a fault", "a promise", **kwargs).mark
            item = SimpleNamespace(
                get_closest_marker=lambda name, mark=mark: mark,
                config=config,
                user_properties=properties,
            )
            flags = {name: name == outcome for name in ("passed", "failed", "skipped")}
            hook = conftest.pytest_runtest_makereport(item, None)
            next(hook)
            with pytest.raises(StopIteration):
                hook.send(SimpleNamespace(when="call", **flags))
        conftest.pytest_sessionfinish(SimpleNamespace(config=config))
        markup = Edition(tmp_path, "paper", [], {}, {}).faults()
        cells = re.findall(r"<td>(.*?)</td>", markup, re.S)
        return [re.sub("<[^>]+>", "", cell).strip() for cell in cells[1:]]

    return of


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([("passed", {}, [])], ["1", "kept"]),
        ([("passed", {"trials": 20}, [])] * 2, ["40", "kept"]),
        ([("passed", {}, [("trials", 3), ("outcome", "all three")])], ["3", "kept: all three"]),
        ([("passed", {}, []), ("failed", {}, [])], ["2", "broken"]),
        ([("passed", {}, [("trials", 0)])], ["0", "not tested"]),
        ([("skipped", {"trials": 20}, [])], ["0", "not tested"]),
        ([("passed", {}, []), ("skipped", {}, [])], ["1", "kept"]),
    ],
)
def test_a_fault_is_as_good_as_its_trials(told, ends, expected):
    assert told(*ends) == expected
