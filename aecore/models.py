"""The networks: shapes behind every line that changes one, and no training code."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from aecore import randomness
from aecore.checks import InvalidValue
from aecore.fast.convolution import Conv2d, ConvTranspose2d
from aecore.spec import Spec

SMALLEST = 9  # pixels a side: below, three strided convolutions leave nothing
HEAD = 128  # hidden units of a classifier's head

Shape = tuple[int, int, int]  # channels, height, width of an image
Drop = Callable[[Tensor], Tensor]
ACTIVATIONS = {"relu": F.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "linear": lambda h: h}


def keep(h: Tensor) -> Tensor:
    """The hidden units as they are: no dropout."""
    return h


class ConvAutoencoder(nn.Module):
    """Three strided convolutions and two linear layers down to the code, and their mirror back up.

    Takes float images (N, C, H, W) in [0, 1], any C ≥ 1 and H, W ≥ 9, and returns their
    reconstructions, same shape and range. `encode` gives codes (N, d), unbounded; `decode` takes
    them. Every hidden layer is followed by `drop`.
    """

    def __init__(
        self, image_shape: Shape, channels: tuple[int, int, int], hidden: int, d: int
    ) -> None:
        super().__init__()
        colors, *size = image_shape
        c1, c2, c3 = channels
        # Sizes for MNIST: 28 -> 14 -> 7 -> 3, each side on its own.
        half, quarter, eighth = _halved(size)
        self.smallest = (c3, *eighth)
        flat = math.prod(self.smallest)
        self.encoder = nn.ModuleList(_encoder(image_shape, channels, hidden, d))
        self.decoder = nn.ModuleList(
            [
                nn.Linear(d, hidden),
                nn.Linear(hidden, flat),
                _upsample(c3, c2, eighth, quarter, padding=0),
                _upsample(c2, c1, quarter, half, padding=1),
                _upsample(c1, colors, half, size, padding=1),
            ]
        )

    def encode(self, x: Tensor, drop: Drop = keep) -> Tensor:
        """Codes (N, d) of images (N, C, H, W); `drop` is applied to every hidden layer."""
        *_, linear, to_code = self.encoder
        h = drop(F.relu(linear(self.features(x, drop))))  # (N, 64)
        return to_code(h)  # (N, d)

    def features(self, x: Tensor, drop: Drop = keep) -> Tensor:
        """What the convolutions make of images (N, C, H, W), flat: (N, 288) for MNIST."""
        conv1, conv2, conv3, *_ = self.encoder
        h = drop(F.relu(conv1(x)))  # (N, 8, 14, 14)
        h = drop(F.relu(conv2(h)))  # (N, 16, 7, 7)
        return drop(F.relu(conv3(h))).flatten(1)  # (N, 32, 3, 3) -> (N, 288)

    def decode(self, z: Tensor, drop: Drop = keep) -> Tensor:
        """Images (N, C, H, W) in [0, 1] of codes (N, d); `drop` is applied to hidden layers."""
        from_code, linear, up1, up2, up3 = self.decoder
        h = drop(F.relu(from_code(z)))  # (N, 64)
        h = drop(F.relu(linear(h))).unflatten(1, (-1, *self.smallest[1:]))  # (N, 32, 3, 3)
        h = h.contiguous(memory_format=torch.channels_last)
        h = drop(F.relu(up1(h)))  # (N, 16, 7, 7)
        h = drop(F.relu(up2(h)))  # (N, 8, 14, 14)
        return torch.sigmoid(up3(h))  # (N, 1, 28, 28)

    def forward(self, x: Tensor, drop: Drop = keep, generator: Generator | None = None) -> Tensor:
        """Reconstructions of `x`."""
        return self.decode(self.encode(x, drop), drop)


class VariationalAutoencoder(ConvAutoencoder):
    """The convolutional autoencoder with a normal distribution over codes in place of one code.

    After the convolutions one copy of the linear layers gives the mean μ, another log σ² of
    q(z | x) = N(μ, diag σ²) (Kingma & Welling 2014). `encode` gives the mean.
    """

    def __init__(
        self, image_shape: Shape, channels: tuple[int, int, int], hidden: int, d: int
    ) -> None:
        super().__init__(image_shape, channels, hidden, d)
        flat = math.prod(self.smallest)
        self.variance = nn.ModuleList([nn.Linear(flat, hidden), nn.Linear(hidden, d)])

    def distribution(self, x: Tensor, drop: Drop = keep) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (N, d), of the codes of images (N, C, H, W)."""
        *_, linear, to_mean = self.encoder
        linear_of_variance, to_log_variance = self.variance
        features = self.features(x, drop)  # (N, 288)
        mean = to_mean(drop(F.relu(linear(features))))  # (N, d)
        return mean, to_log_variance(drop(F.relu(linear_of_variance(features))))

    def forward(
        self, x: Tensor, drop: Drop = keep, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstructions of `x`, mean and log-variance of its codes.

        With a generator the reconstructed code is z = μ + σ ξ, ξ ~ N(0, 1); without it is μ.
        """
        mean, log_variance = self.distribution(x, drop)
        z = mean
        if generator is not None:
            noise = torch.empty_like(mean).normal_(generator=generator)
            z = mean + (log_variance / 2).exp() * noise
        return self.decode(z, drop), mean, log_variance


class DenseAutoencoder(nn.Module):
    """Linear layers of any widths down to the code, and their mirror back up.

    Takes float images (N, C, H, W) in [0, 1] and returns their reconstructions, same shape, in the
    range of the output's activation. Every hidden layer is followed by `drop`.
    A centered one works on 2x - 1, and takes its output back to the range of x.
    """

    def __init__(self, image_shape: Shape, spec: Spec) -> None:
        super().__init__()
        self.image_shape, self.centered = image_shape, spec.centered
        self.hidden, self.code, self.output = (
            ACTIVATIONS[name]
            for name in (spec.activation, spec.code_activation, spec.output_activation)
        )
        widths = [math.prod(image_shape), *spec.widths, spec.latent_dim]
        self.encoder = _linear_layers(widths)
        self.decoder = _linear_layers(widths[::-1])

    def encode(self, x: Tensor, drop: Drop = keep) -> Tensor:
        """Codes (N, d) of images (N, C, H, W); `drop` is applied to every hidden layer."""
        *layers, to_code = self.encoder
        h = x.flatten(1)  # (N, 784)
        if self.centered:
            h = 2 * h - 1
        for layer in layers:
            h = drop(self.hidden(layer(h)))  # (N, width)
        return self.code(to_code(h))  # (N, d)

    def decode(self, z: Tensor, drop: Drop = keep) -> Tensor:
        """Images (N, C, H, W) of codes (N, d); `drop` is applied to every hidden layer."""
        *layers, to_image = self.decoder
        h = z
        for layer in layers:
            h = drop(self.hidden(layer(h)))  # (N, width)
        y = self.output(to_image(h)).unflatten(1, (-1, *self.image_shape[1:]))  # (N, C, H, W)
        return (y + 1) / 2 if self.centered else y

    def forward(self, x: Tensor, drop: Drop = keep, generator: Generator | None = None) -> Tensor:
        """Reconstructions of `x`."""
        return self.decode(self.encode(x, drop), drop)


class Head(nn.Module):
    """A linear layer, ReLU, a linear layer: logits (N, classes) of codes (N, d)."""

    def __init__(self, d: int, classes: int) -> None:
        super().__init__()
        self.head = _linear_layers([d, HEAD, classes])

    def classify(self, z: Tensor, drop: Drop = keep) -> Tensor:
        """Logits (N, classes) of codes (N, d); `drop` is applied to the hidden layer."""
        hidden, to_logits = self.head
        return to_logits(drop(F.relu(hidden(z))))

    def forward(self, z: Tensor, drop: Drop = keep, generator: Generator | None = None) -> Tensor:
        """Logits (N, classes) of codes."""
        return self.classify(z, drop)


class Classifier(Head):
    """The convolutional autoencoder's encoder with a `Head` on its code, trained from scratch.

    Takes float images (N, C, H, W) in [0, 1] and returns logits (N, classes).
    """

    def __init__(
        self, image_shape: Shape, channels: tuple[int, int, int], hidden: int, d: int, classes: int
    ) -> None:
        super().__init__(d, classes)
        self.encoder = nn.ModuleList(_encoder(image_shape, channels, hidden, d))

    features, encode = ConvAutoencoder.features, ConvAutoencoder.encode

    def forward(self, x: Tensor, drop: Drop = keep, generator: Generator | None = None) -> Tensor:
        """Logits (N, classes) of images."""
        return self.classify(self.encode(x, drop), drop)


Network = ConvAutoencoder | VariationalAutoencoder | DenseAutoencoder | Head | Classifier


def _halved(size: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Heights and widths after each of the three convolutions."""
    half = [(n + 1) // 2 for n in size]
    quarter = [(n + 1) // 2 for n in half]
    return half, quarter, [(n - 1) // 2 for n in quarter]


def _encoder(
    image_shape: Shape, channels: tuple[int, int, int], hidden: int, d: int
) -> list[nn.Module]:
    colors, *size = image_shape
    if min(size) < SMALLEST:
        raise InvalidValue(
            f"images of {size[0]} x {size[1]} pixels are not allowed: "
            f"the convolutional autoencoder needs at least {SMALLEST} x {SMALLEST}"
        )
    c1, c2, c3 = channels
    *_, eighth = _halved(size)
    return [
        Conv2d(colors, c1, padding=1),
        Conv2d(c1, c2, padding=1),
        Conv2d(c2, c3, padding=0),
        nn.Linear(c3 * math.prod(eighth), hidden),
        nn.Linear(hidden, d),
    ]


def _upsample(
    inputs: int, outputs: int, size: list[int], target: list[int], padding: int
) -> ConvTranspose2d:
    """The mirror of a 3 x 3 convolution with stride 2 that took `target` to `size`."""
    reached = [2 * n + 1 - 2 * padding for n in size]
    extra = tuple(t - r for t, r in zip(target, reached, strict=True))
    return ConvTranspose2d(inputs, outputs, padding, extra)


def _linear_layers(widths: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList([nn.Linear(n, m) for n, m in pairwise(widths)])


def blank(spec: Spec, image_shape: Shape, classes: int = 0) -> Network:
    """The network of `spec` for images of `image_shape` (C, H, W), without memory for its weights.

    Only a classifier asks for the number of `classes`. Raises `InvalidValue` if there is no such
    network for images of that size.
    """
    sizes = (spec.channels, spec.hidden, spec.latent_dim)
    with torch.device("meta"):
        match spec.architecture:
            case "conv":
                return ConvAutoencoder(image_shape, *sizes)
            case "vae":
                return VariationalAutoencoder(image_shape, *sizes)
            case "dense":
                return DenseAutoencoder(image_shape, spec)
            case "classifier" if spec.frozen is not None:
                return Head(spec.latent_dim, classes)
            case "classifier":
                return Classifier(image_shape, *sizes, classes)
    raise AssertionError(spec.architecture)


def build(
    spec: Spec, image_shape: Shape, classes: int = 0, device: torch.device | str = "cpu"
) -> Network:
    """The network of `spec` for images of `image_shape` (C, H, W), with its initial weights.

    Weights and biases ~ U(-b, b), b = 1/√(fan-in), PyTorch's own default (He et al. 2015 with
    a = √5), drawn on the CPU from the spec's seed, so that they are the same on every device.
    """
    model = blank(spec, image_shape, classes).to_empty(device="cpu")
    generator = randomness.generator(spec.seed, "weights")
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                # PyTorch takes the second dimension as fan-in, for transposed convolutions too.
                bound = 1 / math.sqrt(layer.weight[0].numel())
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
    return model.to(device, memory_format=torch.channels_last)
