"""The walls of the house: who may import whom, read from the imports themselves."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from command import CHECKOUT

PACKAGE = CHECKOUT / "aecore"
ROOMS = ("fast", "store", "engine", "analysis", "codec", "search", "page", "publish")
TEXTBOOK = ["spec", "checks", "randomness", "data", "corruption", "models", "training", "runs"]
OUTER = {f"aecore.{room}" for room in ("page", "publish", "analysis", "codec", "search")}
NEVER = {
    "page": {"aecore.analysis", "aecore.codec", "aecore.search", "aecore.engine"},
    "analysis": {"aecore.page", "aecore.codec", "aecore.search", "aecore.publish"},
    "codec": {"aecore.page", "aecore.search", "aecore.publish"},
    "search": {"aecore.page", "aecore.publish", "aecore.analysis", "aecore.codec"},
    "publish": {"aecore.analysis", "aecore.codec", "aecore.search"},
    "engine": {"aecore.runs", *OUTER},
    "store": {"torch", "aecore.engine", "aecore.runs", *OUTER},
    "fast": {f"aecore.{name}" for name in (*ROOMS, *TEXTBOOK, "cli") if name != "randomness"},
    "textbook": {"aecore.engine", *OUTER},
}
MODULE = re.compile(r"aecore(\.\w+)+")


def imported(source: str, whole: bool = True) -> set[str]:
    """Every module or name that is imported: in functions too, or else only where it is loaded.

    In all of it a text that is a module's name counts, as another process may be told to import it.
    """
    tree = ast.parse(source)
    found = set()
    for node in ast.walk(tree) if whole else tree.body:
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports say the whole name"
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Constant) and MODULE.fullmatch(str(node.value)):
            found.add(node.value)
    return found


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else "textbook"


def trespasses(place: str, names: set[str]) -> list[str]:
    walls = NEVER[place] - ({f"aecore.{place}"} if place == "fast" else set())
    return sorted(n for n in names if any(n == wall or n.startswith(f"{wall}.") for wall in walls))


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "cli.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_reaches_through_a_wall(path):
    allowed = {"aecore.engine"} if path == PACKAGE / "runs.py" else set()
    found = trespasses(room(path), imported(path.read_text(encoding="utf-8")))
    assert [name for name in found if not any(name.startswith(door) for door in allowed)] == []


def test_a_wall_that_is_reached_through_is_noticed():
    inside = "def f():\n    from aecore.page import show\n    import torch.nn\n"
    assert trespasses("analysis", imported(inside)) == ["aecore.page.show"]
    assert trespasses("store", imported(inside)) == ["aecore.page.show", "torch.nn"]
    assert trespasses("fast", imported("from aecore import data, randomness")) == ["aecore.data"]
    assert trespasses("publish", imported('X = ("aecore.codec.files",)')) == ["aecore.codec.files"]


def test_on_top_lies_the_textbook_and_a_folder_for_each_thing_around_it():
    names = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "cli", "estimator"}
    assert names == set(TEXTBOOK)
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)


def test_imports_go_round_in_no_circle():
    graph = {}
    for path in modules():
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(("aecore", *(part for part in parts if part != "__init__")))
        names = imported(path.read_text(encoding="utf-8"), whole=False)
        graph[name] = {n for n in names | {n.rpartition(".")[0] for n in names} if n != "aecore"}
    known = {name: {n for n in names if n in graph and n != name} for name, names in graph.items()}
    assert len([*TopologicalSorter(known).static_order()]) == len(graph)
