"""How the same work is done elsewhere: the textbook loops, and Lightning with Optuna."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from aecore.data import load, split
from aecore.engine.pool import resolve_device
from aecore.spec import Spec
from aecore.store.paths import home

Outcome = tuple[float, float]  # seconds of training, validation loss at the end


def plain_autoencoder(d: int, dropout: float) -> nn.Module:
    """The convolutional autoencoder as a student writes it."""

    def hidden(layer: nn.Module) -> list[nn.Module]:
        return [layer, nn.ReLU(), nn.Dropout(dropout)]

    return nn.Sequential(
        *hidden(nn.Conv2d(1, 8, 3, 2, 1)), *hidden(nn.Conv2d(8, 16, 3, 2, 1)),
        *hidden(nn.Conv2d(16, 32, 3, 2)), nn.Flatten(),
        *hidden(nn.Linear(288, 64)), nn.Linear(64, d),
        *hidden(nn.Linear(d, 64)), *hidden(nn.Linear(64, 288)), nn.Unflatten(1, (32, 3, 3)),
        *hidden(nn.ConvTranspose2d(32, 16, 3, 2)),
        *hidden(nn.ConvTranspose2d(16, 8, 3, 2, 1, 1)),
        nn.ConvTranspose2d(8, 1, 3, 2, 1, 1), nn.Sigmoid(),
    )  # fmt: skip


def plain_dense(spec: Spec) -> nn.Module:
    """A dense network of report C as a student writes it, for pixels in [0, 1]."""
    widths = [784, *spec.widths, spec.latent_dim]
    act = {"relu": nn.ReLU, "linear": nn.Identity, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    pairs = [*pairwise(widths), *pairwise(widths[::-1])]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairs:
        layers += [nn.Linear(inputs, outputs), act[spec.activation]()]
    layers[-1] = act[spec.output_activation]()
    return nn.Sequential(*layers, nn.Unflatten(1, (1, 28, 28)))


def network(spec: Spec) -> nn.Module:
    """The plain network of a spec."""
    if spec.architecture == "dense":
        return plain_dense(spec)
    return plain_autoencoder(spec.latent_dim, spec.dropout)


def torchvision_images(spec: Spec) -> tuple[Subset, Subset]:
    """The spec's training and held-out images as torchvision gives them, one at a time."""
    load()  # fetches them if need be
    whole = MNIST(home() / "data", train=True, transform=ToTensor())
    parts = split(len(whole), spec.validation, spec.split_seed)
    return tuple(Subset(whole, rows.tolist()) for rows in parts)


def data_loader_loop(spec: Spec) -> Outcome:
    """The textbook loop over a `DataLoader`, with torch's own threads, as reports A and B train."""
    trained_on, held_out = torchvision_images(spec)
    batches = DataLoader(trained_on, spec.batch_size, shuffle=True)
    device = resolve_device()
    model = network(spec).to(device)
    optimizer = torch.optim.Adam(model.parameters(), spec.learning_rate)
    started = time.perf_counter()
    for _ in range(spec.epochs):
        model.train()
        for batch, _ in batches:
            clean = batch.to(device)
            loss = F.mse_loss(model(clean), clean)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        validation = _validation(model, DataLoader(held_out, 1000))
    return time.perf_counter() - started, validation


def tensor_loop(spec: Spec) -> Outcome:
    """The same loop over a tensor in memory, which is as fast as plain PyTorch gets."""
    device = resolve_device()
    images = load().train_images[: spec.train_images].to(device).float() / 255
    kept, held = split(len(images), spec.validation, spec.split_seed)
    train, test = images[kept], images[held]
    model = network(spec).to(device)
    optimizer = torch.optim.Adam(model.parameters(), spec.learning_rate)
    started, validation = time.perf_counter(), float("nan")
    for _ in range(spec.epochs):
        model.train()
        for rows in torch.randperm(len(train), device=device).split(spec.batch_size):
            loss = F.mse_loss(model(train[rows]), train[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if len(test):
            validation = _validation(model, [(part, None) for part in test.split(1000)])
    return time.perf_counter() - started, validation


def lightning_and_optuna(specs: Sequence[Spec]) -> list[Outcome]:
    """A study of Lightning trainers over torchvision's images, as report D does it."""
    import lightning
    import optuna

    class Autoencoder(lightning.LightningModule):
        def __init__(self, spec: Spec) -> None:
            super().__init__()
            self.spec, self.network = spec, network(spec)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), self.spec.learning_rate)

        def training_step(self, batch: Sequence[Tensor], number: int) -> Tensor:
            return F.mse_loss(self.network(batch[0]), batch[0])

        def validation_step(self, batch: Sequence[Tensor], number: int) -> None:
            self.log("loss", F.mse_loss(self.network(batch[0]), batch[0]))

    outcomes = []

    def objective(trial: optuna.Trial) -> float:
        spec = specs[trial.number]
        trained_on, held_out = torchvision_images(spec)
        trainer = lightning.Trainer(
            max_epochs=spec.epochs, accelerator="auto", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        started = time.perf_counter()
        trainer.fit(
            Autoencoder(spec),
            DataLoader(trained_on, spec.batch_size, shuffle=True),
            DataLoader(held_out, 1000),
        )
        loss = float(trainer.callback_metrics["loss"])
        outcomes.append((time.perf_counter() - started, loss))
        return loss

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it suggests workers, which two busy cores do not speed up
        optuna.create_study().optimize(objective, len(specs))
    return outcomes


def flops_per_image(spec: Spec) -> float:
    """Floating-point operations of one training step for each image, as PyTorch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    images = torch.rand(spec.batch_size, 1, 28, 28)
    model = network(spec)
    with FlopCounterMode(display=False) as counter:
        F.mse_loss(model(images), images).backward()
    return counter.get_total_flops() / spec.batch_size


def bytes_per_image(spec: Spec) -> float:
    """Memory traffic of one training step for each image, at least: every layer's output.

    Each is written and read on the way forth, and so is its gradient on the way back.
    """
    model, found = network(spec), []
    for layer in model:
        layer.register_forward_hook(lambda _, __, output: found.append(output.nelement()))
    model(torch.rand(1, 1, 28, 28))
    return 4 * 4 * sum(found)


def copied_bytes(device: torch.device) -> float:
    """Bytes a second that a large copy reads and writes there: the limit of memory."""
    a = torch.rand(2**26 if device.type == "cpu" else 2**30, device=device)
    b = torch.empty_like(a)
    return 8 * len(a) / float(np.median(repeated(lambda: b.copy_(a)[-1].item(), 5)))


def matrix_product_flops(device: torch.device) -> float:
    """Floating-point operations a second of a large matrix product there: the limit."""
    n = 3000 if device.type == "cpu" else 16_000
    a = torch.rand(n, n, device=device)
    return 2 * n**3 / float(np.median(repeated(lambda: (a @ a).sum().item(), 5)))


def repeated(task: Callable[[], object], times: int) -> list[float]:
    """Seconds of each of so many calls, after one that warms up."""
    seconds = []
    for _ in range(times + 1):
        started = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def _validation(model: nn.Module, batches: Sequence | DataLoader) -> float:
    model.eval()
    with torch.no_grad():
        device = next(model.parameters()).device
        images = (batch.to(device) for batch, _ in batches)
        losses = [(float(F.mse_loss(model(x), x)), len(x)) for x in images]
    return sum(loss * n for loss, n in losses) / sum(n for _, n in losses)
