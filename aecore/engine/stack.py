"""Many networks of one shape trained at once on one device: each step is one step of them all.

A stack is the networks' own class with layers that hold a set of weights for each: activations
(N, M·C, H, W) and (N, M·F) have the M networks' channels and units side by side. Every network
sees its own images, corruption and dropout, so that it becomes what it would have become alone,
up to rounding.
"""

import copy
import math
from collections.abc import Callable, Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.utils._pytree import tree_map

from aecore import models, randomness
from aecore.fast import dropout, stacked
from aecore.fast.convolution import Conv2d, ConvTranspose2d
from aecore.spec import Spec
from aecore.training import OPTIMIZERS, Training, learning_rate

# What the networks of a stack share, beside their family's own fields; all else may be their own.
SHARED = ("dataset", "train_images", "validation", "folds", "architecture", "channels", "hidden",
          "loss", "optimizer", "batch_size")  # fmt: skip
# Of the optimizers, as PyTorch has them.
BETA, BETA2, ALPHA, EPSILON = 0.9, 0.999, 0.9, 1e-8
WARM = 3  # steps that PyTorch wants to have seen before it records one
AT_ONCE = 64_000  # held-out images, over all networks: more would take more memory than training


def shape(spec: Spec) -> tuple | None:
    """What specs have in common that can be stacked; None for one that can't be.

    Codes of different sizes are filled up with zeros, which stay zeros: nothing flows into them.
    A sigmoid makes halves of zeros, and noise anything, so such codes have to be of one size. Folds
    must have as many images, too. Of the fields of a family one may differ, the `price` by which
    each network's loss is weighed. An architecture with a `loss` method of its own trains alone,
    and so does a network with a damaged copy of the images.
    """
    family, network = models.FAMILIES[spec.architecture], models.Network
    own = getattr(family.build, "loss", network.loss) is not network.loss
    alone = spec.tied or spec.corrupted_once or spec.loss == "root_mse"
    if alone or own or not family.stacks:
        return None
    size = spec.latent_dim if spec.code_activation == "sigmoid" or family.noisy else None
    price = getattr(family.build, "price", network.price)
    fields = [*SHARED, *(name for name in family.fields if name != price)]
    return (*(getattr(spec, name) for name in fields), size)


class Stack(Training):
    """Trainings of one `shape`, of which `epoch` trains the next epoch together.

    The trainings stay what they are: after every epoch each has its weights, its optimizer's
    state, its history and its best epoch, can be checkpointed, and can go on alone. What a single
    training has for a batch of N, images (N, C, H, W), the stack has for M networks: (M, N, …).
    """

    def __init__(self, trainings: Sequence[Training]) -> None:
        self.trainings, first = list(trainings), trainings[0]
        for other in (*self.trainings[1:], self):  # the same images, held once
            other.share(first)
        self.spec, self.device = first.spec, first.device
        self.rows = torch.stack([training.rows for training in self.trainings])
        self.held_out = torch.stack([training.held_out for training in self.trainings])
        self.model = Stacked([training.model for training in self.trainings])
        self.optimizer = StackedOptimizer(self.trainings, list(self.model.parameters()))
        self.dropouts = StackedDropout([t.spec.dropout for t in self.trainings], self.device)
        needed = {
            "corruption": any(training.spec.corruption for training in self.trainings),
            "dropout": models.FAMILIES[self.spec.architecture].noisy,
        }
        self.sources = {
            purpose: [Generator(self.device) for _ in self.trainings]
            for purpose, it_is in needed.items()
            if it_is
        }
        sources, on_gpu = [*chain(*self.sources.values())], self.device.type == "cuda"
        self.recorded = Recorded(super().step, sources) if on_gpu else None

    def epoch(self, report: Callable[[int], None] = lambda images: None) -> None:
        """Train the next epoch of every network."""
        self.prepare()
        super().epoch(report)

    def prepare(self) -> None:
        """Bring to the device what the next epoch's steps need of the host: nothing else is."""
        steps = math.ceil(self.rows.shape[1] / self.spec.batch_size)
        rates = [
            [learning_rate(t.spec, len(t.history) * steps + step, steps) for t in self.trainings]
            for step in range(steps)
        ]
        self.rates = torch.tensor(rates, device=self.device)[..., None]  # (steps, M, 1)
        drawn = {
            place: [training.dropout_key(step) for step in range(steps)]
            for place, training in self._drawing().items()
        }
        keys = [drawn[_place(training)] for training in self.trainings]
        self.dropouts.prepare(keys, len(self.model.layers))

    @property
    def at_once(self) -> int:
        """As alone where random numbers are drawn for so many, else as many as `AT_ONCE` allows."""
        alone = super().at_once
        return alone if self.sources else min(alone, math.ceil(AT_ONCE / len(self.trainings)))

    def order(self) -> Tensor:
        """Rows (M, n): the order of every network."""
        drawn = {place: training.shuffled() for place, training in self._drawing().items()}
        return self.rows.gather(1, torch.stack([drawn[_place(t)] for t in self.trainings]))

    def step(self, step: int, rows: Tensor) -> Tensor:
        """One step of every network, for images of `rows` (M, n): their losses (M, …)."""
        for purpose, sources in self.sources.items():
            for source, training in zip(sources, self.trainings, strict=True):
                source.manual_seed(training.start(purpose, step))
        if self.recorded is None or rows.shape[1] != self.spec.batch_size:
            return super().step(step, rows)
        return self.recorded(step, rows)

    def _drawing(self) -> dict[tuple[int, int], Training]:
        """One training for each seed and age: all others of these draw the same numbers."""
        return {_place(training): training for training in self.trainings}

    def sample(self, images: Tensor, rows: Tensor) -> Tensor:
        """Images (M, n, C, H, W) of rows (M, n), in memory side by side as the networks'."""
        beside = images.index_select(0, rows.T.flatten())
        beside = beside if beside.is_floating_point() else beside / 255
        return beside.unflatten(0, rows.T.shape).transpose(0, 1)

    def corrupt(self, clean: Tensor, source: list[Generator]) -> Tensor:
        """Each network's images with its own corruption."""
        if "corruption" not in self.sources:
            return clean
        parts = zip(clean, self.trainings, source, strict=True)
        return torch.stack([one.corrupt(images, own) for images, one, own in parts])

    def dropout(self, step: int) -> models.Drop:
        """Each network's own dropout, in one pass."""
        return self.dropouts.begun() if any(self.dropouts.rates) else models.keep

    def set_learning_rate(self, step: int, steps: int) -> None:
        """Give each network the rate of this step of its own epoch, and what it is to drop."""
        self.optimizer.rates.copy_(self.rates[step])
        self.dropouts.set(step)

    def draw(self, purpose: str, step: int = 0, epoch: int | None = None) -> list[Generator]:
        """A generator for each network; none where nobody would use them."""
        if purpose in ("corruption", "dropout"):  # as `step` has seeded them
            return self.sources.get(purpose, [])
        return [training.draw(purpose, step, epoch) for training in self.trainings if self.sources]

    def record(self, train_loss: Tensor, validation_loss: Tensor | None = None) -> None:
        """Give each training its losses (M, …)."""
        self.optimizer.record()
        nothing = self.optimizer.weights.mul(0).sum(1)  # NaN where a weight is not finite
        parts = [each for each in (nothing, train_loss, validation_loss) if each is not None]
        for training, weights, *own in zip(self.trainings, *(p.cpu() for p in parts), strict=True):
            training.record(*own, weights=[weights])


class Recorded:
    """A step of a stack as one CUDA graph: launched at once instead of kernel by kernel.

    Its random numbers are those of `sources`, as these are seeded before each step.
    """

    def __init__(self, step: Callable[[int, Tensor], Tensor], sources: Sequence[Generator]) -> None:
        self.step, self.sources, self.seen, self.graph = step, sources, 0, None

    def __call__(self, step: int, rows: Tensor) -> Tensor:
        """The losses (M, …) of a step for the images of `rows`, until the next call."""
        if self.seen < WARM:
            self.seen, now, aside = self.seen + 1, torch.cuda.current_stream(), torch.cuda.Stream()
            aside.wait_stream(now)
            with torch.cuda.stream(aside):
                loss = self.step(step, rows)
            now.wait_stream(aside)
            return loss
        if self.graph is None:
            self.rows, self.graph = rows.clone(), torch.cuda.CUDAGraph()
            for source in self.sources:
                self.graph.register_generator_state(source)
            with torch.cuda.graph(self.graph):
                self.loss = self.step(step, self.rows)
        self.rows.copy_(rows)
        self.graph.replay()
        return self.loss


class Stacked(nn.Module):
    """One network that computes what each of `networks` does, with copies of their weights."""

    def __init__(self, networks: Sequence[models.Network]) -> None:
        super().__init__()
        self.whole, self.layers = copy.deepcopy(networks[0]), []
        for name, layer in networks[0].named_modules():
            for kind, stack in KINDS.items():
                if isinstance(layer, kind):
                    layers = [network.get_submodule(name) for network in networks]
                    self.layers.append(stack(layers))
                    self.whole.set_submodule(name, self.layers[-1])
        prices = [getattr(each.spec, each.price) if each.price else 1.0 for each in networks]
        self.prices = torch.tensor(prices, device=next(self.parameters()).device)

    def forward(
        self, x: Tensor, drop: models.Drop = models.keep, generator: list[Generator] | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Reconstructions (M, N, C, H, W) of images of M networks, and what else each returns."""

        def apart(y: Tensor) -> Tensor:
            return y.unflatten(1, (len(x), -1)).transpose(0, 1)

        beside = x.transpose(0, 1).flatten(1, 2)  # (N, M·C, H, W)
        return tree_map(apart, self.whole(beside, drop, generator or None))

    def loss(self, output: Tensor | tuple[Tensor, ...], target: Tensor) -> Tensor:
        """The loss (M,) of each network, or its terms (M, 2)."""
        if isinstance(output, tuple):
            first, second = torch.vmap(self.whole.error)(output, target).unbind(1)
            return torch.stack([first, self.prices * second], 1)
        return self.whole.error(output, target, reduction="none").mean((1, 2, 3, 4))


class StackedOptimizer:
    """One step of all trainings' optimizers at once; the weights of each are a row (M, all).

    The trainings' own weights, and what their optimizers keep, become views of these rows; where
    they are padded, `record` brings them up to date.
    """

    def __init__(self, trainings: Sequence[Training], parameters: list[nn.Parameter]) -> None:
        self.trainings, self.parameters = trainings, parameters
        self.kind = trainings[0].spec.optimizer
        self.weights = torch.cat([p.detach().flatten(1) for p in parameters], 1)
        for own, weight in zip(parameters, self._split(self.weights), strict=True):
            own.data = weight
        self.state = self._gathered()
        settings = [[t.spec.weight_decay, t.spec.momentum] for t in trainings]
        columns = torch.tensor(settings, device=self.weights.device)
        self.weight_decay, self.momentum = columns.split(1, dim=1)
        self.rates = torch.zeros_like(self.momentum)
        self._hand_out(views=True)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for own in self.parameters:
            own.grad = None

    def step(self) -> None:
        """Change all weights by one step along their gradients."""
        grads = torch.cat([own.grad.flatten(1) for own in self.parameters], 1)
        settings = (self.rates, self.weight_decay, self.momentum)
        update(self.kind, self.weights, grads, self.state, *settings)

    def _hand_out(self, views: bool) -> None:
        """Give the trainings their weights and states: views, and copies of what is padded."""
        kept = {name: self._split(v) for name, v in self.state.items() if name != "step"}
        for n, parts in enumerate(self._split(self.weights)):
            for m, (part, training) in enumerate(zip(parts, self.trainings, strict=True)):
                own = training.parameters[n]
                state, whole = training.optimizer.state[own], part.shape == own.shape
                if whole and views:
                    own.data = part
                    state |= {name: states[n][m] for name, states in kept.items()}
                elif not whole:
                    own.data.copy_(_cut(part, own.shape))
                    for name, states in kept.items():
                        state[name] = torch.empty_like(own).copy_(_cut(states[n][m], own.shape))

    def record(self) -> None:
        """Bring to the trainings what is no view, and how many steps they have made."""
        self._hand_out(views=False)
        if "step" in self.state:
            counts = self.state["step"][:, None].repeat(1, len(self.parameters))
            if not OPTIMIZERS[self.kind][1].get("fused"):  # a GPU would have to be waited for
                counts = counts.cpu()
            for m, training in enumerate(self.trainings):
                for n, own in enumerate(training.parameters):
                    training.optimizer.state[own]["step"] = counts[m, n]

    def _split(self, whole: Tensor) -> list[Tensor]:
        """Views of (M, all) in the stacked parameters' shapes."""
        parts = whole.split([own[0].numel() for own in self.parameters], 1)
        return [part.view(own.shape) for part, own in zip(parts, self.parameters, strict=True)]

    def _gathered(self) -> dict[str, Tensor]:
        """The state of all optimizers: fields (M, all), and "step" (M,)."""
        states = [[t.optimizer.state[own] for own in t.parameters] for t in self.trainings]
        nothing, names = torch.zeros(1, 1), {}
        update(self.kind, nothing, nothing, names, nothing, nothing, nothing)
        gathered = {name: torch.zeros_like(self.weights) for name in names.keys() - {"step"}}
        for name, whole in gathered.items():
            for n, part in enumerate(self._split(whole)):
                for m, of_one in enumerate(states):
                    if (value := of_one[n].get(name)) is not None:
                        _cut(part[m], value.shape).copy_(value)
        if "step" in names:
            steps = [float(of_one[0].get("step", 0.0)) for of_one in states]
            gathered["step"] = torch.tensor(steps, device=self.weights.device)
        return gathered


def update(
    kind: str,
    weight: Tensor,
    grad: Tensor,
    state: dict[str, Tensor],
    rate: Tensor,
    weight_decay: Tensor,
    momentum: Tensor,
) -> None:
    """Change `weight` (M, …) and `state` in place by one step along `grad` (M, …).

    Formulas and names are those of `torch.optim`, so that a network can go from one to the other
    between two steps. `rate`, `weight_decay` and `momentum` are (M, 1, …); `state` begins empty.
    """

    def kept(name: str, like: Tensor = weight) -> Tensor:
        if name not in state:
            state[name] = torch.zeros_like(like)
        return state[name]

    if kind != "sgd":
        age = kept("step", rate.flatten()).add_(1).view(rate.shape)
    if kind == "adamw":
        weight.mul_(1 - rate * weight_decay)
    else:
        grad = grad + weight_decay * weight
    match kind:
        case "adam" | "adamw":  # Kingma & Ba 2015, Algorithm 1
            mean = kept("exp_avg").lerp_(grad, 1 - BETA)
            square = kept("exp_avg_sq").mul_(BETA2).addcmul_(grad, grad, value=1 - BETA2)
            width = (square / (1 - BETA2**age)).sqrt_().add_(EPSILON)
            weight.sub_(rate / (1 - BETA**age) * mean / width)
        case "adamax":  # Kingma & Ba 2015, Algorithm 2
            mean = kept("exp_avg").lerp_(grad, 1 - BETA)
            largest = kept("exp_inf").mul_(BETA2)
            torch.maximum(largest, grad.abs() + EPSILON, out=largest)
            weight.sub_(rate / (1 - BETA**age) * mean / largest)
        case "rmsprop":  # Tieleman & Hinton 2012
            square = kept("square_avg").mul_(ALPHA).addcmul_(grad, grad, value=1 - ALPHA)
            weight.sub_(rate * grad / square.sqrt().add_(EPSILON))
        case "sgd":
            moving = kept("momentum_buffer").mul_(momentum).add_(grad)
            weight.sub_(rate * moving)
        case _:
            raise AssertionError(kind)


class StackedLayer(nn.Module):
    """Layers of M networks as one."""

    @staticmethod
    def hidden(
        layers: Sequence["StackedLayer"], x: Tensor, drop: "StackedDropout | None"
    ) -> Tensor | None:
        """`layers` one after another, each with ReLU and dropout; None where nothing is faster."""
        if not stacked.on(x.device):
            return None
        for layer in layers:
            own = layer(x).unflatten(1, (len(layer.weight), -1))
            x = stacked.after(own, drop and drop.next_mask(), relu=True).flatten(1, 2)
        return x


class StackedLinear(StackedLayer):
    """M linear layers: units (N, M·F_in) to (N, M·F_out)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight, self.bias = _together(layers, "weight"), _together(layers, "bias")

    def forward(self, x: Tensor) -> Tensor:
        """One product of matrices for each network, all at once."""
        x = x.unflatten(1, (len(self.weight), -1)).transpose(0, 1)  # (M, N, F_in)
        y = torch.baddbmm(self.bias[:, None], x, self.weight.transpose(1, 2))  # (M, N, F_out)
        return y.transpose(0, 1).flatten(1)


class StackedConv(StackedLayer):
    """M convolutions, or M transposed ones: images (N, M·C_in, …) to (N, M·C_out, …)."""

    def __init__(self, layers: Sequence[nn.Conv2d | nn.ConvTranspose2d]) -> None:
        super().__init__()
        self.weight, self.bias = _together(layers, "weight"), _together(layers, "bias")
        first, self.transposed = layers[0], isinstance(layers[0], nn.ConvTranspose2d)
        self.sizes = first.sizes if isinstance(first, Conv2d | ConvTranspose2d) else None
        self.convolve = F.conv_transpose2d if self.transposed else F.conv2d
        self.settings = {"stride": first.stride, "padding": first.padding, "groups": len(layers)}
        if self.transposed:
            self.settings["output_padding"] = first.output_padding

    def forward(self, x: Tensor) -> Tensor:
        """One convolution in as many groups as there are networks, or one kernel for all."""
        if self.sizes and stacked.on(x.device):
            (size, _), padding = self.sizes(x.shape[2:]), self.settings["padding"]
            return stacked.convolution(x, self.weight, self.bias, padding, size, self.transposed)
        return self.convolve(x, self.weight.flatten(0, 1), self.bias.flatten(), **self.settings)


class StackedMixture(StackedLayer, models.LogisticMixture):
    """M densities of codes (N, M·d)."""

    def __init__(self, layers: Sequence[models.LogisticMixture]) -> None:
        nn.Module.__init__(self)
        for name, _ in layers[0].named_parameters():
            setattr(self, name, _together(layers, name))  # (M, d, parts)

    def bits(self, z: Tensor) -> Tensor:
        """The bits (N, M) of every code."""
        return super().bits(z.unflatten(1, (len(self.means), -1)))


KINDS = {nn.Linear: StackedLinear, nn.Conv2d: StackedConv, nn.ConvTranspose2d: StackedConv,
         models.LogisticMixture: StackedMixture}  # fmt: skip


class StackedDropout:
    """`dropout.Dropout` for each network of a stack, with its own rate and keys."""

    def __init__(self, rates: Sequence[float], device: torch.device | str) -> None:
        self.rates, self.now = list(rates), None
        least = [dropout.least(rate) for rate in rates]
        self.least = torch.tensor(least, dtype=torch.int32, device=device)
        self.scale = torch.tensor([1 / (1 - rate) for rate in rates], device=device)

    def prepare(self, keys: Sequence[Sequence[int]], layers: int) -> None:
        """Bring the keys (M, steps) of an epoch to the device; at most so many layers drop units.

        Networks with the same keys share their hashes.
        """
        columns = [tuple(of_network) for of_network in keys]
        distinct = list(dict.fromkeys(columns))
        if self.now is None:  # a recorded step reads these two where they are
            which = [distinct.index(own) for own in columns]
            self.which = torch.tensor(which, device=self.least.device)
            self.now = self.which.new_empty(2, layers, len(distinct), dtype=torch.int32)
        self.shared = len(distinct) == 1
        of_layers = [
            [[randomness.key(key, layer) for key in of_step] for layer in range(1, layers + 1)]
            for of_step in zip(*distinct, strict=True)
        ]  # (steps, layers, U)
        whole = torch.tensor(of_layers, dtype=torch.int64)
        halves = torch.stack([whole & 0xFFFFFFFF, whole >> 32], 1).to(torch.int32)
        self.halves = halves.to(self.least.device)  # (steps, 2, layers, U)

    def set(self, step: int) -> None:
        """Take the keys of a step."""
        self.now.copy_(self.halves[step])

    def begun(self) -> models.Drop:
        """The dropout of the step that was set, to be called for its layers in their order."""
        self.layer = 0
        return self

    def next_mask(self) -> stacked.Mask:
        """What the next layer drops."""
        self.layer += 1
        return stacked.Mask(self.now, self.which, self.least, self.scale, self.layer - 1)

    def __call__(self, h: Tensor) -> Tensor:
        own, mask = h.unflatten(1, (len(self.rates), -1)), self.next_mask()
        if stacked.on(h.device):
            return stacked.after(own, mask, relu=False).flatten(1, 2)
        rows = own.detach().movedim(2, -1)  # (N, M, F) or (N, M, H, W, C)
        shape = (len(rows), *rows.shape[2:])
        halves = mask.halves[:, mask.layer]  # (2, U)
        low, high = (half.view(-1, *[1] * len(shape)) for half in halves)
        found = dropout.hashes(shape, low, high, h.device)  # (U, N, …)
        found = found if self.shared else found[self.which]
        least, scale = (v.view(-1, *[1] * len(shape)) for v in (mask.least, mask.scale))
        masks = (found >= least) * scale  # (M, N, …)
        return (own * masks.transpose(0, 1).movedim(-1, 2)).flatten(1, 2)


def _place(training: Training) -> tuple[int, int]:
    return training.spec.seed, len(training.history)


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
