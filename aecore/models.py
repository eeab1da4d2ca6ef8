"""The networks: shapes behind every line that changes one, and no training code."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from aecore import randomness
from aecore.checks import InvalidValue
from aecore.spec import Spec

PADDING = (1, 1, 0)  # of the three convolutions
SMALL = 9  # pixels a side: below, the third leaves nothing unless it is padded too
NEIGHBORS = 0.005  # of the others of a batch, which are neighbors: 50 of 10,000
HEAD = 128  # hidden units of a classifier's head

Shape = tuple[int, ...]  # channels, height, width of an image; of codes their dimension
Drop = Callable[[Tensor], Tensor]


def keep(h: Tensor) -> Tensor:
    """The hidden units as they are: no dropout."""
    return h


def elbo(output: tuple[Tensor, Tensor, Tensor], images: Tensor) -> Tensor:
    """The two terms (2,) of a variational autoencoder's loss, mean over the images (N, …).

    Squared error, summed over pixels, and KL(N(μ, σ²) ‖ N(0, 1)) = ½ Σ (μ² + σ² - 1 - log σ²),
    summed over the code; `output` is the reconstruction, μ and log σ² (N, d). But for a constant
    the negative lower bound for pixels of variance ½ (Kingma & Welling 2014, Eq. 10).
    """
    reconstruction, mean, log_variance = output
    error = (reconstruction - images).square().sum() / len(images)
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2 / len(images)
    return torch.stack([error, divergence])


def rate_distortion(output: tuple[Tensor, Tensor], images: Tensor) -> Tensor:
    """Mean squared error, and bits an image (2,); `output` is the reconstruction and bits (N,)."""
    reconstruction, bits = output
    return torch.stack([F.mse_loss(reconstruction, images), bits.mean()])


def neighbors(output: tuple[Tensor, Tensor], images: Tensor) -> Tensor:
    """Mean squared error, and how much an image's neighbors surprise its code (2,).

    `output` is the reconstruction and codes z (N, d); an image's neighbors are the nearest of the
    other `images` (N, …) by pixels, a share `NEIGHBORS`. Their surprise is the mean of -log q, with
    t-SNE's q(j | i) ∝ 1 / (1 + |zᵢ - zⱼ|²) (van der Maaten & Hinton 2008, Eq. 4, for each image its
    own sum: InfoNC-t-SNE of Damrich et al. 2023, with all others of a batch as noise).
    """
    reconstruction, z = output
    error, count = F.mse_loss(reconstruction, images), len(images) - 1
    if not count:  # an image alone has no neighbors
        return torch.stack([error, 0 * z.sum()])
    itself = torch.eye(len(images), dtype=torch.bool, device=images.device)
    apart = _squared_distances(images.flatten(1)).masked_fill(itself, math.inf)
    near = apart.topk(math.ceil(NEIGHBORS * count), largest=False).indices  # (N, k)
    log_q = -torch.log1p(_squared_distances(z)).masked_fill(itself, math.inf)
    surprise = torch.logsumexp(log_q, 1) - log_q.gather(1, near).mean(1)
    return torch.stack([error, surprise.mean()])


def _squared_distances(points: Tensor) -> Tensor:
    """All |xᵢ - xⱼ|² (N, N) of points (N, d)."""
    lengths = points.square().sum(1)
    return (lengths[:, None] + lengths - 2 * points @ points.T).clamp_min(0)


def root_mse(output: Tensor, target: Tensor) -> Tensor:
    """The root of the mean squared error over a batch: (), of images (N, …)."""
    return F.mse_loss(output, target).sqrt()


LOSSES = {"mse": F.mse_loss, "root_mse": root_mse, "l1": F.l1_loss, "elbo": elbo,
          "rate_distortion": rate_distortion, "neighbors": neighbors,
          "cross_entropy": F.cross_entropy}  # fmt: skip
# GELU by its hyperbolic tangent (Hendrycks & Gimpel 2016, Section 2), as the book's pages have it.
ACTIVATIONS = {"relu": F.relu, "silu": F.silu, "gelu": partial(F.gelu, approximate="tanh"),
               "sigmoid": torch.sigmoid, "tanh": torch.tanh, "linear": keep}  # fmt: skip


class Network(nn.Module):
    """What all have: float images (N, C, H, W) in [0, 1] in, every hidden layer through `drop`.

    An autoencoder returns their reconstructions, same shape, by way of codes (N, d).
    """

    price = ""  # the field of its spec that the second term of its loss is multiplied by
    second = ""  # what the history calls that term, as it is multiplied

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec, self.error = spec, LOSSES[spec.loss]

    def forward(self, x: Tensor, drop: Drop = keep, generator: Generator | None = None) -> Tensor:
        """Reconstructions of images `x` (N, C, H, W), same shape; a classifier gives logits."""
        return self.decode(self.encode(x, drop), drop)

    def hidden(self, layers: Sequence[nn.Module], x: Tensor, drop: Drop) -> Tensor:
        """`layers` one after another, each with the spec's activation and dropout.

        Layers that have a `hidden` of their own do all at once, where they can, with ReLU.
        """
        at_once = getattr(next(iter(layers), None), "hidden", None)
        if at_once and self.spec.activation == "relu":
            found = at_once(layers, x, None if drop is keep else drop)
            if found is not None:
                return found
        for layer in layers:
            x = drop(ACTIVATIONS[self.spec.activation](layer(x)))
        return x

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """How far `output` is from the clean images or labels: (), or the terms of a sum (2,)."""
        error = self.error(output, target)
        if not self.price:
            return error
        return torch.stack([error[0], getattr(self.spec, self.price) * error[1]])


class ConvAutoencoder(Network):
    """Three strided convolutions and two linear layers down to the code, and their mirror back up.

    For images of any C, H and W; reconstructions are in [0, 1], codes unbounded.
    """

    def __init__(self, spec: Spec, image_shape: Shape, classes: int = 0) -> None:
        super().__init__(spec)
        sizes = _halved(image_shape, _paddings(image_shape))
        self.smallest = (spec.channels[-1], *sizes[-1])  # (32, 3, 3)
        self.encoder, self.decoder = _encoder(spec, image_shape), _decoder(spec, image_shape)

    def encode(self, x: Tensor, drop: Drop = keep) -> Tensor:
        """Codes (N, d) of images (N, C, H, W)."""
        *_, linear, to_code = self.encoder
        h = self.hidden([linear], self.features(x, drop), drop)  # (N, 64)
        return to_code(h)  # (N, d)

    def features(self, x: Tensor, drop: Drop = keep) -> Tensor:
        """What the convolutions make of images (N, C, H, W), flat: (N, 288) for MNIST."""
        *convolutions, _, _ = self.encoder
        x = self.hidden(convolutions, x, drop)  # (N, 8, 14, 14), (N, 16, 7, 7), (N, 32, 3, 3)
        return x.flatten(1)

    def decode(self, z: Tensor, drop: Drop = keep) -> Tensor:
        """Images (N, C, H, W) in [0, 1] of codes (N, d)."""
        from_code, linear, *convolutions, to_image = self.decoder
        h = self.hidden([from_code, linear], z, drop)  # (N, 64), (N, 288)
        h = h.unflatten(1, (-1, *self.smallest[1:]))
        h = h.contiguous(memory_format=torch.channels_last)
        h = self.hidden(convolutions, h, drop)  # (N, 16, 7, 7), (N, 8, 14, 14)
        return torch.sigmoid(to_image(h))  # (N, 1, 28, 28)


class VariationalAutoencoder(ConvAutoencoder):
    """The convolutional autoencoder with q(z | x) = N(μ, diag σ²) in place of one code.

    After the convolutions one copy of the linear layers gives μ, another log σ² (Kingma & Welling
    2014). `encode` gives the mean.
    """

    second = "kl"

    def __init__(self, spec: Spec, image_shape: Shape, classes: int = 0) -> None:
        super().__init__(spec, image_shape)
        self.variance = _linear_layers([math.prod(self.smallest), spec.hidden, spec.latent_dim])

    def forward(
        self, x: Tensor, drop: Drop = keep, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstructions of `x`, mean and log-variance (N, d) of its codes.

        With a generator the reconstructed code is z = μ + σ ξ, ξ ~ N(0, 1); without it is μ.
        """
        *_, linear, to_mean = self.encoder
        linear_of_variance, to_log_variance = self.variance
        features = self.features(x, drop)  # (N, 288)
        z = mean = to_mean(self.hidden([linear], features, drop))  # (N, d)
        log_variance = to_log_variance(self.hidden([linear_of_variance], features, drop))
        if generator is not None:
            noise = randomness.normal(mean, generator=generator)
            z = mean + (log_variance / 2).exp() * noise
        return self.decode(z, drop), mean, log_variance


class BetaVAE(VariationalAutoencoder):
    """A variational autoencoder that pays `beta` times for its divergence (Higgins et al. 2017).

    Above 1 it keeps its codes nearer to the prior and reconstructs worse; 1 is the VAE itself.
    """

    price = "beta"


class LogisticMixture(nn.Module):
    """A density for each dimension of a code: several logistic ones, weighted."""

    def __init__(self, d: int, parts: int = 3) -> None:
        super().__init__()
        values = [nn.Parameter(torch.empty(d, parts)) for _ in range(3)]
        self.means, self.log_scales, self.logits = values

    def reset_parameters(self) -> None:
        """Begin as one narrow, one wide and one wider part around 0, alike in every dimension."""
        with torch.no_grad():
            self.means.zero_()
            self.logits.zero_()
            self.log_scales.copy_(torch.arange(self.log_scales.shape[1]).expand_as(self.logits))

    def bits(self, z: Tensor) -> Tensor:
        """-log₂ of the probability of [z - ½, z + ½], summed over the code: (N,) of z (N, d)."""
        away = (z[..., None] - self.means).abs()  # (N, d, parts); the parts are symmetric
        scales = self.log_scales.exp()
        # Both ends on the falling side, where a difference of sigmoids keeps its digits.
        inside = torch.sigmoid((0.5 - away) / scales) - torch.sigmoid((-0.5 - away) / scales)
        probability = (inside * self.logits.softmax(-1)).sum(-1)
        return -(probability + 1e-9).log2().sum(-1)  # a floor, as Ballé et al. 2018 have one


class RateAutoencoder(ConvAutoencoder):
    """The convolutional autoencoder that pays `rate_weight` for every bit of its rounded code.

    Trained as in Ballé et al. 2017 and Theis et al. 2017: in training uniform noise of the width of
    the rounding, `code_step`, stands in for it, and the bits are those of a density that is learned
    along with the rest.
    """

    price, second = "rate_weight", "rate"

    def __init__(self, spec: Spec, image_shape: Shape, classes: int = 0) -> None:
        super().__init__(spec, image_shape)
        self.density = LogisticMixture(spec.latent_dim)

    def forward(
        self, x: Tensor, drop: Drop = keep, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Reconstructions of `x` and the bits (N,) of their codes.

        With a generator the code in steps is z + u, u ~ U(-½, ½); without it is z, rounded.
        """
        z, step = self.encode(x, drop) / self.spec.code_step, self.spec.code_step
        if generator is None:
            z = z.round()
        else:
            z = z + randomness.uniform(z, -0.5, 0.5, generator=generator)
        return self.decode(z * step, drop), self.density.bits(z)


class DenseAutoencoder(Network):
    """Linear layers of any widths down to the code, and their mirror back up.

    Reconstructions have the range of the output's activation. A centered one works on 2x - 1, and
    takes its output back.
    """

    def __init__(self, spec: Spec, image_shape: Shape, classes: int = 0) -> None:
        super().__init__(spec)
        self.image_shape = image_shape
        self.code = ACTIVATIONS[spec.code_activation]
        self.output = ACTIVATIONS[spec.output_activation]
        widths = [math.prod(image_shape), *spec.widths, spec.latent_dim]
        self.encoder, self.decoder = _linear_layers(widths), _linear_layers(widths[::-1])
        if spec.tied:
            self.decoder = nn.ModuleList([Transposed(of) for of in reversed(self.encoder)])

    def encode(self, x: Tensor, drop: Drop = keep) -> Tensor:
        *layers, to_code = self.encoder
        h = 2 * x.flatten(1) - 1 if self.spec.centered else x.flatten(1)  # (N, 784)
        return self.code(to_code(self.hidden(layers, h, drop)))  # (N, d)

    def decode(self, z: Tensor, drop: Drop = keep) -> Tensor:
        *layers, to_image = self.decoder
        y = self.output(to_image(self.hidden(layers, z, drop)))  # (N, C·H·W)
        y = y.unflatten(1, (-1, *self.image_shape[1:]))  # (N, C, H, W)
        return (y + 1) / 2 if self.spec.centered else y


class NeighborAutoencoder(DenseAutoencoder):
    """The dense autoencoder that pays `neighbor_weight` for neighbors that its codes don't keep.

    It draws as well as it can while images that are near each other stay so (parametric t-SNE: van
    der Maaten 2009), batch by batch: a batch has to be large enough for neighbors to be in it.
    """

    price, second = "neighbor_weight", "surprise"

    def forward(
        self, x: Tensor, drop: Drop = keep, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Reconstructions of `x` and its codes (N, d)."""
        z = self.encode(x, drop)
        return self.decode(z, drop), z


class Transposed(nn.Module):
    """A linear layer, (N, m) to (N, n), whose weights are those of one from n to m, transposed."""

    def __init__(self, of: nn.Linear) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(of.in_features))
        self.of = (of,)  # in a tuple, so that its weights count once, as the encoder's

    @property
    def weight(self) -> Tensor:
        """The weights (n, m)."""
        return self.of[0].weight.T

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Residual(nn.Module):
    """y = relu(f(x) + shortcut of x), f of two convolutions with batch norm (He et al. 2016).

    Images (N, C_in, H, W) to (N, C_out, ⌈H / stride⌉, ⌈W / stride⌉). Batch norm (Ioffe & Szegedy
    2015) goes by the batch while it trains, by its running statistics in evaluation.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        first, norm = nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.BatchNorm2d
        second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.body = nn.Sequential(first, norm(outputs), nn.ReLU(), second, norm(outputs))
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class ResidualAutoencoder(Network):
    """Residual blocks down to the code, each half as large, and after repeated pixels up again."""

    def __init__(self, spec: Spec, image_shape: Shape, classes: int = 0) -> None:
        super().__init__(spec)
        *self.sizes, smallest = _halved(image_shape, (1, 1, 1))  # 28, 14, 7; 4 a side
        channels = [image_shape[0], *spec.channels]
        self.smallest = (channels[-1], *smallest)
        flat, up = math.prod(self.smallest), [*channels[:0:-1], channels[1]]
        self.down = nn.ModuleList([Residual(n, m, 2) for n, m in pairwise(channels)])
        self.code = _linear_layers([flat, spec.hidden, spec.latent_dim])
        self.uncode = _linear_layers([spec.latent_dim, spec.hidden, flat])
        self.up = nn.ModuleList([Residual(n, m) for n, m in pairwise(up)])
        self.to_image = nn.Conv2d(channels[1], image_shape[0], 3, padding=1)

    def encode(self, x: Tensor, drop: Drop = keep) -> Tensor:
        for block in self.down:
            x = drop(block(x))  # (N, 8, 14, 14), (N, 16, 7, 7), (N, 32, 4, 4)
        linear, to_code = self.code
        return to_code(self.hidden([linear], x.flatten(1), drop))  # (N, d)

    def decode(self, z: Tensor, drop: Drop = keep) -> Tensor:
        z = self.hidden(self.uncode, z, drop)  # (N, 64), (N, 512)
        h = z.unflatten(1, self.smallest)
        for block, size in zip(self.up, reversed(self.sizes), strict=True):
            h = drop(block(F.interpolate(h, size)))  # (N, 16, 7, 7), (N, 8, 14, 14), (N, 8, 28, 28)
        return torch.sigmoid(self.to_image(h))


class Classifier(Network):
    """A head, linear, ReLU, linear, on the code of the convolutional autoencoder's encoder.

    Takes images, or the codes (N, d) of a frozen encoder; returns logits (N, classes).
    """

    def __init__(self, spec: Spec, image_shape: Shape, classes: int = 0) -> None:
        super().__init__(spec)
        self.head = _linear_layers([spec.latent_dim, HEAD, classes])
        self.encoder = None if spec.frozen is not None else _encoder(spec, image_shape)

    features, encode = ConvAutoencoder.features, ConvAutoencoder.encode

    def forward(self, x: Tensor, drop: Drop = keep, generator: Generator | None = None) -> Tensor:
        """Logits (N, classes) of images, or of codes."""
        linear, to_logits = self.head
        z = x if self.encoder is None else self.encode(x, drop)
        return to_logits(self.hidden([linear], z, drop))


@dataclass(frozen=True)
class Family:
    """An architecture: how it is built, what it is called, its losses, and its own spec fields.

    `stacks` says whether many can be trained as one, `live` whether the book's pages can decode,
    `noisy` whether its networks draw random numbers for their codes while they train.
    """

    build: Callable[[Spec, Shape, int], Network]
    title: str
    losses: tuple[str, ...] = ("mse", "l1", "root_mse")
    fields: tuple[str, ...] = ()  # fields of `Spec` that not every architecture has
    stacks: bool = False
    live: bool = False
    noisy: bool = False


CONV = ("activation",)
DENSE = ("widths", "centered", "tied", "activation", "code_activation", "output_activation")
# fmt: off
FAMILIES = {
    "conv": Family(ConvAutoencoder, "autoencoder", fields=CONV, stacks=True, live=True),
    "dense": Family(DenseAutoencoder, "dense autoencoder", fields=DENSE, stacks=True),
    "vae": Family(VariationalAutoencoder, "VAE", ("elbo",), CONV,
                  stacks=True, live=True, noisy=True),
    "beta_vae": Family(BetaVAE, "β-VAE", ("elbo",), (*CONV, "beta"),
                       stacks=True, live=True, noisy=True),
    "rate": Family(RateAutoencoder, "autoencoder trained for rate", ("rate_distortion",),
                   ("rate_weight", "code_step"), stacks=True, live=True, noisy=True),
    "residual": Family(ResidualAutoencoder, "residual autoencoder"),
    "classifier": Family(Classifier, "classifier", ("cross_entropy",), ("frozen",)),
    "neighbors": Family(NeighborAutoencoder, "neighbor-keeping autoencoder", ("neighbors",),
                        (*DENSE, "neighbor_weight")),
}
# fmt: on


def _paddings(image_shape: Shape) -> tuple[int, int, int]:
    return PADDING if min(image_shape[1:]) >= SMALL else (1, 1, 1)


def _halved(image_shape: Shape, paddings: Sequence[int]) -> list[tuple[int, ...]]:
    """Height and width of an image, and after each 3 x 3 convolution of stride 2."""
    sizes = [image_shape[1:]]
    for padding in paddings:
        sizes.append(tuple((n + 2 * padding - 3) // 2 + 1 for n in sizes[-1]))
    return sizes  # for MNIST 28, 14, 7, 3 a side


def _encoder(spec: Spec, image_shape: Shape) -> nn.ModuleList:
    paddings, channels = _paddings(image_shape), pairwise([image_shape[0], *spec.channels])
    downs = [nn.Conv2d(n, m, 3, 2, p) for (n, m), p in zip(channels, paddings, strict=True)]
    flat = spec.channels[-1] * math.prod(_halved(image_shape, paddings)[-1])
    return nn.ModuleList([*downs, *_linear_layers([flat, spec.hidden, spec.latent_dim])])


def _decoder(spec: Spec, image_shape: Shape) -> nn.ModuleList:
    """The mirror of `_encoder`: two linear layers, and convolutions that take back its sizes."""
    paddings, channels = _paddings(image_shape), [image_shape[0], *spec.channels]
    sizes = _halved(image_shape, paddings)
    flat, ups = channels[-1] * math.prod(sizes[-1]), []
    for n, p in reversed(list(enumerate(paddings))):
        pairs = zip(sizes[n], sizes[n + 1], strict=True)
        extra = tuple(large - (2 * small + 1 - 2 * p) for large, small in pairs)
        ups.append(nn.ConvTranspose2d(channels[n + 1], channels[n], 3, 2, p, extra))
    return nn.ModuleList([*_linear_layers([spec.latent_dim, spec.hidden, flat]), *ups])


def _linear_layers(widths: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList([nn.Linear(n, m) for n, m in pairwise(widths)])


def blank(spec: Spec, image_shape: Shape, classes: int = 0) -> Network:
    """The network of `spec` for images (C, H, W) of so many classes, without memory for weights.

    Raises `InvalidValue` if there is no such network for images of that size.
    """
    with torch.device("meta"):
        return FAMILIES[spec.architecture].build(spec, image_shape, classes)


def size(spec: Spec, image_shape: Shape, classes: int = 0) -> int:
    """How many weights and biases the network of `spec` has, for such images and classes."""
    return sum(weights.numel() for weights in blank(spec, image_shape, classes).parameters())


def build(
    spec: Spec, image_shape: Shape, classes: int = 0, device: torch.device | str = "cpu"
) -> Network:
    """The network of `spec` for images of `image_shape` (C, H, W), with its initial weights.

    Weights and biases ~ U(-b, b), drawn on the CPU from the spec's seed, so that they are the same
    on every device. `uniform`: b = 1/√(fan-in), PyTorch's own default (He et al. 2015 with a = √5).
    `glorot`: b = √(6 / (fan-in + fan-out)) (Glorot & Bengio 2010, Eq. 16), of n biases √(3 / n).
    Normalizing layers begin as the identity, densities as their class says. Raises `InvalidValue`
    for a layer of another kind.
    """
    model = blank(spec, image_shape, classes).to_empty(device="cpu")
    generator, drawn = randomness.generator(spec.seed, "weights"), set()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | Transposed):
                for weights in layer.parameters():
                    bound = _bound(layer, weights, spec.initial_weights)
                    weights.uniform_(-bound, bound, generator=generator)
            elif isinstance(layer, nn.modules.batchnorm._NormBase | LogisticMixture):
                layer.reset_parameters()
            else:
                continue
            drawn |= {value.data_ptr() for value in layer.state_dict().values()}
    for name, value in model.state_dict().items():
        if value.data_ptr() not in drawn:
            must = "a layer that models.build can draw from the seed"
            raise InvalidValue(f"{name} of architecture={spec.architecture!r} must be of {must}")
    return model.to(device, memory_format=torch.channels_last)


def _bound(layer: nn.Module, weights: Tensor, initial_weights: str) -> float:
    """The largest value with which the weights or biases of a layer begin."""
    # PyTorch takes the second dimension as fan-in, for transposed convolutions too.
    fan_in, fan_out = layer.weight[0].numel(), layer.weight[:, 0].numel()
    if initial_weights == "uniform":
        return 1 / math.sqrt(fan_in)
    return math.sqrt(6 / (fan_in + fan_out) if weights.dim() > 1 else 3 / weights.numel())
