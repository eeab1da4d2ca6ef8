"""The decoder inside the page against PyTorch."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from chromium import chromium

from aecore.models import build
from aecore.page.live import decoder, morph_player
from aecore.spec import Spec

SCRIPT = Path(__file__).parent.parent / "book" / "assets" / "decoder.js"
DECODE = "([payload, codes]) => codes.map((z) => Array.from(aecore.decoder(payload).decode(z)))"


@pytest.mark.parametrize(
    ("image_shape", "channels", "d"),
    [
        ((1, 28, 28), (8, 16, 32), 2),
        ((1, 28, 28), (4, 6, 8), 10),
        ((3, 32, 32), (8, 16, 32), 6),
        ((1, 17, 30), (3, 5, 7), 3),
    ],
)
def test_page_decodes_as_pytorch_does(image_shape, channels, d):
    torch.manual_seed(d)
    spec = Spec(channels=channels, latent_dim=d)
    model = build(spec, image_shape)
    for weights in model.decoder.parameters():
        weights.data *= 3  # as drawn they give nearly gray images, which agree too easily
    codes = 2 * torch.randn(5, d)
    with torch.no_grad():
        expected = model.decode(codes).flatten(1).numpy()
    payload = json.loads(json.dumps(decoder(SimpleNamespace(model=model, spec=spec))))
    with chromium() as browser:
        page = browser.new_page()
        page.add_script_tag(path=SCRIPT)
        decoded = np.array(page.evaluate(DECODE, [payload, codes.tolist()]))
    assert expected.std() > 0.1
    assert np.abs(decoded - expected).max() < 1e-4


@pytest.mark.parametrize("architecture", ["dense", "residual"])
def test_a_network_without_a_form_in_the_page_has_no_live_part(architecture, shown):
    run = SimpleNamespace(spec=Spec(architecture=architecture))
    assert decoder(run) is None
    morph_player(decoder(run), {"0": [1.0, 2.0]}, 5, "caption")
    assert ["No player" in bundle["text/html"] for bundle in shown] == [True]
