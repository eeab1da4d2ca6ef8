"""Dense networks as people write them: the widths from the image to the code, and the noise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aecore.checks import InvalidValue, real
from aecore.corruption import Masking
from aecore.spec import Spec, parse_widths

PIXELS = "pixels"  # stands for however many an image has
NOISE = " noise "

# What the report found, as root mean squared error. The report ran the first one with the default
# of its program: RMSProp with a learning rate of 0.1.
REPORTED = {
    "784-10, RMSProp 0.1": ("E1", 0.206152),
    "784-128-10": ("E2", 0.136408),
    "784-128-128-10": ("E3", 0.131669),
    "784-128-128-10, noise 0.3": ("E4", 0.130346),
    "784-512-128-10, noise 0.4": ("E5", 0.127140),
    "784-512-128-1, noise 0.4": ("E6", 0.213122),
}
REPORTED_EPOCHS = 100


@dataclass(frozen=True)
class Network:
    """A dense autoencoder: hidden `widths` before a code of `latent_dim`, `noise` in training.

    `inputs` is the number of pixels it is for, None for any. `noise` is the fraction of pixels
    that `Masking` sets to 0.
    """

    inputs: int | None
    widths: tuple[int, ...]
    latent_dim: int
    noise: float

    def named(self, pixels: int) -> str:
        """What tables and figures call it for images of so many pixels: 784-128-10, noise 0.3."""
        widths = "-".join(map(str, (pixels, *self.widths, self.latent_dim)))
        return f"{widths}, noise {self.noise:g}" if self.noise else widths

    def spec(self, recipe: Spec) -> Spec:
        """`recipe` for this network."""
        return recipe.replace(
            architecture="dense",
            widths=self.widths,
            latent_dim=self.latent_dim,
            corruption=Masking(self.noise) if self.noise else None,
        )


def parse(name: str, text: object, pixels: int | None = None) -> Network:
    """The network written `784-512-128-10` or `pixels-512-128-10`, or with ` noise 0.4` after it.

    Raises `InvalidValue`, which calls the text `name`, for anything else, and for a network that
    is not for images of so many `pixels`.
    """
    written, noisy, noise = text.partition(NOISE) if isinstance(text, str) else ("", "", "")
    any_image = written.startswith(f"{PIXELS}-")
    try:
        numbers = f"1{written.removeprefix(PIXELS)}" if any_image else written
        inputs, widths, latent_dim = parse_widths(numbers)
        masked = real(name, float(noise), 0, 1, below=True) if noisy else 0.0
    except ValueError:
        raise InvalidValue(
            f"{name}={text!r} is not allowed: must be widths from the image to the code, as in "
            f"784-512-128-10 or {PIXELS}-512-128-10, and where noise hides a part of the pixels, "
            "that part from 0 to below 1, as in 784-512-128-10 noise 0.4"
        ) from None
    network = Network(None if any_image else inputs, widths, latent_dim, masked)
    if pixels is not None and network.inputs not in (None, pixels):
        raise InvalidValue(
            f"{name}={text!r} is not allowed: must begin with {pixels}, the pixels of an image of "
            f"this data set, or with the word {PIXELS}"
        )
    return network


def models(networks: Iterable[str], pixels: int, recipe: Spec) -> dict[str, Spec]:
    """The spec of each of `networks` by its name, for images of so many `pixels`."""
    parsed = [parse(f"networks[{n}]", text, pixels) for n, text in enumerate(networks)]
    return {network.named(pixels): network.spec(recipe) for network in parsed}
