"""The published runs: what is in `results/` is whole, small, and all that the paper book needs."""

import json
from pathlib import Path

from aecore.page.claims import CLAIM, REPLICATION
from aecore.publish import fill
from aecore.store.entries import Store

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
MOST = 60_000_000  # bytes
# Ours that the published runs leave open.
OPEN = {"noise-costs-today's", "some-penalty-it-was"}


def test_entries_are_whole_and_small(tmp_path):
    files = [path for path in RESULTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST
    store = Store(tmp_path, layers=(RESULTS,))
    entries = sorted({path.parent for path in files})
    assert len(entries) > 400
    for entry in entries:  # a damaged one would warn, and be None
        kind = entry.parent.parent.name.removesuffix("s")
        assert store.read(kind, entry.name) is not None
        assert "/home" not in (entry / f"{kind}.json").read_text()


def test_paper_book_trains_nothing_and_its_claims_hold(paper, record_property):
    names = fill.sections(ROOT)
    assert fill.problems(paper, names) == {}
    pages = fill.finished(paper, names)
    assert list(pages) == names
    seconds = sum(page.metadata["aecore"]["seconds"] for page in pages.values())
    record_property("measured", f"the paper edition's notebooks: {seconds:.0f} s")
    records = [r for page in pages.values() for r in fill.of_kind(page, REPLICATION)]
    published = json.loads((ROOT / "book" / "templates" / "verdicts.json").read_text())
    assert {record["experiment"]: record["verdict"] for record in records} == published
    claims = [claim for page in pages.values() for claim in fill.of_kind(page, CLAIM)]
    assert len(claims) > 30
    ours = {claim["name"]: claim["holds"] for claim in claims if not claim["report"]}
    assert [name for name, holds in ours.items() if holds is False] == []
    assert {name for name, holds in ours.items() if holds is None} == OPEN
