"""The networks inside the page against PyTorch."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aecore.analysis.errors import principal_components
from aecore.models import build
from aecore.page.live import morph_player
from aecore.page.networks import decoder, linear, network
from aecore.spec import ACTIVATIONS, Spec

SCRIPT = Path(__file__).parent.parent / "book" / "assets" / "network.js"
RUN = """([payload, side, inputs]) =>
  inputs.map((one) => Array.from(aecore.network(payload)[side](one)))"""
SHAPES = [
    ((1, 28, 28), (8, 16, 32), 2),
    ((1, 28, 28), (4, 6, 8), 10),
    ((3, 32, 32), (8, 16, 32), 6),
    ((1, 17, 30), (3, 5, 7), 3),
]


@pytest.fixture(scope="module")
def in_page(browser):
    """What the page makes of the `inputs` of one side of a network."""
    page = browser.new_page()
    page.add_script_tag(path=SCRIPT)

    def run(payload, side, inputs):
        payload = json.loads(json.dumps(payload))
        return np.array(page.evaluate(RUN, [payload, side, inputs.flatten(1).tolist()]))

    yield run


def _model(image_shape, channels, d, scale=1, activation="relu"):
    torch.manual_seed(d)
    spec = Spec(channels=channels, latent_dim=d, activation=activation)
    model = build(spec, image_shape)
    for weights in model.parameters():
        weights.data *= scale
    return SimpleNamespace(model=model, spec=spec, image_shape=image_shape)


def _expected(model, images, codes):
    with torch.no_grad():
        return model.encode(images).numpy(), model.decode(codes).flatten(1).numpy()


@pytest.mark.parametrize(
    ("size", "activation"),
    [*((size, "relu") for size in SHAPES), *((SHAPES[0], name) for name in ACTIVATIONS[1:])],
)
def test_the_page_computes_as_pytorch_does(in_page, size, activation):
    image_shape, _, d = size
    # As drawn they give nearly gray images.
    run = _model(*size, scale=2.5, activation=activation)
    images, codes = torch.rand(3, *image_shape), 2 * torch.randn(3, d)
    _, drawn = _expected(run.model, images, codes)
    assert drawn.std() > 0.05
    assert np.abs(in_page(decoder(run), "decode", codes) - drawn).max() < 1e-4
    payload = network(run)
    for weights in run.model.parameters():  # what is left of them in half precision
        weights.data = weights.data.half().float()
    code, drawn = _expected(run.model, images, codes)
    assert np.abs(in_page(payload, "encode", images) - code).max() < 1e-4
    assert np.abs(in_page(payload, "decode", codes) - drawn).max() < 1e-4


def test_half_precision_costs_an_untrained_network_less_than_a_thousandth(in_page):
    run = _model(*SHAPES[0])
    images, codes = torch.rand(3, 1, 28, 28), 2 * torch.randn(3, 2)
    code, drawn = _expected(run.model, images, codes)
    assert np.abs(in_page(network(run), "encode", images) - code).max() < 1e-3
    assert np.abs(in_page(network(run), "decode", codes) - drawn).max() < 1e-3


def test_principal_components_in_the_page_are_those_of_scikit_learn(in_page):
    images = torch.rand(60, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    pca = principal_components(images.flatten(1).numpy(), 4)
    payload = linear(pca, (1, 6, 6))
    codes = pca.transform(images.flatten(1).numpy())
    assert np.abs(in_page(payload, "encode", images) - codes).max() < 5e-3
    drawn = in_page(payload, "decode", torch.from_numpy(codes))
    assert np.abs(drawn - pca.inverse_transform(codes)).max() < 1e-3


@pytest.mark.parametrize("architecture", ["dense", "residual"])
def test_a_network_without_a_form_in_the_page_has_no_live_part(architecture, shown):
    run = SimpleNamespace(spec=Spec(architecture=architecture))
    assert decoder(run) is None
    assert network(run) is None
    morph_player(decoder(run), {"0": [1.0, 2.0]}, 5, "caption")
    assert ["No player" in bundle["text/html"] for bundle in shown] == [True]
