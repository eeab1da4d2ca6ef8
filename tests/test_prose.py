"""Sentences of the notebooks that compare: each is a claim of its page, or was weighed by somebody.

What a run must bear out belongs into a `claim`. `prose.txt` holds the others, one a line: what is
meant, asked or defined. A new one fails here until it is made a claim or put there.
"""

import json
import re

import pytest
from command import CHECKOUT

WEIGHED = (CHECKOUT / "tests" / "prose.txt").read_text(encoding="utf-8").splitlines()
COMPARES = re.compile(
    r"\b(more|less|fewer|most|least|better|best|worse|worst|larger|largest|smaller|smallest|higher|"
    r"highest|lower|lowest|faster|slower|nearer|farther|longer|shorter|easier|stronger|never|always"
    r")\b|\d\.\d|\d ?%",
    re.IGNORECASE,
)
NOT_PROSE = re.compile(
    r"```.*?```|<[^>]+>|^\s*#.*?$|^\|.*?$|\$\$?[^$]*\$\$?|\{cite[^`]*`[^`]*`", re.S | re.M
)


def sentences(text):
    """The sentences of Markdown that compare or hold a figure; questions state nothing."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", NOT_PROSE.sub("", text))
    parts = re.split(r"(?<=[.?!:])\s+", re.sub(r"\s+", " ", plain))
    return [part.strip() for part in parts if COMPARES.search(part) and not part.endswith("?")]


@pytest.mark.parametrize(
    "path", sorted((CHECKOUT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_what_a_sentence_says_of_results_is_a_claim(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    new = [one for text in texts for one in sentences(text) if one not in WEIGHED]
    assert not new, "\n".join(new)


def test_the_checker_finds_a_sentence_that_compares():
    assert sentences("Larger codes err less. Here $d > 2.5$. Do they? It costs 3 % of them.") == [
        "Larger codes err less.",
        "It costs 3 % of them.",
    ]
