"""The built book in a browser: every page as a reader without a network opens it from a folder."""

import io
import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import nbformat
import numpy as np
import plotly.graph_objects as go
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from command import notebook, project_in
from PIL import Image

from aecore.page import show
from aecore.page.claims import CLAIM
from aecore.page.reports import EXPERIMENTS
from aecore.page.show import PLOTLY, caption_of
from aecore.publish import fill
from aecore.publish import pages as book
from aecore.spec import Spec

ROOT = Path(__file__).parent.parent
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
MAX_WEIGHT = 1_700_000  # bytes of a page without what all pages share
MAX_LOADED = 3_000_000  # bytes of a page and all that it asks for before its reader points
DARK_AND_LIGHT = ("dark", "light")
PLOTS = ".aecore-figure, .aecore-morph"
GRAVE = ("serious", "critical")
STILL = ".aecore-figure:not([data-drawn]) .aecore-still"
LONG_TASKS = """window.tasks = [];
new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)))
  .observe({ type: "longtask", buffered: true });"""

EMPTIED = """.emptied :is(.overplot, .gl-container, canvas) { visibility: hidden !important; }
* { transition: none !important; }"""  # a color on its way between themes is none of either

CONTRAST = """(selector) => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (rgb) => rgb.slice(0, 3)
    .map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = numbers(getComputedStyle(node).backgroundColor);
      if (color.length < 4 || color[3] === 1) return luminance(color);
    }
    return 1;
  };
  return [...document.querySelectorAll(selector)]
    .filter((node) => node.textContent.trim() && node.checkVisibility())
    .map((node) => {
      const style = getComputedStyle(node);
      const ink = luminance(numbers(node instanceof SVGElement ? style.fill : style.color));
      const page = behind(node);
      return [(Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05), node.textContent];
    })
    .sort((a, b) => a[0] - b[0])[0] || null;
}"""


@pytest.fixture
def visit(browser):
    """Opens a page with the network cut; returns it and the list of what went wrong on it."""
    contexts = []

    def open_page(path, **options):
        wrong = []
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        context.add_init_script(LONG_TASKS)
        asked = set()

        def judge(route):
            if route.request.url.startswith("file:"):
                asked.add(Path(unquote(urlsplit(route.request.url).path)))
            if route.request.url.startswith(("file:", "data:", "blob:")):
                return route.continue_()
            wrong.append(f"asked for {route.request.url}")
            return route.abort()

        context.route("**", judge)
        page = context.new_page()
        page.asked = asked
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
        page.goto(path.as_uri())
        return page, wrong

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_opens_from_a_folder_without_a_network(built_book, visit, name, record_property):
    path = built_book / f"{name}.html"
    weight = path.stat().st_size
    assert weight < MAX_WEIGHT

    page, wrong = visit(path, viewport={"width": 1280, "height": 900})
    for figure in page.locator(PLOTS).all():
        figure.scroll_into_view_if_needed()
        figure.and_(page.locator("[data-ready], [data-drawn]")).wait_for(timeout=20_000)
    assert page.locator(".aecore-plot").count() == page.locator(".aecore-plot:has(svg)").count()
    loaded = sum(file.stat().st_size for file in page.asked)
    task = max(page.evaluate("tasks"), default=0)
    said = f"{weight / 1e3:.0f} kB, loads {loaded / 1e6:.2f} MB, longest task {task:.0f} ms"
    record_property("measured", f"{name}: {said}")
    assert loaded < MAX_LOADED
    assert "plotly.min.js" not in [file.name for file in page.asked]
    for part in page.locator(".aecore-play").all():
        part.scroll_into_view_if_needed()
        part.and_(page.locator("[data-drawn]")).wait_for(timeout=20_000)
    wide = "(box) => box.scrollWidth > box.clientWidth && box.outerHTML.slice(0, 80)"
    boxes = page.locator(".aecore-table, .aecore-figure, .aecore-play").all()
    assert [label for box in boxes if (label := box.evaluate(wide))] == []
    page.add_style_tag(content=EMPTIED)
    for figure in page.locator(PLOTS).all():
        _wake(page, figure)
        assert _shows_data(figure)
    assert page.locator(".aecore-image:not([width]):visible").count() == 0
    for picture in page.locator(".aecore-pictures img").all():
        assert _ink(picture.screenshot()) > 0.02
    if "$" in _prose(name):
        sizes = page.locator("math").evaluate_all("all => all.map(it => it.clientWidth)")
        assert sizes and all(sizes)

    every = {"resultTypes": ["violations"], "preload": False}
    for theme, only in zip(DARK_AND_LIGHT, ({}, {"runOnly": ["color-contrast"]}), strict=True):
        page.evaluate("(theme) => (document.documentElement.dataset.theme = theme)", theme)
        page.wait_for_timeout(300)
        prose = ".bd-article p, .bd-article td, .bd-article th, summary"
        for text in (prose, ".xtick text", ".aecore-still text:not([fill])"):
            worst = page.evaluate(CONTRAST, text)
            assert worst is None or worst[0] > 4.5, (theme, worst)
        found = Axe().run(page, options=every | only)  # the second theme has other colors alone
        violations = [v for v in found.response["violations"] if v["impact"] in GRAVE]
        assert [(theme, v["id"], v["nodes"][0]["html"]) for v in violations] == []
    assert wrong == []


@pytest.mark.parametrize("name", PAGES)
def test_page_does_not_scroll_sideways_on_a_phone(built_book, visit, name):
    phone = {"width": 390, "height": 844}
    page, wrong = visit(built_book / f"{name}.html", viewport=phone, has_touch=True)
    for figure in page.locator(PLOTS).all():
        figure.scroll_into_view_if_needed()
        figure.and_(page.locator("[data-ready], [data-drawn]")).wait_for(timeout=20_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert wrong == []


def test_every_experiment_of_the_reports_was_run_and_has_its_row(built_book, visit):
    page, _ = visit(built_book / "book" / "scoreboard.html")
    rows = page.locator("table tr:has(.verdict)").all_inner_texts()
    told = [row.split()[0] for row in rows if row.split()[0] in EXPERIMENTS]
    assert told == list(EXPERIMENTS)
    assert not [row for row in rows if "not run" in row]
    assert sum("✓ reproduced" in row for row in rows) >= 1


def test_first_page_is_the_introduction(built_book, visit):
    page, wrong = visit(built_book / "index.html")
    page.wait_for_url("**/intro.html")
    assert page.locator(".bd-article .aecore-edition").inner_text().startswith("Profile paper")
    assert wrong == []


def test_search_finds_a_word_from_a_folder(built_book, visit):
    page, wrong = visit(built_book / "book" / "run.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("papermill")
    page.keyboard.press("Enter")
    page.locator("#search-results li a").first.wait_for()
    titles = page.locator("#search-results li a").all_inner_texts()
    assert "How to run it" in titles
    assert wrong == []


def test_pointing_at_the_surface_draws_what_is_decoded_there(built_book, visit):
    page, wrong = visit(built_book / "notebooks" / "surface.html")
    figure = page.locator(".aecore-figure", has=page.locator(".aecore-decoder")).first
    _wake(page, figure)
    image = figure.locator(".aecore-decoded canvas")
    at, pixels = figure.locator("output").inner_text(), "(canvas) => canvas.toDataURL()"
    before = image.evaluate(pixels)
    box = figure.locator(".aecore-plot").bounding_box()
    for share in (0.5, 0.55, 0.6, 0.65):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] * 0.6, steps=4)
        page.wait_for_timeout(300)
    buttons = figure.locator(".modebar-btn").evaluate_all("all => all.map(b => b.dataset.title)")
    assert buttons
    assert not [title for title in buttons if "Share" in title], "a chart must not leave the page"
    assert figure.locator("output").inner_text() != at
    assert image.evaluate(pixels) != before
    assert wrong == []


def test_a_view_is_chosen_by_keyboard(built_book, visit):
    page, wrong = visit(built_book / "notebooks" / "surface.html")
    figure = page.locator(".aecore-figure", has=page.locator(".aecore-views")).first
    figure.scroll_into_view_if_needed()
    figure.get_by_role("button", name="vertical view").press("Enter")
    figure.and_(page.locator("[data-drawn]")).wait_for(timeout=20_000)
    eye = "(figure) => figure.querySelector('.aecore-live').layout.scene.camera.eye"
    page.wait_for_function(f"({eye})(document.querySelector('.aecore-figure')).z > 2")
    x, y, z = (figure.evaluate(eye)[axis] for axis in "xyz")
    assert np.hypot(x, y) < 0.01 * z, "straight from above"
    assert wrong == []


@pytest.mark.parametrize("scripts", [True, False])
def test_printed_and_without_scripts_every_figure_is_there(built_book, visit, scripts):
    page, _ = visit(built_book / "notebooks" / "surface.html", java_script_enabled=scripts)
    if scripts:
        _wake(page, page.locator(".aecore-figure").first)
        page.emulate_media(media="print")
    figures = page.locator(".aecore-figure").all()
    assert figures
    for figure in figures:
        still = figure.locator(".aecore-still svg:visible")
        assert still.count() == 1
        assert still.evaluate("(svg) => getComputedStyle(svg).visibility") == "visible"
        assert still.locator("path, image").count() > 0
        assert figure.locator(".aecore-live:visible").count() == 0


def test_figures_out_of_sight_become_stills_again(built_book, visit):
    page, wrong = visit(built_book / "notebooks" / "search.html")
    figures = page.locator(".aecore-figure").all()
    for figure in figures:
        _wake(page, figure)
    assert len(figures) > page.locator(".aecore-live").count() == 3
    assert page.locator(STILL).count() >= len(figures) - 3
    assert wrong == []


def test_search_lists_pages_before_the_names_of_functions(built_book, visit):
    page, wrong = visit(built_book / "search.html")
    page.goto((built_book / "search.html").as_uri() + "?q=corruption")
    found = page.locator("#search-results li a")
    page.get_by_text("Search finished").wait_for()  # what is found is listed one by one
    links = found.evaluate_all("all => all.map(a => a.pathname)")
    of_api = [link.endswith("api.html") for link in links]
    assert True in of_api and False in of_api
    assert of_api == sorted(of_api)
    assert wrong == []


def test_a_page_that_is_found_says_what_stands_there_and_leads_to_it(built_book, visit):
    page, wrong = visit(built_book / "search.html")
    page.goto((built_book / "search.html").as_uri() + "?q=freezing")
    found = page.locator("#search-results li", has_text="Do codes help where labels are few?").first
    said = found.locator("p").inner_text()
    assert "We freeze the encoder and train a small head" in said and len(said) < 250
    assert found.locator("mark").inner_text() == "freeze"
    found.locator("a").click()
    page.wait_for_url("**/transfer.html#do-codes-help-where-labels-are-few")
    assert "train a small head" in page.locator("section:target > p").first.inner_text()
    page.goto((built_book / "search.html").as_uri() + "?q=gradient")  # the references have no text
    page.get_by_text("Search finished").wait_for()
    words = page.locator("#search-results li", has_text="For teachers").first
    assert "Gradient For every weight" in words.locator("p").inner_text()
    assert (built_book / "_static" / "excerpts.js").stat().st_size < 200_000
    assert "excerpts.js" not in (built_book / "book" / "intro.html").read_text()
    assert wrong == []


def test_the_book_has_nothing_that_no_page_asks_for(built_book):
    assert (built_book / ".nojekyll").read_bytes() == b""
    assert not [*built_book.rglob("*.map"), *built_book.rglob("fontawesome*.js")]
    page = (built_book / "notebooks" / "surface.html").read_text()
    assert 'href="../_sources/notebooks/surface.ipynb" download' in page
    assert "fontawesome" not in page
    icons = (built_book / "_static" / "icons.css").read_text()
    used = [*(built_book / "book").glob("*.html"), *(built_book / "notebooks").glob("*.html")]
    for name in {
        name
        for path in used
        for name in re.findall(r"fas?(?:-solid)? fa-([\w-]+)", path.read_text())
    }:
        assert f".fa-{name} " in icons, name


def test_only_pages_that_draw_load_our_scripts(built_book):
    loads = [name for name in PAGES if "figures.js" in (built_book / f"{name}.html").read_text()]
    assert "book/run" not in loads
    assert "notebooks/surface" in loads


def test_a_failed_build_tells_why_and_keeps_the_last_book(tmp_path, monkeypatch):
    _small_project(tmp_path, ["there", "missing"])
    executed = tmp_path / "smoke"
    _write(executed / "there.ipynb", {"text/html": "<p>first</p>", PLOTLY: {}})
    failed = nbformat.v4.new_notebook()
    failed.metadata["aecore"] = {"problem": "cell 3: ValueError: <b> is `too` late"}
    nbformat.write(failed, executed / "missing.failed.ipynb")
    page = book.compile(executed, tmp_path).parent / "notebooks" / "there.html"
    assert "first" in page.read_text()
    stub = re.sub("<[^>]+>", "", page.with_name("missing.html").read_text())
    assert "This section was not run" in stub
    assert "aecore run missing" in stub
    assert "cell 3: ValueError: &lt;b&gt;" in stub
    with monkeypatch.context() as patch:  # made from the same, it is not made again
        patch.setattr(book, "_jupyter_book", None)
        assert book.compile(executed, tmp_path).parent / "notebooks" / "there.html" == page

    _write(executed / "there.ipynb", {"application/x-unknown": "second"})
    with pytest.raises(book.BookError, match="unknown output mime type: application/x-unknown"):
        book.compile(executed, tmp_path)
    assert "first" in page.read_text()


SECTIONS = fill.sections(ROOT)
SUBSETS = [*([name] for name in SECTIONS), *([n for n in SECTIONS if n != o] for o in SECTIONS)]


def _executed(folder, names):
    """Notebooks that ran, but for their outputs; those not in `names` failed or are missing."""
    folder.mkdir()
    for number, name in enumerate(SECTIONS):
        page = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        page.metadata["aecore"] = {"profile": "smoke", "problem": f"cell 3: {name} broke"}
        if name in names:
            nbformat.write(page, folder / f"{name}.ipynb")
        elif number % 2:
            nbformat.write(page, folder / f"{name}.failed.ipynb")
    return folder


@pytest.mark.parametrize("names", SUBSETS, ids=lambda names: f"{len(names)}-{names[0]}")
def test_any_subset_of_sections_can_be_staged_and_its_gaps_say_why(tmp_path, names):
    executed = _executed(tmp_path / "smoke", names)
    pages = fill.finished(executed, SECTIONS)
    edition = fill.Edition(ROOT, "smoke", SECTIONS, pages, fill.problems(executed, SECTIONS))
    book._stage(tmp_path / "source", edition)
    for name in SECTIONS:
        page = nbformat.read(tmp_path / "source" / "notebooks" / f"{name}.ipynb", as_version=4)
        text = "\n".join(cell.source for cell in page.cells)
        assert ("was not run, or not to its end" in text) == (name not in names)
        assert (f"{name} broke" in text) == ((executed / f"{name}.failed.ipynb").exists())
        for link in re.findall(r"\]\(([\w./]+\.(?:ipynb|md))\)", text):
            assert (tmp_path / "source" / "notebooks" / link).resolve().exists(), link
    intro = (tmp_path / "source" / "book" / "intro.md").read_text()
    assert "Not run yet: `aecore run surface`" in intro


def test_a_book_of_one_section_stands(tmp_path):
    project_in(tmp_path)
    executed = _executed(tmp_path / "smoke", ["tradeoff"])
    pages = book.compile(executed, tmp_path).parent
    assert "How many numbers" in (pages / "notebooks" / "tradeoff.html").read_text()
    intro = re.sub("<[^>]+>", "", (pages / "book" / "intro.html").read_text())
    assert "Not run yet: aecore run surface makes what belongs here" in intro
    api = (pages / "book" / "api.html").read_text()
    for modules in fill.rooms().values():
        for module in modules:
            for name in fill.public(module):
                assert f'id="aecore.{module}.{name}"' in api, f"{module}.{name}"


def test_a_misspelled_name_fails_the_build(tmp_path, monkeypatch):
    _small_project(tmp_path, ["there"])
    _write(tmp_path / "smoke" / "there.ipynb", {"text/html": "<p>first</p>"})
    intro = tmp_path / "book" / "intro.md"
    intro.write_text("# Introduction\n\n{{ api() }}\n")
    monkeypatch.setattr(fill, "rooms", lambda: {"The textbook": ["specs"]})
    monkeypatch.setattr(fill, "public", lambda module: ["Spec"])
    with pytest.raises(book.BookError, match="specs"):
        book.compile(tmp_path / "smoke", tmp_path)
    intro.write_text("# Introduction\n\n{{ figur('a/b') }}\n")
    with pytest.raises(book.BookError, match=r"intro.md can't be filled: 'figur' is undefined"):
        book.compile(tmp_path / "smoke", tmp_path)


@pytest.mark.parametrize("file", ["/images.npz", "/a/x.npz", "/b c/ü.npz"])
def test_only_the_path_of_a_file_goes_and_nothing_that_looks_like_a_part_of_it(file):
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"dataset = {file!r}")])
    kept = "https://a/x data:image/png;base64,AAAA/a/x.npzBB== /a/b <a href='/a/'>/</a> //images"
    page.cells[0].outputs = [nbformat.v4.new_output("display_data", {"text/html": kept})]
    page.metadata["aecore"] = {"parameters": {"dataset": file}}
    cleaned = book._without_paths(page)
    assert cleaned.cells[0].outputs[0].data["text/html"] == kept
    assert cleaned.cells[0].source == f"dataset = {Path(file).name!r}"
    assert cleaned.metadata["aecore"]["parameters"]["dataset"] == Path(file).name


def test_in_the_paper_profile_a_claim_that_does_not_hold_fails_the_book(tmp_path):
    _small_project(tmp_path, ["there"])
    record = {"name": "low", "text": "The error is low.", "holds": False}
    _write(tmp_path / "paper" / "there.ipynb", {CLAIM: record, "text/html": "no"})
    with pytest.raises(book.BookError, match=r"there: The error is low\."):
        book.compile(tmp_path / "paper", tmp_path)


def test_what_a_notebook_shows_is_escaped_and_compact(shown):
    figure = go.Figure(go.Scatter(x=np.linspace(0, 1, 2000), y=[None, np.nan]))
    figure.update_layout(title="</script><b>")
    show(figure, "<i>caption</i>", alt='"quoted" <alt>', name="name")
    drawn, caption = shown
    markup = drawn["text/html"]
    assert markup.count("</script>") == 1
    assert 'aria-label="&quot;quoted&quot; &lt;alt&gt;"' in markup
    assert "&lt;i&gt;caption&lt;/i&gt;" in caption["text/html"]
    data = json.loads(re.search(r'json" class="aecore-data">(.*?)</script>', markup)[1])
    assert data["layout"]["title"]["text"] == "</script><b>"
    assert data["data"][0]["x"]["dtype"] == "f4"
    assert data["data"] == drawn[PLOTLY]["data"]


def test_a_figure_names_the_runs_that_diverged(shown):
    made = {"spec": Spec(), "history": [{}] * 2, "provenance": {}}
    runs = [SimpleNamespace(key=f"{n}" * 64, diverged=n == 1, **made) for n in range(2)]
    caption_of("Losses.", runs)
    assert "diverged: 11111111 in epoch 2" in shown[0]["text/html"]
    caption_of("Losses.", runs[:1])
    assert "diverged" not in shown[1]["text/html"]


def _small_project(root, names):
    """A book of one prose page and notebooks called `names`."""
    project_in(root)
    for path in (root / "book").glob("*.md"):
        path.unlink()
    (root / "book" / "intro.md").write_text("# Introduction\n\nText.\n")
    chapters = [{"file": f"notebooks/{name}"} for name in names]
    toc = {"format": "jb-book", "root": "book/intro", "parts": [{"chapters": chapters}]}
    (root / "_toc.yml").write_text(yaml.safe_dump(toc))


def _write(path, data):
    """An executed notebook with one output."""
    page = notebook(path, "1", title="# There")
    page.cells[1].outputs = [nbformat.v4.new_output("display_data", data)]
    nbformat.write(page, path)


def _prose(name):
    if name.startswith("book/"):
        return (ROOT / f"{name}.md").read_text()
    cells = nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def _wake(page, figure):
    """Points at a figure, so that plotly draws it."""
    figure.scroll_into_view_if_needed()
    plot = figure.locator(".aecore-plot")
    if plot.count():
        plot.scroll_into_view_if_needed()
        figure.and_(page.locator("[data-ready]")).wait_for(timeout=60_000)
        plot.hover()
    figure.and_(page.locator("[data-drawn]")).wait_for(timeout=60_000)


def _shows_data(figure):
    """Whether a figure shows more than its axes: does it look otherwise without what it draws?"""
    whole = figure.screenshot()
    figure.evaluate("(figure) => figure.classList.add('emptied')")
    empty = figure.screenshot()
    figure.evaluate("(figure) => figure.classList.remove('emptied')")
    return np.any(_pixels(whole) != _pixels(empty))


def _pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def _ink(png):
    """The share of pixels that are not of the commonest color."""
    pixels = Image.open(io.BytesIO(png)).convert("RGB").get_flattened_data()
    return 1 - Counter(pixels).most_common(1)[0][1] / len(pixels)
