"""The autoencoders: shapes behind every line that changes one, and no training code."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from aecore import randomness
from aecore.checks import InvalidValue
from aecore.spec import Spec

SMALLEST = 9  # pixels a side: below, three strided convolutions leave nothing


class ConvAutoencoder(nn.Module):
    """Three strided convolutions and two linear layers down to the code, and their mirror back up.

    Takes float images (N, C, H, W) in [0, 1], any C ≥ 1 and H, W ≥ 9, and returns their
    reconstructions, same shape and range. `encode` gives codes (N, d), unbounded; `decode` takes
    them. With a `generator` every hidden layer is followed by dropout at `rate`; without, by none.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], channels: tuple[int, int, int], hidden: int, d: int
    ) -> None:
        super().__init__()
        colors, *size = image_shape
        if min(size) < SMALLEST:
            raise InvalidValue(
                f"images of {size[0]} x {size[1]} pixels are not allowed: "
                f"the convolutional autoencoder needs at least {SMALLEST} x {SMALLEST}"
            )
        c1, c2, c3 = channels
        # Sizes for MNIST: 28 -> 14 -> 7 -> 3, each side on its own.
        half = [(n + 1) // 2 for n in size]
        quarter = [(n + 1) // 2 for n in half]
        eighth = [(n - 1) // 2 for n in quarter]
        self.smallest = (c3, *eighth)
        flat = math.prod(self.smallest)
        self.encoder = nn.ModuleList(
            [
                nn.Conv2d(colors, c1, 3, stride=2, padding=1),
                nn.Conv2d(c1, c2, 3, stride=2, padding=1),
                nn.Conv2d(c2, c3, 3, stride=2),
                nn.Linear(flat, hidden),
                nn.Linear(hidden, d),
            ]
        )
        self.decoder = nn.ModuleList(
            [
                nn.Linear(d, hidden),
                nn.Linear(hidden, flat),
                _upsample(c3, c2, eighth, quarter, padding=0),
                _upsample(c2, c1, quarter, half, padding=1),
                _upsample(c1, colors, half, size, padding=1),
            ]
        )

    def encode(self, x: Tensor, after: Callable[[Tensor], Tensor] = F.relu) -> Tensor:
        """Codes (N, d) of images (N, C, H, W); `after` follows every hidden layer."""
        conv1, conv2, conv3, linear, to_code = self.encoder
        h = after(conv1(x))  # (N, 8, 14, 14)
        h = after(conv2(h))  # (N, 16, 7, 7)
        h = after(conv3(h))  # (N, 32, 3, 3)
        h = after(linear(h.flatten(1)))  # (N, 64)
        return to_code(h)  # (N, d)

    def decode(self, z: Tensor, after: Callable[[Tensor], Tensor] = F.relu) -> Tensor:
        """Images (N, C, H, W) in [0, 1] of codes (N, d); `after` follows every hidden layer."""
        from_code, linear, up1, up2, up3 = self.decoder
        h = after(from_code(z))  # (N, 64)
        h = after(linear(h)).unflatten(1, self.smallest)  # (N, 32, 3, 3)
        h = h.contiguous(memory_format=torch.channels_last)
        h = after(up1(h))  # (N, 16, 7, 7)
        h = after(up2(h))  # (N, 8, 14, 14)
        return torch.sigmoid(up3(h))  # (N, 1, 28, 28)

    def forward(self, x: Tensor, rate: float = 0.0, generator: Generator | None = None) -> Tensor:
        """Reconstructions of `x`, with dropout at `rate` if there is a generator to draw from."""
        if generator is None or rate == 0:
            return self.decode(self.encode(x))

        def after(h: Tensor) -> Tensor:
            return F.relu(h) * randomness.keep_mask(h, rate, generator=generator)

        return self.decode(self.encode(x, after), after)


def _upsample(
    inputs: int, outputs: int, size: list[int], target: list[int], padding: int
) -> nn.ConvTranspose2d:
    """The mirror of a 3 x 3 convolution with stride 2 that took `target` to `size`."""
    reached = [2 * n + 1 - 2 * padding for n in size]
    extra = tuple(t - r for t, r in zip(target, reached, strict=True))
    return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=padding, output_padding=extra)


def blank(spec: Spec, image_shape: tuple[int, int, int]) -> ConvAutoencoder:
    """The network of `spec` for images of `image_shape` (C, H, W), without memory for its weights.

    Raises `InvalidValue` if there is none for images of that size.
    """
    with torch.device("meta"):
        return ConvAutoencoder(image_shape, spec.channels, spec.hidden, spec.latent_dim)


def build(
    spec: Spec, image_shape: tuple[int, int, int], device: torch.device | str = "cpu"
) -> ConvAutoencoder:
    """The network of `spec` for images of `image_shape` (C, H, W), with its initial weights.

    Weights and biases ~ U(-b, b), b = 1/√(fan-in), PyTorch's own default (He et al. 2015 with
    a = √5), drawn on the CPU from the spec's seed, so that they are the same on every device.
    """
    model = blank(spec, image_shape).to_empty(device="cpu")
    generator = randomness.generator(spec.seed, "weights")
    with torch.no_grad():
        for layer in [*model.encoder, *model.decoder]:
            # PyTorch takes the second dimension as fan-in, for transposed convolutions too.
            bound = 1 / math.sqrt(layer.weight[0].numel())
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
    return model.to(device, memory_format=torch.channels_last)
