"""The decoder inside the page against PyTorch."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from chromium import chromium

from aecore.models import ConvAutoencoder, build
from aecore.page.live import decoder_payload
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
    model = ConvAutoencoder(image_shape, channels, 64, d)
    for weights in model.decoder.parameters():
        weights.data *= 3  # as drawn they give nearly gray images, which agree too easily
    codes = 2 * torch.randn(5, d)
    with torch.no_grad():
        expected = model.decode(codes).flatten(1).numpy()
    payload = json.loads(json.dumps(decoder_payload(model)))
    with chromium() as browser:
        page = browser.new_page()
        page.add_script_tag(path=SCRIPT)
        decoded = np.array(page.evaluate(DECODE, [payload, codes.tolist()]))
    assert expected.std() > 0.1
    assert np.abs(decoded - expected).max() < 1e-4


def test_a_network_without_a_form_in_the_page_is_refused():
    model = build(Spec(architecture="dense"), (1, 28, 28))
    with pytest.raises(TypeError, match="DenseAutoencoder"):
        decoder_payload(model)
