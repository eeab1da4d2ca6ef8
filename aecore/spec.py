"""`Spec`: everything that decides what a training run yields, and nothing else."""

import dataclasses
import os
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from aecore import checks, corruption
from aecore.checks import InvalidValue, choice, field, optional, real, several, whole
from aecore.corruption import Corruption, a_corruption
from aecore.store.entries import key_of_run

ACTIVATIONS = ("relu", "silu", "gelu", "sigmoid", "tanh", "linear")
OPTIMIZERS = ("adam", "adamax", "adamw", "rmsprop", "sgd")
SCHEDULES = ("constant", "one_cycle")
INITIAL_WEIGHTS = ("uniform", "glorot")
SEEDS = 2**63 - 1  # the largest
count = partial(whole, low=1)


def text(name: str, value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise InvalidValue.of(name, value, "a name or path")
    return value


def place(name: str, value: object) -> str:
    """A name, or the path of a file, as a text."""
    return text(name, os.fspath(value) if isinstance(value, os.PathLike) else value)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One training run of an autoencoder or classifier, checked when it is built.

    A wrong value raises `InvalidValue`, a `ValueError` that names the field, the value and what is
    allowed; every field carries its own check. Two equal specs train to the same weights, bit for
    bit, on one kind of device, with one build of torch and SciPy and one thread count.
    """

    # Which data: a name that `data.load` knows, or a path that `store.forms` reads.
    dataset: str = field("mnist", place)
    train_images: int | None = field(None, optional, count)  # the first so many; None: all
    validation: float = field(0.0, real, 0, below=1)  # fraction of them held out
    folds: int | None = field(None, optional, partial(whole, low=2))  # of cross-validation
    fold: int = field(0, whole, 0)  # which of the folds is held out
    split_seed: int = field(0, whole, 0, SEEDS)  # which images are held out
    # Which network: one of `models.FAMILIES`, and of what size.
    architecture: str = field("conv", text)
    channels: tuple[int, int, int] = field((8, 16, 32), several, count, 3)  # of convolutions
    hidden: int = field(64, count)  # width of the linear layer before the code
    widths: tuple[int, ...] = field((), several, count)  # of the hidden layers before the code
    activation: str = field("relu", choice, ACTIVATIONS)  # of the hidden layers
    code_activation: str = field("linear", choice, ACTIVATIONS)
    output_activation: str = field("sigmoid", choice, ACTIVATIONS)
    centered: bool = field(False, checks.flag)  # the network's own pixels are in [-1, 1]
    tied: bool = field(False, checks.flag)  # the decoder's weights are the encoder's, transposed
    initial_weights: str = field("uniform", choice, INITIAL_WEIGHTS)  # as `models.build` draws them
    latent_dim: int = field(4, count)
    beta: float = field(1.0, real, above=0)  # weight of a variational code's divergence
    rate_weight: float = field(1e-4, real, 0)  # mean squared error that a bit of the code must save
    code_step: float = field(0.2, real, above=0)  # codes are rounded to multiples of it
    frozen: Self | None = None  # classifier: only its head is trained, on the codes of this run
    neighbor_weight: float = field(0.1, real, 0)  # of what neighbors that the code loses cost
    # How it is trained.
    loss: str = field("mse", text)
    optimizer: str = field("adam", choice, OPTIMIZERS)
    learning_rate: float = field(1e-3, real, above=0)  # with one_cycle: the largest
    momentum: float = field(0.0, real, 0, below=1)  # of sgd
    schedule: str = field("constant", choice, SCHEDULES)
    weight_decay: float = field(0.0, real, 0)  # L2 penalty; with adamw apart from the gradient
    dropout: float = field(0.0, real, 0, below=1)  # after every hidden layer
    batch_size: int = field(256, count)
    epochs: int = field(10, count)
    patience: int | None = field(None, optional, count)  # epochs without a better validation loss
    corruption: Corruption | None = field(None, optional, a_corruption)  # of the inputs
    corrupted_once: bool = field(False, checks.flag)  # before training, not in each step anew
    seed: int = field(0, whole, 0, SEEDS)

    def __post_init__(self) -> None:
        checks.check_fields(self)
        self._check_family()
        if self.corrupted_once and self.corruption is None:
            self._refuse("corrupted_once", "without a corruption: must be False")
        if self.momentum and self.optimizer != "sgd":
            self._refuse("momentum", f"with the optimizer {self.optimizer}: must be 0")
        if self.patience is not None and self.validation == 0 and self.folds is None:
            self._refuse("patience", "with validation=0: early stopping needs held-out images")
        if self.folds is not None and self.validation:
            self._refuse("validation", f"with folds={self.folds}: must be 0")
        if self.fold >= (self.folds or 1):
            self._refuse("fold", f"with folds={self.folds}: must be below it")
        if self.frozen is not None:
            self._check_frozen()

    def _check_family(self) -> None:
        """Raise `InvalidValue` for what the architecture has not, by `models.FAMILIES`."""
        from aecore.models import FAMILIES  # brings torch

        choice("architecture", self.architecture, tuple(FAMILIES))
        choice("loss", self.loss, sorted({loss for f in FAMILIES.values() for loss in f.losses}))
        family, where = FAMILIES[self.architecture], f"with the architecture {self.architecture}"
        if self.loss not in family.losses:
            self._refuse("loss", f"{where}: must be {' or '.join(family.losses)}")
        of_others = {name for other in FAMILIES.values() for name in other.fields}
        if foreign := checks.changed(self).keys() & (of_others - set(family.fields)):
            name = min(foreign)
            default = self.__dataclass_fields__[name].default
            self._refuse(name, f"{where}: must be {default!r}")

    def _check_frozen(self) -> None:
        if not isinstance(self.frozen, Spec) or self.frozen.loss == self.loss:
            self._refuse("frozen", "here: must be the Spec of an autoencoder")
        if self.corruption is not None:
            self._refuse("frozen", "here: must belong to a classifier without corruption")
        if self.frozen.dataset != self.dataset:
            self._refuse("dataset", f"with an encoder frozen on {self.frozen.dataset}: must be it")
        for name in ("channels", "hidden", "latent_dim"):
            object.__setattr__(self, name, getattr(self.frozen, name))

    def _refuse(self, name: str, reason: str) -> None:
        raise InvalidValue(f"{name}={getattr(self, name)!r} is not allowed {reason}")

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as plain data.

        Leaving defaults out keeps every key when a later version adds a field. The price: a
        changed default changes what a key means, so it takes a new `RECIPE`.
        """
        values = checks.changed(self)
        for name, value in values.items():
            if isinstance(value, Corruption):
                values[name] = corruption.to_dict(value)
            elif isinstance(value, Spec | tuple):
                values[name] = value.to_dict() if isinstance(value, Spec) else list(value)
        return values

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; raises `InvalidValue` for an unknown field."""
        known = cls.__dataclass_fields__
        if unknown := set(data) - set(known):
            allowed = ", ".join(sorted(known))
            raise InvalidValue(f"unknown field {min(unknown)!r}: known are {allowed}")
        values = dict(data)
        for name, read in (("corruption", corruption.from_dict), ("frozen", cls.from_dict)):
            if isinstance(values.get(name), dict):
                values[name] = read(values[name])
        return cls(**values)

    def key(self, data_digest: str, recipe: int) -> str:
        """The run's name in the store, from this spec, the data's digest and the recipe."""
        return key_of_run(self.to_dict(), data_digest, recipe)


def check_field(name: str, value: object) -> Any:
    """`value` as the field of that name of a `Spec` has it; raises `InvalidValue` like `Spec`."""
    return Spec.__dataclass_fields__[name].metadata["check"](name, value)
