"""The three descriptions of the environment say the same."""

import platform
import re
import runpy
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from command import CHECKOUT
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def entries(lock: str) -> list[str]:
    """What the lock has, one with its hashes a line."""
    return [one for one in lock.replace("\\\n", "").splitlines() if not one.startswith("#")]


PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
WANTED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
LOCK = (CHECKOUT / "requirements.lock").read_text()
ENTRIES = entries(LOCK)
LOCKED = [Requirement(entry.partition(" --hash")[0]) for entry in ENTRIES]
PLACES = [
    {"python_version": "3.11", "python_full_version": "3.11.0", "sys_platform": "linux"},
    {"python_version": "3.12", "python_full_version": "3.12.1", "sys_platform": "darwin"},
    {"python_version": "3.13", "python_full_version": "3.13.0", "sys_platform": "win32"},
    {"python_version": "3.14", "python_full_version": "3.14.0", "sys_platform": "linux"},
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
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in ENTRIES)


def test_conda_makes_the_same_environment():
    dependencies = yaml.safe_load((CHECKOUT / "environment.yml").read_text())["dependencies"]
    (python,) = [text for text in dependencies if str(text).startswith("python")]
    assert (
        Requirement(python).specifier
        == Requirement(f"python{PROJECT['requires-python']}").specifier
    )
    (pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    assert pip == ["-r requirements.lock"]


@pytest.mark.parametrize(
    ("version", "system", "machine", "compiler", "said"),
    [
        ((3, 12), "linux", "x86_64", None, ""),
        ((3, 14), "linux", "x86_64", None, ""),
        ((3, 13), "darwin", "arm64", None, ""),
        ((3, 12), "linux", "aarch64", "/usr/bin/c++", ""),
        ((3, 12), "linux", "aarch64", None, "install a C++ compiler"),
        ((3, 12), "darwin", "x86_64", None, "Intel Macs"),
        ((3, 14), "darwin", "arm64", None, "make PYTHON=python3.13"),
        ((3, 12), "linux", "armv7l", None, "no package for this processor (armv7l)"),
        ((3, 10), "linux", "x86_64", None, "is Python 3.10; needed is one of 3.11 to 3.14"),
        ((3, 15), "linux", "x86_64", None, "is Python 3.15"),
    ],
)
def test_where_it_will_not_install_is_said_before(
    monkeypatch, version, system, machine, compiler, said
):
    problem = runpy.run_path(str(CHECKOUT / ".ci" / "supported.py"))["problem"]
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(shutil, "which", lambda name: compiler)
    assert said in problem() and bool(said) == bool(problem())


def test_the_lock_without_a_gpus_libraries_is_the_lock_without_them(tmp_path):
    """By the Makefile's own words, and still a lock: each entry whole, with its hashes."""
    makefile = (CHECKOUT / "Makefile").read_text()
    [gone] = re.findall(r"^OF_GPU := (.+)$", makefile, re.M)
    [words] = re.findall(r"sed -E '(.+)' requirements\.lock", makefile)
    script = words.replace("$(OF_GPU)", gone).replace("$$", "$")
    command = ["sed", "-E", script, str(CHECKOUT / "requirements.lock")]
    left = entries(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    of_gpu = {entry for entry in ENTRIES if re.match("torch|triton|nvidia|cuda", entry)}
    assert len(of_gpu) > 15 and left == [entry for entry in ENTRIES if entry not in of_gpu]


def test_here_it_installs():
    assert subprocess.run([sys.executable, CHECKOUT / ".ci" / "supported.py"]).returncode == 0
