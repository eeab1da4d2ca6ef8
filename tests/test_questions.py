"""What pages ask: three questions, an exercise with a solution, a line of code that is judged."""

import ast
import json
import re

import numpy as np
import pytest
import torch
from command import CHECKOUT

from aecore.page import check, reveal

NOTEBOOKS = sorted((CHECKOUT / "notebooks").glob("*.ipynb"))
FOLDED = re.compile(r"<details.*?<summary>A solution</summary>(.*?)</details>", re.S)


def cells(path, kind):
    content = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in content if cell["cell_type"] == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_asks_three_questions_and_folds_the_solution_of_its_exercise(path):
    asked = [
        node.args
        for source in cells(path, "code")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "reveal"
    ]
    assert len(asked) == 3
    for question, answer in asked:
        assert ast.unparse(question).rstrip("'\"").endswith("?")
        assert any(isinstance(part, ast.FormattedValue) for part in ast.walk(answer)), (
            "an answer is made of results"
        )
    [exercise] = [text for text in cells(path, "markdown") if "**Exercise.**" in text]
    question, _, rest = exercise.partition("**Exercise.**")[2].partition("<details")
    assert "?" in question and "```" not in question
    [solution] = FOLDED.findall(f"<details{rest}")
    assert re.search(r"```\w+\n.+?\n```\n\n\S", solution, re.S), "what to run, and where to look"


def test_an_answer_is_folded_away_and_escaped(shown):
    reveal("Is 1 < 2?", "<b>yes</b>")
    [bundle] = shown
    assert bundle["text/html"].startswith("<details") and " open" not in bundle["text/html"]
    assert "Is 1 &lt; 2?" in bundle["text/html"] and "&lt;b&gt;yes" in bundle["text/html"]


MISTAKES = {"the sum": 8.0, "the root": np.float64(2) ** 0.5}
GIVEN = [
    (None, "○ not answered yet: Average them."),
    (2.00001, "✓ right"),
    (torch.tensor([[2.0]], requires_grad=True), "✓ right"),
    (np.float32(2), "✓ right"),
    (8, "✗ not yet: the sum"),
    (2**0.5, "✗ not yet: the root"),
    (3.5, "✗ not yet: 3.5 is too large. Average them."),
    (-1, "✗ not yet: -1 is too small."),
    (float("nan"), "✗ not yet: nan is no number."),
    (torch.zeros(3, 1, 2), "✗ not yet: That has the shape 3 × 1 × 2"),
    (torch.zeros(0), "✗ not yet: That has the shape 0"),
    ("2.0", "✗ not yet: A str is no number."),
    (torch.mean, "✗ not yet: A builtin"),
    ([[1, 2], [3]], "✗ not yet: A list is no number."),
    ({}, "✗ not yet: A dict is no number."),
]


@pytest.mark.parametrize(("given", "said"), GIVEN, ids=lambda value: str(value)[:20])
def test_a_line_is_judged_whatever_it_gives(shown, given, said):
    check(given, torch.tensor(2.0, requires_grad=True), "Average them.", MISTAKES)
    [bundle] = shown
    assert bundle["text/plain"].startswith(said)
    assert said.partition(":")[0] in bundle["text/html"]


def test_the_cell_of_the_first_notebook_runs_as_it_stands_and_its_solution_is_right(shown):
    path = CHECKOUT / "notebooks" / "autoencoder.ipynb"
    *before, line = [c for c in cells(path, "code") if re.search(r"^mistakes = |^mine = ", c, re.M)]
    x, drawn = torch.rand(2, 4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    drawn.requires_grad_()
    known = {"check": check, "x": x, "drawn": drawn}
    known["loss"] = torch.nn.functional.mse_loss(drawn, x)
    for source in (*before, line):
        exec(source, known)
    [solution] = re.findall(
        r"```python\n(mine = .*?)\n```", "\n".join(cells(path, "markdown")), re.S
    )
    answers = [solution, *(f"mine = mistakes[{look!r}]" for look in known["mistakes"])]
    for answer in answers:
        exec(re.sub(r"^mine = .*$", answer.replace("\\", r"\\"), line, flags=re.M), known)
    told = [bundle["text/plain"].partition(": ") for bundle in shown]
    verdicts = [verdict for verdict, _, _ in told]
    assert verdicts == ["○ not answered yet", "✓ right"] + ["✗ not yet"] * len(known["mistakes"])
    assert [said for _, _, said in told[2:]] == list(known["mistakes"])
