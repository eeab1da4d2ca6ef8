"""`fit`: from specs to runs, trained now or long ago."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aecore import models
from aecore.data import load
from aecore.paths import commit
from aecore.pool import Counter, run_jobs
from aecore.spec import Spec
from aecore.store import Arrays, Entry, Store
from aecore.training import (
    EVALUATION_BATCH,
    Training,
    as_floats,
    recipe,
    reproducible,
    resolve_device,
)

CHECKPOINT_SECONDS = 1.0  # the most work, beside one epoch, that a kill can cost


@dataclass(frozen=True)
class Run:
    """A trained spec: its weights, its losses by epoch, and where and with what it was trained."""

    key: str
    spec: Spec
    image_shape: tuple[int, ...]  # (C, H, W); of a head on a frozen encoder: its codes' (d,)
    classes: int
    history: list[dict[str, Any]]
    best_epoch: int
    diverged: bool
    provenance: dict[str, Any]
    weights: Arrays = field(repr=False)

    @cached_property
    def model(self) -> models.Network:
        """The trained network, on the CPU, in evaluation."""
        model = models.build(self.spec, self.image_shape, self.classes)
        model.load_state_dict(
            {name: torch.from_numpy(a.copy()) for name, a in self.weights.items()}
        )
        return model.requires_grad_(False).eval()

    def encode(self, images: Tensor) -> Tensor:
        """Codes (N, d), float, of images (N, C, H, W): bytes, or floats in [0, 1]."""
        return torch.cat([self.model.encode(as_floats(x)) for x in images.split(EVALUATION_BATCH)])

    def decode(self, codes: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] of codes (N, d)."""
        return torch.cat([self.model.decode(z) for z in codes.split(EVALUATION_BATCH)])

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1], encoded and decoded again."""
        return self.decode(self.encode(images))

    @property
    def validation_loss(self) -> float | None:
        """The validation loss of the epoch whose weights the run has; None without a split."""
        return self.history[self.best_epoch - 1]["validation_loss"]


def fit(
    specs: Iterable[Spec],
    executor: Executor | None = None,
    device: str = "auto",
    store: Store | None = None,
) -> list[Run]:
    """The runs of `specs`, in their order: read from the store, or trained and stored.

    Training goes through `executor`, by default one process a core with one thread each; progress
    goes to stderr. After Ctrl-C or a kill, the same call continues from the last checkpoints.
    Raises `InvalidValue` for what is no spec or device, `DataError` or `StoreError` before
    anything is trained.
    """
    specs = list(specs)
    store = store or Store()
    device = str(resolve_device(device))
    keys = [run_key(spec) for spec in specs]
    entries = {key: store.read("run", key) for key in dict.fromkeys(keys)}
    wanted = {key: spec for key, spec in zip(keys, specs, strict=True) if entries[key] is None}
    if wanted:
        store.check_writable()
        for spec in wanted.values():
            data = load(spec.dataset)
            models.blank(spec.frozen or spec, tuple(data.train_images.shape[1:]), data.classes)
        frozen = list(dict.fromkeys(spec.frozen for spec in wanted.values() if spec.frozen))
        encoders = dict(zip(frozen, fit(frozen, executor, device, store), strict=True))
        jobs = [(spec, store, device, encoders.get(spec.frozen)) for spec in wanted.values()]
        sizes = [_images(spec) for spec in wanted.values()]
        names = list(wanted)
        label = f"training {len(jobs)} {'model' if len(jobs) == 1 else 'models'}"
        try:
            for number, (document, arrays) in run_jobs(train_job, jobs, sizes, label, executor):
                store.write("run", names[number], document, arrays)
                entries[names[number]] = Entry(document, arrays)
        except KeyboardInterrupt:
            done = sum(entries[key] is not None for key in names)
            print(
                f"stopped: {done} of {len(names)} models are stored, the others go on "
                "from their last checkpoint when the same call is made again",
                file=sys.stderr,
            )
            raise
    return [_run(key, spec, entries[key]) for key, spec in zip(keys, specs, strict=True)]


def run_key(spec: Spec) -> str:
    """The key of a spec's run in the store."""
    return spec.key(load(spec.dataset).digest, recipe(spec))


def train_job(
    spec: Spec,
    store: Store,
    device: str,
    encoder: Run | None = None,
    counter_path: Path | None = None,
) -> tuple[dict[str, Any], Arrays]:
    """Train one spec, or read it if another process just has, and return what to store.

    `encoder` is the run that `spec.frozen` names: the training images are then its codes. Safe to
    repeat and to kill: it works under a lock of its key, from its last checkpoint on.
    """
    key, counter = run_key(spec), Counter(counter_path)
    with store.lock(key):
        if (entry := store.read("run", key)) is not None:
            return entry.document, entry.arrays
        with reproducible():
            data = load(spec.dataset)
            if encoder is not None:
                images = data.train_images[: spec.train_images]
                data = replace(data, train_images=encoder.encode(images))
            training = Training(spec, data, device)
            seconds = 0.0
            if (checkpoint := store.read_checkpoint(key)) is not None:
                training.restore(checkpoint.document, checkpoint.arrays)
                seconds = checkpoint.document["seconds"]
                counter.add(_images(spec) - training.images_left)
            started = saved = time.perf_counter()
            while not training.done:
                training.epoch(counter.add)
                now = time.perf_counter()
                if now - saved > CHECKPOINT_SECONDS and not training.done:
                    document, arrays = training.checkpoint()
                    document["seconds"] = seconds + now - started
                    store.write_checkpoint(key, document, arrays)
                    saved = time.perf_counter()
            seconds += time.perf_counter() - started
            provenance = _provenance(training, seconds)
        counter.tell()
        document = {
            "spec": spec.to_dict(),
            "recipe": recipe(spec),
            "data": data.digest,
            "image_shape": list(data.train_images.shape[1:]),
            "classes": data.classes,
            "history": training.history,
            "best_epoch": training.best_epoch,
            "diverged": training.diverged,
            "provenance": provenance,
        }
        arrays = training.result()
        store.write("run", key, document, arrays)
        store.drop_checkpoint(key)
        return document, arrays


def _images(spec: Spec) -> int:
    """Training images that `spec` will see over all its epochs, at most."""
    available = len(load(spec.dataset).train_images)
    used = min(spec.train_images or available, available)
    held_out = used // spec.folds if spec.folds else round(used * spec.validation)
    return spec.epochs * (used - held_out)


def _provenance(training: Training, seconds: float) -> dict[str, Any]:
    seen = len(training.history) * len(training.images)
    name = platform.processor() or platform.machine()
    if training.device.type == "cuda":
        name = torch.cuda.get_device_name(training.device)
    return {
        "device": f"{training.device.type} ({name})",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "seconds": round(seconds, 3),
        "images_per_second": round(seen / seconds) if seconds else None,
    }


def _run(key: str, spec: Spec, entry: Entry) -> Run:
    document = entry.document
    return Run(
        key=key,
        spec=spec,
        image_shape=tuple(document["image_shape"]),
        classes=document.get("classes", 0),
        history=document["history"],
        best_epoch=document["best_epoch"],
        diverged=document["diverged"],
        provenance=document["provenance"],
        weights=entry.arrays,
    )
