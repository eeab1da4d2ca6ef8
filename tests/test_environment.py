"""The three descriptions of the environment say the same."""

import re
import tomllib

import pytest
import yaml
from command import CHECKOUT
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
WANTED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
LOCK = (CHECKOUT / "requirements.lock").read_text()
LOCKED = [Requirement(line) for line in LOCK.splitlines() if not line.lstrip().startswith("#")]
PLACES = [
    {"python_version": "3.11", "python_full_version": "3.11.0", "sys_platform": "linux"},
    {"python_version": "3.12", "python_full_version": "3.12.1", "sys_platform": "darwin"},
    {"python_version": "3.13", "python_full_version": "3.13.0", "sys_platform": "win32"},
]


def holds(marker: Marker | None, place: dict[str, str]) -> bool:
    return marker is None or marker.evaluate(place)


@pytest.mark.parametrize("text", WANTED)
def test_the_lock_has_one_version_of_each_dependency_within_its_range(text):
    wanted = Requirement(text)
    name = canonicalize_name(wanted.name)
    for place in PLACES:
        found = [
            requirement
            for requirement in LOCKED
            if canonicalize_name(requirement.name) == name and holds(requirement.marker, place)
        ]
        assert len(found) == 1, place
        (pin,) = found[0].specifier
        assert pin.operator == "=="
        assert wanted.specifier.contains(pin.version)


def test_the_lock_is_exact_and_names_no_place():
    for requirement in LOCKED:
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert requirement.url is None
    assert not re.search(r"://|--index|--find-links|(?<![\w.-])/\w", LOCK)


def test_conda_makes_the_same_environment():
    dependencies = yaml.safe_load((CHECKOUT / "environment.yml").read_text())["dependencies"]
    (python,) = [text for text in dependencies if str(text).startswith("python")]
    assert (
        Requirement(python).specifier
        == Requirement(f"python{PROJECT['requires-python']}").specifier
    )
    (pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    assert pip == ["-r requirements.lock", "-e ."]
