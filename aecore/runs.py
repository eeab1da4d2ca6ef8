"""`fit`: from specs to runs, trained now or long ago."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError, Executor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aecore import cluster, models
from aecore.cluster import Cluster, ClusterError
from aecore.data import Dataset, load
from aecore.leases import Lease
from aecore.paths import commit
from aecore.pool import BATCH, Counter, in_threads, run_jobs
from aecore.spec import Spec
from aecore.stack import Stack
from aecore.stack import shape as stack_shape
from aecore.store import Arrays, Entry, Store
from aecore.training import (
    Training,
    as_floats,
    recipe,
    reproducible,
    resolve_device,
)

STACKED = 256  # the most models trained together
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
        model = self.model
        return torch.cat(in_threads(lambda x: model.encode(as_floats(x)), images.split(BATCH)))

    def decode(self, codes: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] of codes (N, d)."""
        return torch.cat(in_threads(self.model.decode, codes.split(BATCH)))

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

    Training goes through `executor`, by default the cluster that `AECORE_SCHEDULER` names, else one
    process a core with one thread each; progress goes to stderr. After Ctrl-C or a kill, the same
    call continues from the last checkpoints. Raises `InvalidValue` for what is no spec or device,
    `DataError`, `StoreError` or `ClusterError` before anything is trained.
    """
    specs = list(specs)
    store = store or Store()
    if executor is None and not cluster.address():
        device = str(resolve_device(device))
    keys = [run_key(spec) for spec in specs]
    entries = {key: store.read("run", key) for key in dict.fromkeys(keys)}
    wanted = {key: spec for key, spec in zip(keys, specs, strict=True) if entries[key] is None}
    if wanted:
        store.check_writable()
        for spec in wanted.values():
            data = load(spec.dataset)
            models.blank(spec.frozen or spec, tuple(data.train_images.shape[1:]), data.classes)
        if executor is None and cluster.address():
            executor = Cluster(cluster.address(), {spec.dataset for spec in wanted.values()})
        remote = isinstance(executor, Cluster)
        frozen = list(dict.fromkeys(spec.frozen for spec in wanted.values() if spec.frozen))
        encoders = dict(zip(frozen, fit(frozen, executor, device, store), strict=True))
        stacks = bool(executor.gpus) if remote else resolve_device(device).type != "cpu"
        groups = _groups(list(wanted.values()), stacks)
        place = None if remote else store  # a worker elsewhere has its own
        jobs = [(group, place, device, encoders.get(group[0].frozen)) for group in groups]
        sizes = [sum(map(_images, group)) for group in groups]
        label = f"training {len(wanted)} {'model' if len(wanted) == 1 else 'models'}"
        try:
            for number, found in run_jobs(train_job, jobs, sizes, label, executor):
                for spec, entry in zip(groups[number], found, strict=True):
                    store.write("run", run_key(spec), entry.document, entry.arrays)
                    entries[run_key(spec)] = entry
        except CancelledError:
            raise ClusterError(
                "the scheduler has gone; what was trained is stored, and the same call goes on"
            ) from None
        except KeyboardInterrupt:
            done = sum(entries[key] is not None for key in wanted)
            print(
                f"stopped: {done} of {len(wanted)} models are stored, the others go on "
                "from their last checkpoint when the same call is made again",
                file=sys.stderr,
            )
            raise
    return [_run(key, spec, entries[key]) for key, spec in zip(keys, specs, strict=True)]


def run_key(spec: Spec) -> str:
    """The key of a spec's run in the store."""
    return spec.key(load(spec.dataset).digest, recipe(spec))


def train_job(
    specs: Sequence[Spec],
    store: Store | None,
    device: str,
    encoder: Run | None = None,
    counter_path: Path | None = None,
) -> list[Entry]:
    """The stored entries of `specs`: trained, together if they are several, or read.

    `store` is by default that of whoever does the job; `encoder` is the run that `spec.frozen`
    names: the training images are then its codes. Safe to repeat and to kill: it works under locks
    of its keys, from their last checkpoints on.
    """
    store, device = store or Store(), str(resolve_device(device))
    keyed, counter = {run_key(spec): spec for spec in specs}, Counter(counter_path)
    with store.lease(*keyed) as lease:
        entries = {key: store.read("run", key) for key in keyed}
        with reproducible():
            data = load(specs[0].dataset)
            if encoder is not None:
                images = data.train_images[: specs[0].train_images]
                data = replace(data, train_images=encoder.encode(images))
            makings = {
                key: _Making(key, spec, data, device, store, lease)
                for key, spec in keyed.items()
                if entries[key] is None
            }
            left = sum(making.training.images_left for making in makings.values())
            counter.add(sum(map(_images, specs)) - left)
            while makings:
                unfinished = [making for making in makings.values() if not making.training.done]
                if unfinished:
                    _train_until_one_is_done(unfinished, counter)
                for key in [key for key, making in makings.items() if making.training.done]:
                    entries[key] = makings.pop(key).entry()
        counter.tell()
        return [entries[run_key(spec)] for spec in specs]


def _train_until_one_is_done(makings: Sequence[_Making], counter: Counter) -> None:
    trainings = [making.training for making in makings]
    together = Stack(trainings) if len(trainings) > 1 else trainings[0]
    saved = time.perf_counter()
    while not any(training.done for training in trainings):
        started = time.perf_counter()
        together.epoch(counter.add)
        now = time.perf_counter()
        for making in makings:
            making.seconds += (now - started) / len(makings)
        if now - saved > CHECKPOINT_SECONDS:
            for making in makings:
                making.save()
            saved = time.perf_counter()


class _Making:
    """A run in the making: its training, where its checkpoints are, and the seconds it took."""

    def __init__(
        self, key: str, spec: Spec, data: Dataset, device: str, store: Store, lease: Lease
    ) -> None:
        self.key, self.store, self.lease, self.data, self.seconds = key, store, lease, data, 0.0
        self.training = Training(spec, data, device)
        if (checkpoint := store.read_checkpoint(key)) is not None:
            self.training.restore(checkpoint.document, checkpoint.arrays)
            self.seconds = checkpoint.document["seconds"]

    def save(self) -> None:
        """Write a checkpoint, unless the run is done or another process has taken it over."""
        if not self.training.done and self.lease.held(self.key):
            document, arrays = self.training.checkpoint()
            document["seconds"] = self.seconds
            self.store.write_checkpoint(self.key, document, arrays)

    def entry(self) -> Entry:
        """Store the finished run, and return it."""
        training = self.training
        document = {
            "spec": training.spec.to_dict(),
            "recipe": recipe(training.spec),
            "data": self.data.digest,
            "image_shape": list(self.data.train_images.shape[1:]),
            "classes": self.data.classes,
            "history": training.history,
            "best_epoch": training.best_epoch,
            "diverged": training.diverged,
            "provenance": _provenance(training, self.seconds),
        }
        arrays = training.result()
        self.store.write("run", self.key, document, arrays)
        self.store.drop_checkpoint(
            self.key
        )  # with the run stored nobody needs it, whoever wrote it
        return Entry(document, arrays)


def _groups(specs: Sequence[Spec], stack: bool) -> list[list[Spec]]:
    """The specs that one job trains together: one, or with stacks, for GPUs, all of one shape."""
    if not stack:
        return [[spec] for spec in specs]
    stacks: dict[object, list[Spec]] = {}
    for spec in specs:
        stacks.setdefault(stack_shape(spec) or spec, []).append(spec)
    return [
        group[first : first + STACKED]
        for group in stacks.values()
        for first in range(0, len(group), STACKED)
    ]


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
