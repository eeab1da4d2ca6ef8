"""The kernels for GPUs, without one by Triton's interpreter, against PyTorch and lone networks."""

import sys

import pytest
import torch
import torch.nn.functional as F

from aecore import models
from aecore.data import load
from aecore.engine.pool import resolve_device
from aecore.engine.stack import Stacked, StackedDropout, StackedOptimizer
from aecore.fast import stacked
from aecore.fast.convolution import accelerate
from aecore.fast.dropout import Dropout
from aecore.spec import Spec
from aecore.training import Training

NETWORKS, IMAGES = 3, 2
DEVICE = resolve_device()
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no Triton")


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    """Kernels wherever the tensors are: without a GPU, as Python (`conftest.py`)."""
    monkeypatch.setattr(stacked, "on", lambda device: True)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("channels", "size", "padding"),
    [((1, 8), (12, 12), (1, 1)), ((3, 5), (11, 14), (1, 1)), ((4, 6), (7, 7), (0, 0)),
     ((3, 4), (8, 6), (1, 0)), ((2, 33), (3, 4), (1, 1)), ((33, 2), (3, 4), (1, 1))],
)  # fmt: skip
def test_convolutions_are_pytorchs(channels, size, padding, transposed):
    torch.manual_seed(0)
    c, d = channels
    small = [(n + 2 * p - 3) // 2 + 1 for n, p in zip(size, padding, strict=True)]
    weight = torch.randn(NETWORKS, d, c, 3, 3, requires_grad=True, device=DEVICE)
    bias = torch.randn(NETWORKS, c if transposed else d, requires_grad=True, device=DEVICE)
    of = (d, small) if transposed else (c, size)
    x = torch.randn(IMAGES, NETWORKS * of[0], *of[1], requires_grad=True, device=DEVICE)
    settings = {"stride": 2, "padding": padding, "groups": NETWORKS}
    if transposed:
        axes = zip(size, small, padding, strict=True)
        settings["output_padding"] = [n - (2 * m + 1 - 2 * p) for n, m, p in axes]
    theirs = F.conv_transpose2d if transposed else F.conv2d
    expected = theirs(x, weight.flatten(0, 1), bias.flatten(), **settings)
    found = stacked.convolution(x, weight, bias, padding, size, transposed)
    grad = torch.randn_like(expected)
    for ours, others in zip(
        (found, *torch.autograd.grad(found, (x, weight, bias), grad)),
        (expected, *torch.autograd.grad(expected, (x, weight, bias), grad)),
        strict=True,
    ):
        torch.testing.assert_close(ours, others, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("architecture", ["conv", "dense"])
def test_a_stack_by_kernels_is_each_network(tiny, architecture, activation):
    """Reconstructions and gradients, with dropout, where weights are parts of a stack's rows."""
    widths = (20, 9) if architecture == "dense" else ()
    small = {"channels": (2, 3, 4), "hidden": 8} if architecture == "conv" else {}
    base = Spec(architecture=architecture, activation=activation, widths=widths, **small)
    trainings = [
        Training(base.replace(latent_dim=d, seed=d), load(tiny), DEVICE) for d in (1, 6, 3)
    ]
    alone = [accelerate(models.build(t.spec, (1, 12, 12), device=DEVICE)) for t in trainings]
    together = Stacked([training.model for training in trainings])
    StackedOptimizer(trainings, list(together.parameters()))
    rates, keys = [0.0, 0.5, 0.1], [1, 2, 3]
    drop = StackedDropout(rates, DEVICE)
    drop.prepare([[0, key] for key in keys], layers=10)
    drop.set(1)
    images = torch.rand(NETWORKS, IMAGES, 1, 12, 12, device=DEVICE)
    whole = together(images, drop.begun())
    grad = torch.rand_like(whole)
    whole.backward(grad)
    for m, network in enumerate(alone):
        expected = network(images[m], Dropout(rates[m], keys[m]))
        expected.backward(grad[m])
        torch.testing.assert_close(whole[m], expected, rtol=1e-4, atol=1e-5)
        for ours, own in zip(together.parameters(), network.parameters(), strict=True):
            part = ours.grad[m][tuple(map(slice, own.shape))]
            torch.testing.assert_close(part, own.grad, rtol=1e-3, atol=1e-5)


def test_without_a_compiler_pytorchs_layers_are_used(monkeypatch):
    from aecore.fast import _triton

    monkeypatch.undo()  # of the fixture
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(_triton, "tried", {})  # of which none is there
    stacked._kernels.cache_clear()
    with pytest.warns(UserWarning, match=r"Triton can't compile kernels here .*slower"):
        assert not stacked.on(torch.device("cuda"))
    stacked._kernels.cache_clear()
