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

ARCHITECTURES = ("conv", "dense", "vae", "classifier")
ACTIVATIONS = ("relu", "sigmoid", "tanh", "linear")
LOSSES = ("mse", "l1", "elbo", "cross_entropy")
OPTIMIZERS = ("adam", "adamax", "adamw", "rmsprop", "sgd")
SCHEDULES = ("constant", "one_cycle")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One training run of an autoencoder or classifier, checked when it is built.

    A wrong value raises `InvalidValue`, a `ValueError` that names the field, the value and what is
    allowed. Two equal specs train to the same weights, bit for bit, on one kind of device, torch
    build and thread count.
    """

    dataset: str = "mnist"  # a name that `data.load` knows, or the path of an .npz file
    train_images: int | None = None  # the first so many training images; None: all of them
    validation: float = 0.0  # fraction of the training images held out
    folds: int | None = None  # k of k-fold cross-validation, instead of `validation`
    fold: int = 0  # which of the folds is held out
    split_seed: int = 0  # which images are held out
    architecture: str = "conv"
    channels: tuple[int, int, int] = (8, 16, 32)  # of the three convolutions
    hidden: int = 64  # width of the linear layer before the code
    widths: tuple[int, ...] = ()  # dense: of the hidden layers before the code
    activation: str = "relu"  # dense: of the hidden layers
    code_activation: str = "linear"  # dense
    output_activation: str = "sigmoid"  # dense
    centered: bool = False  # dense: the network's own pixels are in [-1, 1]
    latent_dim: int = 4
    frozen: Spec | None = None  # classifier: only its head is trained, on the codes of this run
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
        if self.folds is not None:
            whole("folds", 2)
        whole("fold", 0, (self.folds or 1) - 1)
        if not isinstance(self.channels, tuple | list) or len(self.channels) != 3:
            raise InvalidValue(
                f"channels={self.channels!r} is not allowed: must be three whole numbers"
            )
        put("channels", tuple(checks.whole("channels", number, 1) for number in self.channels))
        if not isinstance(self.widths, tuple | list):
            raise InvalidValue(f"widths={self.widths!r} is not allowed: must be whole numbers")
        put("widths", tuple(checks.whole("widths", width, 1) for width in self.widths))
        for name in ("hidden", "latent_dim", "batch_size", "epochs"):
            whole(name, 1)
        for name in ("split_seed", "seed"):
            whole(name, 0, 2**63 - 1)
        checks.choice("architecture", self.architecture, ARCHITECTURES)
        for name in ("activation", "code_activation", "output_activation"):
            checks.choice(name, getattr(self, name), ACTIVATIONS)
        checks.flag("centered", self.centered)
        checks.choice("loss", self.loss, LOSSES)
        checks.choice("optimizer", self.optimizer, OPTIMIZERS)
        checks.choice("schedule", self.schedule, SCHEDULES)
        real("learning_rate", 0, above=True)
        real("momentum", 0, 1, below=True)
        real("weight_decay", 0)
        real("dropout", 0, 1, below=True)
        if self.corruption is not None and not isinstance(self.corruption, Corruption):
            allowed = ", ".join(corruption.KINDS)
            raise InvalidValue(
                f"corruption={self.corruption!r} is not allowed: must be None or one of {allowed}"
            )
        self._check_together()

    def _check_together(self) -> None:
        """Raise `InvalidValue` for fields that are allowed one by one but not with each other."""

        def refuse(name: str, reason: str) -> None:
            raise InvalidValue(f"{name}={getattr(self, name)!r} is not allowed {reason}")

        if self.momentum and self.optimizer != "sgd":
            refuse("momentum", f"with the optimizer {self.optimizer}: must be 0")
        if self.patience is not None and self.validation == 0 and self.folds is None:
            refuse("patience", "with validation=0: early stopping needs held-out images")
        if self.folds is not None and self.validation:
            refuse("validation", f"with folds={self.folds}: must be 0")
        if self.widths and self.architecture != "dense":
            refuse("widths", f"with the architecture {self.architecture}: must be empty")
        if self.centered and self.architecture != "dense":
            refuse("centered", f"with the architecture {self.architecture}: must be false")
        needed = {"vae": "elbo", "classifier": "cross_entropy"}
        if needed.get(self.architecture, self.loss) != self.loss:
            must = needed[self.architecture]
            refuse("loss", f"with the architecture {self.architecture}: must be {must}")
        if self.loss in needed.values() and self.architecture not in needed:
            refuse("loss", f"with the architecture {self.architecture}: must be mse or l1")
        if self.frozen is not None:
            if not isinstance(self.frozen, Spec) or self.frozen.architecture == "classifier":
                refuse("frozen", "here: must be the Spec of an autoencoder")
            if self.architecture != "classifier" or self.corruption is not None:
                refuse("frozen", "here: must belong to a classifier without corruption")
            if self.frozen.dataset != self.dataset:
                refuse("dataset", f"with an encoder frozen on {self.frozen.dataset}: must be it")
            for name in ("channels", "hidden", "latent_dim"):
                object.__setattr__(self, name, getattr(self.frozen, name))

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
        for name in {"channels", "widths"} & set(data):
            data[name] = list(data[name])
        if self.frozen is not None:
            data["frozen"] = self.frozen.to_dict()
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
        if isinstance(fields.get("frozen"), dict):
            fields["frozen"] = cls.from_dict(fields["frozen"])
        return cls(**fields)

    def key(self, data_digest: str, recipe: int) -> str:
        """The run's name in the store: SHA-256 of this spec, the data's digest and the recipe.

        The digest stands in for the data set's name, so a renamed file keeps its runs.
        """
        fields = self.to_dict()
        fields.pop("dataset", None)
        if self.frozen is not None:
            fields["frozen"].pop("dataset", None)
        return digest({"spec": fields, "data": data_digest, "recipe": recipe})


def parse_widths(text: str) -> tuple[int, tuple[int, ...], int]:
    """Inputs, hidden widths and latent dimension of a dense network written `784-512-128-10`.

    Raises `InvalidValue` for anything but whole numbers of at least 1, two or more, between dashes.
    """
    parts = text.split("-") if isinstance(text, str) else []
    if len(parts) < 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InvalidValue(
            f"widths {text!r} are not allowed: must be numbers of units from the input to the "
            "code, as in 784-512-128-10"
        )
    inputs, *hidden, code = map(int, parts)
    return inputs, tuple(hidden), code


def digest(data: Any) -> str:
    """SHA-256 of plain data as canonical JSON: sorted keys, no spaces, no NaN."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
