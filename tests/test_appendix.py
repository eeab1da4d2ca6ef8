"""A page's argument first; what the reports found, its claims and the runs behind it at its end."""

import nbformat
from nbformat import v4

from aecore.page.claims import CLAIM, REPLICATION
from aecore.page.show import SOURCE, provenance
from aecore.publish.appendix import arranged


def _source(key, seed):
    return {"keys": [key], "seeds": [seed], "device": ["cpu"], "torch": ["2"], "commit": ["c"],
            "diverged": []}  # fmt: skip


def _cell(source, *bundles):
    outputs = [v4.new_output("display_data", dict(data)) for data in bundles]
    return v4.new_code_cell(source, outputs=outputs)


def _claim(text, holds, report=None):
    record = {"name": text, "text": text, "holds": holds, "report": report}
    return {CLAIM: record, "text/html": f"<div>{text}</div>"}


def test_what_interrupts_the_argument_stands_at_its_end():
    caption = f"<div><p>what to see</p>{provenance([_source('aaaa', '0')])}</div>"
    bare = f'<div class="aecore-caption">{provenance([_source("bbbb", "1")])}</div>'
    page = v4.new_notebook(cells=[
        v4.new_markdown_cell("# Question"),
        _cell("show()", {"text/html": caption, SOURCE: _source("aaaa", "0")}),
        _cell("claim()", _claim("ours holds", True), _claim("theirs", None, "A3")),
        v4.new_markdown_cell("## What the reports found\n\nIn words."),
        _cell("replicate()", {REPLICATION: {}, "text/html": "<div>A3 row</div>"},
              {"text/html": bare, SOURCE: _source("bbbb", "1")}),
        v4.new_markdown_cell("## What would change the answer"),
    ])  # fmt: skip
    arranged(page)
    nbformat.validate(page)
    texts = [c.source + "".join(str(o.data) for o in c.get("outputs", [])) for c in page.cells]
    at = {words: next(n for n, text in enumerate(texts) if words in text) for words in (
        "what to see", "<div>ours holds", "## What would change", "## What the reports", "A3 row",
        "<div>theirs", "## What this page claims")}  # fmt: skip
    assert list(at.values()) == sorted(at.values())
    assert sum(text.count("aecore-source") for text in texts) == 1
    assert "2 runs, 2 seeds" in texts[-1]
    assert not [text for text in texts if '<div class="aecore-caption"></div>' in text]
    claims = texts[at["## What this page claims"]]
    assert "✓ holds" in claims
    assert "theirs" not in claims


def test_a_page_without_claims_or_reports_stays_as_it_is():
    cells = [v4.new_markdown_cell("# Question"), _cell("1")]
    page = v4.new_notebook(cells=list(cells))
    arranged(page)
    assert page.cells == cells
