"""Stills: what a page shows of a figure until its reader points at it, and in print."""

import base64
import io
import re
from types import SimpleNamespace

import nbformat
import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from command import CHECKOUT
from nbconvert import HTMLExporter
from PIL import Image

from aecore.page import planes, show
from aecore.page.still import still
from aecore.page.style import COLORS, figure_of, scale


def numbers(text):
    return [float(number) for number in re.findall(r"-?[\d.]+", text)]


def path_of(markup, color):
    """The places (N, 2) of the path in that color."""
    tag = next(tag for tag in re.findall("<path[^>]*>", markup) if f'"{color}"' in tag)
    return np.reshape(numbers(re.search(' d="([^"]*)"', tag)[1].replace("h0", "")), (-1, 2))


def image_of(markup):
    data = re.search('href="data:image/[a-z]+;base64,([^"]*)"', markup)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


@pytest.mark.parametrize("kind", ["linear", "log"])
def test_points_lie_where_the_axes_say(kind):
    """The oracle is the grid: points at a tick lie on its line."""
    values = np.array([1.0, 10.0, 100.0])
    figure = figure_of()
    figure.add_scatter(x=values, y=values, mode="lines", line={"color": "#123456"})
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(type=kind, tickvals=values, ticktext=["one", "ten", "hundred"])
    markup = still(figure, 600, 400)
    grid = path_of(markup, "#80808040").reshape(6, 2, 2)
    expected = np.stack([grid[:3, 0, 0], grid[3:, 0, 1]], axis=1)
    assert np.allclose(path_of(markup, "#123456"), expected, atol=0.11)
    assert (np.diff(expected[:, 0]) > 0).all() and (np.diff(expected[:, 1]) < 0).all()
    assert ((expected > 0) & (expected < [600, 400])).all()
    assert np.isclose(*np.diff(expected[:, 0]), atol=0.2) == (kind == "log")


def test_a_gap_stays_a_gap_and_text_is_text():
    figure = figure_of()
    line = {"color": "#123456"}
    figure.add_scatter(
        x=[0, 1, 2, 3], y=[1, np.nan, 2, 3], mode="lines", line=line, name="<b>&</b>"
    )
    figure.add_scatter(x=[0, 3], y=[1, 3], mode="markers", name="other <script>")
    markup = still(figure, 600, 400)
    (tag,) = [
        tag for tag in re.findall("<path[^>]*>", markup) if "#123456" in tag and "none" in tag
    ]
    assert re.search(' d="([^"]*)"', tag)[1].count("M") == 2
    assert "&amp;" in markup and "<script" not in markup


def test_a_table_has_its_colors_in_their_places():
    figure = figure_of()
    colors = [[0, "#000000"], [1, "#ffffff"]]
    figure.add_heatmap(x=["a", "b"], y=["low", "high"], z=[[0, 1], [0.5, None]], colorscale=colors)
    pixels = image_of(still(figure, 600, 400))
    assert pixels[1].tolist() == [[0, 0, 0, 255], [255, 255, 255, 255]]
    assert pixels[0, 0].tolist() == [128, 128, 128, 255] and pixels[0, 1, 3] == 0


def test_a_surface_is_seen_with_its_near_side_in_front():
    """A wall at the near side hides what is behind it; at the far side it does not."""
    share = []
    for place in (0, -1):
        z = np.zeros((20, 20))
        z[place] = 1
        figure = figure_of()
        steps = np.linspace(0, 1, 20)
        figure.add_surface(x=steps, y=steps, z=z, colorscale=[[0, "#ff0000"], [1, "#0000ff"]])
        camera = {"eye": {"x": 0, "y": -2, "z": 0.4}}
        figure.update_layout(scene={"aspectratio": {"x": 1, "y": 1, "z": 0.5}, "camera": camera})
        pixels = image_of(still(figure, 300, 300)).astype(int)
        share.append((pixels[..., 0] > pixels[..., 2] + 40).sum())
    near, far = share
    assert far > 3 * near


def test_a_flat_surface_is_drawn_too():
    figure = figure_of()
    figure.add_surface(
        x=[0, 1], y=[0, 1], z=np.zeros((2, 2)), colorscale=[[0, "#ff0000"], [1, "#ff0000"]]
    )
    figure.add_scatter3d(
        x=[0.5], y=[0.5], z=[0], text=["here"], mode="markers+text", textfont={"size": 12}
    )
    camera = {"eye": {"x": 0, "y": -2, "z": 0.4}}
    figure.update_layout(scene={"aspectratio": {"x": 1, "y": 1, "z": 0.5}, "camera": camera})
    drawn = still(figure, 300, 300)
    assert ">here<" in drawn and '"nan"' not in drawn


@pytest.mark.parametrize(
    "trace",
    [
        go.Pie(values=[1]),
        go.Scatter(x=np.array(["2020-01-01"], "datetime64[D]"), y=[1], mode="markers"),
        go.Scatter(x=[1, 2], y=[1, 2], mode="markers", marker={"color": [1, 2]}),
        go.Scatter(x=[1, 2], y=[1, 2], mode="markers", marker={"size": [1, 2]}),
    ],
    ids=["pie", "dates", "colors", "sizes"],
)
def test_of_what_no_still_shows_the_page_has_the_words(trace, shown):
    show(go.Figure(trace), "caption", alt="A <whole> pie.")
    assert '<p class="aecore-still">A &lt;whole&gt; pie.</p>' in shown[0]["text/html"]


@pytest.mark.parametrize("scripts", [True, False])
def test_a_notebook_that_is_exported_shows_its_figures(shown, tmp_path, browser, scripts):
    """What `jupyter nbconvert --to html` writes has neither our style sheet nor our scripts."""
    figure = figure_of()
    figure.add_scatter(x=[0, 1, 2], y=[0, 1, 4], mode="lines", line={"color": "#ff0000"})
    show(figure, "A curve.", alt="It rises.")
    cell = nbformat.v4.new_code_cell("show(figure)")
    cell.outputs = [nbformat.v4.new_output("display_data", bundle) for bundle in shown]
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    size = {"width": 1280, "height": 900}
    context = browser.new_context(offline=True, viewport=size, java_script_enabled=scripts)
    opened = context.new_page()
    opened.goto((tmp_path / "page.html").as_uri())
    drawing = opened.locator(".aecore-figure svg:visible")
    assert drawing.count() == 1
    assert 300 < drawing.bounding_box()["width"] <= 690  # as wide as it was drawn for
    pixels = np.asarray(Image.open(io.BytesIO(drawing.screenshot())).convert("RGB")).astype(int)
    red = (pixels[..., 0] > 200) & (pixels[..., 1:].max(-1) < 80)
    assert np.ptp(np.nonzero(red)[1]) > 300
    assert opened.get_by_text("A curve.").is_visible()


def luminance(color):
    parts = [int(color[n : n + 2], 16) for n in (1, 3, 5)] if color[0] == "#" else numbers(color)
    values = np.array(parts[:3]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_every_color_of_a_curve_reads_on_both_pages():
    style = (CHECKOUT / "book" / "assets" / "style.css").read_text()
    pages = re.findall("--aecore-page: (#[0-9a-f]{6})", style)
    assert len(set(pages)) == 2
    for color in (*COLORS, *scale(7)):
        for page in pages:
            low, high = sorted([luminance(color), luminance(page)])
            assert (high + 0.05) / (low + 0.05) >= 3, (color, page)


def test_names_of_centroids_lie_apart_and_beside_their_points():
    centroids = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.1, 0.1], [0.0, 0.2], [10.0, 0.0]])
    steps = torch.linspace(-1, 11, 13)
    nearest = torch.zeros(13, 13, dtype=torch.long)
    plane = SimpleNamespace(x=steps, y=steps, nearest=nearest, centroids=centroids)
    names = planes.basin_map(plane).data[-1]
    at = np.stack([names.x, names.y], axis=1)
    every = np.concatenate([at, centroids.numpy()])
    for number, place in enumerate(at):
        others = np.delete(every, number, axis=0)
        assert np.linalg.norm(others - place, axis=1).min() > 0.3


def test_no_name_beside_an_axis_is_cut_off(browser):
    names = ["conv autoencoder", "dense", "PCA"]
    figure = figure_of()
    figure.add_heatmap(x=names, y=names, z=np.eye(3), colorscale=scale(7))
    page, wide = browser.new_page(), "<style>svg { font-family: DejaVu Sans }</style>"
    page.set_content(wide + still(figure, 690, 400))
    edges = page.evaluate(
        """() => { const whole = document.querySelector("svg").getBoundingClientRect();
        return [...document.querySelectorAll("svg text")].map(text => {
            const own = text.getBoundingClientRect();
            return [text.textContent, own.left - whole.left, whole.right - own.right]; }); }"""
    )
    assert {name for name, *_ in edges} >= set(names)
    assert all(min(places) >= 0 for _, *places in edges), edges
