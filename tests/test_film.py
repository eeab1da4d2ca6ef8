"""A training watched ends where the run itself does, and begins before any training."""

import torch

from aecore.analysis.film import film
from aecore.data import as_floats, load
from aecore.models import build
from aecore.page.diagram import layers
from aecore.runs import fit
from aecore.spec import Spec


def test_the_film_begins_untrained_and_ends_as_the_run():
    spec = Spec(latent_dim=2, train_images=512, epochs=2, batch_size=64)
    run = fit(spec)[0]
    shown, first = film(run, images=50), as_floats(load().test_images[:50])
    assert shown.codes.shape == (3, 50, 2)
    assert torch.allclose(shown.codes[-1], run.encode(load().test_images[:50]), atol=1e-5)
    untrained = build(spec, (1, 28, 28)).eval()
    with torch.no_grad():
        assert torch.allclose(shown.codes[0], untrained.encode(first), atol=1e-5)
    error = float((run.reconstruct(first) - first).square().mean())
    assert abs(shown.losses[-1] - error) < 1e-6
    assert (shown.drawn[-1] - run.reconstruct(shown.originals)).abs().max() < 0.01


def test_the_diagram_counts_every_weight_once():
    spec = Spec(latent_dim=6)
    every = layers(spec, (1, 28, 28))
    model = build(spec, (1, 28, 28))
    assert sum(layer["weights"] for layer in every) == sum(p.numel() for p in model.parameters())
    assert [layer["shape"] for layer in every[:4]] == [
        (1, 28, 28),
        (8, 14, 14),
        (16, 7, 7),
        (32, 3, 3),
    ]
    assert every[-1]["shape"] == (1, 28, 28)
    assert every[1]["weights"] == 8 * 9 + 8  # a kernel of 3 x 3 and a bias for each of 8 channels
