"""The live parts of a page, driven by keyboard and mouse in a browser, without a network."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from chromium import chromium

from aecore.analysis.errors import principal_components
from aecore.models import build
from aecore.page import live, networks
from aecore.spec import Spec

ASSETS = Path(__file__).parent.parent / "book" / "assets"
PAGE = (
    "<!doctype html><html data-theme=light><body><article class=bd-article><h1>x</h1>{}</article>"
)
PIXELS = "all => all.map(canvas => canvas.toDataURL())"
SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def opened(browser, shown, tmp_path):
    """Opens a page with what was displayed so far, and fails on any error in it."""
    contexts = []

    def open_page():
        context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
        contexts.append(context)
        page, wrong = context.new_page(), []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        body = "".join(bundle["text/html"] for bundle in shown)
        scripts = "".join(f"<script>{(ASSETS / f'{name}.js').read_text('utf-8')}</script>"
                          for name in ("network", "parts", "live"))  # fmt: skip
        style = f"<style>{(ASSETS / 'style.css').read_text('utf-8')}</style>"
        (tmp_path / "page.html").write_text(PAGE.format(style + body + scripts), encoding="utf-8")
        page.goto((tmp_path / "page.html").as_uri())
        page.locator(".aecore-play[data-drawn]").first.wait_for()
        page.wait_for_timeout(200)  # pictures are decoded in the background
        assert wrong == []
        return page, wrong

    yield open_page
    for context in contexts:
        context.close()


def _run(d, seed=0):
    spec = Spec(latent_dim=d, seed=seed)
    model = build(spec, SHAPE).eval()
    for weights in model.parameters():
        weights.data *= 2
    return SimpleNamespace(model=model, spec=spec, image_shape=SHAPE)


def _images(count):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(count))


def _drawable():
    examples, pca = _images(8), principal_components(_images(60).flatten(1).numpy(), 6)
    of = {d: networks.network(_run(d)) for d in (2, 6)}
    of |= {"pca": networks.linear(pca, SHAPE), "denoiser": networks.network(_run(6, seed=1))}
    with torch.no_grad():
        codes = {d: _run(d).model.encode(examples) for d in (2, 6)}
    return networks.several(of, codes), examples


def test_a_digit_is_drawn_by_keyboard_and_its_code_turned(opened, shown):
    drawable, examples = _drawable()
    live.draw(drawable, examples, 6, "caption", name="draw")
    page, wrong = opened()
    assert "784 numbers in, 6 through" in page.locator(".through").inner_text()
    pictures = page.locator(".aecore-draw canvas")
    before = pictures.evaluate_all(PIXELS)
    page.locator(".pad canvas").focus()
    page.keyboard.press("Space")
    for key in ["ArrowRight"] * 6 + ["ArrowDown"] * 9:
        page.keyboard.press(key)
    page.wait_for_timeout(100)
    drawn = pictures.evaluate_all(PIXELS)
    assert all(a != b for a, b in zip(before, drawn, strict=True))
    bars = page.locator(".bars [role=slider]")
    assert bars.count() == 6
    value = bars.nth(2).get_attribute("aria-valuenow")
    bars.nth(2).focus()
    for _ in range(8):
        page.keyboard.press("ArrowUp")
    turned = pictures.evaluate_all(PIXELS)
    assert bars.nth(2).get_attribute("aria-valuenow") != value
    changed = [a != b for a, b in zip(drawn, turned, strict=True)]
    assert changed == [False, True, False, False, False]  # only what is decoded from the code
    page.locator(".middle input").focus()
    page.keyboard.press("ArrowLeft")
    assert bars.count() == 2
    assert "784 numbers in, 2 through" in page.locator(".through").inner_text()
    assert wrong == []


def test_a_drawing_is_centered_as_the_digits_of_mnist_were(opened, shown):
    drawable, examples = _drawable()
    live.draw(drawable, examples, 6, "caption")
    page, _ = opened()
    side = 280
    ink = np.zeros((side, side))
    ink[20:220, 30:60] = 1  # a stroke down, and a foot that draws the mass to the right
    ink[190:220, 60:130] = 1
    call = "([ink, side, shape]) => Array.from(aecore.centered(ink, side, shape))"
    image = np.reshape(page.evaluate(call, [ink.ravel().tolist(), side, list(SHAPE)]), (28, 28))
    rows, columns = np.nonzero(image > 0.01)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 10)  # 200 x 100 pixels, tenfold smaller
    center = [(image.sum(1 - axis) * (np.arange(28) + 0.5)).sum() / image.sum() for axis in (0, 1)]
    assert np.abs(np.array(center) - 14).max() <= 0.5
    exact = ink[20:220, 30:130].reshape(20, 10, 10, 10).mean((1, 3))
    found = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert np.abs(found - exact).max() < 1e-6


def test_sizes_share_the_networks_of_the_page_and_move_the_mark(opened, shown):
    drawable, examples = _drawable()
    live.draw(drawable, examples, 6, "caption")
    live.sizes(drawable, examples, {"autoencoder": {2: 0.04, 6: 0.02}}, 6, "caption")
    assert sum(bundle["text/html"].count('"weight"') > 0 for bundle in shown) == 1
    page, wrong = opened()
    figure = page.locator(".aecore-sizes")
    figure.scroll_into_view_if_needed()
    figure.and_(page.locator("[data-drawn]")).wait_for()
    page.wait_for_timeout(200)
    pictures, dot = figure.locator(".row canvas"), figure.locator(".dot-0")
    before, at = pictures.evaluate_all(PIXELS), dot.get_attribute("cx")
    figure.locator("input").focus()
    page.keyboard.press("ArrowLeft")
    after = pictures.evaluate_all(PIXELS)
    assert before[:8] == after[:8]
    assert all(a != b for a, b in zip(before[8:], after[8:], strict=True))
    assert dot.get_attribute("cx") != at
    assert wrong == []


def test_a_walk_in_the_plane_becomes_a_film(opened, shown):
    run, images = _run(2), _images(20)
    with torch.no_grad():
        codes = run.model.encode(images)
    plane = SimpleNamespace(codes=codes, centroids=codes[:2])
    planes = {"autoencoder": plane, "VAE": plane}
    live.walk(planes, dict.fromkeys(planes, networks.decoder(run)), images, [0, 1] * 10, "caption")
    page, wrong = opened()
    figure = page.locator(".aecore-walk")
    figure.locator(".map").focus()
    for key in ["ArrowRight"] * 5 + ["ArrowUp"] * 5:
        page.keyboard.press(key)
    frames = figure.locator(".strip button")
    assert frames.count() == 12
    assert len(set(figure.locator(".strip canvas").evaluate_all(PIXELS))) > 6
    said = figure.locator(".others span").first.inner_text()
    frames.first.click()
    assert figure.locator(".others span").first.inner_text() != said
    figure.locator(".picks button", has_text="VAE").click()
    assert frames.count() == 0
    assert wrong == []


def test_damage_is_set_by_keyboard(opened, shown):
    of = networks.several({name: networks.network(_run(6, n)) for n, name in enumerate(("a", "b"))})
    line = {name: {0: 0.1, 0.4: 0.2, 0.8: 0.3} for name in ("a", "b")}
    live.damage(of, _images(4), {"σ": line, "hidden": line}, 0.4, "caption")
    page, wrong = opened()
    figure = page.locator(".aecore-damage")
    pictures, ranges = figure.locator(".others canvas"), figure.locator("input[type=range]")
    before, readout = pictures.evaluate_all(PIXELS), figure.locator(".readout").inner_text()
    for n, dots in ((0, ".chart >> nth=0"), (1, ".chart >> nth=1")):
        at = figure.locator(f"{dots} >> .dot-0").get_attribute("cx")
        ranges.nth(n).focus()
        page.keyboard.press("End")
        assert figure.locator(f"{dots} >> .dot-0").get_attribute("cx") != at
    assert all(a != b for a, b in zip(before, pictures.evaluate_all(PIXELS), strict=True))
    assert figure.locator(".readout").inner_text() != readout
    assert wrong == []


def test_the_film_of_a_training_moves_all_its_parts(opened, shown):
    codes = torch.randn(3, 30, 2, generator=torch.Generator().manual_seed(0))
    frames = _images(30).reshape(3, 10, *SHAPE)
    live.film(_images(10), frames, codes, [0, 1, 2] * 10, {"error": [0.3, 0.2, 0.1]}, "caption")
    page, wrong = opened()
    figure = page.locator(".aecore-film")
    before = figure.locator("canvas").evaluate_all(PIXELS)
    at = figure.locator(".dot-0").get_attribute("cx")
    figure.locator("input").focus()
    page.keyboard.press("Home")
    after = figure.locator("canvas").evaluate_all(PIXELS)
    assert before[:10] == after[:10]
    assert all(a != b for a, b in zip(before[10:], after[10:], strict=True))
    assert figure.locator(".dot-0").get_attribute("cx") != at
    assert wrong == []
