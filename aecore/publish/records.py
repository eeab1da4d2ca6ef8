"""What executed notebooks put on record: their answers, claims and replications."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode


def sections(root: Path) -> list[str]:
    """The names of the notebooks that are pages of the book, in its order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [Path(file).name for file in files if file.startswith("notebooks/")]


def finished(executed: Path, names: list[str]) -> dict[str, NotebookNode]:
    """The notebooks of `executed` that ran to their end, by name, in the order of `names`."""
    pages = {}
    for name in names:
        path = executed / f"{name}.ipynb"
        if path.exists():
            page = nbformat.read(path, as_version=4)
            if not any(output.output_type == "error" for output in outputs(page)):
                pages[name] = page
    return pages


def problems(executed: Path, names: list[str]) -> dict[str, str]:
    """Why notebooks of `executed` did not come to their end, by name."""
    files = {name: executed / f"{name}.failed.ipynb" for name in names}
    pages = {n: nbformat.read(file, as_version=4) for n, file in files.items() if file.exists()}
    return {n: page.metadata.get("aecore", {}).get("problem", "") for n, page in pages.items()}


def outputs(page: NotebookNode) -> Iterator[NotebookNode]:
    """Every output of every cell of a notebook."""
    return (output for cell in page.cells for output in cell.get("outputs", ()))


def of_kind(page: NotebookNode, kind: str) -> list[dict[str, Any]]:
    """The records of a MIME type such as `display.CLAIM`, in the order of the page."""
    return [output.data[kind] for output in outputs(page) if kind in output.get("data", {})]


def title(page: NotebookNode, name: str) -> str:
    """A notebook's first heading, or `name` if it has none."""
    for cell in page.cells:
        source = cell.source if cell.cell_type == "markdown" else ""
        if match := re.search(r"^# (.+)$", source, re.M):
            return match[1]
    return name
