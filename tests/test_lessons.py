"""Notebooks that read like a lesson: short cells, few imports, no machinery, no reported number."""

import ast
import json
import re
from statistics import median

import pytest
from command import CHECKOUT

from aecore.page.classes import MARK
from aecore.page.reports import EXPERIMENTS

NOTEBOOKS = sorted((CHECKOUT / "notebooks").glob("*.ipynb"))
IMPORTS, CELL, MEDIAN = 5, 12, 6  # lines at most


def cells(path) -> list[str]:
    """The code cells of a notebook but for its parameters."""
    content = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in content if cell["cell_type"] == "code"]
    return ["".join(c["source"]) for c in code if "parameters" not in c["metadata"].get("tags", ())]


def lines(source: str) -> int:
    return sum(bool(line.strip()) for line in source.splitlines())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_reads_like_a_lesson(path):
    sources = cells(path)
    for source in sources:
        tree = ast.parse(source)
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert len(imports) in (0, len(tree.body)), "imports have a cell of their own"
        assert lines(source) <= (IMPORTS if imports else CELL), source
        for node in ast.walk(tree):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef), source
            assert not (isinstance(node, ast.If) and node.orelse), source
            nested = isinstance(node, ast.IfExp) and isinstance(node.orelse, ast.IfExp)
            assert not nested, source
            # Models are picked by what they are, not by where they stand.
            if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "runs":
                assert not any(isinstance(part, ast.Mult) for part in ast.walk(node)), source
        assert not re.search(r"recipe = Spec\(|globals\(\)\[", source), source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_made_for_classes_is_used_for_classes_only(path):
    """Where there are no classes the cells with the mark do not run, and nothing misses them."""
    made, missing = set(), set()
    for source in cells(path):
        names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
        own = {name.id for name in names if isinstance(name.ctx, ast.Store)}
        if source.startswith(MARK):
            missing |= own - made
            continue
        assert not ({name.id for name in names} - own) & missing, source
        made, missing = made | own, missing - own


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_report_measured_stands_in_its_one_home(path):
    figures = {f"{figure:g}" for e in EXPERIMENTS.values() for figure in e.figures.values()}
    telling = {figure for figure in figures if len(figure.strip("-0.").replace(".", "")) > 2}
    nodes = [node for source in cells(path) for node in ast.walk(ast.parse(source))]
    values = [node.value for node in nodes if isinstance(node, ast.Constant)]
    written = {f"{value:g}" for value in values if isinstance(value, float)}
    assert len(telling) > 30 and not written & telling


def test_cells_are_short():
    sources = [source for path in NOTEBOOKS for source in cells(path)]
    assert len(sources) > 150
    assert median(map(lines, sources)) <= MEDIAN
