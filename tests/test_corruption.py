import json

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from aecore.checks import InvalidValue
from aecore.corruption import (
    Blur,
    Chain,
    GaussianNoise,
    Masking,
    Occlusion,
    OneOf,
    SaltAndPepper,
    Speckle,
    from_dict,
    to_dict,
)
from aecore.randomness import generator, permutation
from aecore.spec import Spec


def images(count=6, height=28, width=28):
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(1))


def test_gaussian_noise_is_its_formula():
    x = images()
    noise = torch.empty_like(x).normal_(0.1, 0.4, generator=torch.Generator().manual_seed(7))
    expected = x.numpy() + noise.numpy()
    for clip in (False, True):
        corruption = GaussianNoise(0.4, mean=0.1, clip=clip)
        got = corruption(x, generator=torch.Generator().manual_seed(7)).numpy()
        np.testing.assert_array_equal(got, np.clip(expected, 0, 1) if clip else expected)


def test_gaussian_noise_has_its_moments():
    gray = torch.full((200, 1, 28, 28), 0.5)
    noise = GaussianNoise(0.05)(gray, generator=generator(0, "test")).numpy() - 0.5
    assert abs(noise.mean()) < 0.001
    assert abs(noise.std() - 0.05) < 0.001


def test_clipping_gathers_the_tails_of_the_noise():
    black = torch.zeros(100, 1, 28, 28)
    noisy = GaussianNoise(0.3, mean=0.5, clip=True)(black, generator=generator(0, "test")).numpy()
    for value, share in ((0, norm.cdf(0, 0.5, 0.3)), (1, norm.sf(1, 0.5, 0.3))):
        assert abs((noisy == value).mean() - share) < 5 * np.sqrt(share / noisy.size)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (20, 31)])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.2, 0.5, 1.0])
def test_occlusion_hides_one_rectangle_of_its_size(fraction, height, width):
    x = images(50, height, width) + 0.01  # no pixel is 0 by itself
    hidden = Occlusion(fraction)(x, generator=generator(3, "test")).numpy() == 0
    sides = round(np.sqrt(fraction) * height), round(np.sqrt(fraction) * width)
    for mask in hidden[:, 0]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (len(rows), len(columns)) == (sides if sides[0] * sides[1] else (0, 0))
        assert mask.sum() == sides[0] * sides[1]
        if len(rows):
            assert np.ptp(rows) == len(rows) - 1
            assert np.ptp(columns) == len(columns) - 1


def test_occlusion_reaches_every_place_equally():
    x = torch.ones(20000, 1, 10, 10)
    hidden = Occlusion(0.16)(x, generator=generator(0, "test")) == 0
    first_row = hidden[:, 0].any(2).int().argmax(1).bincount(minlength=7)
    assert len(first_row) == 7
    assert (abs(first_row / 20000 - 1 / 7) < 0.01).all()


def test_corruptions_leave_their_input_alone_and_repeat(corruption):
    x = images()
    before = x.clone()
    first = corruption(x, generator=generator(0, "a"))
    assert torch.equal(first, corruption(x, generator=generator(0, "a")))
    another = torch.equal(first, corruption(x, generator=generator(1, "a")))
    assert another == isinstance(corruption, Blur), "a blur alone draws nothing"
    assert not torch.equal(first, x)
    assert from_dict(to_dict(corruption)) == corruption
    assert torch.equal(x, before)


def test_salt_and_pepper_sets_its_share_of_pixels_half_to_each():
    gray = torch.full((100, 1, 28, 28), 0.5)
    values = SaltAndPepper(0.05)(gray, generator=generator(0, "test")).numpy()
    assert set(np.unique(values)) == {0, 0.5, 1}
    for value in (0, 1):  # 5 standard errors
        assert abs((values == value).mean() - 0.025) < 5 * np.sqrt(0.025 / values.size)
    assert (SaltAndPepper(1)(gray, generator=generator(0, "test")) != 0.5).all()
    assert torch.equal(SaltAndPepper(0)(gray, generator=generator(0, "test")), gray)


def test_speckle_is_its_formula():
    x = images()
    noise = torch.empty_like(x).normal_(0, 0.5, generator=torch.Generator().manual_seed(7)).numpy()
    expected = x.numpy() + x.numpy() * noise
    for clip in (False, True):
        got = Speckle(0.5, clip=clip)(x, generator=torch.Generator().manual_seed(7)).numpy()
        np.testing.assert_allclose(got, np.clip(expected, 0, 1) if clip else expected, rtol=1e-6)


def test_speckle_grows_with_the_pixel():
    for value in (0.0, 0.2, 0.8):
        noise = Speckle(0.5)(torch.full((200, 1, 28, 28), value), generator=generator(0, "test"))
        assert abs(noise.mean() - value) < 0.01 * value + 1e-9
        assert abs(noise.std() - 0.5 * value) < 0.01 * value + 1e-9


def test_masking_hides_its_share_of_pixels():
    x = images(100) + 0.01
    masked = Masking(0.3)(x, generator=generator(0, "test"))
    hidden = masked == 0
    assert abs(hidden.float().mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / x.numel())
    rescaled = Masking(0.3, rescale=True)(x, generator=generator(0, "test"))
    assert torch.equal(rescaled == 0, hidden)
    torch.testing.assert_close(rescaled[~hidden], x[~hidden] / 0.7)
    assert Masking(1, rescale=True)(x, generator=generator(0, "test")).eq(0).all()
    assert torch.equal(masked[~hidden], x[~hidden])


@pytest.mark.parametrize("sigma", [0, 0.4, 1, 2.5])
def test_blur_is_scipys(sigma):
    x = images(3, 28, 17)
    expected = gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="constant", truncate=4)
    blurred = Blur(sigma)(x, generator=generator(0, "test")).numpy()
    np.testing.assert_allclose(blurred, expected, atol=1e-6)
    assert from_dict(to_dict(Blur(sigma))) == Blur(sigma)
    assert Blur(sigma).strength == sigma


def test_a_chain_does_all_and_one_of_does_one_for_each_image():
    x = images(3000, 4, 4) + 0.01
    black, shifted = Occlusion(1.0), GaussianNoise(0.0, mean=5)
    assert (Chain([black, shifted])(x, generator=generator(0, "test")) == 5).all()
    assert (Chain([shifted, black])(x, generator=generator(0, "test")) == 0).all()
    mixed = OneOf([black, shifted, Masking(0)])(x, generator=generator(0, "test")).flatten(1)
    x = x.flatten(1)
    kinds = torch.stack([(mixed == 0).all(1), (mixed == x + 5).all(1), (mixed == x).all(1)])
    assert (kinds.sum(0) == 1).all()
    assert (abs(kinds.float().mean(1) - 1 / 3) < 0.05).all()


def test_a_mixture_goes_through_a_spec_and_decides_its_key():
    gaussian, masking = GaussianNoise(0.3, mean=0.5, clip=True), Masking(0.3)
    mixture = OneOf([Chain([gaussian, Speckle(0.5)]), masking])
    spec = Spec(corruption=mixture)
    again = Spec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert hash(again) == hash(spec)
    mixtures = [mixture, OneOf(mixture.parts[::-1]), Chain(mixture.parts), masking, None]
    assert len({spec.replace(corruption=each).key("d", 1) for each in mixtures}) == 5
    assert to_dict(GaussianNoise(0.45)) == {"kind": "GaussianNoise", "sigma": 0.45}


@pytest.mark.parametrize(
    "build",
    [
        lambda: SaltAndPepper(1.1),
        lambda: Speckle(-1),
        lambda: Speckle(0.1, clip=1),
        lambda: Masking(-0.1),
        lambda: Chain([]),
        lambda: OneOf("noise"),
        lambda: OneOf([0.3]),
        lambda: from_dict({"kind": "Chain", "parts": [{"kind": "Melt"}]}),
        lambda: from_dict({"kind": "Chain", "parts": [0.3]}),
    ],
)
def test_a_wrong_corruption_is_told_in_one_line(build):
    with pytest.raises(InvalidValue, match="is not allowed: must be") as error:
        build()
    assert "\n" not in str(error.value)


def test_randomness_depends_on_every_argument_and_on_nothing_else():
    def draw(*arguments):
        return tuple(permutation(1000, generator=generator(*arguments)).tolist())

    torch.manual_seed(5)
    first = draw(0, "order", 2, 3)
    torch.manual_seed(6)
    assert draw(0, "order", 2, 3) == first
    state = torch.get_rng_state()
    others = {draw(1, "order", 2, 3), draw(0, "x", 2, 3), draw(0, "order", 3, 2), first}
    assert len(others) == 4
    assert torch.equal(torch.get_rng_state(), state)
