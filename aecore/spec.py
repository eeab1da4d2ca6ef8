"""`Spec`: everything that decides what a training run yields, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from aecore import checks, corruption
from aecore.checks import InvalidValue
from aecore.corruption import Corruption

LOSSES = ("mse", "l1")
OPTIMIZERS = ("adam", "adamax", "adamw", "sgd")
SCHEDULES = ("constant", "one_cycle")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One training run of the convolutional autoencoder, checked when it is built.

    A wrong value raises `InvalidValue`, a `ValueError` that names the field, the value and what is
    allowed. Two equal specs train to the same weights, bit for bit, on one kind of device, torch
    build and thread count.
    """

    dataset: str = "mnist"  # a name that `data.load` knows, or the path of an .npz file
    train_images: int | None = None  # the first so many training images; None: all of them
    validation: float = 0.0  # fraction of the training images held out
    split_seed: int = 0  # which images are held out
    channels: tuple[int, int, int] = (8, 16, 32)  # of the three convolutions
    hidden: int = 64  # width of the linear layer before the code
    latent_dim: int = 4
    loss: str = "mse"
    optimizer: str = "adam"
    learning_rate: float = 1e-3  # with one_cycle: the largest
    momentum: float = 0.0  # of sgd
    schedule: str = "constant"
    weight_decay: float = 0.0  # L2 penalty; with adamw decoupled from the gradient
    dropout: float = 0.0  # after every hidden layer
    batch_size: int = 256
    epochs: int = 10
    patience: int | None = None  # stop after so many epochs without a better validation loss
    corruption: Corruption | None = None  # of the inputs; the targets stay clean
    seed: int = 0

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        def whole(name: str, low: int, high: int | None = None) -> None:
            put(name, checks.whole(name, getattr(self, name), low, high))

        def real(name: str, low: float, high: float | None = None, **ends: bool) -> None:
            put(name, checks.real(name, getattr(self, name), low, high, **ends))

        if not isinstance(self.dataset, str) or not self.dataset:
            raise InvalidValue(f"dataset={self.dataset!r} is not allowed: must be a name or path")
        for name in ("train_images", "patience"):
            if getattr(self, name) is not None:
                whole(name, 1)
        real("validation", 0, 1, below=True)
        if not isinstance(self.channels, tuple | list) or len(self.channels) != 3:
            raise InvalidValue(
                f"channels={self.channels!r} is not allowed: must be three whole numbers"
            )
        put("channels", tuple(checks.whole("channels", number, 1) for number in self.channels))
        for name in ("hidden", "latent_dim", "batch_size", "epochs"):
            whole(name, 1)
        for name in ("split_seed", "seed"):
            whole(name, 0, 2**63 - 1)
        checks.choice("loss", self.loss, LOSSES)
        checks.choice("optimizer", self.optimizer, OPTIMIZERS)
        checks.choice("schedule", self.schedule, SCHEDULES)
        real("learning_rate", 0, above=True)
        real("momentum", 0, 1, below=True)
        real("weight_decay", 0)
        real("dropout", 0, 1, below=True)
        if self.momentum and self.optimizer != "sgd":
            raise InvalidValue(
                f"momentum={self.momentum:g} is not allowed: "
                f"must be 0 with the optimizer {self.optimizer}"
            )
        if self.patience is not None and self.validation == 0:
            raise InvalidValue(
                f"patience={self.patience} is not allowed with validation=0: "
                "early stopping needs held-out images"
            )
        if self.corruption is not None and not isinstance(self.corruption, Corruption):
            allowed = ", ".join(corruption.KINDS)
            raise InvalidValue(
                f"corruption={self.corruption!r} is not allowed: must be None or one of {allowed}"
            )

    def replace(self, **changes: Any) -> Spec:
        """A copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as plain data.

        Leaving defaults out keeps every key when a later version adds a field. The price: a
        changed default changes what a key means, so it takes a new `RECIPE`.
        """
        data = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                data[field.name] = value
        if "channels" in data:
            data["channels"] = list(self.channels)
        if self.corruption is not None:
            data["corruption"] = corruption.to_dict(self.corruption)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Spec:
        """The inverse of `to_dict`; raises `InvalidValue` for an unknown field."""
        fields = dict(data)
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(fields) - known:
            raise InvalidValue(
                f"unknown field {sorted(unknown)[0]!r}: known are {', '.join(sorted(known))}"
            )
        if isinstance(fields.get("corruption"), dict):
            fields["corruption"] = corruption.from_dict(fields["corruption"])
        return cls(**fields)

    def key(self, data_digest: str, recipe: int) -> str:
        """The run's name in the store: SHA-256 of this spec, the data's digest and the recipe.

        The digest stands in for the data set's name, so a renamed file keeps its runs.
        """
        fields = self.to_dict()
        fields.pop("dataset", None)
        return digest({"spec": fields, "data": data_digest, "recipe": recipe})


def digest(data: Any) -> str:
    """SHA-256 of plain data as canonical JSON: sorted keys, no spaces, no NaN."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
