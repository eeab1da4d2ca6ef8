"""The reports' experiments beside ours: every one has a row, and a claim says whose it is."""

import re
from types import SimpleNamespace

import nbformat
import pytest
from command import CHECKOUT

from aecore import cli
from aecore.checks import InvalidValue
from aecore.page import show as display
from aecore.page.reports import EXPERIMENTS
from aecore.publish import fill as placeholders
from aecore.publish import pages as book
from aecore.publish import records
from aecore.publish.fill import Edition

SEEDED = [
    SimpleNamespace(
        key=f"{seed:064x}",
        spec=SimpleNamespace(dataset="mnist", seed=seed, train_images=None),
        history=[{"epoch": 1}],
        provenance={"device": "cpu (x86_64)"},
        diverged=False,
    )
    for seed in range(3)
]


@pytest.fixture
def page(monkeypatch):
    """What is displayed becomes the outputs of a notebook."""
    cell = nbformat.v4.new_code_cell("1")
    heading = nbformat.v4.new_markdown_cell("# There")
    monkeypatch.setattr(
        "IPython.display.display",
        lambda bundle, raw: cell.outputs.append(nbformat.v4.new_output("display_data", bundle)),
    )
    language = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    return nbformat.v4.new_notebook(cells=[heading, cell], metadata=language)


def rows(markup):
    return [
        [re.sub("<[^>]+>", "", cell).strip() for cell in re.findall("<td>(.*?)</td>", row)]
        for row in re.findall("<tr>(.*?)</tr>", markup)
    ]


def test_every_experiment_has_a_row_and_a_notebook(page, tmp_path):
    display.replication("B3", "test MSE 0.0194 ± 0.0002", True, runs=SEEDED)
    display.replication("B4", "0.04", False, why="<less> noise", runs=SEEDED)
    display.replication("A1", "rho +.5", None, why="4 of 180 trials")
    board = placeholders.filled(
        "<!-- scoreboard -->", Edition(tmp_path, "quick", ["tradeoff"], {"tradeoff": page}, {})
    )
    found = {row[0].split()[0]: row for row in rows(board) if row}
    assert list(found) == list(EXPERIMENTS)
    assert len(EXPERIMENTS) == 34
    assert "1 agree" in board and "1 differ" in board and "for 1 this profile is too" in board
    assert "31 were not run" in board
    assert found["B3"][2:] == ["test MSE 0.0194 ± 0.0002 3 seeds, cpu (x86_64)", "✓ agrees"]
    assert found["B4"][3] == "✗ differs &lt;less&gt; noise"
    assert found["A1"][2:] == ["rho +.5", "○ too small to say 4 of 180 trials"]
    assert found["A2"][3].startswith("○ not run")
    for experiment in EXPERIMENTS.values():
        assert (CHECKOUT / "notebooks" / f"{experiment.notebook}.ipynb").is_file()


def test_what_does_not_agree_needs_a_reason_and_an_experiment_its_name(page):
    with pytest.raises(InvalidValue, match="B3: why=''"):
        display.replication("B3", "0.1", False)
    with pytest.raises(InvalidValue, match="experiment='Z9' is not allowed: must be one of A1"):
        display.replication("Z9", "0.1", True)
    assert not page.cells[1].outputs


def test_networks_that_are_hardly_trained_agree_with_nothing(page):
    hardly = SimpleNamespace(
        spec=SimpleNamespace(dataset="mnist", seed=0, train_images=2000),
        history=[{}, {}],
        provenance={"device": "cpu"},
        diverged=False,
        key="0" * 64,
    )
    display.replication("B3", "0.1", True, runs=[hardly])
    (record,) = records.of_kind(page, display.REPLICATION)
    assert record["agrees"] is None
    assert "4,000 images" in record["why"]


def test_other_data_replicate_nothing(page):
    own = SimpleNamespace(spec=SimpleNamespace(dataset="own.npz", seed=0))
    display.replication("B3", "0.1", True, runs=[own])
    assert not page.cells[1].outputs


def test_a_report_s_claim_is_listed_apart_and_does_not_fail_the_paper_book(page, tmp_path):
    display.claim("ours", "Errors fall.", True)
    display.claim("flat", "Small codes are flat.", False, report="A3")
    edition = Edition(tmp_path, "paper", ["there"], {"there": page}, {})
    book._check_claims(edition)
    assert [row[:2] for row in rows(placeholders.filled("<!-- claims -->", edition)) if row] == [
        ["✓ holds", "Errors fall."]
    ]
    reports = placeholders.filled("<!-- claims: reports -->", edition)
    assert [row[:2] for row in rows(reports) if row] == [
        ["✗ does not hold", "Report A: Small codes are flat."]
    ]


def test_the_command_lists_all_claims(page, tmp_path, monkeypatch, capsys):
    display.claim("ours", "Errors fall.", True)
    display.claim("flat", "Small codes are flat.", False, report="A3")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "profiles.yaml").write_text("quick: {}\n")
    (tmp_path / "_toc.yml").write_text("parts: [{chapters: [{file: notebooks/there}]}]\n")
    executed = tmp_path / "_build" / "notebooks" / "quick"
    monkeypatch.chdir(tmp_path)
    assert cli.main(["claims"]) == cli.BAD_INPUT
    assert "make them with aecore run --profile quick" in capsys.readouterr().err
    executed.mkdir(parents=True)
    nbformat.write(page, executed / "there.ipynb")
    assert records.title(page, "") == "There"
    assert cli.main(["claims"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "holds  there/ours: Errors fall.",
        "FAILS  there/flat: Report A: Small codes are flat.",
    ]
