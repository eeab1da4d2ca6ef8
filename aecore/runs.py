"""`fit`: from specs to runs, trained now or long ago."""

import io
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from itertools import accumulate, product
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from aecore import models, training
from aecore.checks import InvalidValue
from aecore.data import as_floats, load
from aecore.engine import cluster, jobs
from aecore.engine.jobs import run_key
from aecore.engine.pool import BATCH, in_threads, resolve_device
from aecore.fast.convolution import accelerate
from aecore.spec import Spec
from aecore.store.entries import Arrays, Entry, Store


@dataclass(frozen=True)
class Run:
    """A trained spec: its weights, its losses by epoch, and where and with what it was trained."""

    key: str
    spec: Spec
    image_shape: tuple[int, ...]  # (C, H, W); of a head on a frozen encoder: its codes' (d,)
    history: list[dict[str, Any]]
    best_epoch: int
    provenance: dict[str, Any]
    classes: int = 0
    weights: Arrays = field(default_factory=dict, repr=False)

    @cached_property
    def model(self) -> models.Network:
        """The trained network, on the CPU, in evaluation; `InvalidValue` without its weights."""
        return accelerate(self.plain())

    def plain(self) -> models.Network:
        """A copy of the network of PyTorch's own layers, as forward differentiation needs it."""
        if not self.weights:
            raise InvalidValue("a run without weights has no model: fit(run.spec) trains it again")
        model = models.build(self.spec, self.image_shape, self.classes)
        copies = {name: torch.from_numpy(a.copy()) for name, a in self.weights.items()}
        model.load_state_dict(copies)
        return model.requires_grad_(False).eval()

    def encode(self, images: Tensor | np.ndarray) -> Tensor:
        """Codes (N, d), float, of images (N, C, H, W): bytes, or floats in [0, 1].

        Raises `InvalidValue` for images of another shape or type than this run takes.
        """
        images, model = _batch("images", images, self.image_shape), self.model
        if not (images.is_floating_point() or images.dtype == torch.uint8):
            raise InvalidValue.of("images.dtype", images.dtype, "uint8, or floats in [0, 1]")
        return torch.cat(in_threads(lambda x: model.encode(as_floats(x)), images.split(BATCH)))

    def decode(self, codes: Tensor | np.ndarray) -> Tensor:
        """Images (N, C, H, W) in [0, 1] of codes (N, d); `InvalidValue` for another shape."""
        codes = _batch("codes", codes, (self.spec.latent_dim,)).float()
        return torch.cat(in_threads(self.model.decode, codes.split(BATCH)))

    def reconstruct(self, images: Tensor | np.ndarray) -> Tensor:
        """Images (N, C, H, W) in [0, 1], encoded and decoded again; raises like `encode`."""
        return self.decode(self.encode(images))

    def export(self, path: str | Path) -> None:
        """Write the network to an ONNX file: `images` in, `codes` and `reconstructions` out.

        Images are floats (N, C, H, W) in [0, 1], codes (N, d), N is free. Needs `onnx`. Raises
        `InvalidValue` without it, for a run without weights, and for a classifier.
        """
        if find_spec("onnx") is None:
            raise InvalidValue("run.export needs onnx: pip install 'aecore[export]' for it")
        if self.spec.architecture == "classifier":
            raise InvalidValue("run.export is for autoencoders: a classifier has no reconstruction")
        names, file = ("images", "codes", "reconstructions"), io.BytesIO()
        with warnings.catch_warnings():
            # The new exporter needs more packages, and seconds, to write the same layers.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                _Both(self.plain()).eval(),
                (torch.zeros(2, *self.image_shape),),
                file,
                dynamo=False,
                input_names=names[:1],
                output_names=names[1:],
                dynamic_axes={name: {0: "N"} for name in names},
            )
        Path(path).write_bytes(file.getvalue())

    @cached_property
    def diverged(self) -> bool:
        """Whether a loss or a weight is not finite: no analysis asks such a run anything."""
        return training.diverged(self.spec, self.history[-1], self.weights.values())

    @property
    def validation_loss(self) -> float | None:
        """The validation loss of the epoch whose weights the run has; None without a split."""
        return self.history[self.best_epoch - 1]["validation_loss"]


class _Both(nn.Module):
    """Codes and reconstructions of images."""

    def __init__(self, model: models.Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        codes = self.model.encode(images)
        return codes, self.model.decode(codes)


def _batch(name: str, given: Tensor | np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """`given` (N, *shape) as a tensor; a NumPy array, which may be read-only, is copied."""
    batch = given if isinstance(given, Tensor) else torch.from_numpy(np.array(given, order="C"))
    if tuple(batch.shape[1:]) != shape or not batch.dim():
        wanted = f"(N, {', '.join(map(str, shape))})"
        raise InvalidValue.of(f"{name}.shape", tuple(batch.shape), f"{wanted} for this run")
    return batch


class Runs(list[Run]):
    """Runs in their order, picked by what they were trained for."""

    def where(self, **fields: Any) -> Self:
        """The runs whose spec has these values; raises `InvalidValue` for an unknown field."""
        if unknown := set(fields) - set(Spec.__dataclass_fields__):
            raise InvalidValue(f"unknown field {min(unknown)!r}: runs are picked by those of Spec")
        wanted = fields.items()
        return Runs(run for run in self if all(getattr(run.spec, k) == v for k, v in wanted))

    def by(self, field: str) -> dict[Any, Self]:
        """The runs by the value of one field of their spec, in order of appearance."""
        values = dict.fromkeys(getattr(run.spec, field) for run in self)
        return {value: self.where(**{field: value}) for value in values}


def sweep(recipe: Spec, **values: Any) -> list[Spec]:
    """`recipe` with every combination of the values of some fields; the last one varies fastest.

    What can't be iterated, and a text, counts as one value. A frozen encoder takes the seed of its
    head.
    """
    single = {name: isinstance(v, str) or not isinstance(v, Iterable) for name, v in values.items()}
    every = product(*([v] if single[name] else v for name, v in values.items()))
    specs = [recipe.replace(**dict(zip(values, each, strict=True))) for each in every]
    if recipe.frozen and "seed" in values:
        specs = [spec.replace(frozen=spec.frozen.replace(seed=spec.seed)) for spec in specs]
    return specs


def ladder(recipe: Spec, steps: Mapping[str, Mapping[str, Any]]) -> dict[str, Spec]:
    """`recipe` with the changes of each named step, on top of those of all steps before it."""
    changed = accumulate(steps.values(), lambda spec, step: spec.replace(**step), initial=recipe)
    return dict(zip(steps, [*changed][1:], strict=True))


def fit(
    specs: Spec | Iterable[Spec],
    executor: Executor | None = None,
    device: str = "auto",
    store: Store | None = None,
    weights: bool = True,
) -> Runs:
    """The runs of `specs`, in their order: read from the store, or trained and stored.

    Training goes through `executor`, by default the cluster that `AECORE_SCHEDULER` names, else one
    process a core with one thread each, or in a pool's worker that process; progress goes to
    stderr. After Ctrl-C or a kill, the same call continues from the last checkpoints. Without
    `weights` a run will do that is published without them, for its losses and what was computed of
    it. Raises `InvalidValue` for what is no spec or device, `DataError`, `StoreError` or
    `ClusterError` before anything is trained.
    """
    specs = [specs] if isinstance(specs, Spec) else list(specs)
    store = store or Store()
    if executor is None and not cluster.address():
        device = str(resolve_device(device))
    keys = [run_key(spec) for spec in specs]
    entries = {key: jobs.stored(key, store, weights) for key in dict.fromkeys(keys)}
    wanted = {key: spec for key, spec in zip(keys, specs, strict=True) if entries[key] is None}
    if wanted:
        store.check_writable()
        for spec in wanted.values():
            data = load(spec.dataset)
            models.blank(spec.frozen or spec, tuple(data.train_images.shape[1:]), data.classes)
        frozen = list(dict.fromkeys(spec.frozen for spec in wanted.values() if spec.frozen))
        encoders = dict(zip(frozen, fit(frozen, executor, device, store), strict=True))
        entries |= dict(jobs.trained(wanted, encoders, executor, device, store))
    return Runs(_run(key, spec, entries[key]) for key, spec in zip(keys, specs, strict=True))


def known(specs: Iterable[Spec], store: Store | None = None) -> Runs:
    """Those of the runs of `specs` that the store holds, weights or not; nothing trains."""
    store = store or Store()
    keyed = [(run_key(spec), spec) for spec in specs]
    found = [(key, spec, jobs.stored(key, store, weights=False)) for key, spec in keyed]
    return Runs(_run(key, spec, entry) for key, spec, entry in found if entry is not None)


def _run(key: str, spec: Spec, entry: Entry) -> Run:
    facts = ("image_shape", "history", "best_epoch", "provenance", "classes")
    known = {name: entry.document[name] for name in facts if name in entry.document}
    known["image_shape"] = tuple(known["image_shape"])
    return Run(key, spec, **known, weights=entry.arrays)
