"""The order of a page: first its argument, then the reports, its claims, and the runs behind it."""

import re
from typing import Any

import nbformat
from nbformat import NotebookNode

from aecore.page.claims import CLAIM, HOLDS, REPLICATION
from aecore.page.classes import NEEDS
from aecore.page.show import SOURCE, escape, provenance

REPORTS = re.compile(r"^## (What the reports? found|The reports?'s? \w+|What is found again)")
BARE = '<div class="aecore-caption"></div>'
WHENCE = re.compile(r'<(p|details) class="aecore-source">.*?</\1>', re.S)


def arranged(page: NotebookNode, of_reports: bool = True) -> None:
    """Moves what interrupts a page's argument to its end.

    There stand the section on the reports with what was said of them elsewhere, all claims of the
    page with their verdicts, and one line on the runs behind all of its figures. Where they were,
    our claims are plain sentences. What needs classes that are not there says so once a section.
    Without `of_reports`, which are about MNIST, the section on them goes.
    """
    _say_once(page.cells)
    sources = _sources(page.cells)
    about = _about_reports(page.cells)
    rest = [cell for cell in page.cells if not any(cell is one for one in about)]
    strays = _taken(rest, lambda data: REPLICATION in data or _of_report(data))
    if strays and not about:
        about = [nbformat.v4.new_markdown_cell("## What the reports found")]
    about += [nbformat.v4.new_markdown_cell(raw(output.data["text/html"])) for output in strays]
    page.cells = [*rest, *(about if of_reports else []), *_claims(page.cells)]
    if sources:
        page.cells.append(nbformat.v4.new_markdown_cell(raw(provenance(sources))))


def _say_once(cells: list[NotebookNode]) -> None:
    """Takes out what says again in a section what it needs."""
    said = False
    for cell in cells:
        if cell.cell_type == "markdown":
            said &= not re.search(r"^#", cell.source, re.M)
        if any(NEEDS in output.get("data", {}) for output in cell.get("outputs", [])):
            cell.outputs = [] if said else cell.outputs
            said = True


def raw(markup: str) -> str:
    """HTML as Markdown that passes it on as it is."""
    return f"```{{raw}} html\n{markup}\n```"


def _of_report(data: dict[str, Any]) -> bool:
    return bool(data.get(CLAIM, {}).get("report"))


def _about_reports(cells: list[NotebookNode]) -> list[NotebookNode]:
    """The cells of the section on the reports, up to the next heading."""
    found, inside = [], False
    for cell in cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            inside = bool(REPORTS.match(cell.source))
        if inside:
            found.append(cell)
    return found


def _taken(cells: list[NotebookNode], wanted: Any) -> list[NotebookNode]:
    """The outputs that are `wanted`, taken out of their cells."""
    taken = []
    for cell in cells:
        every = cell.get("outputs", [])
        taken += [output for output in every if wanted(output.get("data", {}))]
        if every:
            cell.outputs = [output for output in every if not wanted(output.get("data", {}))]
    return taken


def _claims(cells: list[NotebookNode]) -> list[NotebookNode]:
    """A list of what the page itself claims."""
    data = [o.get("data", {}) for cell in cells for o in cell.get("outputs", [])]
    records = [one[CLAIM] for one in data if CLAIM in one and not _of_report(one)]
    if not records:
        return []
    rows = "".join(
        f'<li><span class="verdict {kind}">{verdict}</span> {escape(record["text"])}</li>'
        for record in records
        for kind, verdict in [HOLDS[record["holds"]]]
    )
    listed = raw(f'<ul class="aecore-claims">{rows}</ul>')
    return [nbformat.v4.new_markdown_cell(f"## What this page claims\n\n{listed}")]


def _sources(cells: list[NotebookNode]) -> list[dict[str, Any]]:
    """What captions say of the runs behind figures, taken out of them; captions of no more go."""
    found = []
    for cell in cells:
        for output in cell.get("outputs", []):
            if SOURCE in output.get("data", {}):
                found.append(output.data.pop(SOURCE))
                output.data["text/html"] = WHENCE.sub("", output.data["text/html"])
    _taken(cells, lambda data: data.get("text/html") == BARE)
    return found
