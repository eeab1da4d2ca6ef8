"""The page *Change it*: its diffs are in the code, and its section runs."""

import re

import pytest
from command import CHECKOUT, notebook

from aecore.page.claims import ANSWER, CLAIM
from aecore.publish import batch, fill

PAGE = (CHECKOUT / "book" / "change.md").read_text(encoding="utf-8")
MOST = 80  # added lines, the test's included


@pytest.mark.parametrize("name", re.findall(r'diff\("(\w+)"\)', PAGE))
def test_a_diff_is_what_the_code_has(name):
    diff = (CHECKOUT / "book" / "changes" / f"{name}.diff").read_text(encoding="utf-8")
    added = re.findall(r"^\+(?!\+\+ )", diff, re.M)
    assert 0 < len(added) <= MOST
    for path, hunks in re.findall(r"^\+\+\+ b/(\S+)\n((?:(?!^--- ).*\n)+)", diff, re.M):
        text = (CHECKOUT / path).read_text(encoding="utf-8")
        if name == "section":  # the one that is not there: what it adds is left out
            hunks = re.sub(r"^\+.*\n", "", hunks, flags=re.M)
        for hunk in re.split(r"^@@.*@@\n", hunks, flags=re.M)[1:]:
            after = re.sub(r"^[ +]", "", re.sub(r"^-.*\n", "", hunk, flags=re.M), flags=re.M)
            assert after in text, (path, after)


def test_the_section_runs_as_it_stands_on_the_page(tmp_path, tiny):
    (heading,) = re.findall(r"```markdown\n(.*?)\n```", PAGE, re.S)
    sources = re.findall(r"```python\n(.*?)\n```", PAGE, re.S)
    notebook(tmp_path / "notebooks" / "blurred.ipynb", *sources, title=heading)
    (tmp_path / "profiles.yaml").write_text("smoke: {all: {seeds: 1, epochs: 1}}\n")
    (outcome,) = batch.run([], "smoke", tiny, root=tmp_path, out=tmp_path / "o", progress=False)
    assert outcome.problem is None
    made = fill.finished(tmp_path / "o", ["blurred"])["blurred"]
    assert fill.title(made, "") == "How blurred may a digit be?"
    assert [len(fill.of_kind(made, kind)) for kind in (ANSWER, CLAIM)] == [1, 1]
