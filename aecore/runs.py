"""`fit`: from specs to runs, trained now or long ago."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from concurrent.futures import CancelledError, Executor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from aecore import models
from aecore.data import as_floats, load
from aecore.engine import cluster
from aecore.engine.cluster import Cluster, ClusterError
from aecore.engine.jobs import _groups, _images, run_key, train_job
from aecore.engine.pool import BATCH, in_threads, run_jobs
from aecore.spec import Spec
from aecore.store.entries import Arrays, Entry, Store
from aecore.training import resolve_device


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
