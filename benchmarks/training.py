"""Training speed beside its peers, all measured in this run: `python -m benchmarks.training`.

Prints a table of images per second and writes it to `_build/bench.json`. A figure is the median of
several rounds, in which ours and the peers take turns; the first round warms up and is not counted.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import loky
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from aecore.data import load
from aecore.evaluation import mean_squared_error
from aecore.runs import fit
from aecore.spec import Spec
from aecore.store import Store
from aecore.training import Training, reproducible

ROUNDS = 5
IMAGES = 10_240
SPEC = Spec(latent_dim=4, dropout=0.1, batch_size=256, train_images=IMAGES, epochs=ROUNDS + 1)


def plain_autoencoder(d: int, dropout: float) -> nn.Module:
    """The same network as a student writes it."""

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


class PlainLoop:
    """The textbook loop over a `DataLoader`, as the reports trained, with torch's own threads."""

    def __init__(self, spec: Spec) -> None:
        images = load().train_images[:IMAGES].float() / 255
        self.loader = DataLoader(TensorDataset(images), spec.batch_size, shuffle=True)
        self.model = plain_autoencoder(spec.latent_dim, spec.dropout)
        self.optimizer = torch.optim.Adam(self.model.parameters(), spec.learning_rate)

    def epoch(self) -> None:
        """Train one epoch."""
        for (clean,) in self.loader:
            loss = nn.functional.mse_loss(self.model(clean), clean)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def rates(*tasks: Callable[[], object], images: int) -> list[float]:
    """Images per second of each task: medians over rounds in which they take turns."""
    seconds: list[list[float]] = [[] for _ in tasks]
    for round_ in range(ROUNDS + 1):
        for task, taken in zip(tasks, seconds, strict=True):
            started = time.perf_counter()
            task()
            if round_:
                taken.append(time.perf_counter() - started)
    return [images / statistics.median(taken) for taken in seconds]


def one_thread(task: Callable[[], object]) -> Callable[[], None]:
    """`task` as the workers of `fit` run it."""

    def run() -> None:
        with reproducible():
            task()

    return run


def fit_rate(models: int) -> float:
    """Images per second of `fit` over all its `models`, with warm workers and an empty store."""
    specs = [SPEC.replace(seed=seed, train_images=None, epochs=1) for seed in range(models)]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        fit(specs, store=Store(Path(folder), layers=()), device="cpu")
        return models * len(load().train_images) / (time.perf_counter() - started)


def main() -> None:
    """Measure, print, write."""
    rows = []

    def row(name: str, ours: float, peer: float, against: str) -> None:
        rows.append({"name": name, "ours": round(ours), "peer": round(peer), "unit": "images/s",
                     "ratio": round(ours / peer, 2), "device": "cpu", "note": against})  # fmt: skip
        print(f"{name:<44}{ours:>10,.0f}{peer:>10,.0f}{ours / peer:>7.2f}  {against}", flush=True)

    print(f"{'images per second':<44}{'ours':>10}{'peer':>10}{'ratio':>7}  against")
    ours, plain = Training(SPEC, load()), PlainLoop(SPEC)
    rate, peer = rates(one_thread(ours.epoch), plain.epoch, images=IMAGES)
    row("training, one model, one thread", rate, peer,
        f"DataLoader loop, {torch.get_num_threads()} threads")  # fmt: skip
    rate, peer_one = rates(one_thread(ours.epoch), one_thread(plain.epoch), images=IMAGES)
    row("training, one model, one thread", rate, peer_one, "DataLoader loop, one thread")
    cores = loky.cpu_count()
    fit_rate(cores)  # starts the workers
    pairs = [(fit_rate(2 * cores), fit_rate(1)) for _ in range(3)]
    many, one = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    row(f"fit of {2 * cores} models on {cores} cores", many, one, "fit of one model")
    row(f"fit of {2 * cores} models on {cores} cores", many, peer, "DataLoader loop, all threads")
    run = fit([SPEC.replace(epochs=1)], device="cpu")[0]
    images, network = load().test_images, plain_autoencoder(4, 0.1).eval()
    floats = images.float() / 255

    def plain_evaluation() -> None:
        with torch.inference_mode():
            for batch in floats.split(256):
                nn.functional.mse_loss(network(batch), batch).item()

    evaluate = one_thread(lambda: mean_squared_error(run, images))
    rate, peer = rates(evaluate, one_thread(plain_evaluation), images=len(images))
    row("evaluation, one thread", rate, peer, "plain loop, one thread")
    place = Path("_build/bench.json")
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(rows, indent=1))
    print(f"written to {place}")


if __name__ == "__main__":
    main()
