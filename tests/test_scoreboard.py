"""The reports' experiments beside ours: every one has a row, and a claim says whose it is."""

import math
import re
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from command import CHECKOUT

from aecore import cli
from aecore.checks import InvalidValue
from aecore.page import above, claim, curves, planes, replicate, reports, spread, table
from aecore.page.claims import CLAIM, REPLICATION
from aecore.page.reports import EXPERIMENTS, Experiment
from aecore.publish import fill, pages
from aecore.publish.fill import Edition
from aecore.runs import Run, Runs
from aecore.spec import Spec

SEEDED = [
    SimpleNamespace(
        key=f"{seed:064x}",
        spec=SimpleNamespace(dataset="mnist", seed=seed, train_images=None),
        history=[{"epoch": 1}],
        provenance={"device": "cpu (x86_64)"},
        diverged=False,
    )
    for seed in range(5)
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


def hardly_trained(dataset="mnist"):
    spec = SimpleNamespace(dataset=dataset, seed=0, train_images=2000)
    made = {"history": [{}, {}], "provenance": {"device": "cpu"}, "diverged": False}
    return SimpleNamespace(spec=spec, key="0" * 64, **made)


GOOD = [0.0192, 0.0194, 0.0196, 0.0194, 0.0194]


def test_every_experiment_has_a_row_and_a_notebook(page):
    replicate("B3", {"test MSE": GOOD}, ours={"test MSE": [0.01, 0.03]}, runs=SEEDED)
    other = {"σ = 0.45": [0.05] * 5, "<other>": "x"}
    replicate("B4", other, why="<less> noise", runs=SEEDED)
    few = "4 of 180 trials"
    replicate("A1", {"rho": "+.5"}, {"L2": True, "dropout": False}, unlike=few, runs=SEEDED)
    replicate("A6", {"scatter": ""}, runs=SEEDED[:1])
    replicate("C3", {"best": "0"}, {"0 and 1": True}, runs=SEEDED[:3])
    board = Edition(CHECKOUT, "quick", ["tradeoff"], {"tradeoff": page}, {}).fill(
        "{{ scoreboard() }}"
    )
    start, *_ = board.split("## A.")
    assert ": 1 better, 1 not reproduced, 1 not testable, 2 open, 29 not run" in start
    assert rows(start.replace("\n", " "))[-1] == [
        "B4: σ = 0.45: 0.033; 20 % hidden: 0.05, so that hiding costs more than noise",
        "not found again: σ = 0.45 (reported 0.033); &lt;less&gt; noise",
    ]
    found = {row[0].split()[0]: row for row in rows(board.replace("\n", " ")) if row}
    assert set(found) - {"B4:"} == set(EXPERIMENTS) and len(EXPERIMENTS) == 34
    here = "test MSE 0.0194 ± 0.0001 by our recipe: test MSE 0.0200 ± 0.0141 5 seeds, cpu (x86_64)"
    assert re.sub(" +", " ", found["B3"][2]) == here
    better = "✓ better than reported better: test MSE (reported 0.028)"
    assert found["B3"][3] == f"{better} in the published edition: ✓ reproduced"
    assert found["B4"][3].startswith("✗ not reproduced not found again: σ = 0.45 (reported 0.033)")
    open_ = "○ open 4 of 180 trials in the published edition: ✗ not reproduced"
    assert [found["A1"][2].split(" 5 seeds")[0].strip(), found["A1"][3]] == ["rho +.5", open_]
    assert found["A6"][3].startswith("– not testable")
    few = "○ open 3 of at least 5 seeds"
    assert found["C3"][3] == f"{few} in the published edition: ✓ reproduced"
    assert found["A2"][3].startswith("○ not run")
    for experiment in EXPERIMENTS.values():
        assert (CHECKOUT / "notebooks" / f"{experiment.notebook}.ipynb").is_file()


@pytest.mark.parametrize(
    ("holds", "options", "verdict"),
    [
        ({"a": True}, {}, "reproduced"),
        ({"a": True, "b": "better"}, {}, "better"),
        ({"a": True, "b": False}, {}, "not reproduced"),
        ({"a": True, "b": None}, {}, None),
        ({"a": None, "b": False}, {}, "not reproduced"),
        ({"a": False}, {"unlike": "few trials"}, None),
        ({"a": True}, {"unlike": "other settings"}, None),
        ({}, {}, "not testable"),
        ({}, {"measured": GOOD}, "better"),
        ({}, {"measured": [0.03] * 5}, "reproduced"),
        ({}, {"measured": [0.033] * 5}, "not reproduced"),
        ({}, {"measured": [0.028, 0.034, 0.04, 0.034, 0.034]}, "reproduced"),
        ({}, {"measured": [0.01, 0.03, 0.05, 0.05, 0.03]}, None),
        ({}, {"measured": [math.nan] * 5}, "not reproduced"),
        ({}, {"measured": GOOD[:4]}, None),
        ({}, {"measured": []}, None),
    ],
)
def test_a_verdict_follows_from_figures_and_parts(page, holds, options, verdict):
    measured = {"test MSE": options.pop("measured", "")}
    replicate("B3", measured, holds, runs=SEEDED, **options)  # reported: 0.028
    (record,) = fill.of_kind(page, REPLICATION)
    assert record["verdict"] == verdict
    assert bool(record["why"]) == (verdict != "reproduced")


def test_an_experiment_needs_its_name_and_its_figures_have_a_good_side(page):
    with pytest.raises(InvalidValue, match="experiment='Z9' is not allowed: must be one of A1"):
        replicate("Z9", {})
    sides = {"lower": ["better", "not reproduced"], "higher": ["not reproduced", "better"]}
    for better, found in {**sides, "neither": ["not reproduced"] * 2}.items():
        known = Experiment(notebook="", done="", found="", figures={"x": -2.0}, better=better)
        assert [known.verdict("x", [value] * 5) for value in (-2.4, -1.6)] == found
        assert known.verdict("x", [-2.2] * 5) == known.verdict("x", [-1.8] * 5) == "reproduced"
    rounded = Experiment(notebook="", done="", found="", figures={"x": 1.9, "y": 2})
    assert rounded.verdict("x", [2.23] * 5) == "reproduced"  # 1.94 rounds to it
    assert rounded.verdict("x", [2.24] * 5) == "not reproduced"
    assert rounded.verdict("y", [2.79] * 5) == "reproduced"


def test_a_report_s_own_recipe_is_read_and_only_trained_on_demand(tiny, monkeypatch):
    specs = {id: Spec.from_dict(dict(known.recipe)) for id, known in EXPERIMENTS.items()}
    assert sum(spec != Spec() for spec in specs.values()) >= 17
    monkeypatch.setattr(reports, "fit", lambda specs, **how: [spec.seed for spec in specs])
    monkeypatch.setattr(reports, "known_runs", lambda specs: specs[1:])
    assert reports.as_reported("B3", "mnist", repeat=True) == [0, 1, 2, 3, 4]
    assert reports.as_reported("B3", "mnist", repeat=False) == []
    assert reports.as_reported("B3", tiny, repeat=True) == []
    monkeypatch.setattr(reports, "known_runs", lambda specs: specs)
    found = reports.as_reported("A2", "mnist", repeat=False, latent_dim=[1, 2])
    assert [(spec.latent_dim, spec.seed) for spec in found[19:21]] == [(1, 19), (2, 0)]
    some = reports.as_reported("A2", "mnist", repeat=False, latent_dim=[1, 2], seed=range(3))
    assert [(spec.latent_dim, spec.seed) for spec in some[2:4]] == [(1, 2), (2, 0)]


def test_networks_that_never_learned_are_told_apart_where_they_are_rare():
    def trained(d, *losses):
        histories = [[{"train_loss": loss}] for loss in losses]
        keys = [f"{d} {seed}" for seed in range(len(losses))]
        return [
            Run(key, Spec(latent_dim=d, seed=seed), (1, 28, 28), history, 1, {})
            for seed, (key, history) in enumerate(zip(keys, histories, strict=True))
        ]

    rare, often = trained(2, 1.0, 1.4, 1.0, 9.0, 1.0), trained(3, 1.0, 9.0, 1.0, None, 1.0)
    kept, remark = reports.learned(Runs(rare + often))
    assert [run.key for run in kept] == [f"2 {n}" for n in (0, 1, 2, 4)] + [r.key for r in often]
    assert remark == "of 10 networks 1 never learned and is left out"
    assert reports.learned(Runs(rare[:3])) == (rare[:3], "")


def test_networks_that_are_hardly_trained_or_of_other_data_say_nothing_of_a_report(page):
    replicate("B3", {"test MSE": [0.1]}, runs=[hardly_trained()])
    claim("flat", "Small codes are flat.", False, report="A3", runs=[hardly_trained()])
    (record,), (said,) = (fill.of_kind(page, kind) for kind in (REPLICATION, CLAIM))
    assert record["verdict"] is None and "4,000 images" in record["why"]
    assert said["holds"] is None
    page.cells[1].outputs.clear()
    for dataset in ("fashion_mnist", "own.npz"):
        replicate("B3", {"test MSE": [0.1]}, runs=[hardly_trained(dataset)])
        claim("flat", "Small codes are flat.", False, report="A3", runs=[hardly_trained(dataset)])
    replicate("B3", {"test MSE": [0.1]})
    claim("flat", "Small codes are flat.", False, report="A3")
    assert not page.cells[1].outputs, "nor does what was not trained"


def test_a_report_s_claim_is_listed_apart_and_does_not_fail_the_paper_book(page):
    claim("ours", "Errors fall.", True)
    claim("flat", "Small codes are flat.", False, report="A3", runs=SEEDED)
    edition = Edition(CHECKOUT, "paper", ["there"], {"there": page}, {})
    pages._check_claims(edition)
    assert [row[:2] for row in rows(edition.claims()) if row] == [["✓ holds", "Errors fall."]]
    expected = [["✗ does not hold", "Report A: Small codes are flat."]]
    listed = rows(edition.claims(of_reports=True))
    assert [row[:2] for row in listed if row] == expected


def test_values_of_seeds_are_shown_as_mean_and_deviation(page):
    values = {"a_b": [[1.0, 2.0, math.nan], [3.0]], "c": [0.5, math.nan], "d": [True, False]}
    frame = pd.DataFrame(values, index=["x_x", "y"])
    table(frame, "caption", {"c": "{:.1%}"})
    markup = page.cells[1].outputs[0].data["text/html"]
    number = ' class="number"'
    cells = [("", "x x"), (number, "1.5000 ±\xa00.7071"), (number, "50.0%"), ("", "yes")]
    cells += [("", "y"), (number, "3.0000"), (number, ""), ("", "no")]
    assert re.findall("<td(.*?)>(.*?)</td>", markup) == cells
    assert f'<th scope="col"{number}>a b</th>' in markup
    assert 'role="region" tabindex="0" aria-label="Table: caption"' in markup
    assert spread([], "{:.2f}") == spread([math.nan]) == ""


def test_nothing_is_above_within_its_spread_or_from_one_seed():
    high, low = [3.0, 3.2, 2.8], [1.0, 1.2, 0.8]
    assert above(high, low) is True and above(low, high) is False
    assert above([1.0, 3.0], [1.2, 1.4]) is above([3.0], [1.0, 1.1]) is None
    assert above([2.0, 3.4], low) is None  # apart, but two values have a wide interval
    assert above([5.0, 5.1], high, low) is True
    assert above(high, [5.0, 5.1], low) is above(high, high, [9.0, 9.1]) is False
    assert above(high, high, low) is None
    assert above(0.5 * min(low), low) is False and above(2 * max(low), low) is True
    assert above(low, 0.5 * min(low)) is True and above(sum(low) / len(low), low) is None
    mean, half = 1.0, 1.2412  # Student's interval of 0.5, 1, 1.5: t = 4.3027, two degrees
    assert above(mean + half + 0.01, [0.5, 1.0, 1.5]) is True
    assert above(mean + half - 0.01, [0.5, 1.0, 1.5]) is None


def test_a_small_edition_says_how_many_pages_show_published_runs():
    def line(**pages):
        made = {name: SimpleNamespace(metadata={"aecore": of}) for name, of in pages.items()}
        filled = Edition(CHECKOUT, "quick", list(made), made, {}).fill("{{ profile() }}")
        return re.sub(r"\s+", " ", filled)

    shows, trains = {"published": "paper"}, {}
    assert "short training on 1 of its pages, published runs on 2." in line(
        a=shows, b=trains, c=shows
    )
    assert "short training." in line(a=trains, b=trains)


def test_runs_that_diverged_are_no_curve_at_zero_and_are_told():
    frame = pd.DataFrame({"latent_dim": [1, 1, 2, 2], "mse": [0.2, 0.4, math.nan, math.nan]})
    figure = curves.bands(frame.assign(by="a"), "latent_dim", "mse", "by", "MSE")
    assert list(figure.data[1].x) == [1] and list(figure.data[1].y) == pytest.approx([0.3])
    assert "2 values diverged" in figure.data[1].name


def test_errors_by_size_are_drawn_by_how_many_times_they_differ():
    frame = pd.DataFrame(
        {"network": ["a", "a", "b"], "weights": [1000, 1000, 50_000], "mse": [0.01, 0.03, 0.004]}
    )
    figure = curves.error_by_size(frame, "weights", "network", "weights", "{:,}")
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    assert figure.layout.xaxis.ticktext == ("1,000", "50,000")
    assert {"0.003", "0.02"} <= set(figure.layout.yaxis.ticktext)
    drawn = {trace.name: [*trace.y] for trace in figure.data if trace.name}
    assert drawn == {"a": [pytest.approx(0.02)], "b": [pytest.approx(0.004)]}


def test_any_number_of_models_and_classes_is_drawn():
    many = [(f"m{n}", metric, k, n) for n in range(23) for metric in ("L1", "L2") for k in (1, 2)]
    kept = pd.DataFrame(many, columns=["model", "metric", "k", "score"])
    figure = curves.by_neighbors(kept, {"score": "score"})
    assert len({(t.line.color, t.line.dash) for t in figure.data if t.showlegend}) == 23
    levels = pd.DataFrame({"level": [0, 1] * 12, "mse": 1.0, "by": [n // 2 for n in range(24)]})
    figure = curves.error_by_level(levels, "by", "level")
    assert len(figure.data) == 2 * 12
    wide = curves.with_widths(figure, 28).layout.xaxis
    assert wide.ticktext[2] == "0.2 · 13"  # 13² of 28² is 0.216, the nearest to a fifth
    assert len(wide.ticktext) == len(wide.tickvals) == 11
    grid, line = torch.arange(300).view(15, 20), torch.arange(20.0)
    plane = SimpleNamespace(x=line, y=line[:15], distance=grid.float(), nearest=grid,
                            centroids=torch.rand(300, 2))  # fmt: skip
    assert planes.basin_map(plane).data[0].z.max() == 299
    assert planes.distance_surface(plane).data[0].customdata.max() == 299
    named = [word for trace in planes.basin_map(plane).data for word in trace.text or () if word]
    assert 20 < len(set(named)) <= 30  # more would hide each other
    of_all = planes.code_scatter(torch.rand(300, 2), torch.arange(300), torch.rand(300, 2))
    assert len(of_all.data) > 300 and not any(trace.showlegend for trace in of_all.data)
    large = curves.heatmap(pd.DataFrame(np.zeros((300, 300))), "", "", "")
    assert large.layout.height < 1600 and len(large.layout.yaxis.tickvals) == 30
    points = planes.projections({"all": np.zeros((70_000, 2))}, np.zeros(70_000, dtype=int))
    assert points.data[0].customdata.max() == 69_999


def test_the_command_lists_all_claims(page, tmp_path, monkeypatch, capsys):
    claim("ours", "Errors fall.", True)
    claim("flat", "Small codes are flat.", False, report="A3", runs=SEEDED)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "profiles.yaml").write_text("quick: {}\n")
    (tmp_path / "_toc.yml").write_text("parts: [{chapters: [{file: notebooks/there}]}]\n")
    executed = tmp_path / "_build" / "notebooks" / "quick"
    monkeypatch.chdir(tmp_path)
    assert cli.main(["claims"]) == cli.BAD_INPUT
    assert "make them with aecore run --profile quick" in capsys.readouterr().err
    executed.mkdir(parents=True)
    nbformat.write(page, executed / "there.ipynb")
    assert fill.title(page, "") == "There"
    assert cli.main(["claims"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "holds  there/ours: Errors fall.",
        "FAILS  there/flat: Report A: Small codes are flat.",
    ]
