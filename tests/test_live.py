"""The live parts of a page, driven by keyboard and mouse in a browser, without a network."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_page_codec import content as of_codes

from aecore.analysis.errors import principal_components
from aecore.codec.prior import Prior
from aecore.codec.transforms import quantized
from aecore.models import build
from aecore.page import live, networks
from aecore.spec import Spec

ASSETS = Path(__file__).parent.parent / "book" / "assets"
PAGE = (
    "<!doctype html><html data-theme=light><body><article class=bd-article><h1>x</h1>{}</article>"
)
PIXELS = "all => all.map(canvas => canvas.toDataURL())"
SHAPE = (1, 28, 28)


@pytest.fixture
def opened(browser, shown, tmp_path):
    """Opens a page with what was displayed so far, and fails on any error in it."""
    contexts = []

    def open_page(**options):
        size = {"width": 1280, "height": 900}
        context = browser.new_context(offline=True, viewport=size, **options)
        contexts.append(context)
        page, wrong = context.new_page(), []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        body = "".join(bundle["text/html"] for bundle in shown)
        scripts = "".join(f"<script>{(ASSETS / f'{name}.js').read_text('utf-8')}</script>"
                          for name in ("network", "codec", "parts", "live"))  # fmt: skip
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


def _codec(d, step):
    """A codec whose prior is that of the codes of some images, in half precision as in the page."""
    model = _run(d).model
    for weights in model.parameters():
        weights.data = weights.data.half().float()
    with torch.no_grad():
        codes = model.encode(_images(200))
    return SimpleNamespace(step=step, prior=Prior.learned(quantized(codes, step))), model


def _said(count):
    return f"{count} {'byte' if count == 1 else 'bytes'}"


def test_what_is_drawn_is_counted_in_bytes_as_in_python(opened, shown):
    (drawable, examples), step = _drawable(), 0.05
    codecs = {d: _codec(d, step) for d in (2, 6)}
    tables = {d: networks.codec(codec) for d, (codec, _) in codecs.items()}
    live.draw(drawable, examples, 6, "caption", codecs=tables)
    page, wrong = opened()
    images, counts = (examples * 255).round() / 255, []
    for image in images:
        codec, model = codecs[6]
        with torch.no_grad():
            number = codec.prior.nearest(quantized(model.encode(image[None]), step))[0]
        counts.append(len(codec.prior.encode(number)))
        said = page.locator(".again span").inner_text()
        assert said == f"drawn again from 6 numbers: {_said(counts[-1])}"
        page.get_by_role("button", name="another").click()
    assert len(set(counts)) > 1
    assert "rounded to multiples of 0.05" in page.locator(".readout").inner_text()
    before = page.locator(".again span").inner_text()
    for bar in page.locator(".bars [role=slider]").all():  # to their ends, where codes are seldom
        for _ in range(12):
            bar.press("ArrowUp")
    assert page.locator(".again span").inner_text() != before
    assert wrong == []


def test_a_file_is_decoded_compared_and_kept_and_another_one_refused(opened, shown, tmp_path):
    codec, model = _codec(6, 0.02)
    originals = (_images(10) * 255).round() / 255
    with torch.no_grad():
        numbers = codec.prior.nearest(quantized(model.encode(originals), codec.step))
        drawn = model.decode(torch.from_numpy(numbers * codec.step).float())
    content = of_codes(numbers, codec.prior.encode_stream(numbers))
    decoder = networks.decoder(SimpleNamespace(model=model, spec=_run(6).spec, image_shape=SHAPE))
    live.file(content, networks.codec(codec), decoder, originals, numbers, "caption")
    page, wrong = opened()
    figure = page.locator(".aecore-file")
    said = figure.locator(".readout").inner_text()
    assert said.startswith(f"digits.aec: {len(content)} bytes, of which 35 say what it is")
    error = float(((drawn * 255).round() / 255 - originals).square().mean())
    assert f"Mean squared error {error:.4f}." in said
    assert "Each of the 60 numbers is the one that Python wrote." in said
    assert figure.locator(".row").count() == 2
    assert figure.locator(".row canvas").count() == 20
    with page.expect_download() as kept:
        figure.get_by_role("link", name="keep the file").click()
    assert kept.value.path().read_bytes() == content

    field = figure.get_by_label("open one of this model")
    (tmp_path / "torn.aec").write_bytes(content[:-5])
    field.set_input_files(tmp_path / "torn.aec")
    page.locator(".readout", has_text="torn.aec is damaged").wait_for()
    (tmp_path / "one.aec").write_bytes(of_codes(numbers[:1], codec.prior.encode(numbers[0])))
    field.set_input_files(tmp_path / "one.aec")
    page.locator(".readout", has_text="one.aec: ").wait_for()
    assert figure.locator(".row canvas").count() == 1
    assert "Python" not in figure.locator(".readout").inner_text()
    assert wrong == []


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


def _films():
    """A page with a decoder and three paths, of which the first bends."""
    decoder = networks.decoder(_run(2))
    live.morph_player(decoder, {"0": [0, 0], "1": [1, 1]}, 3, "caption")
    ends = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    paths = [[ends[a], ends[[a, b]].mean(0), ends[b]] for a, b in ((0, 1), (0, 2), (1, 2))]
    paths = torch.stack([torch.stack(path) for path in paths])
    paths[0, 1, 1] = 9
    pairs, lengths = [[0, 1], [0, 2], [1, 2]], [[4.0, 3.0], [2.0, 2.0], [1.0, 1.0]]
    live.ways(pairs, paths, lengths, decoder, "caption")


def test_films_of_any_pair_move_together(opened, shown):
    _films()
    assert shown[-2]["text/html"].count('"weight"') == 0  # the page has the decoder once
    page, wrong = opened()
    figure = page.locator(".aecore-ways")
    both, way = figure.locator(".others canvas"), figure.get_by_label("on the way")
    start, end = figure.locator("select").all()

    def seen(at, first, second):
        start.select_option(first)
        end.select_option(second)
        way.focus()
        page.keyboard.press(at)
        return both.evaluate_all(PIXELS)

    begun, ended = seen("Home", "0", "1"), seen("End", "0", "1")
    assert begun[0] == begun[1] != ended[0] == ended[1]
    assert seen("Home", "1", "0") == ended and seen("End", "1", "0") == begun
    for _ in range(24):
        page.keyboard.press("ArrowLeft")
    middle = both.evaluate_all(PIXELS)
    assert middle[0] != middle[1], "the shortest way bends, the straight one does not"
    assert "25.0 % less" in figure.locator(".readout").inner_text()
    assert seen("Home", "0", "2")[0] == begun[0] != seen("Home", "2", "1")[0]
    assert "0.0 % less" in figure.locator(".readout").inner_text()
    seen("Home", "1", "1")
    assert figure.locator(".readout").inner_text() == "Choose two classes."
    figure.get_by_role("button", name="play").click()
    figure.get_by_role("button", name="stop").wait_for()
    page.wait_for_function("document.querySelector('.aecore-ways input').value > 3")
    figure.get_by_role("button", name="stop").press("Enter")
    figure.get_by_role("button", name="play").wait_for()
    assert wrong == []


def test_nothing_moves_by_itself_for_who_asks_for_less_motion(opened, shown):
    _films()
    page, wrong = opened(reduced_motion="reduce")
    assert page.locator(".aecore-ways button:visible").count() == 0
    assert page.locator(".aecore-ways input:visible").count() == 1
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
