"""The loss of the variational autoencoder against its closed form and a Monte-Carlo estimate."""

import numpy as np
import pytest
import torch

from aecore.checks import InvalidValue
from aecore.data import load
from aecore.models import build, elbo
from aecore.spec import Spec
from aecore.training import Training


@pytest.fixture
def output():
    source = torch.Generator().manual_seed(0)
    images = torch.rand(7, 1, 5, 5, generator=source)
    reconstruction = torch.rand(7, 1, 5, 5, generator=source)
    mean = torch.randn(7, 3, generator=source)
    log_variance = torch.randn(7, 3, generator=source)
    return images, reconstruction, mean, log_variance


def test_terms_are_their_closed_form(output):
    images, reconstruction, mean, log_variance = (x.double().numpy() for x in output)
    error = np.mean([((a - b) ** 2).sum() for a, b in zip(images, reconstruction, strict=True)])
    # -½ Σ (1 + log σ² - μ² - σ²), as in Manzali's report, section 3.1
    divergence = -0.5 * (1 + log_variance - mean**2 - np.exp(log_variance)).sum(1).mean()
    found = elbo(output[1:], output[0])
    np.testing.assert_allclose(found.numpy(), [error, divergence], rtol=1e-5)


def test_kl_is_the_mean_of_the_log_ratio_of_the_two_densities(output):
    """KL(q ‖ p) = E over z ~ q of log q(z) - log p(z), for normal densities written out."""
    mean, log_variance = (x.double().numpy() for x in output[2:])
    sigma = np.exp(log_variance / 2)
    noise = np.random.default_rng(0).normal(size=(200_000, *mean.shape))
    z = mean + sigma * noise
    log_q = -0.5 * (noise**2 + np.log(2 * np.pi)) - np.log(sigma)
    log_p = -0.5 * (z**2 + np.log(2 * np.pi))
    estimate = (log_q - log_p).sum(2).mean()
    assert float(elbo(output[1:], output[0])[1]) == pytest.approx(estimate, rel=0.01)


def test_kl_is_zero_for_the_prior_and_only_for_it():
    images = torch.zeros(2, 1, 5, 5)
    zeros = torch.zeros(2, 3)
    assert elbo((images, zeros, zeros), images).tolist() == [0, 0]
    assert elbo((images, zeros + 0.1, zeros), images)[1] > 0
    assert elbo((images, zeros, zeros + 0.1), images)[1] > 0
    assert elbo((images, zeros, zeros - 0.1), images)[1] > 0


def test_drawn_codes_have_the_mean_and_variance_that_the_encoder_tells():
    model = build(Spec(architecture="vae", loss="elbo", latent_dim=2), (1, 28, 28))
    image = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    given = image.expand(20_000, -1, -1, -1)
    drawn = []
    model.decode = lambda z, drop: drawn.append(z)  # what would be decoded
    with torch.no_grad():
        _, mean, log_variance = model(given, generator=torch.Generator().manual_seed(1))
        model(image)
    sigma = (log_variance[0] / 2).exp()
    torch.testing.assert_close(drawn[0].mean(0), mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(drawn[0].std(0), sigma, atol=0, rtol=0.03)
    torch.testing.assert_close(drawn[1], mean[:1])  # without a generator the code is the mean


def test_beta_weighs_the_divergence_and_1_is_the_vae_bit_for_bit(output, tiny):
    vae = Spec(dataset=tiny, architecture="vae", loss="elbo", epochs=1, batch_size=50)
    beta = vae.replace(architecture="beta_vae")
    terms = [build(beta.replace(beta=b), (1, 28, 28)).loss(output[1:], output[0]) for b in (1, 4)]
    torch.testing.assert_close(terms[1], terms[0] * torch.tensor([1.0, 4.0]))
    plain, same, strict = (train(spec) for spec in (vae, beta, beta.replace(beta=20)))
    for name, value in plain.result().items():
        np.testing.assert_array_equal(same.result()[name], value)
    assert strict.history[0]["train_kl"] / 20 < plain.history[0]["train_kl"]
    with pytest.raises(InvalidValue, match="beta=2"):
        vae.replace(beta=2.0)


def train(spec):
    training = Training(spec, load(spec.dataset))
    training.epoch()
    return training
