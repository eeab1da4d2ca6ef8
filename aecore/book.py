"""From executed notebooks to the HTML book: staging, Jupyter Book, and the swap at the end."""

import copy
import html
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from filelock import FileLock

from aecore.display import ANSWER, CLAIM, PLOTLY

_PLACEHOLDER = re.compile(r"<!-- (profile|answers|claims|made|figure|api)(?:: ([^>]+?))? -->")
_BUILD = "from jupyter_book.cli.main import main; main()"


class BookError(RuntimeError):
    """The book could not be built; the message says why."""


@dataclass(frozen=True)
class _Edition:
    """One book: the sections in order, and those whose notebook ran to its end."""

    root: Path
    profile: str
    names: list[str]
    pages: dict[str, nbformat.NotebookNode]


def compile(executed: Path, root: Path) -> Path:
    """Builds the book of the notebooks in `executed` and returns its first page.

    `root` is the project's folder, with `_config.yml`, `_toc.yml` and `book/`; the pages land in
    its `_build/html`. A notebook that is missing or did not finish becomes a page that says so.
    Raises `BookError`, and leaves the pages of the last build as they were, if Sphinx warns of
    anything, or if in the paper profile a claim does not hold.
    """
    build = root / "_build"
    build.mkdir(exist_ok=True)
    with FileLock(build / "book.lock"):
        names = _sections(root)
        pages = {name: page for name in names if (page := _complete(executed / f"{name}.ipynb"))}
        made = [page.metadata.get("aecore", {}) for page in pages.values()]
        profile = next((str(m["profile"]) for m in made if "profile" in m), executed.name)
        edition = _Edition(root, profile, names, pages)
        _check_claims(edition)
        source = build / "source"
        shutil.rmtree(source, ignore_errors=True)
        _stage(source, edition)
        fresh = _jupyter_book(source, build / "book")
        for name in pages:  # what a page offers for download is the notebook as it ran
            shutil.copy(executed / f"{name}.ipynb", fresh / "_sources" / "notebooks")
        return _swap(fresh, build / "html") / "index.html"


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry: pages that draw load plotly and our scripts, all others neither."""

    def add_scripts(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
        body = context.get("body", "")
        scripts = ["decoder.js", "figures.js"] if '<figure class="aecore-' in body else []
        if 'class="aecore-plot"' in body:
            scripts.insert(0, "plotly.min.js")
        for script in scripts:
            app.add_js_file(script, loading_method="defer")

    def escape(app: Any, what: str, name: str, it: Any, options: Any, lines: list[str]) -> None:
        # Docstrings are plain text with `code`: |x|, *args and x_ mean themselves, `x`s a plural.
        parts = "\n".join(lines).split("`")
        parts[::2] = [re.sub(r"([|*_\\])", r"\\\1", part) for part in parts[::2]]
        parts[2::2] = [re.sub(r"^(?=\w)", r"\\ ", part) for part in parts[2::2]]
        lines[:] = "`".join(parts).split("\n")

    app.connect("html-page-context", add_scripts)
    app.connect("autodoc-process-docstring", escape)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _sections(root: Path) -> list[str]:
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [Path(file).name for file in files if file.startswith("notebooks/")]


def _complete(path: Path) -> nbformat.NotebookNode | None:
    """The notebook at `path`, or nothing if it isn't there or a cell of it failed."""
    if not path.exists():
        return None
    page = nbformat.read(path, as_version=4)
    return None if any(output.output_type == "error" for output in _outputs(page)) else page


def _outputs(page: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    return (output for cell in page.cells for output in cell.get("outputs", ()))


def _records(page: nbformat.NotebookNode, kind: str) -> list[dict[str, Any]]:
    return [output.data[kind] for output in _outputs(page) if kind in output.get("data", {})]


def _title(page: nbformat.NotebookNode, name: str) -> str:
    for cell in page.cells:
        if match := re.search(
            r"^# (.+)$", cell.source if cell.cell_type == "markdown" else "", re.M
        ):
            return match[1]
    return name


def _check_claims(edition: _Edition) -> None:
    failed = [
        f"{name}: {record['text']}"
        for name, page in edition.pages.items()
        for record in _records(page, CLAIM)
        if not record["holds"]
    ]
    if failed and edition.profile == "paper":
        raise BookError("claims that do not hold in the paper profile:\n" + "\n".join(failed))


def _stage(source: Path, edition: _Edition) -> None:
    """Everything the book is made of, in one folder."""
    shutil.copytree(edition.root / "book", source / "book")
    shutil.copy(edition.root / "_toc.yml", source)
    config = yaml.safe_load((edition.root / "_config.yml").read_text())
    options = config["sphinx"]["config"]["html_theme_options"]
    options["extra_footer"] = f'<p class="aecore-edition">{_facts(edition)}</p>'
    (source / "_config.yml").write_text(yaml.safe_dump(config))
    _vendor(source / "vendor")
    for path in (source / "book").glob("*.md"):
        text = _PLACEHOLDER.sub(lambda match: _FILL[match[1]](edition, match[2]), path.read_text())
        path.write_text(text)
    (source / "notebooks").mkdir()
    for name in edition.names:
        if name in edition.pages:
            _stage_notebook(edition.pages[name], source / "notebooks" / f"{name}.ipynb", name)
        else:
            (source / "notebooks" / f"{name}.md").write_text(
                f"# {name.capitalize()}\n\nThis section was not run, or not to its end. To run it:"
                f"\n\n```bash\naecore run {name} --profile {edition.profile}\n"
                f"aecore book --profile {edition.profile}\n```\n"
            )


def _stage_notebook(executed: nbformat.NotebookNode, path: Path, name: str) -> None:
    page = copy.deepcopy(executed)
    for output in _outputs(page):
        # MyST-NB warns of what it can't show, even where it shows the same thing as HTML.
        if "text/html" in output.get("data", {}):
            for kind in (PLOTLY, ANSWER, CLAIM):
                output.data.pop(kind, None)
    for cell in page.cells:
        tags = cell.metadata.setdefault("tags", [])
        if cell.cell_type == "code" and "remove-input" not in tags:
            tags.append("hide-input")
    if made := page.metadata.get("aecore", {}):
        command = f"papermill notebooks/{name}.ipynb out.ipynb"
        if changed := made.get("overrides"):
            command += f" -y {shlex.quote(json.dumps(changed))}"
        note = f"## Run this page again\n\n```bash\n{command}\n```"
        page.cells.append(nbformat.v4.new_markdown_cell(note))
    nbformat.write(page, path)


def _vendor(folder: Path) -> None:
    """The libraries that pages share, taken from the installed packages."""
    folder.mkdir()
    for package, file in (
        ("plotly", "package_data/plotly.min.js"),
        ("sphinx-mathjax-offline", "static/mathjax/tex-svg.js"),
    ):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise BookError(f"the package {package} is not installed: pip install {package}")
        shutil.copy(Path(spec.origin).parent / file, folder)


def _jupyter_book(source: Path, output: Path) -> Path:
    """The folder of finished pages. Built from nothing, so that no page of an older book stays."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-c", _BUILD, "build", str(source), "--path-output", str(output)]
    done = subprocess.run(
        [*command, "-W", "-n", "--keep-going", "-q"],
        capture_output=True,
        text=True,
        check=False,
    )
    log = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
    if done.returncode:
        told = [line for line in log.splitlines() if re.search("WARNING|ERROR|CRITICAL", line)]
        raise BookError("jupyter-book found:\n" + "\n".join(told or log.splitlines()[-30:]))
    return output / "_build" / "html"


def _swap(fresh: Path, place: Path) -> Path:
    old = fresh.with_name("old")
    if place.exists():
        place.rename(old)
    fresh.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    return place


def _made(edition: _Edition) -> list[dict[str, Any]]:
    return [page.metadata.get("aecore", {}) for page in edition.pages.values()]


def _distinct(edition: _Edition, field: str) -> str:
    values = (str(entry[field]) for entry in _made(edition) if entry.get(field))
    return ", ".join(dict.fromkeys(values))


def _facts(edition: _Edition) -> str:
    facts = [f"Profile <strong>{html.escape(edition.profile)}</strong>"]
    for field, form in (("dataset", "data {}"), ("device", "{}"), ("commit", "commit {}")):
        if text := _distinct(edition, field):
            facts.append(form.format(html.escape(text)))
    return " · ".join(facts)


def _fill_profile(edition: _Edition, _: str) -> str:
    note = {
        "smoke": " This edition only shows that everything runs: its networks are hardly trained.",
        "quick": " A small edition, made to be run on a laptop: few seeds, short training.",
    }.get(edition.profile, "")
    return _raw(f'<p class="aecore-edition">{_facts(edition)}.{note}</p>')


def _fill_answers(edition: _Edition, _: str) -> str:
    items = []
    for name, page in edition.pages.items():
        for record in _records(page, ANSWER):
            title, text = html.escape(_title(page, name)), html.escape(record["text"])
            link = f'<a href="../notebooks/{name}.html">{title}</a>'
            items.append(f"<dt>{link}</dt><dd>{text}</dd>")
    return _raw(f'<dl class="aecore-answers">{"".join(items)}</dl>') if items else _not_run("all")


def _fill_claims(edition: _Edition, _: str) -> str:
    rows = []
    for name, page in edition.pages.items():
        link = f'<a href="../notebooks/{name}.html">{name}</a>'
        for record in _records(page, CLAIM):
            verdict = "✓ holds" if record["holds"] else "✗ does not hold"
            kind = "holds" if record["holds"] else "fails"
            mark = f'<span class="verdict {kind}">{verdict}</span>'
            rows.append([mark, html.escape(record["text"]), link])
    return _table(["in this run", "statement", "section"], rows) if rows else ""


def _fill_figure(edition: _Edition, wanted: str) -> str:
    """The figure shown with that name in that notebook, with its caption, which follows it."""
    section, name = wanted.split("/")
    outputs = list(_outputs(edition.pages[section])) if section in edition.pages else []
    parts = [output.get("data", {}).get("text/html", "") for output in outputs]
    mark = f'<figure class="aecore-figure" data-name="{html.escape(name)}"'
    for figure, caption in zip(parts, [*parts[1:], ""], strict=True):
        if figure.startswith(mark):
            return _raw(figure + caption)
    return _not_run(section)


def _fill_made(edition: _Edition, _: str) -> str:
    facts = [["profile", html.escape(edition.profile)]]
    for field in ("dataset", "device", "commit"):
        facts.append([field, html.escape(_distinct(edition, field))])
    versions: dict[str, dict[str, None]] = {}
    for entry in _made(edition):
        for package, version in entry.get("versions", {}).items():
            versions.setdefault(package, {})[str(version)] = None
    facts += [
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
    return f"{_table(['', ''], facts)}\n\n## Page by page\n\n{pages}"


def _fill_api(_: _Edition, modules: str) -> str:
    there = [name for name in modules.split() if Path(__file__).with_name(f"{name}.py").exists()]
    return "\n\n".join(
        f"## {name}\n\n```{{eval-rst}}\n.. automodule:: aecore.{name}\n   :members:\n```"
        for name in there
    )


def _not_run(section: str) -> str:
    names = "" if section == "all" else f" {section}"
    return f"*Not run yet: `aecore run{names}` makes what belongs here.*"


def _raw(markup: str) -> str:
    return f"```{{raw}} html\n{markup}\n```"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

    top = f"<thead>{line(head, 'th')}</thead>" if any(head) else ""
    body = "".join(line(row, "td") for row in rows)
    return _raw(f'<div class="aecore-table"><table>{top}<tbody>{body}</tbody></table></div>')


_FILL = {
    "profile": _fill_profile,
    "answers": _fill_answers,
    "claims": _fill_claims,
    "figure": _fill_figure,
    "made": _fill_made,
    "api": _fill_api,
}
