"""What stands in the prose pages for what only a run can say, and what fills it in."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from aecore.page.claims import ANSWER, CLAIM, REPLICATION, VERDICTS
from aecore.page.reports import EXPERIMENTS, REPORTS
from aecore.publish import records

_PLACEHOLDER = re.compile(
    r"<!-- (profile|answers|claims|scoreboard|made|figure|api|benchmarks|faults)(?:: ([^>]+?))? -->"
)


@dataclass(frozen=True)
class Edition:
    """One book: the sections in order, those whose notebook ran to its end, and why others not."""

    root: Path
    profile: str
    names: list[str]
    pages: dict[str, nbformat.NotebookNode]
    problems: dict[str, str]


def _made(edition: Edition) -> list[dict[str, Any]]:
    return [page.metadata.get("aecore", {}) for page in edition.pages.values()]


def _distinct(edition: Edition, field: str) -> str:
    values = (str(entry[field]) for entry in _made(edition) if entry.get(field))
    return ", ".join(dict.fromkeys(values))


def filled(text: str, edition: Edition) -> str:
    """The Markdown `text` of a prose page, its placeholders replaced by what `edition` holds.

    A placeholder is a comment such as `<!-- figure: surface/basins -->`; `FILL` has all kinds.
    """
    return _PLACEHOLDER.sub(lambda match: FILL[match[1]](edition, match[2]), text)


def facts(edition: Edition) -> str:
    """Profile, data, device and commit of an edition, as one line of HTML."""
    parts = [f"Profile <strong>{html.escape(edition.profile)}</strong>"]
    for field, form in (("dataset", "data {}"), ("device", "{}"), ("commit", "commit {}")):
        if text := _distinct(edition, field):
            parts.append(form.format(html.escape(text)))
    return " · ".join(parts)


def _fill_profile(edition: Edition, _: str) -> str:
    note = {
        "smoke": " This edition only shows that everything runs: its networks are hardly trained.",
        "quick": " A small edition, made to be run on a laptop: few seeds, short training.",
    }.get(edition.profile, "")
    return _raw(f'<p class="aecore-edition">{facts(edition)}.{note}</p>')


def _fill_answers(edition: Edition, _: str) -> str:
    items = []
    for name, page in edition.pages.items():
        for record in records.of_kind(page, ANSWER):
            title, text = html.escape(records.title(page, name)), html.escape(record["text"])
            link = f'<a href="../notebooks/{name}.html">{title}</a>'
            items.append(f"<dt>{link}</dt><dd>{text}</dd>")
    return _raw(f'<dl class="aecore-answers">{"".join(items)}</dl>') if items else _not_run("all")


def _fill_claims(edition: Edition, whose: str | None) -> str:
    """The claims of `reports`, or our own."""
    rows = []
    for name, page in edition.pages.items():
        link = f'<a href="../notebooks/{name}.html">{name}</a>'
        for record in records.of_kind(page, CLAIM):
            if bool(record.get("report")) == (whose == "reports"):
                verdict = "✓ holds" if record["holds"] else "✗ does not hold"
                mark = _verdict("holds" if record["holds"] else "fails", verdict)
                rows.append([mark, html.escape(record["text"]), link])
    return _table(["in this run", "statement", "section"], rows) if rows else ""


def _fill_scoreboard(edition: Edition, _: str) -> str:
    """A row for every experiment of the reports: theirs beside ours, and how many agree."""
    ours = {
        record["experiment"]: record
        for page in edition.pages.values()
        for record in records.of_kind(page, REPLICATION)
    }
    counts = {agrees: 0 for agrees in VERDICTS}
    for record in ours.values():
        counts[record["agrees"]] += 1
    parts = [
        f"Of {len(EXPERIMENTS)} experiments {counts[True]} agree with the report and "
        f"{counts[False]} differ; for {counts[None]} this profile is too small to say, and "
        f"{len(EXPERIMENTS) - len(ours)} were not run."
    ]
    for letter, report in REPORTS.items():
        rows = [
            _score(edition, experiment, ours.get(experiment))
            for experiment in EXPERIMENTS
            if experiment.startswith(letter)
        ]
        head = ["experiment", "reported", "in this run", "verdict"]
        parts.append(f"## {letter}. {report}\n\n{_table(head, rows, 'aecore-scoreboard')}")
    return "\n\n".join(parts)


def _score(edition: Edition, experiment: str, record: dict[str, Any] | None) -> list[str]:
    known = EXPERIMENTS[experiment]
    link = f'<a href="../notebooks/{known.notebook}.html">{experiment}</a>'
    row = [f"{link} {html.escape(known.done)}", html.escape(known.found)]
    if record is None:
        reason = (
            "the section was not run"
            if known.notebook not in edition.pages
            else ("not part of this profile")
        )
        return [*row, "", _verdict("open", "○ not run") + f" <small>{reason}</small>"]
    kind, verdict = VERDICTS[record["agrees"]]
    seeds = f"{record['seeds']} {'seed' if record['seeds'] == 1 else 'seeds'}"
    source = ", ".join([*([seeds] if record["seeds"] else []), *record["devices"]])
    measured = f"{html.escape(record['measured'])} <small>{html.escape(source)}</small>"
    return [
        *row,
        measured,
        f"{_verdict(kind, verdict)} <small>{html.escape(record['why'])}</small>",
    ]


def _verdict(kind: str, text: str) -> str:
    return f'<span class="verdict {kind}">{text}</span>'


def _fill_figure(edition: Edition, wanted: str) -> str:
    """The figure shown with that name in that notebook, with its caption, which follows it."""
    section, name = wanted.split("/")
    outputs = list(records.outputs(edition.pages[section])) if section in edition.pages else []
    parts = [output.get("data", {}).get("text/html", "") for output in outputs]
    mark = f'<figure class="aecore-figure" data-name="{html.escape(name)}"'
    for figure, caption in zip(parts, [*parts[1:], ""], strict=True):
        if figure.startswith(mark):
            return _raw(figure + caption)
    return _not_run(section)


def _fill_made(edition: Edition, _: str) -> str:
    overall = [["profile", html.escape(edition.profile)]]
    for field in ("dataset", "device", "commit"):
        overall.append([field, html.escape(_distinct(edition, field))])
    versions: dict[str, dict[str, None]] = {}
    for entry in _made(edition):
        for package, version in entry.get("versions", {}).items():
            versions.setdefault(package, {})[str(version)] = None
    overall += [
        [html.escape(name), html.escape(", ".join(found))] for name, found in versions.items()
    ]

    rows = []
    for name, page in edition.pages.items():
        made = page.metadata.get("aecore", {})
        values = made.get("parameters", {})
        settings = "<br>".join(
            f"<code>{html.escape(key)} = {html.escape(json.dumps(value))}</code>"
            for key, value in values.items()
        )
        link = f'<a href="../notebooks/{name}.html">{name}</a>'
        seconds = f"{made['seconds']:.1f} s" if "seconds" in made else ""
        rows.append([link, html.escape(str(made.get("started", ""))), seconds, settings])
    missing = [[name, "not run", "", ""] for name in edition.names if name not in edition.pages]
    pages = _table(["page", "started", "time", "parameters"], rows + missing)
    return f"{_table(['', ''], overall)}\n\n## Page by page\n\n{pages}"


def _fill_api(_: Edition, modules: str) -> str:
    package = Path(__file__).parents[1]
    there = [
        name
        for name in modules.split()
        if (package / f"{name.replace(chr(46), chr(47))}.py").exists()
    ]
    return "\n\n".join(
        f"## {name}\n\n```{{eval-rst}}\n.. automodule:: aecore.{name}\n   :members:\n```"
        for name in there
    )


def _fill_benchmarks(edition: Edition, _: str) -> str:
    """What `make bench` measured: here, or else what is published with it."""
    measured = _made_or_published(edition, "_build/bench.json", "benchmarks/measured.json")
    if measured is None:
        return "*Not measured yet: `make bench` makes what belongs here.*"
    devices = ", ".join(dict.fromkeys(row["device"] for row in measured))
    rows = [
        [
            f"{html.escape(row['name'])} <small>{html.escape(row['unit'])}</small>",
            *(f"{row[name]:,.10g}" if row[name] is not None else "" for name in ("ours", "peer")),
            f"{row['ratio']:.3g} ×" if row["ratio"] is not None else "",
            html.escape(row["note"]),
        ]
        for row in measured
    ]
    table = _table(["", "ours", "peer", "ratio", "peer, notes"], rows, "aecore-benchmarks")
    return f"Measured on {devices}.\n\n{table}"


def _fill_faults(edition: Edition, _: str) -> str:
    """What became of the faults in the last run of the tests: here, or else as published."""
    found = _made_or_published(edition, "_build/faults.json", "tests/outcomes.json")
    if found is None:
        return "*Not tested yet: `make test` makes what belongs here.*"
    rows = [
        [
            f"{html.escape(fault)} <small>{html.escape(row['promise'])}</small>",
            f"{row['trials']:,}",
            f"{'kept' if row['kept'] else '<strong>broken</strong>'}"
            + (f": {html.escape(row['outcome'])}" if row["outcome"] else ""),
        ]
        for fault, row in found.items()
    ]
    return _table(["fault, and the promise", "trials", "outcome"], rows, "aecore-faults")


def _made_or_published(edition: Edition, made: str, published: str) -> Any:
    """What the first of two JSON files of the project holds that is there, or None."""
    places = [edition.root / made, edition.root / published]
    there = next((place for place in places if place.exists()), None)
    return None if there is None else json.loads(there.read_text(encoding="utf-8"))


def _not_run(section: str) -> str:
    names = "" if section == "all" else f" {section}"
    return f"*Not run yet: `aecore run{names}` makes what belongs here.*"


def _raw(markup: str) -> str:
    return f"```{{raw}} html\n{markup}\n```"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

    top = f"<thead>{line(head, 'th')}</thead>" if any(head) else ""
    body = "".join(line(row, "td") for row in rows)
    kinds = f"aecore-table {kind}".strip()
    return _raw(f'<div class="{kinds}"><table>{top}<tbody>{body}</tbody></table></div>')


FILL: dict[str, Callable[[Edition, Any], str]] = {
    "profile": _fill_profile,
    "answers": _fill_answers,
    "claims": _fill_claims,
    "scoreboard": _fill_scoreboard,
    "figure": _fill_figure,
    "made": _fill_made,
    "api": _fill_api,
    "benchmarks": _fill_benchmarks,
    "faults": _fill_faults,
}
