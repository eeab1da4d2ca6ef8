"""One training job: under leases, with checkpoints, to entries of the store."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import scipy
import torch
from torch import Tensor

from aecore.data import Dataset, load
from aecore.engine import cluster
from aecore.engine.cluster import Cluster, ClusterError
from aecore.engine.pool import Counter, reproducible, resolve_device, run_jobs
from aecore.engine.stack import Stack
from aecore.engine.stack import shape as stack_shape
from aecore.spec import Spec
from aecore.store.entries import Arrays, Entry, Store
from aecore.store.forms import resolved
from aecore.store.leases import Lease
from aecore.store.paths import commit
from aecore.store.sources import DataError
from aecore.training import Training, recipe

STACKED = 256  # the most models trained together
CHECKPOINT_SECONDS = 1.0  # the most work, beside one epoch, that a kill can cost,
CHECKPOINT_SHARE = 0.05  # unless writing it would then take more of the time than this


def trained(
    wanted: Mapping[str, Spec],
    encoders: Mapping[Spec, Any],
    executor: Executor | None,
    device: str,
    store: Store,
) -> Iterator[tuple[str, Entry]]:
    """Key and entry of every spec, as soon as it is trained and stored.

    `encoders` are the runs of the specs' frozen encoders. Raises `ClusterError` if the cluster that
    the environment names, where there is no `executor`, can't be used or has gone, and `DataError`
    for data that were replaced in the meantime.
    """
    wanted = {key: _located(spec) for key, spec in wanted.items()}
    keys = {spec: key for key, spec in wanted.items()}
    encoders = {_located(spec): run for spec, run in encoders.items()}
    specs, done = list(wanted.values()), 0
    if executor is None and (scheduler := cluster.address()):
        executor = Cluster(scheduler, {spec.dataset for spec in specs})
    remote = isinstance(executor, Cluster)
    stacks = bool(executor.gpus) if remote else resolve_device(device).type != "cpu"
    stacked = groups(specs, stacks)
    place = None if remote else store  # a worker elsewhere has its own
    todo = [
        (group, place, device, encoders.get(group[0].frozen), [keys[spec] for spec in group])
        for group in stacked
    ]
    sizes = [sum(map(images_of, group)) for group in stacked]
    label = f"training {len(specs)} {'model' if len(specs) == 1 else 'models'}"
    workers = 1 if stacks else None  # a stack fills a GPU
    try:
        for number, found in run_jobs(train_job, todo, sizes, label, executor, workers=workers):
            for key, entry in zip(todo[number][-1], found, strict=True):
                store.write("run", key, entry.document, entry.arrays)
                done += 1
                yield key, entry
    except CancelledError:
        raise ClusterError(
            "the scheduler has gone; what was trained is stored, and the same call goes on"
        ) from None
    except KeyboardInterrupt:
        left = "the others go on from their last checkpoint when the same call is made again"
        print(f"stopped: {done} of {len(specs)} models are stored, {left}", file=sys.stderr)
        raise


def run_key(spec: Spec) -> str:
    """The key of a spec's run in the store."""
    return spec.key(load(spec.dataset).digest, recipe(spec))


def check_data(spec: Spec, key: str, data: Dataset) -> None:
    """Raise `DataError` if a spec has another key with these data: they were replaced."""
    if spec.key(data.digest, recipe(spec)) != key:
        again = "the same call of fit again trains on the new images"
        raise DataError(f"{spec.dataset} was replaced since models of it were asked for: {again}")


def _located(spec: Spec) -> Spec:
    """The spec, with a path of data that means the same in another folder or process."""
    encoder = {} if spec.frozen is None else {"frozen": _located(spec.frozen)}
    return spec.replace(dataset=resolved(spec.dataset), **encoder)


def stored(key: str, store: Store, weights: bool = True) -> Entry | None:
    """A run's entry, if there is one; some are published without the `weights`."""
    entry = store.read("run", key)
    return entry if entry is not None and (entry.arrays or not weights) else None


def train_job(
    specs: Sequence[Spec],
    store: Store | None,
    device: str,
    encoder: Any,
    keys: Sequence[str],
    counter_path: Path | None = None,
) -> list[Entry]:
    """The stored entries of `specs`: trained, together if they are several, or read.

    `store` is by default that of whoever does the job; `encoder` is the run that `spec.frozen`
    names: the training images are then its codes. `keys` are those of the specs for the data that
    were asked for: raises `DataError` where these have been replaced. Safe to repeat and to kill:
    it works under locks of its keys, from their last checkpoints on.
    """
    store, device = store or Store(), str(resolve_device(device))
    keyed, counter = dict(zip(keys, specs, strict=True)), Counter(counter_path)
    with store.lease(*keyed) as lease:
        entries = {key: stored(key, store) for key in keyed}
        with reproducible():
            data = load(specs[0].dataset)
            for key, spec in keyed.items():
                check_data(spec, key, data)
            if encoder is not None:
                images = data.train_images[: specs[0].train_images]
                data = replace(data, train_images=encoder.encode(images))
            missing = {key: spec for key, spec in keyed.items() if entries[key] is None}
            counter.add(sum(images_of(spec) for key, spec in keyed.items() if key not in missing))
            making = partial(_Making, data=data, device=device, store=store, lease=lease)
            entries |= _made(missing, making, counter)
        counter.tell()
        return [entries[key] for key in keys]


def _made(
    missing: Mapping[str, Spec], making: Callable[..., _Making], counter: Counter
) -> dict[str, Entry]:
    """The entries of specs trained together; as two halves where a GPU has no memory for all."""
    counted, entries, makings = counter.images, {}, {}
    try:
        for key, spec in missing.items():  # a stack's networks have one copy of the images
            like = next((one.training for one in makings.values()), None)
            makings[key] = making(key, spec, like=like)
        left = sum(images_left(one.training) for one in makings.values())
        counter.add(sum(map(images_of, missing.values())) - left)
        while makings:
            unfinished = [one for one in makings.values() if not one.training.done]
            if unfinished:
                _train_until_one_is_done(unfinished, counter)
            for key in [key for key, one in makings.items() if one.training.done]:
                entries[key] = makings.pop(key).entry()
        return entries
    except torch.OutOfMemoryError:
        if len(missing) < 2:
            raise
    # Both go on from the last checkpoints, and count again what has been seen since.
    makings.clear()
    torch.cuda.empty_cache()
    counter.add(counted - counter.images)
    rest = [item for item in missing.items() if item[0] not in entries]
    counter.add(sum(images_of(missing[key]) for key in entries))
    for half in (rest[: len(rest) // 2], rest[len(rest) // 2 :]):
        entries |= _made(dict(half), making, counter)
    return entries


def _train_until_one_is_done(makings: Sequence[_Making], counter: Counter) -> None:
    trainings = [making.training for making in makings]
    together = Stack(trainings) if len(trainings) > 1 else trainings[0]
    saved, pause = time.perf_counter(), CHECKPOINT_SECONDS
    while not any(training.done for training in trainings):
        started = time.perf_counter()
        together.epoch(counter.add)
        now = time.perf_counter()
        for making in makings:
            making.seconds += (now - started) / len(makings)
        if now - saved > pause:
            for making in makings:
                making.save()
            saved = time.perf_counter()
            pause = max(CHECKPOINT_SECONDS, (saved - now) / CHECKPOINT_SHARE)


class _Making:
    """A run in the making: its training, where its checkpoints are, and the seconds it took."""

    def __init__(
        self,
        key: str,
        spec: Spec,
        *,
        data: Dataset,
        device: str,
        store: Store,
        lease: Lease,
        like: Training | None,
    ) -> None:
        self.key, self.store, self.lease, self.data, self.seconds = key, store, lease, data, 0.0
        self.training = Training(spec, data, device, like)
        if (saved := store.read_checkpoint(key)) is not None:
            restore(self.training, saved.document, saved.arrays)
            self.seconds = saved.document["seconds"]

    def save(self) -> None:
        """Write a checkpoint, unless the run is done or another process has taken it over."""
        if not self.training.done and self.lease.held(self.key):
            document, arrays = checkpoint(self.training)
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
        self.store.drop_checkpoint(self.key)  # nobody needs it, whoever wrote it
        return Entry(document, arrays)


def groups(specs: Sequence[Spec], stack: bool) -> list[list[Spec]]:
    """The specs that one job trains together: one, or with stacks, for GPUs, all of one shape."""
    if not stack:
        return [[spec] for spec in specs]
    stacks: dict[object, list[Spec]] = {}
    for spec in specs:
        shape = stack_shape(spec)
        stacks.setdefault((shape and (shape, trained_on(spec))) or spec, []).append(spec)
    parts = [(group, n) for group in stacks.values() for n in range(0, len(group), STACKED)]
    return [group[n : n + STACKED] for group, n in parts]


def images_of(spec: Spec) -> int:
    """Training images that `spec` will see over all its epochs, at most."""
    return spec.epochs * trained_on(spec)


def trained_on(spec: Spec) -> int:
    """How many images are not held out, as `data.split` has it."""
    available = len(load(spec.dataset).train_images)
    used = min(spec.train_images or available, available)
    if spec.folds is None:
        return used - round(used * spec.validation)
    return used - used * (spec.fold + 1) // spec.folds + used * spec.fold // spec.folds


def images_left(training: Training) -> int:
    """Training images still to be seen if no patience runs out."""
    epochs = 0 if training.done else training.spec.epochs - len(training.history)
    return epochs * len(training.rows)


def _provenance(training: Training, seconds: float) -> dict[str, Any]:
    seen = len(training.history) * len(training.rows)
    name = platform.processor() or platform.machine()
    if training.device.type == "cuda":
        name = torch.cuda.get_device_name(training.device)
    return {
        "device": f"{training.device.type} ({name})",
        "torch": torch.__version__,
        "scipy": scipy.__version__,
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32,
        "commit": commit(),
        "seconds": round(seconds, 3),
        "images_per_second": round(seen / seconds) if seconds else None,
    }


def checkpoint(training: Training) -> tuple[dict[str, Any], Arrays]:
    """The state of a training between two epochs: all that it needs to go on to the same bits."""
    arrays = {f"model.{name}": value for name, value in training.model.state_dict().items()}
    arrays |= {f"best.{name}": value for name, value in (training.best or {}).items()}
    for number, state in training.optimizer.state_dict()["state"].items():
        known = {name: torch.as_tensor(v) for name, v in state.items() if v is not None}
        arrays |= {f"optimizer.{number}.{name}": value for name, value in known.items()}
    copies = {name: value.cpu().contiguous().numpy() for name, value in arrays.items()}
    return {"history": training.history}, copies


def restore(training: Training, document: dict[str, Any], arrays: Arrays) -> None:
    """Take a training back to a state that `checkpoint` returned."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
    for name, value in arrays.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = torch.from_numpy(value.copy())
    training.history = [dict(row) for row in document["history"]]
    training.model.load_state_dict(parts["model"])
    best = {name: value.to(training.device) for name, value in parts["best"].items()}
    training.best = best or None
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimizer"].items():
        number, _, field = name.partition(".")
        if value.shape == training.parameters[int(number)].shape:
            # In the parameter's own memory layout, else the next step may round differently.
            value = torch.empty_like(training.parameters[int(number)]).copy_(value)
        state.setdefault(int(number), {})[field] = value
    groups = training.optimizer.state_dict()["param_groups"]
    training.optimizer.load_state_dict({"state": state, "param_groups": groups})
