"""The convolutions and their transposes against PyTorch's own."""

import copy
import itertools
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from aecore.engine.pool import reproducible
from aecore.fast.convolution import accelerate, hidden
from aecore.fast.dropout import Dropout

BITS = (0, 1)
AXES = list(itertools.product(BITS, BITS))


def down(inputs, outputs, padding):
    return accelerate(nn.Conv2d(inputs, outputs, 3, 2, padding))


def up(inputs, outputs, padding, output_padding):
    return accelerate(nn.ConvTranspose2d(inputs, outputs, 3, 2, padding, output_padding))


def pair(theirs):
    """Our layer and PyTorch's, in double precision, with the same weights."""
    theirs = theirs.double()
    ours = accelerate(copy.deepcopy(theirs))
    assert type(ours) is not type(theirs)
    return ours, theirs


def test_only_what_fits_is_replaced():
    odd = [nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 5, 2), nn.Conv2d(1, 2, 3, 2, 2), nn.Linear(2, 2)]
    kinds = [type(layer) for layer in odd]
    assert [type(layer) for layer in accelerate(nn.Sequential(*odd))] == kinds


def assert_alike(ours, theirs, size):
    """Outputs and gradients, whatever the layout of the input."""
    x = torch.randn(4, ours.in_channels, *size, dtype=torch.float64, requires_grad=True)
    expected = theirs(x)
    direction = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, [x, *theirs.parameters()], direction)
    for layout in (torch.contiguous_format, torch.channels_last):
        given = x.detach().contiguous(memory_format=layout).requires_grad_()
        output = ours(given)
        assert output.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(output, expected)
        actual = torch.autograd.grad(output, [given, *ours.parameters()], direction)
        torch.testing.assert_close(actual, gradients)


@pytest.mark.parametrize("channels", [(1, 8), (3, 2), (8, 16)])
@pytest.mark.parametrize("padding", BITS)
@pytest.mark.parametrize("size", [(3, 3), (4, 7), (9, 6)])
def test_convolution_and_its_gradients_are_pytorchs(channels, padding, size):
    torch.manual_seed(0)
    assert_alike(*pair(nn.Conv2d(*channels, 3, 2, padding)), size)


@pytest.mark.parametrize("outputs", [1, 3, 8])
@pytest.mark.parametrize("padding", BITS)
@pytest.mark.parametrize("output_padding", AXES)
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (4, 7), (9, 2)])
def test_transpose_and_its_gradients_are_pytorchs(outputs, padding, output_padding, size):
    torch.manual_seed(0)
    assert_alike(*pair(nn.ConvTranspose2d(5, outputs, 3, 2, padding, output_padding)), size)


@pytest.mark.parametrize(
    "layer",
    [down(1, 2, 1), down(2, 3, 0)] + [up(2, c, p, (1, 0)) for c in (1, 3) for p in BITS],
    ids=repr,
)
def test_gradients_are_finite_differences(layer):
    torch.manual_seed(0)
    layer = layer.double()
    x = torch.randn(2, layer.in_channels, 4, 3, dtype=torch.float64, requires_grad=True)

    def output(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x)

    inputs = (x, layer.weight, layer.bias)
    assert torch.autograd.gradcheck(output, inputs, fast_mode=True)


def test_only_the_gradients_asked_for_are_made():
    layer = up(2, 3, 1, (1, 1))
    layer.weight.requires_grad_(False)
    x = torch.randn(4, 2, 5, 5)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(layer.bias.grad, torch.full((3,), 4.0 * 10 * 10))


@pytest.mark.parametrize(
    ("shape", "outputs", "padding"), [((8, 14, 14), 1, 1), ((32, 3, 3), 16, 0)]
)
def test_the_same_bits_with_and_without_gradients_and_twice(shape, outputs, padding):
    torch.manual_seed(0)
    layer = up(shape[0], outputs, padding, (padding, padding))
    x = torch.randn(64, *shape)
    with reproducible():
        first = layer(x)
        assert torch.equal(layer(x), first)
        with torch.inference_mode():
            assert torch.equal(layer(x), first)
    native = F.conv_transpose2d(x, layer.weight, layer.bias, 2, padding, padding)
    torch.testing.assert_close(first, native)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("way", [down, up])
def test_relu_and_dropout_in_one_pass_are_those_after_another(way, rate):
    """Of two layers, and of more images than are done at once."""
    torch.manual_seed(0)
    more = () if way is down else ((1, 0),)
    layers, x = [way(3, 8, 1, *more), way(8, 5, 0, *more)], torch.randn(300, 3, 9, 8)
    weights = [weight for layer in layers for weight in layer.parameters()]

    def gradients(y):
        return torch.autograd.grad(y, [x, *weights], torch.ones_like(y))

    x.requires_grad_()
    one, two = (Dropout(rate, 12345) if rate else None for _ in range(2))
    together, apart = hidden(layers, x, one), x
    for layer in layers:
        apart = F.relu(layer(apart))
        apart = two(apart) if rate else apart
    torch.testing.assert_close(together, apart)
    assert torch.equal(together == 0, apart == 0)
    torch.testing.assert_close(gradients(together), gradients(apart), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("way", [down, up])
def test_what_is_no_number_stays_none(way):
    """ReLU and its gradient keep NaN, so that a network that diverged is seen to have."""
    layer = way(3, 8, 1, *(() if way is down else ((1, 0),)))
    x = torch.randn(2, 3, 6, 6)
    x[0] = torch.nan
    y = hidden([layer], x.requires_grad_(), None)
    assert y[0].isnan().all() and y[1].isfinite().all()
    y.sum().backward()
    assert layer.weight.grad.isnan().all()


@pytest.mark.parametrize("layer", [down(2, 3, 1), up(2, 3, 1, (1, 1))], ids=repr)
def test_no_images_give_no_images(layer):
    x = torch.empty(0, 2, 6, 6, requires_grad=True)
    y = layer(x)
    assert y.shape == (0, 3, *((3, 3) if isinstance(layer, nn.Conv2d) else (12, 12)))
    y.sum().backward()
    assert x.grad.shape == x.shape and not layer.weight.grad.any()


def test_elsewhere_it_is_pytorchs_own():
    smaller = down(4, 2, 1).to("meta")
    assert smaller(torch.empty(3, 4, 5, 6, device="meta")).shape == (3, 2, 3, 3)
    layer = up(4, 2, 1, (1, 0)).to("meta")
    assert layer(torch.empty(3, 4, 5, 6, device="meta")).shape == (3, 2, 10, 11)
    assert set(layer.state_dict()) == {"weight", "bias"}


def test_another_process_finds_the_loops_compiled():
    """Numba keeps machine code by what a loop refers to, which has to be the same there."""
    step = """if True:
        import torch
        from aecore.analysis import _loops as others
        from aecore.analysis import pairs
        from aecore.fast import _loops
        from aecore.fast.convolution import accelerate
        from aecore.fast.dropout import Dropout
        from aecore.models import build
        from aecore.spec import Spec

        model = accelerate(build(Spec(latent_dim=2), (1, 12, 12)))
        model(torch.rand(3, 1, 12, 12), Dropout(0.1, 5)).sum().backward()
        pairs.nearest_of_all(torch.randint(255, (200, 9), dtype=torch.uint8), 3, "L1")
        every = [*vars(_loops).values(), *vars(others).values()]
        loops = [of for of in every if hasattr(of, "py_func")]
        print([of.__name__ for of in loops if of.stats.cache_misses])
    """
    for _ in range(2):  # the first may have to compile them
        found = subprocess.run([sys.executable, "-c", step], capture_output=True, text=True)
    assert found.stdout == "[]\n", found.stderr
