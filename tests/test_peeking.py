"""Pointing at a point of a scatter shows its image: a page opened from a folder, in a browser."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from aecore.page import live as widgets
from aecore.page import planes as maps
from aecore.page import show

ASSETS = Path(__file__).parent.parent / "book" / "assets"
PLOTLY = Path(importlib.util.find_spec("plotly").origin).parent / "package_data" / "plotly.min.js"
PLACE = """(live, [panel, n]) => {
  const trace = live._fullData.filter((trace) => trace.xaxis === panel)
    .find((trace) => Array.from(trace.customdata || []).includes(n));
  const i = Array.from(trace.customdata).indexOf(n);
  const x = live._fullLayout[panel.replace("x", "xaxis")];
  const y = live._fullLayout[panel.replace("x", "yaxis")];
  const box = live.getBoundingClientRect();
  return [box.left + x._offset + x.l2p(trace.x[i]), box.top + y._offset + y.l2p(trace.y[i])];
}"""
PIXELS = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.width, canvas.height, ...data];
}"""


def images(channels):
    """Twelve images of 6 x 10, each half light, with a light that goes with its number."""
    light = (np.arange(12) + 4)[:, None, None, None] / 16
    pixels = np.tile(light, (1, channels, 6, 10)).astype(np.float32)
    pixels[..., :5] = 0
    return pixels


@pytest.fixture(params=[1, 3])
def page_file(request, tmp_path, shown):
    """A page as the book has it: two panels of the same twelve points, and the sheet of images."""
    points = np.stack(np.divmod(np.arange(12), 4), axis=1).astype(np.float32)
    panels = {"one": points, "other": points[::-1]}
    sheet = widgets.image_sheet(images(request.param))
    figure = maps.projections(panels, np.arange(12) % 3)
    show(figure, "caption", alt="alt", sheet=sheet)
    body = "".join(bundle["text/html"] for bundle in shown)
    scripts = [PLOTLY, ASSETS / "network.js", ASSETS / "parts.js", ASSETS / "figures.js"]
    tags = "".join(f'<script src="{path.as_uri()}"></script>' for path in scripts)
    style = f'<link rel="stylesheet" href="{(ASSETS / "style.css").as_uri()}">'
    path = tmp_path / "page.html"
    path.write_text(
        f'<!doctype html><html data-theme="light"><head><meta charset="utf-8">{style}{tags}'
        f"</head><body>{body}</body></html>",
        encoding="utf-8",
    )
    return path


def opened(browser, path, **options):
    page = browser.new_context(offline=True, **options).new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.goto(path.as_uri())
    page.locator(".aecore-figure[data-ready]").wait_for()
    page.locator(".aecore-plot").focus()
    page.locator(".aecore-figure[data-drawn]").wait_for(timeout=20_000)
    return page, wrong


def light(page):
    """Mean light, 0 to 255, of the left and of the right half of the image that is shown."""
    width, height, *values = page.locator(".aecore-peek canvas").evaluate(PIXELS)
    assert (width, height) == (10, 6)
    gray = np.array(values).reshape(height, width, 4)[..., :3].mean((0, 2))
    return gray[:4].mean(), gray[6:].mean()


def test_pointing_shows_the_image_of_that_point(browser, page_file):
    page, wrong = opened(browser, page_file, viewport={"width": 1000, "height": 800})
    card = page.locator(".aecore-peek")
    assert card.is_hidden()
    for panel, number in (("x", 0), ("x", 11), ("x2", 11), ("x2", 5)):
        x, y = page.locator(".aecore-live").evaluate(PLACE, [panel, number])
        page.mouse.move(x - 3, y)
        page.mouse.move(x, y, steps=3)
        page.locator(f'.aecore-peek[data-image="{number}"]').wait_for(state="visible")
        dark, bright = light(page)
        assert dark < 20
        assert abs(bright - 255 * (number + 4) / 16) < 12
        box = card.bounding_box()
        assert abs(box["x"] + box["width"] / 2 - x) < 100
        assert box["y"] > y or box["y"] + box["height"] < y, "the card must not cover the point"
    page.mouse.move(2, 2)
    card.wait_for(state="hidden")
    assert wrong == []


def test_tapping_does_too(browser, page_file):
    phone = {"width": 390, "height": 844}
    page, wrong = opened(browser, page_file, viewport=phone, has_touch=True, is_mobile=True)
    x, y = page.locator(".aecore-live").evaluate(PLACE, ["x", 9])
    page.touchscreen.tap(x, y)
    page.locator('.aecore-peek[data-image="9"]').wait_for(state="visible")
    assert abs(light(page)[1] - 255 * 13 / 16) < 12
    assert wrong == []
