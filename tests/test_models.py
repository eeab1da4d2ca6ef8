import numpy as np
import pytest
import torch
from scipy.stats import logistic
from torch import nn

from aecore.fast.dropout import Dropout
from aecore.models import FAMILIES, LogisticMixture, build, size
from aecore.spec import Spec


def plain(model) -> tuple[nn.Sequential, nn.Sequential]:
    """The reports' network in plain PyTorch for 28 x 28 images, with the weights of `model`."""
    encoder = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 0), nn.ReLU(), nn.Flatten(),
        nn.Linear(288, 64), nn.ReLU(), nn.Linear(64, 4),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 288), nn.ReLU(), nn.Unflatten(1, (32, 3, 3)),
        nn.ConvTranspose2d(32, 16, 3, 2, 0), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 3, 2, 1, 1), nn.ReLU(),
        nn.ConvTranspose2d(8, 1, 3, 2, 1, 1), nn.Sigmoid(),
    )  # fmt: skip
    for ours, theirs in ((model.encoder, encoder), (model.decoder, decoder)):
        layers = [layer for layer in theirs if hasattr(layer, "weight")]
        for source, target in zip(ours, layers, strict=True):
            target.load_state_dict(source.state_dict())
    return encoder, decoder


def test_network_is_the_reports():
    model = build(Spec(), (1, 28, 28))
    encoder, decoder = plain(model)
    x = torch.rand(5, 1, 28, 28)
    torch.testing.assert_close(model.encode(x), encoder(x))
    torch.testing.assert_close(model(x), decoder(encoder(x)))
    assert sum(p.numel() for p in model.parameters()) == 49_541


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 9, 9), (2, 31, 45), (3, 10, 17),
                                   (1, 8, 8), (3, 5, 28), (1, 1, 2)])  # fmt: skip
def test_any_image_size_comes_back(shape):
    model = build(Spec(latent_dim=3, channels=(3, 5, 7)), shape)
    x = torch.rand(2, *shape)
    assert model.encode(x).shape == (2, 3)
    assert model(x).shape == x.shape


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 1, 2)])
def test_every_architecture_takes_small_images(shape):
    """As `aecore data` says of any images."""
    for name, family in FAMILIES.items():
        model = build(Spec(architecture=name, loss=family.losses[0]), shape, 10)
        output = model.eval()(torch.rand(2, *shape))
        assert (output[0] if isinstance(output, tuple) else output).shape[0] == 2


def test_initial_weights_are_pytorchs_own_distribution_and_come_from_the_seed():
    torch.manual_seed(0)
    encoder, decoder = plain(build(Spec(), (1, 28, 28)))
    for layer in [*encoder, *decoder]:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    theirs = [layer for layer in [*encoder, *decoder] if hasattr(layer, "weight")]
    state = torch.get_rng_state()
    model = build(Spec(), (1, 28, 28))
    assert torch.equal(torch.get_rng_state(), state)
    for ours, plain_layer in zip([*model.encoder, *model.decoder], theirs, strict=True):
        bound = plain_layer.weight.abs().max()
        assert ours.weight.abs().max() <= bound * 1.3
        if ours.weight.numel() > 1000:
            torch.testing.assert_close(
                ours.weight.std(), plain_layer.weight.std(), rtol=0.1, atol=0
            )
    again, other = build(Spec(), (1, 28, 28)), build(Spec(seed=1), (1, 28, 28))
    assert torch.equal(model.encoder[0].weight, again.encoder[0].weight)
    assert not torch.equal(model.encoder[0].weight, other.encoder[0].weight)


def test_dropout_follows_every_hidden_layer_and_no_other():
    """With all hidden units dropped, only biases pass; the code and the output stay."""
    model = build(Spec(), (1, 28, 28))
    x = torch.rand(3, 1, 28, 28)
    seen = []

    def after(h):
        seen.append(tuple(h.shape[1:]))
        return torch.relu(h)

    model.decode(model.encode(x, after), after)
    assert seen == [(8, 14, 14), (16, 7, 7), (32, 3, 3), (64,), (64,), (288,), (16, 7, 7),
                    (8, 14, 14)]  # fmt: skip
    dropped = model(x, Dropout(1 - 1e-9, key=0))
    bias_only = model.decode(model.encoder[-1].bias.expand(3, -1), lambda h: h * 0)
    torch.testing.assert_close(dropped, bias_only)
    assert not torch.equal(dropped, model(x))


def test_dense_network_is_the_sequence_of_its_widths():
    spec = Spec(
        architecture="dense", widths=(12, 7), latent_dim=3, activation="sigmoid",
        output_activation="tanh",
    )  # fmt: skip
    model = build(spec, (3, 4, 5))
    assert [tuple(layer.weight.shape) for layer in [*model.encoder, *model.decoder]] == [
        (12, 60), (7, 12), (3, 7), (7, 3), (12, 7), (60, 12),
    ]  # fmt: skip
    x = torch.rand(2, 3, 4, 5)
    h = x.flatten(1)
    for layer in model.encoder[:-1]:
        h = 1 / (1 + (-(h @ layer.weight.T + layer.bias)).exp())
    code = h @ model.encoder[-1].weight.T + model.encoder[-1].bias
    torch.testing.assert_close(model.encode(x), code)
    h = code
    for layer in model.decoder[:-1]:
        h = 1 / (1 + (-(h @ layer.weight.T + layer.bias)).exp())
    image = (h @ model.decoder[-1].weight.T + model.decoder[-1].bias).tanh().view(2, 3, 4, 5)
    torch.testing.assert_close(model(x), image)


def test_a_centered_network_sees_and_draws_pixels_around_zero():
    plain = Spec(architecture="dense", latent_dim=3, output_activation="tanh")
    model, centered = build(plain, (1, 4, 5)), build(plain.replace(centered=True), (1, 4, 5))
    x = torch.rand(2, 1, 4, 5)
    torch.testing.assert_close(centered.encode(x), model.encode(2 * x - 1))
    torch.testing.assert_close(2 * centered(x) - 1, model(2 * x - 1))


def test_a_tied_decoder_has_the_weights_of_its_encoder_and_biases_of_its_own():
    spec = Spec(architecture="dense", widths=(7,), latent_dim=3, tied=True, loss="root_mse")
    model = build(spec, (1, 4, 5))
    sizes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert sizes == {
        "encoder.0.weight": (7, 20), "encoder.0.bias": (7,), "encoder.1.weight": (3, 7),
        "encoder.1.bias": (3,), "decoder.0.bias": (7,), "decoder.1.bias": (20,),
    }  # fmt: skip
    x = torch.rand(2, 1, 4, 5)
    (first, a), (second, b) = ((layer.weight, layer.bias) for layer in model.encoder)
    c, d = (layer.bias for layer in model.decoder)
    code = torch.relu(x.flatten(1) @ first.T + a) @ second.T + b
    drawn = torch.sigmoid(torch.relu(code @ second + c) @ first + d).view(2, 1, 4, 5)
    torch.testing.assert_close(model(x), drawn)
    loss = model.loss(model(x), x)
    torch.testing.assert_close(loss, (drawn - x).square().mean().sqrt())
    of_tied, of_plain = (torch.autograd.grad(one, first)[0]
                         for one in (loss, (drawn - x).square().mean().sqrt()))  # fmt: skip
    torch.testing.assert_close(of_tied, of_plain)


def test_glorot_weights_are_those_of_pytorch_in_size():
    model = build(Spec(initial_weights="glorot"), (1, 28, 28))
    for layer in [*model.encoder, *model.decoder]:
        theirs = nn.init.xavier_uniform_(torch.empty_like(layer.weight))
        if layer.weight.numel() > 1000:
            torch.testing.assert_close(layer.weight.std(), theirs.std(), rtol=0.05, atol=0)
        assert layer.weight.abs().max() <= theirs.abs().max() * 1.2
        assert layer.bias.abs().max() <= (3 / layer.bias.numel()) ** 0.5


def test_variational_code_is_drawn_around_the_mean():
    spec = Spec(architecture="vae", loss="elbo", latent_dim=2)
    model = build(spec, (1, 28, 28))
    x = torch.rand(1, 1, 28, 28).expand(2000, -1, -1, -1)
    drawn = []
    model.decode = lambda z, drop: drawn.append(z)
    _, mean, log_variance = model(x.contiguous(), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn[0].mean(0), mean[0], rtol=0, atol=0.1)
    torch.testing.assert_close(drawn[0].std(0), (log_variance[0] / 2).exp(), rtol=0.1, atol=0)
    _, again, _ = model(x[:1])
    torch.testing.assert_close(drawn[1], again)
    torch.testing.assert_close(model.encode(x[:1]), again)
    of_mean = {id(p) for p in model.encoder[-2:].parameters()}
    assert not of_mean & {id(p) for p in model.variance.parameters()}


def test_bits_are_those_of_the_mixture_s_probability_of_the_rounded_code():
    """Against SciPy's logistic distribution; of all whole numbers together the probability is 1."""
    density = LogisticMixture(2)
    for values in density.parameters():
        nn.init.normal_(values, generator=torch.Generator().manual_seed(values.numel()))
    means, scales, weights = density.means, density.log_scales.exp(), density.logits.softmax(1)
    k = torch.arange(-200, 201)
    theirs = np.zeros((2, len(k)))
    for mean, scale, weight in zip(*(v.detach().T for v in (means, scales, weights)), strict=True):
        of = logistic(mean[:, None], scale[:, None])
        theirs += weight[:, None].numpy() * (of.cdf(k + 0.5) - of.cdf(k - 0.5))
    pairs = torch.cartesian_prod(k[150:251], k[150:251]).float()
    ours = (-density.bits(pairs)).exp2().reshape(101, 101).detach()
    np.testing.assert_allclose(ours, np.outer(*theirs[:, 150:251]), rtol=1e-3, atol=1e-8)
    assert theirs.sum(1) == pytest.approx(1)


def test_rate_is_of_a_noisy_code_in_training_and_of_a_rounded_one_in_use():
    spec = Spec(architecture="rate", loss="rate_distortion", latent_dim=3, rate_weight=0.5)
    spec = spec.replace(code_step=0.25)
    model, drawn = build(spec, (1, 28, 28)), []
    x = torch.rand(1, 1, 28, 28).expand(2000, -1, -1, -1).contiguous()
    model.decode = lambda z, drop: drawn.append(z) or x[: len(z)]
    z = model.encode(x)
    model(x, generator=torch.Generator().manual_seed(0))
    noise = (drawn[0] - z) / 0.25
    assert -0.501 < noise.min() < -0.49
    assert 0.49 < noise.max() < 0.501
    reconstruction, bits = model(x)
    assert torch.equal(drawn[1], (4 * z).round() / 4)
    terms = model.loss((reconstruction, bits), x + 1)
    torch.testing.assert_close(terms, torch.stack([torch.tensor(1.0), 0.5 * bits.mean()]))


def test_classifier_is_the_encoder_with_a_head():
    spec = Spec(architecture="classifier", loss="cross_entropy", latent_dim=33)
    model = build(spec, (1, 28, 28), classes=10)
    encoder = nn.Sequential()
    for layer in model.encoder:
        flat = [nn.Flatten()] if layer is model.encoder[3] else []
        encoder.extend([*flat, layer, nn.ReLU()])
    encoder = encoder[:-1]  # the code has no activation
    x = torch.rand(5, 1, 28, 28)
    hidden, to_logits = model.head
    logits = to_logits(torch.relu(hidden(encoder(x))))
    torch.testing.assert_close(model(x), logits)
    head = build(spec.replace(frozen=Spec(latent_dim=33)), (33,), classes=10)
    assert [tuple(p.shape) for p in head.parameters()] == [(128, 33), (128,), (10, 128), (10,)]


def test_batch_norm_learns_its_statistics_in_training_and_keeps_them_in_evaluation():
    model = build(Spec(architecture="residual"), (3, 9, 11))
    x, block = torch.rand(50, 3, 9, 11), model.down[0]
    convolution, norm, *_ = block.body
    assert norm.running_mean.abs().max() == 0
    assert model(x).shape == x.shape
    for _ in range(200):
        model(x)
    seen = convolution(x).mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, seen, rtol=1e-3, atol=1e-4)
    model.eval()
    torch.testing.assert_close(model(x)[:1], model(x[:1]))


def test_the_size_of_a_network_is_all_that_is_learned():
    dense = Spec(architecture="dense", widths=(12,), latent_dim=3)
    expected = (784 * 12 + 12) + (12 * 3 + 3) + (3 * 12 + 12) + (12 * 784 + 784)
    assert size(dense, (1, 28, 28)) == expected
    assert size(dense.replace(tied=True), (1, 28, 28)) == expected - 784 * 12 - 12 * 3
    residual = Spec(architecture="residual")
    assert size(residual, (1, 9, 11)) == sum(
        weights.numel() for weights in build(residual, (1, 9, 11)).parameters()
    )
