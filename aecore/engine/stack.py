"""Many networks of one shape trained at once on one device: each step is one step of them all.

A stack is the networks' own class with layers that hold a set of weights for each: activations
(N, M·C, H, W) and (N, M·F) have the M networks' channels and units side by side. Every network
sees its own images, corruption and dropout, so that it becomes what it would have become alone,
up to rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from aecore import models, randomness
from aecore.data import as_floats
from aecore.engine.optimizers import update
from aecore.fast.dropout import keep_masks
from aecore.spec import Spec
from aecore.training import EVALUATION_BATCH, Training, learning_rate

# What the networks of a stack share; everything else may be their own.
SHARED = (
    "dataset", "train_images", "validation", "folds", "fold", "split_seed", "architecture",
    "channels", "hidden", "widths", "activation", "code_activation", "output_activation",
    "centered", "loss", "optimizer", "batch_size",
)  # fmt: skip
ERRORS: dict[str, Callable[[Tensor], Tensor]] = {"mse": torch.square, "l1": torch.abs}


def shape(spec: Spec) -> tuple | None:
    """What specs have in common that can be stacked; None for one that can't be.

    Codes of different sizes are filled up with zeros, which stay zeros: nothing flows into them.
    """
    if spec.architecture not in ("conv", "dense") or spec.code_activation == "sigmoid":
        return None
    return tuple(getattr(spec, name) for name in SHARED)


class Stack:
    """Trainings of one `shape`, of which `epoch` trains the next epoch together.

    The trainings stay what they are: after every epoch each has its weights, its optimizer's
    state, its history and its best epoch, can be checkpointed, and can go on alone.
    """

    def __init__(self, trainings: Sequence[Training]) -> None:
        self.trainings = list(trainings)
        first = self.trainings[0]
        for other in self.trainings[1:]:  # the same images, held once
            other.images, other.held_out = first.images, first.held_out
        self.model = stacked([training.model for training in self.trainings])
        parameters = list(self.model.parameters())
        self.weights = torch.cat([p.detach().flatten(1) for p in parameters], 1)  # (M, all)
        self.sizes = [p[0].numel() for p in parameters]
        for parameter, part in zip(parameters, self._split(self.weights), strict=True):
            parameter.data = part  # one step of the optimizer is then one of all layers
        self.state = self._gathered()
        specs = [training.spec for training in self.trainings]
        self.settings = {
            name: torch.tensor([[getattr(spec, name)] for spec in specs], device=first.device)
            for name in ("weight_decay", "momentum")
        }

    def epoch(self, report: Callable[[int], None] = lambda images: None) -> None:
        """Train one epoch of every training and append its losses to their histories."""
        images, spec = self.trainings[0].images, self.trainings[0].spec
        draws = [randomness.permutation(len(images), generator=g) for g in self._draw("order")]
        batches = torch.stack(draws).split(spec.batch_size, dim=1)  # of rows (M, N)
        rates, total = self._learning_rates(len(batches)), 0.0
        for step, rows in enumerate(batches):
            clean = as_floats(images[rows.flatten()]).unflatten(0, rows.shape)  # (M, N, C, H, W)
            given = self._corrupted(clean, "corruption", step)
            output = self.model(_beside(given), self._drop(step))
            loss = self._losses(output, _beside(clean))  # (M,)
            grads = torch.autograd.grad(loss.sum(), list(self.model.parameters()))
            whole = torch.cat([grad.flatten(1) for grad in grads], 1)
            kind = spec.optimizer
            update(kind, self.weights, whole, self.state, rates[step, :, None], **self.settings)
            total += loss.detach().double() * rows.shape[1]
            report(rows.numel())
        losses = [total / len(images)]
        if len(self.trainings[0].held_out):
            losses.append(self._validation_losses())
        self._scatter()
        for training, *own in zip(self.trainings, *(loss.cpu() for loss in losses), strict=True):
            training.record(*own)

    def _draw(self, purpose: str, step: int = 0, epoch: int | None = None) -> list[Generator]:
        return [training.draw(purpose, step, epoch) for training in self.trainings]

    def _learning_rates(self, steps: int) -> Tensor:
        rates = [
            [learning_rate(t.spec, len(t.history) * steps + step, steps) for t in self.trainings]
            for step in range(steps)
        ]
        return torch.tensor(rates, device=self.trainings[0].device)  # (steps, M)

    def _corrupted(
        self, clean: Tensor, purpose: str, step: int, epoch: int | None = None
    ) -> Tensor:
        """Each network's images (M, N, C, H, W) with its own corruption."""
        corruptions = [training.spec.corruption for training in self.trainings]
        if not any(corruptions):
            return clean
        parts = zip(clean, corruptions, self._draw(purpose, step, epoch), strict=True)
        return torch.stack([c(x, generator=g) if c else x for x, c, g in parts])

    def _drop(self, step: int) -> models.Drop:
        specs = [training.spec for training in self.trainings]
        if not any(spec.dropout for spec in specs):
            return models.keep
        keys = [
            randomness.key(t.spec.seed, "dropout", len(t.history), step) for t in self.trainings
        ]
        return StackedDropout([spec.dropout for spec in specs], keys)

    def _losses(self, output: Tensor, clean: Tensor) -> Tensor:
        """The loss (M,) of each network, of images (N, M·C, H, W)."""
        error = ERRORS[self.trainings[0].spec.loss](output - clean)
        return error.unflatten(1, (len(self.trainings), -1)).mean((0, 2, 3, 4))

    def _validation_losses(self) -> Tensor:
        """Mean loss (M,) over the held-out images, corrupted as each network alone has them."""
        held_out, total = self.trainings[0].held_out, 0.0
        with torch.inference_mode():
            for step, batch in enumerate(held_out.split(EVALUATION_BATCH)):
                clean = as_floats(batch).expand(len(self.trainings), *batch.shape)
                given = self._corrupted(clean, "validation", step, epoch=0)
                output = self.model(_beside(given))
                total += self._losses(output, _beside(clean)).double() * len(batch)
        return total / len(held_out)

    def _split(self, whole: Tensor) -> list[Tensor]:
        """Views of (M, all) in the stacked parameters' shapes."""
        parts = whole.split(self.sizes, 1)
        return [part.view(p.shape) for part, p in zip(parts, self.model.parameters(), strict=True)]

    def _gathered(self) -> dict[str, Tensor]:
        """The state of all optimizers: fields (M, all), and "step" (M,)."""
        states = [[t.optimizer.state[own] for own in t.parameters] for t in self.trainings]
        names = {name for of_one in states for name, v in of_one[0].items() if v is not None}
        gathered = {name: torch.zeros_like(self.weights) for name in names - {"step"}}
        if "step" in names:
            steps = [float(of_one[0].get("step", 0.0)) for of_one in states]
            gathered["step"] = torch.tensor(steps, device=self.weights.device)
        for name in names - {"step"}:
            for number, whole in enumerate(self._split(gathered[name])):
                for m, of_one in enumerate(states):
                    if (value := of_one[number].get(name)) is not None:
                        _cut(whole[m], value.shape).copy_(value)
        return gathered

    def _scatter(self) -> None:
        """Give each training its weights and its optimizer's state."""
        fields = {name: self._split(v) for name, v in self.state.items() if name != "step"}
        with torch.no_grad():
            for m, training in enumerate(self.trainings):
                for number, (own, whole) in enumerate(
                    zip(training.parameters, self._split(self.weights), strict=True)
                ):
                    own.copy_(_cut(whole[m], own.shape))
                    kept = training.optimizer.state[own]
                    for name, parts in fields.items():
                        part = _cut(parts[number][m], own.shape)
                        kept[name] = torch.empty_like(own).copy_(part)
                    if "step" in self.state:
                        kept["step"] = self.state["step"][m].clone()


def stacked(networks: Sequence[models.Network]) -> nn.Module:
    """One network that computes what each of `networks` does, with copies of their weights."""
    whole = copy.deepcopy(networks[0])
    for name, layer in networks[0].named_modules():
        for kind, stack in KINDS.items():
            if isinstance(layer, kind):
                layers = [network.get_submodule(name) for network in networks]
                whole.set_submodule(name, stack(layers))
    return whole


class StackedLinear(nn.Module):
    """M linear layers: units (N, M·F_in) to (N, M·F_out)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight, self.bias = _together(layers, "weight"), _together(layers, "bias")

    def forward(self, x: Tensor) -> Tensor:
        """One product of matrices for each network, all at once."""
        x = x.unflatten(1, (len(self.weight), -1)).transpose(0, 1)  # (M, N, F_in)
        y = torch.baddbmm(self.bias[:, None], x, self.weight.transpose(1, 2))  # (M, N, F_out)
        return y.transpose(0, 1).flatten(1)


class StackedConv2d(nn.Module):
    """M convolutions: images (N, M·C_in, H, W) to (N, M·C_out, h, w)."""

    def __init__(self, layers: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.weight, self.bias = _together(layers, "weight"), _together(layers, "bias")
        self.settings = {"stride": layers[0].stride, "padding": layers[0].padding}

    def forward(self, x: Tensor) -> Tensor:
        """One convolution in as many groups as there are networks."""
        weight, bias = self.weight.flatten(0, 1), self.bias.flatten()
        return F.conv2d(x, weight, bias, groups=len(self.weight), **self.settings)


class StackedConvTranspose2d(nn.Module):
    """M transposed convolutions: images (N, M·C_in, h, w) to (N, M·C_out, H, W)."""

    def __init__(self, layers: Sequence[nn.ConvTranspose2d]) -> None:
        super().__init__()
        self.weight, self.bias = _together(layers, "weight"), _together(layers, "bias")
        self.settings = {
            name: getattr(layers[0], name) for name in ("stride", "padding", "output_padding")
        }

    def forward(self, x: Tensor) -> Tensor:
        """One transposed convolution in as many groups as there are networks."""
        weight, bias = self.weight.flatten(0, 1), self.bias.flatten()
        return F.conv_transpose2d(x, weight, bias, groups=len(self.weight), **self.settings)


KINDS = {
    nn.Linear: StackedLinear,
    nn.Conv2d: StackedConv2d,
    nn.ConvTranspose2d: StackedConvTranspose2d,
}


class StackedDropout:
    """`dropout.Dropout` for each network of a stack, with its own rate and key."""

    def __init__(self, rates: Sequence[float], keys: Sequence[int]) -> None:
        self.rates, self.keys, self.layer = rates, keys, 0

    def __call__(self, h: Tensor) -> Tensor:
        self.layer += 1
        own = h.unflatten(1, (len(self.rates), -1))  # (N, M, F) or (N, M, C, H, W)
        rows = own.detach().movedim(2, -1)  # (N, M, F) or (N, M, H, W, C)
        keys = [randomness.mixed(key, self.layer) for key in self.keys]
        masks = keep_masks((len(rows), *rows.shape[2:]), self.rates, keys, h.device)  # (M, N, …)
        return (own * masks.transpose(0, 1).movedim(-1, 2)).flatten(1, 2)


def _together(layers: Sequence[nn.Module], name: str) -> nn.Parameter:
    """The parameters of that name, those of smaller codes filled up with zeros."""
    parts = [getattr(layer, name).detach() for layer in layers]
    largest = [max(sizes) for sizes in zip(*(part.shape for part in parts), strict=True)]
    return nn.Parameter(torch.stack([_padded(part, largest) for part in parts]))


def _padded(value: Tensor, shape: Sequence[int]) -> Tensor:
    """`value` with zeros after its end along every axis, up to `shape`."""
    whole = value.new_zeros(tuple(shape))
    whole[tuple(map(slice, value.shape))] = value
    return whole


def _cut(value: Tensor, shape: Sequence[int]) -> Tensor:
    """The beginning of `value` along every axis, of `shape`."""
    return value[tuple(map(slice, shape))]


def _beside(images: Tensor) -> Tensor:
    """Images (M, N, C, H, W) of M networks as (N, M·C, H, W)."""
    return images.transpose(0, 1).flatten(1, 2)
