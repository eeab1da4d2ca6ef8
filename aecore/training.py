"""Specs in, trained weights and histories out; no files."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from aecore import models, randomness
from aecore.data import Dataset, as_floats, split
from aecore.fast.convolution import accelerate
from aecore.fast.dropout import Dropout
from aecore.spec import Spec

RECIPE = 2  # goes up whenever a change alters what a spec trains to
EVALUATION_BATCH = 1000
OPTIMIZERS = {
    "adam": (torch.optim.Adam, {"fused": True}),
    "adamax": (torch.optim.Adamax, {"foreach": True}),
    "adamw": (torch.optim.AdamW, {"fused": True}),
    "rmsprop": (
        torch.optim.RMSprop,
        {"alpha": 0.9, "foreach": True},
    ),  # as in TensorFlow and Hinton's lecture
    "sgd": (torch.optim.SGD, {"foreach": True}),
}

Arrays = dict[str, np.ndarray]


def recipe(spec: Spec) -> int:
    """The version of what `spec` trains to: `RECIPE`, or the last that changed it."""
    return RECIPE if spec.dropout else 1  # version 2 brought other random numbers for dropout


class Training:
    """One run in the making: `epoch()` adds an epoch until it is `done`.

    Its images are codes (N, d) where its encoder is frozen, and those of a training `like` it, if
    there is one: then a device holds them once.
    """

    copy: Tensor | None = None  # of the images, damaged, where that is done once

    def __init__(
        self,
        spec: Spec,
        data: Dataset,
        device: torch.device | str = "cpu",
        like: "Training | None" = None,
    ) -> None:
        self.spec, self.device = spec, torch.device(device)
        if like is None:
            self.images = data.train_images[: spec.train_images].to(self.device)  # (N, C, H, W)
            self.labels = data.train_labels[: spec.train_images].to(self.device)  # int64 (N,)
        else:
            self.share(like)
        rows = split(len(self.images), spec.validation, spec.split_seed, spec.folds, spec.fold)
        self.rows, self.held_out = (part.to(self.device) for part in rows)
        shape = tuple(data.train_images.shape[1:])
        self.model = accelerate(models.build(spec, shape, data.classes, self.device))
        self.parameters = list(self.model.parameters())
        self.optimizer = optimizer(spec, self.model)
        self.history: list[dict[str, Any]] = []
        self.diverged = False  # whether a loss of the last epoch, or a weight after it, is infinite
        self.best: dict[str, Tensor] | None = None
        if spec.corrupted_once:
            self.copy = self.corrupt(as_floats(self.images), self.draw("copy"))

    @property
    def at_once(self) -> int:
        """How many of the held-out images are looked at together."""
        return EVALUATION_BATCH

    def share(self, other: "Training") -> None:
        """Have the images of another training instead of copies of them."""
        self.images, self.labels = other.images, other.labels

    def epoch(self, report: Callable[[int], None] = lambda images: None) -> None:
        """Train one epoch, and `report` the number of images after every step."""
        batches, total = self.order().split(self.spec.batch_size, dim=-1), 0.0
        self.model.train()
        for step, rows in enumerate(batches):
            self.set_learning_rate(step, len(batches))
            total += self.step(step, rows).double() * rows.shape[-1]
            report(rows.numel())
        self.record(total / self.rows.shape[-1], self.validation_loss())

    def step(self, step: int, rows: Tensor) -> Tensor:
        """Change the weights by one step for the images of `rows` (n,), and return their loss."""
        clean = self.sample(self.images, rows)
        given = self.given(clean, rows, step)
        output = self.model(given, self.dropout(step), self.draw("dropout", step))
        loss = self.model.loss(output, self.target(clean, self.labels, rows))
        self.optimizer.zero_grad()
        loss.sum().backward()
        self.optimizer.step()
        return loss.detach()

    def validation_loss(self) -> Tensor | None:
        """Mean loss over the held-out images, corrupted the same way in every epoch."""
        if not self.held_out.shape[-1]:
            return None
        total = 0.0
        self.model.eval()
        with torch.inference_mode():
            for step, rows in enumerate(self.held_out.split(self.at_once, dim=-1)):
                source = self.draw("validation", step, epoch=0)
                clean = self.sample(self.images, rows)
                output = self.model(self.corrupt(clean, source), generator=source)
                target = self.target(clean, self.labels, rows)
                total += self.model.loss(output, target).double() * rows.shape[-1]
        return total / self.held_out.shape[-1]

    def order(self) -> Tensor:
        """The rows (n,) of the images that are not held out, as an epoch takes them."""
        return self.rows[self.shuffled()]

    def shuffled(self) -> Tensor:
        """The numbers (n,) of this epoch's permutation."""
        return randomness.permutation(len(self.rows), generator=self.draw("order"))

    def sample(self, images: Tensor, rows: Tensor) -> Tensor:
        """The images of `rows` (n,) as floats (n, C, H, W) in [0, 1]."""
        return as_floats(images.index_select(0, rows))

    def given(self, clean: Tensor, rows: Tensor, step: int) -> Tensor:
        """What the network is given in a step for the `clean` images of `rows`."""
        if self.copy is not None:
            return self.copy.index_select(0, rows)
        return self.corrupt(clean, self.draw("corruption", step))

    def corrupt(self, clean: Tensor, source: Generator) -> Tensor:
        """The images, damaged as the spec says."""
        return self.spec.corruption(clean, generator=source) if self.spec.corruption else clean

    def dropout(self, step: int) -> models.Drop:
        """What is applied to every hidden layer."""
        rate = self.spec.dropout
        return Dropout(rate, self.dropout_key(step)) if rate else models.keep

    def dropout_key(self, step: int) -> int:
        """The key of what is dropped in a step of this epoch."""
        return randomness.key(self.spec.seed, "dropout", len(self.history), step)

    def target(self, clean: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """What the network is to return for a batch: its clean images, or their labels."""
        return labels[rows] if self.spec.loss == "cross_entropy" else clean

    def set_learning_rate(self, step: int, steps: int) -> None:
        """Give the optimizer the rate of a step of this epoch, which has so many."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.spec, len(self.history) * steps + step, steps)

    def draw(self, purpose: str, step: int = 0, epoch: int | None = None) -> Generator:
        """A fresh generator for one purpose at a step of an epoch from 0, by default the next."""
        epoch = len(self.history) if epoch is None else epoch
        return randomness.generator(self.spec.seed, purpose, epoch, step, self.device)

    def start(self, purpose: str, step: int) -> int:
        """What the generator of a step of this epoch begins with."""
        return randomness.start(self.spec.seed, purpose, len(self.history), step)

    def record(
        self,
        train_loss: Tensor,
        validation_loss: Tensor | None = None,
        weights: Iterable[Tensor] | None = None,
    ) -> None:
        """Append an epoch's losses to `history`; with patience, keep its weights if the best.

        `weights` say whether the network's own are finite, by default these themselves.
        """
        losses = _losses("train", train_loss, self.model.second)
        losses |= _losses("validation", validation_loss, self.model.second)
        self.history.append({"epoch": len(self.history) + 1, **losses})
        weights = self.parameters if weights is None else weights
        self.diverged = diverged(self.spec, self.history[-1], weights)
        if self.spec.patience is not None and self.best_epoch == len(self.history):
            self.best = {name: value.clone() for name, value in self.model.state_dict().items()}

    @property
    def done(self) -> bool:
        """Whether all epochs are trained, patience has run out, or it diverged."""
        if len(self.history) >= self.spec.epochs or self.diverged:
            return True
        patience = self.spec.patience
        return patience is not None and len(self.history) - self.best_epoch >= patience

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, whose weights count: with patience the best, else the last."""
        losses = [row["validation_loss"] for row in self.history]
        finite = [math.inf if loss is None else loss for loss in losses]
        if self.spec.patience is None or min(finite, default=math.inf) == math.inf:
            return len(self.history)
        return 1 + finite.index(min(finite))

    def result(self) -> Arrays:
        """The weights of the best epoch, by their names in the model."""
        weights = self.model.state_dict() if self.best is None else self.best
        return {name: value.cpu().contiguous().numpy() for name, value in weights.items()}


def diverged(spec: Spec, last: dict[str, Any], weights: Iterable[Tensor | np.ndarray]) -> bool:
    """Whether a loss of a run's last epoch, or a weight after it, is not finite."""
    held_out = spec.validation > 0 or spec.folds is not None
    lost = last["train_loss"] is None or (held_out and last["validation_loss"] is None)
    finite = [torch.as_tensor(array).isfinite().all() for array in weights]
    return lost or bool(finite and not torch.stack(finite).all())  # a GPU is waited for once


def optimizer(spec: Spec, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that `spec` names, with its L2 penalty."""
    kind, options = OPTIMIZERS[spec.optimizer]
    settings = {"lr": spec.learning_rate, "weight_decay": spec.weight_decay, **options}
    if spec.optimizer == "sgd":
        settings["momentum"] = spec.momentum
    return kind(model.parameters(), **settings)


def learning_rate(spec: Spec, step: int, steps_per_epoch: int) -> float:
    """The learning rate of `step`, counted from 0 over the whole run.

    One-cycle (Smith & Topin 2018, with PyTorch's cosine form and constants): from a 25th of the
    largest rate up to it in the first 30 % of the steps, then down to 1/250,000 of it.
    """
    largest = spec.learning_rate
    if spec.schedule == "constant":
        return largest
    last = spec.epochs * steps_per_epoch - 1
    peak = 0.3 * (last + 1) - 1
    start, end, way = largest / 25, largest, step / peak if peak > 0 else 1.0
    if step > peak and last > 0:
        start, end, way = largest, largest / 25 / 1e4, (step - peak) / (last - peak)
    return end + (start - end) / 2 * (1 + math.cos(math.pi * way))


def _losses(part: str, loss: Tensor | None, second: str) -> dict[str, float | None]:
    """A loss as entries of the history: none, () or two terms (2,), and what the `second` is."""
    terms = {"loss": math.nan if loss is None else float(loss.sum())}
    if loss is not None and loss.dim():
        terms[second] = float(loss[1])
    return {f"{part}_{name}": t if math.isfinite(t) else None for name, t in terms.items()}
