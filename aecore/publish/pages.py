"""From executed notebooks to the HTML book: staging, Jupyter Book, and the swap at the end."""

import copy
import hashlib
import html
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import nbformat
import yaml
from docutils import nodes
from filelock import FileLock
from latex2mathml.converter import convert

from aecore.page.claims import ANSWER, CLAIM, REPLICATION
from aecore.page.classes import NEEDS
from aecore.page.show import PLOTLY, escape
from aecore.publish import appendix, fill, words
from aecore.publish.fill import Edition
from aecore.store import paths

INPUTS = ".inputs"  # a digest of what pages were made from, beside them

ICONS = ("angle-left", "angle-right", "arrow-up", "bars", "circle-half-stroke", "download", "file",
         "file-pdf", "list", "magnifying-glass", "moon", "sun", "xmark")  # fmt: skip
SCRIPTS = ("network.js", "codec.js", "parts.js", "live.js", "figures.js")
EXCERPTS = "excerpts.js"  # what the page of the search shows of others
PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.S)  # of what a notebook has displayed
_BUILD = "from jupyter_book.cli.main import main; main()"


class BookError(RuntimeError):
    """The book could not be built; the message says why."""


def compile(executed: Path, root: Path) -> Path:
    """Builds the book of the notebooks in `executed` and returns its first page.

    `root` is the project's folder, with `_config.yml`, `_toc.yml` and `book/`; the pages land in
    the folder `html` of its `paths.built`, and stay there as they are if they were made from the
    same. A notebook that is missing or did not finish becomes a page that says so. Raises
    `BookError`, and leaves the pages of the last build as they were, if Sphinx warns of anything,
    or if in the paper profile a claim does not hold.
    """
    build = paths.built(root)
    try:
        paths.ready(build)
    except OSError as error:
        raise BookError(paths.unwritable(build, error, "AECORE_BUILD")) from error
    with FileLock(build / "book.lock"):
        names = fill.sections(root)
        pages = {n: _without_paths(page) for n, page in fill.finished(executed, names).items()}
        pages = {n: words.put_in(page, root) for n, page in pages.items()}
        made = [page.metadata.get("aecore", {}) for page in pages.values()]
        images = words.of(made[0]) if made else words.MNIST
        if len({words.of(one).get("digest") for one in made} - {None}) > 1:
            raise BookError("the pages are made of different images: aecore run makes them again")
        left_out = words.left_out(root, images)
        names = [name for name in names if f"notebooks/{name}" not in left_out]
        pages = {name: page for name, page in pages.items() if name in names}
        profile = next((str(m["profile"]) for m in made if "profile" in m), executed.name)
        edition = Edition(root, profile, names, pages, fill.problems(executed, names), images)
        _check_claims(edition)
        source = build / "source"
        shutil.rmtree(source, ignore_errors=True)
        _stage(source, edition)
        inputs, made_from = _digest(source), build / "html" / INPUTS
        if made_from.exists() and made_from.read_text() == inputs:
            return made_from.with_name("index.html")
        fresh = _jupyter_book(source, build / "book")
        for name, page in pages.items():  # what a page offers for download, as it ran
            nbformat.write(page, fresh / "_sources" / "notebooks" / f"{name}.ipynb")
        _lighten(fresh)
        (fresh / INPUTS).write_text(inputs)
        return _swap(fresh, build / "html") / "index.html"


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry: pages that draw load our scripts, which load plotly; formulas are MathML."""

    def add_scripts(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
        if '<figure class="aecore-' in context.get("body", ""):
            for script in SCRIPTS:
                app.add_js_file(script, loading_method="defer")
        if page == "search":
            app.add_js_file(EXCERPTS)

    def formula(display: str) -> tuple[Any, None]:
        def visit(writer: Any, node: nodes.Element) -> None:
            # Browsers know script letters by their own code only, which stands for those in braces.
            text = re.sub(r"\\mathcal\s+(\w)", r"\\mathcal{\1}", node.astext())
            made = convert(text, display=display)
            writer.body.append(made if display == "inline" else f'<div class="math">{made}</div>')
            raise nodes.SkipNode

        return visit, None

    def literal(app: Any, what: str, name: str, it: Any, options: Any, lines: list[str]) -> None:
        # Docstrings are plain text with `code`: |x|, *args and x_ mean themselves, `x`s a plural.
        parts = "\n".join(lines).split("`")
        parts[::2] = [re.sub(r"([|*_\\])", r"\\\1", part) for part in parts[::2]]
        parts[2::2] = [re.sub(r"^(?=\w)", r"\\ ", part) for part in parts[2::2]]
        lines[:] = "`".join(parts).split("\n")

    def write_excerpts(app: Any, failed: Exception | None) -> None:
        # The pages, not the reference: a name that is found there says itself what it is.
        if failed:
            return
        pages = sorted(app.env.found_docs - {"book/api"})
        texts = {page: _sections(app.env.get_doctree(page)) for page in pages}
        told = {page: sections for page, sections in texts.items() if sections}
        script = f"var Excerpts = {json.dumps(told, separators=(',', ':'), ensure_ascii=False)};"
        (Path(app.outdir) / "_static" / EXCERPTS).write_text(script, encoding="utf-8")

    app.add_html_math_renderer("mathml", formula("inline"), formula("block"))
    app.connect("html-page-context", add_scripts)
    app.connect("autodoc-process-docstring", literal)
    app.connect("build-finished", write_excerpts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _digest(source: Path) -> str:
    """A digest of everything in a folder, and of this package, which makes pages of it."""
    total = hashlib.sha256(paths.LOADED.encode())
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        total.update(f"\0{path.relative_to(source).as_posix()}\0".encode() + path.read_bytes())
    return total.hexdigest()


def _sections(page: nodes.document) -> list[tuple[str, str]]:
    """What each section of a page says in plain text, captions and answers included, by its id."""
    found, kinds = [], nodes.paragraph | nodes.term | nodes.raw
    for section in page.findall(nodes.section):
        told = []
        for child in section:
            own = [] if isinstance(child, nodes.section) else child.findall()
            for part in (part for part in own if isinstance(part, kinds)):
                raw = isinstance(part, nodes.raw)
                told += _plain(part.astext()) if raw else [part.astext()]
        if told:
            found.append((section["ids"][0], " ".join(" ".join(told).split())))
    return found


def _plain(markup: str) -> list[str]:
    """The paragraphs of HTML as text."""
    return [html.unescape(re.sub("<[^>]+>", "", one)) for one in PARAGRAPH.findall(markup)]


def _without_paths(page: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The page, with the names of the user's files where it has their paths."""
    made = page.metadata.get("aecore", {}).get("parameters", {})
    ran = page.metadata.get("papermill", {})
    named = [made.get("dataset"), ran.get("input_path"), ran.get("output_path")]
    # As papermill writes a text into a cell, and as a figure has it in HTML.
    forms = (str, lambda path: path.encode("unicode_escape").decode(), escape)
    private = [file for file in named if file and os.path.isabs(file)]
    written = {form(path): form(Path(path).name) for path in private for form in forms}
    if not written:
        return page
    # A path stands alone: what goes on before or after it is another's, or no path at all.
    longest = sorted(map(re.escape, written), key=len, reverse=True)
    paths = re.compile(rf"(?<![\w/.+-])(?:{'|'.join(longest)})(?![\w/+=-])")

    def cleaned(part: Any) -> Any:
        if isinstance(part, dict):
            return type(part)({name: cleaned(value) for name, value in part.items()})
        if isinstance(part, list):
            return [cleaned(value) for value in part]
        if isinstance(part, str):
            return paths.sub(lambda match: written[match[0]], part)
        return part

    return cleaned(page)


def _check_claims(edition: Edition) -> None:
    claims = [(name, r) for name, page in edition.pages.items() for r in fill.of_kind(page, CLAIM)]
    failed = [f"{n}: {r['text']}" for n, r in claims if r["holds"] is False and not r.get("report")]
    if failed and edition.profile_name == "paper":
        raise BookError("claims that do not hold in the paper profile:\n" + "\n".join(failed))


def _stage(source: Path, edition: Edition) -> None:
    """Everything the book is made of, in one folder."""
    leave = shutil.ignore_patterns("templates", "changes", "words.yaml")
    shutil.copytree(edition.root / "book", source / "book", ignore=leave)
    _stage_toc(source, edition)
    config = yaml.safe_load((edition.root / "_config.yml").read_text(encoding="utf-8"))
    options = config["sphinx"]["config"]["html_theme_options"]
    options["extra_footer"] = f'<p class="aecore-edition">{edition.facts()}</p>'
    (source / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    _vendor(source / "vendor")
    for path in (source / "book").glob("*.md"):
        try:
            text = edition.fill(path.read_text(encoding="utf-8"))
            if path.stem in words.prose(edition.root):
                text = words.in_markdown(text, edition.root, edition.images)
            path.write_text(text, encoding="utf-8")
        except (jinja2.TemplateError, OSError) as error:
            raise BookError(f"{path.name} can't be filled: {error}") from error
    (source / "notebooks").mkdir()
    for name in edition.names:
        page = edition.pages[name] if name in edition.pages else _stub(name, edition)
        _stage_notebook(page, source / "notebooks" / f"{name}.ipynb", name)


def _stage_toc(source: Path, edition: Edition) -> None:
    """The table of contents without the pages that this edition does not have."""
    toc = yaml.safe_load((edition.root / "_toc.yml").read_text(encoding="utf-8"))
    left_out = words.left_out(edition.root, edition.images)
    for part in toc["parts"]:
        part["chapters"] = [one for one in part["chapters"] if one["file"] not in left_out]
    toc["parts"] = [part for part in toc["parts"] if part["chapters"]]
    (source / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False), encoding="utf-8")
    for page in left_out:
        (source / page).with_suffix(".md").unlink(missing_ok=True)


def _stub(name: str, edition: Edition) -> nbformat.NotebookNode:
    """The page of a notebook that did not come to its end: why, and how to run it."""
    problem = edition.problems.get(name, "").replace("`", "'").replace(str(Path.home()), "~")
    said = f"What stopped it:\n\n```text\n{problem}\n```\n\n" if problem else ""
    again = f"aecore {{}} --profile {edition.profile_name}".format
    text = (
        f"# {name.capitalize()}\n\nThis section was not run, or not to its end. {said}To run it:"
        f"\n\n```bash\n{again(f'run {name}')}\n{again('book')}\n```\n"
    )
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])


def _stage_notebook(executed: nbformat.NotebookNode, path: Path, name: str) -> None:
    page = copy.deepcopy(executed)
    appendix.arranged(page, words.of(page.metadata.get("aecore", {}))["mnist"])
    for output in fill.outputs(page):
        # MyST-NB warns of what it can't show, even where it shows the same thing as HTML.
        if "text/html" in output.get("data", {}):
            for kind in (PLOTLY, ANSWER, CLAIM, NEEDS, REPLICATION):
                output.data.pop(kind, None)
    if made := page.metadata.get("aecore", {}):
        command = f"papermill notebooks/{name}.ipynb out.ipynb"
        if changed := made.get("overrides"):
            command += f" -y {shlex.quote(json.dumps(changed))}"
        note = f"## Run this page again\n\n```bash\n{command}\n```"
        page.cells.append(nbformat.v4.new_markdown_cell(note))
    for number, cell in enumerate(page.cells):
        cell["id"] = f"cell-{number}"  # new cells have random ones, and the same is to be the same
    nbformat.write(page, path)


def _vendor(folder: Path) -> None:
    """What pages share of other packages: plotly's script, and the theme's icons as a style sheet.

    The theme brings its icons as a script of 1.5 MB that draws them after the page is there.
    """
    folder.mkdir()
    shutil.copy(files("plotly") / "package_data" / "plotly.min.js", folder)
    theme = files("pydata_sphinx_theme") / "theme" / "pydata_sphinx_theme" / "static"
    drawn = (theme / "scripts" / "fontawesome.js").read_text(encoding="utf-8")
    rules = [_icon(name, drawn) for name in ICONS]
    (folder / "icons.css").write_text("\n".join(rules), encoding="utf-8")


def _icon(name: str, script: str) -> str:
    """The rule that gives icon `name` its picture, found in the theme's script of all icons."""
    entry = rf'[{{,]"?{name}"?:\[(\d+),(\d+),\[[^]]*\],"\w+","([^"]+)"\]'
    if not (found := re.findall(entry, script)):
        raise BookError(f"the theme has no icon {name}")
    width, height, path = found[-1]  # the outlined icons stand first, the solid ones last
    drawing = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}'>"
        f"<path d='{path}'/></svg>"
    )
    return f'.fa-{name} {{ --icon: url("data:image/svg+xml,{quote(drawing)}"); }}'


def _lighten(pages: Path) -> None:
    """Takes out what no page asks for, and the script of icons that `_vendor` replaces."""
    static = pages / "_static"
    fonts = {*static.rglob("webfonts/*")} - {*static.rglob("fa-solid-900.woff2")}
    for path in [*static.rglob("*.map"), *static.glob("*-macros.html"), *fonts]:
        path.unlink()
    shutil.rmtree(static / "locales")
    icons = static / "scripts" / "fontawesome.js"
    icons.unlink()
    icons.with_name("fontawesome.js.LICENSE.txt").unlink()
    for path in pages.rglob("*.html"):
        page = re.sub(r"<script[^>]*/fontawesome\.js[^>]*></script>", "", path.read_text("utf-8"))
        # A browser shows a notebook as text, unless the link says that it is a file to keep.
        page = re.sub(r'(<a href="[^"]*/_sources/[^"]*") target="_blank"', r"\1 download", page)
        # docutils calls them a list of things that have a role of their own.
        page = page.replace('role="list" class="citation-list"', 'class="citation-list"')
        path.write_text(page, encoding="utf-8")
    (pages / ".nojekyll").touch()  # GitHub leaves out folders that begin with _ otherwise


def _jupyter_book(source: Path, output: Path) -> Path:
    """The folder of finished pages. Built from nothing, so that no page of an older book stays."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-c", _BUILD, "build", str(source), "--path-output", str(output)]
    strict, text = ["-W", "-n", "--keep-going", "-q"], {"encoding": "utf-8", "errors": "replace"}
    done = subprocess.run([*command, *strict], capture_output=True, check=False, **text)
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
