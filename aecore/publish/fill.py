"""What only a run can say, for the prose pages: Markdown as Jinja templates, filled from records.

A page asks with an expression such as `{{ figure("surface/basins") }}`; the functions that it may
call are the methods of `Edition` named in `WORDS`. Tables are templates in `book/templates`. What
is put in is escaped.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import nbformat
import yaml
from markupsafe import Markup
from nbformat import NotebookNode

from aecore.page.claims import ANSWER, CLAIM, HOLDS, MISSED, REPLICATION, VERDICTS
from aecore.page.reports import EXPERIMENTS, REPORTS
from aecore.publish import words
from aecore.publish.appendix import WHENCE, raw
from aecore.store import paths

PACKAGE = Path(__file__).parents[1]
WORDS = ("profile", "facts", "answers", "claims", "scoreboard", "figure", "made", "api",
         "benchmarks", "faults", "diff")  # fmt: skip


def sections(root: Path) -> list[str]:
    """The names of the notebooks that are pages of the book, in its order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [Path(file).name for file in files if file.startswith("notebooks/")]


def finished(executed: Path, names: list[str]) -> dict[str, NotebookNode]:
    """The notebooks of `executed` that ran to their end, by name, in the order of `names`."""
    files = {name: executed / f"{name}.ipynb" for name in names}
    pages = {n: nbformat.read(file, as_version=4) for n, file in files.items() if file.exists()}
    broken = {n for n, page in pages.items() for o in outputs(page) if o.output_type == "error"}
    return {name: page for name, page in pages.items() if name not in broken}


def problems(executed: Path, names: list[str]) -> dict[str, str]:
    """Why notebooks of `executed` did not come to their end, by name."""
    files = {name: executed / f"{name}.failed.ipynb" for name in names}
    pages = {n: nbformat.read(file, as_version=4) for n, file in files.items() if file.exists()}
    return {n: page.metadata.get("aecore", {}).get("problem", "") for n, page in pages.items()}


def outputs(page: NotebookNode) -> Iterator[NotebookNode]:
    """Every output of every cell of a notebook."""
    return (output for cell in page.cells for output in cell.get("outputs", ()))


def of_kind(page: NotebookNode, kind: str) -> list[dict[str, Any]]:
    """The records of a MIME type such as `claims.CLAIM`, in the order of the page."""
    return [output.data[kind] for output in outputs(page) if kind in output.get("data", {})]


def title(page: NotebookNode, name: str) -> str:
    """A notebook's first heading, or `name` if it has none."""
    texts = (cell.source for cell in page.cells if cell.cell_type == "markdown")
    found = (re.search(r"^# (.+)$", text, re.M) for text in texts)
    return next((match[1] for match in found if match), name)


@dataclass(frozen=True)
class Edition:
    """One book: the sections in order, those whose notebook ran to its end, and why others not."""

    root: Path
    profile_name: str
    names: list[str]
    pages: dict[str, NotebookNode]
    problems: dict[str, str]
    images: words.Images = field(default_factory=lambda: words.MNIST)

    def fill(self, text: str) -> str:
        """The Markdown `text` of a prose page with what it asks for; raises Jinja's errors.

        It may ask too if the book is made of `mnist`, and if its images have `several_classes`.
        """
        known: dict[str, Any] = {word: getattr(self, word) for word in WORDS}
        known["mnist"], known["several_classes"] = self.images["mnist"], words.several(self.images)
        return self._environment().from_string(text, globals=known).render()

    def profile(self) -> Markup:
        """The line that says with what this edition was made, and what it is worth."""
        own = [name for name, made in self._made().items() if "published" not in made]
        values = {"own": own, "pages": self.pages}
        return self._table("profile", facts=self.facts(), profile=self.profile_name, **values)

    def facts(self) -> Markup:
        """Profile, data, device and commit, as one line of HTML."""
        forms = {"dataset": "data {}", "device": "{}", "commit": "commit {}"}
        parts = [Markup("Profile <strong>{}</strong>").format(self.profile_name)]
        parts += [form.format(text) for f, form in forms.items() if (text := self._distinct(f))]
        return Markup(" · ").join(parts)

    def answers(self) -> str:
        """Every section's answer."""
        rows = [(name, title(self.pages[name], name), record["text"])
                for name, record in self._records(ANSWER)]  # fmt: skip
        return self._table("answers", rows=rows) if rows else self._not_run("")

    def claims(self, of_reports: bool = False) -> str:
        """Our claims, or those of the reports, and whether they hold."""
        rows = [(HOLDS[record["holds"]], record["text"], name)
                for name, record in self._records(CLAIM)
                if bool(record.get("report")) == of_reports]  # fmt: skip
        return self._table("claims", rows=rows) if rows else ""

    def scoreboard(self) -> str:
        """A row for every experiment of the reports: theirs beside ours, the failures first."""
        ours = {record["experiment"]: record for _, record in self._records(REPLICATION)}
        counts = {kind: sum(r["verdict"] == kind for r in ours.values()) for kind in VERDICTS}
        counts["not run in this profile"] = len(EXPERIMENTS) - len(ours)
        told = [f"{count} {kind or 'open'}" for kind, count in counts.items() if count]
        parts = [f"Of {len(EXPERIMENTS)} experiments: {', '.join(told)}."]
        missed = [(f"{id}: {EXPERIMENTS[id].found}", record["why"])
                  for id, record in ours.items() if record["verdict"] == MISSED]  # fmt: skip
        if missed:
            parts += ["## What did not reproduce", self._table("missed", rows=missed)]
        values = {"experiments": EXPERIMENTS, "ours": ours, "pages": self.pages}
        values["published"] = {}  # what the paper edition says of every experiment
        if self.profile_name != "paper":
            verdicts = self.root / "book" / "templates" / "verdicts.json"
            values["published"] = json.loads(verdicts.read_text(encoding="utf-8"))
        for letter, report in REPORTS.items():
            table = self._table("scoreboard", letter=letter, verdicts=VERDICTS, **values)
            parts += [f"## {letter}. {report}", table]
        return "\n\n".join(parts)

    def figure(self, wanted: str) -> str:
        """The figure "section/name", shown with that name there, and its caption, which follows."""
        section, name = wanted.split("/")
        every = list(outputs(self.pages[section])) if section in self.pages else []
        parts = [output.get("data", {}).get("text/html", "") for output in every]
        for figure, caption in pairwise([*parts, ""]):
            if f' data-name="{name}"' in figure.partition(">")[0]:
                return raw(figure + WHENCE.sub("", caption))
        return self._not_run(section)

    def made(self) -> str:
        """With what, when and with which parameters every page was made."""
        overall = {"profile": self.profile_name}
        overall |= {field: self._distinct(field) for field in ("dataset", "device", "commit")}
        every = [made.get("versions", {}) for made in self._made().values()]
        for package in dict.fromkeys(name for versions in every for name in versions):
            found = (str(versions[package]) for versions in every if package in versions)
            overall[package] = ", ".join(dict.fromkeys(found))
        pages = self._table("pages", rows=self._made(), names=self.names)
        return f"{self._table('made', overall=overall)}\n\n## Page by page\n\n{pages}"

    def api(self) -> str:
        """Every public name of the package, module by module, for Sphinx to document."""
        parts = []
        for heading, modules in rooms().items():
            parts += [f"## {heading}", *map(_documented, modules)]
        return "\n\n".join(parts)

    def benchmarks(self) -> str:
        """What `make bench` measured: here, or else what is published with it."""
        measured = self._here_or_published("bench.json", "benchmarks/measured.json")
        if measured is None:
            return "*Not measured yet: `make bench` makes what belongs here.*"
        devices = ", ".join(dict.fromkeys(row["device"] for row in measured))
        return self._table("benchmarks", rows=measured, devices=devices)

    def faults(self) -> str:
        """What became of the faults in the last run of the tests: here, or else as published."""
        found = self._here_or_published("faults.json", "tests/outcomes.json")
        if found is None:
            return "*Not tested yet: `make test` makes what belongs here.*"
        return self._table("faults", rows=found)

    def diff(self, name: str) -> str:
        """A change of the code, from `book/changes`, as a block."""
        text = (self.root / "book" / "changes" / f"{name}.diff").read_text(encoding="utf-8")
        return f"```diff\n{text.rstrip()}\n```"

    def _environment(self) -> jinja2.Environment:
        return jinja2.Environment(
            loader=jinja2.FileSystemLoader(self.root / "book" / "templates"),
            autoescape=lambda name: name is not None,  # the tables, not the Markdown around them
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def _table(self, name: str, **values: Any) -> str:
        return raw(self._environment().get_template(f"{name}.html").render(values))

    def _records(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The records of a kind on all pages, each with its section."""
        return (
            (name, record) for name, page in self.pages.items() for record in of_kind(page, kind)
        )

    def _made(self) -> dict[str, dict[str, Any]]:
        return {name: page.metadata.get("aecore", {}) for name, page in self.pages.items()}

    def _distinct(self, field: str) -> str:
        values = (str(made[field]) for made in self._made().values() if made.get(field))
        return ", ".join(dict.fromkeys(values))

    def _here_or_published(self, here: str, published: str) -> Any:
        places = [paths.built(self.root) / here, self.root / published]
        there = next((place for place in places if place.exists()), None)
        return None if there is None else json.loads(there.read_text(encoding="utf-8"))

    def _not_run(self, section: str) -> str:
        command = f"aecore run {section}".strip()
        why = self.problems.get(section, "").partition("\n")[0].replace("`", "'")
        stopped = f" It stopped at: {why}." if why else ""
        return f"*Not run yet: `{command}` makes what belongs here.{stopped}*"


def rooms() -> dict[str, list[str]]:
    """The public modules of the package by their room, the textbook first."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda p: (len(p.parts), p)):
        *folder, name = path.relative_to(PACKAGE).with_suffix("").parts
        if name != "cli" and not name.startswith("_"):
            room = found.setdefault(folder[0] if folder else "The textbook", [])
            room.append(".".join((*folder, name)))
    return found


def public(module: str) -> list[str]:
    """The functions and classes that a module defines and does not hide, from its source."""
    source = (PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    body = ast.parse(source).body
    named = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [name for name in named if not name.startswith("_")]


def _documented(module: str) -> str:
    directive = f".. automodule:: aecore.{module}\n   :members: {', '.join(public(module))}"
    return f"### {module}\n\n```{{eval-rst}}\n{directive}\n```"
