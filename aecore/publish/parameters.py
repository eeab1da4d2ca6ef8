"""The notebooks' parameters: their defaults, what profiles override, and what is allowed."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from aecore import checks, dense
from aecore.checks import InvalidValue
from aecore.spec import OPTIMIZERS, SCHEDULES

Values = dict[str, Any]
Check = Callable[[str, object], object]

DATASETS = ("mnist", "fashion_mnist")  # as in data.py, which takes seconds to import
DAMAGES = ("Gaussian", "salt & pepper", "speckle", "masking", "occlusion")


def _list_of(check: Check, length: int | None = None) -> Check:
    def checked(name: str, value: object) -> list:
        if not isinstance(value, list | tuple) or not value or len(value) != (length or len(value)):
            allowed = f"a list of {length} numbers" if length else "a list of at least one value"
            raise InvalidValue(f"{name}={value!r} is not allowed: must be {allowed}")
        return [check(f"{name}[{number}]", item) for number, item in enumerate(value)]

    return checked


def _range_of(check: Check, *, equal: bool) -> Check:
    def checked(name: str, value: object) -> list:
        low, high = _list_of(check, 2)(name, value)
        if low > high or (low == high and not equal):
            raise InvalidValue(f"{name}={value!r} is not allowed: must be a low and a high end")
        return [low, high]

    return checked


def _or_none(check: Check) -> Check:
    def checked(name: str, value: object) -> object:
        if value is None:
            return None
        try:
            return check(name, value)
        except InvalidValue as error:
            raise InvalidValue(f"{error}, or None") from None

    return checked


def _dataset(name: str, value: object) -> str:
    if not isinstance(value, str) or not (value in DATASETS or value.endswith(".npz")):
        allowed = f"one of {', '.join(DATASETS)}, or the path of an .npz file"
        raise InvalidValue(f"{name}={value!r} is not allowed: must be {allowed}")
    return value


def _network(name: str, value: object) -> object:
    dense.parse(name, value)
    return value


def _folder(name: str, value: object) -> object:
    checks.folder(name, value)
    return value


def _device(name: str, value: object) -> str:
    kind, _, number = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind not in ("auto", "cpu", "cuda") or (number and not number.isdigit()):
        allowed = "auto, or a device of torch such as cpu, cuda or cuda:0"
        raise InvalidValue(f"{name}={value!r} is not allowed: must be {allowed}")
    return value


_count = partial(checks.whole, low=1)
_index = partial(checks.whole, low=0)
_sigma = partial(checks.real, low=0)
_fraction = partial(checks.real, low=0, high=1)
_rate = partial(checks.real, low=0, high=1, below=True)
_positive = partial(checks.real, low=0, above=True)

CHECKS: dict[str, Check] = {
    "dataset": _dataset,
    "device": _device,
    "seeds": _count,
    "seed": _index,
    "epochs": _count,
    "train_images": _or_none(_count),
    "learning_rate": _positive,
    "weight_decay": _sigma,
    "dropout": _rate,
    "batch_size": _count,
    "latent_dim": _count,
    "latent_dims": _list_of(_count),
    "noise_levels": _list_of(_sigma),
    "occlusion_levels": _list_of(_fraction),
    "train_noise": _sigma,
    "train_occlusion": _fraction,
    "sweep_dims": _list_of(_count),
    "sweep_noise": _list_of(_sigma),
    "sweep_seeds": _count,
    "gaussian_mean": partial(checks.real, low=-1, high=1),
    "gaussian_sigma": _sigma,
    "salt_and_pepper": _fraction,
    "speckle": _sigma,
    "masked": _fraction,
    "hidden": _fraction,
    "specialists": _list_of(partial(checks.choice, allowed=DAMAGES)),
    "trials": partial(checks.whole, low=2),
    "learning_rate_range": _range_of(_positive, equal=False),
    "weight_decay_range": _range_of(_positive, equal=False),
    "dropout_range": _range_of(_rate, equal=True),
    "epoch_choices": _list_of(_count),
    "epoch_weights": _list_of(_positive),
    "optimizer": partial(checks.choice, allowed=OPTIMIZERS),
    "schedule": partial(checks.choice, allowed=SCHEDULES),
    "validation": partial(checks.real, low=0, high=1, above=True, below=True),
    "folds": partial(checks.whole, low=2),
    "fold_trials": partial(checks.whole, low=2),
    "fold_epochs": _count,
    "fold_images": _or_none(_count),
    "guided_trials": partial(checks.whole, low=2),
    "guided_startup": _count,
    "guided_batch": _count,
    "guided_epochs": _count,
    "guided_images": _or_none(_count),
    "latent_points": partial(checks.whole, low=2, high=500),
    "samples": partial(checks.whole, low=1, high=200),
    "start_digit": _or_none(_index),
    "end_digit": _or_none(_index),
    "start_image": _index,
    "end_image": _index,
    "steps": partial(checks.whole, low=2, high=100),
    "shown_dim": _count,
    "strange_images": partial(checks.whole, low=10, high=10000),
    "query_image": _index,
    "neighbors": partial(checks.whole, low=1, high=100),
    "vae_epochs": _count,
    "vae_learning_rate": _positive,
    "patience": _count,
    "networks": _list_of(_network),
    "recipe_network": _network,
    "recipe_epochs": _count,
    "recipe_learning_rate": _positive,
    "logdir": _or_none(_folder),
    "projected_images": partial(checks.whole, low=20, high=5000),
    "projected_dims": _list_of(partial(checks.whole, low=3)),
    "neighbor_images": _or_none(partial(checks.whole, low=20)),
    "ks": _list_of(partial(checks.whole, low=1, high=200)),
    "dense_epochs": _count,
    "dense_seeds": _count,
    "tsne_images": _or_none(partial(checks.whole, low=20)),
    "label_counts": _list_of(_count),
    "least_steps": _count,
    "head_epochs": _count,
    "head_learning_rate": _positive,
    "head_weight_decay": _sigma,
    "reported_epochs": _count,
    "scratch_dropout": _rate,
}


def defaults(notebook: Path) -> Values:
    """The parameters of a notebook, by name: the literals in its cell tagged `parameters`.

    Nothing is run. Raises `InvalidValue` for a file that is no notebook or a default that is no
    literal; a notebook without such a cell has no parameters.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", ())]
        body = ast.parse("".join(tagged[0]["source"])).body if tagged else []
        values = {}
        for line in body:
            targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", 0)]
            if isinstance(targets[0], ast.Name) and getattr(line, "value", None):
                values[targets[0].id] = ast.literal_eval(line.value)
        return values
    except (ValueError, KeyError, TypeError, SyntaxError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidValue(f"{notebook.name}: its parameters can't be read ({reason})") from None


def checked(notebook: str, known: Values, overrides: Values) -> Values:
    """All parameter values of a notebook, `overrides` over the defaults `known`, in their types.

    A parameter that is not in `CHECKS` must have its default's type. Raises `InvalidValue` naming
    notebook, parameter, value and what is allowed.
    """
    for name in overrides:
        if name not in known:
            raise InvalidValue(
                f"{notebook}: unknown parameter {name!r}: known are {', '.join(known) or 'none'}"
            )
    values = {}
    try:
        for name, value in {**known, **overrides}.items():
            values[name] = CHECKS.get(name, partial(_like, known[name]))(name, value)
        weights = values.get("epoch_weights", values.get("epoch_choices", ()))
        if len(weights) != len(values.get("epoch_choices", weights)):
            count = len(values["epoch_choices"])
            raise InvalidValue(
                f"epoch_weights={weights!r} is not allowed: must be {count} numbers, "
                "one for each of epoch_choices"
            )
    except InvalidValue as error:
        raise InvalidValue(f"{notebook}: {error}") from None
    return values


def checked_with_data(
    notebook: str, values: Values, test_images: int, classes: int, pixels: int
) -> None:
    """Raises `InvalidValue` for a digit or test image that the data set does not have.

    A path from one to itself is refused too, and a dense network for images of other `pixels`.
    """
    try:
        for number, network in enumerate(values.get("networks", ())):
            dense.parse(f"networks[{number}]", network, pixels)
        if "recipe_network" in values:
            dense.parse("recipe_network", values["recipe_network"], pixels)
    except InvalidValue as error:
        raise InvalidValue(f"{notebook}: {error}") from None
    for name, count in (("image", test_images), ("digit", classes)):
        for end in ("start", "end", "query"):
            try:
                if (value := values.get(f"{end}_{name}")) is not None:
                    checks.whole(f"{end}_{name}", value, 0, count - 1)
            except InvalidValue as error:
                raise InvalidValue(f"{notebook}: {error} for this data set") from None
        start, end = values.get(f"start_{name}"), values.get(f"end_{name}")
        if start is not None and start == end:
            raise InvalidValue(
                f"{notebook}: end_{name}={end} is not allowed: must differ from start_{name}"
            )


def parse(setting: str) -> tuple[str, Any]:
    """Name and value of `name=value`; the value is data, as in YAML, JSON or the notebook."""
    name, equals, text = setting.partition("=")
    if not equals or not name.strip().isidentifier():
        raise InvalidValue(f"--set {setting}: must be name=value, as in --set latent_dims=[1,2,4]")
    try:
        return name.strip(), _numbers(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError, RecursionError):  # 1024-64-10 looks like a date to YAML
        raise InvalidValue(f"--set {setting}: the value can't be read") from None


def profile(path: Path, name: str) -> dict[str, Values]:
    """What profile `name` of the file at `path` overrides: by notebook, under `all` for every one.

    Raises `InvalidValue` for an unknown profile or a file of another form.
    """
    try:
        profiles = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InvalidValue(f"{path.name} can't be read: {reason}") from None
    if not isinstance(profiles, dict) or name not in profiles:
        known = ", ".join(map(str, profiles)) if isinstance(profiles, dict) else "none"
        raise InvalidValue(f"unknown profile {name!r}: known are {known}")
    sections = profiles[name] or {}
    if not isinstance(sections, dict) or not all(
        isinstance(values, dict | None) for values in sections.values()
    ):
        raise InvalidValue(f"{path.name}: profile {name} must map notebooks to their parameters")
    try:
        return {notebook: _numbers(values or {}) for notebook, values in sections.items()}
    except RecursionError:  # an anchor of YAML within itself
        raise InvalidValue(f"{path.name}: profile {name} holds itself") from None


def _like(default: object, name: str, value: object) -> object:
    if type(value) is int and type(default) is float:
        return float(value)
    if default is not None and type(value) is not type(default):
        allowed = f"of the type of its default {default!r}"
        raise InvalidValue(f"{name}={value!r} is not allowed: must be {allowed}")
    return value


def _numbers(value: Any) -> Any:
    """`value`, its texts taken for what Python reads in them: YAML 1.1 leaves 1e-3 a text."""
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if value == "None":
        return None
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
