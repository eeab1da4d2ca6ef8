"""The notebooks' parameters before a kernel starts: their defaults, and what profiles override."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from aecore.checks import InvalidValue
from aecore.page import parameters

Values = dict[str, Any]


@dataclass(frozen=True)
class Known:
    """The parameters of one notebook, in its order: their defaults, and what is said of them.

    `content` is the notebook that they stand in, whatever becomes of its file.
    """

    defaults: Values
    descriptions: dict[str, str]
    content: dict[str, Any] = field(default_factory=dict)


def known(notebook: Path) -> Known:
    """The parameters in a notebook's cell tagged `parameters`; without such a cell there are none.

    Nothing is run. Raises `InvalidValue` for a file that is no notebook or a default that is no
    literal.
    """
    try:
        content = json.loads(notebook.read_text(encoding="utf-8"))
        tagged = [c for c in content["cells"] if "parameters" in c["metadata"].get("tags", ())]
        found = parameters.described("".join(tagged[0]["source"])) if tagged else {}
    except (ValueError, KeyError, TypeError, AttributeError, SyntaxError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidValue(f"{notebook.name}: its parameters can't be read ({reason})") from None
    return Known(
        {name: default for name, (default, _) in found.items()},
        {name: description for name, (_, description) in found.items()},
        content,
    )


def checked(notebook: str, of: Known, overrides: Values, data: Any = None) -> Values:
    """All parameter values of a notebook, `overrides` over the defaults, in their types.

    Raises `InvalidValue` naming notebook, parameter, value and what is allowed; also, given them,
    for a class, test image or network that the `data` have not.
    """
    if unknown := [name for name in overrides if name not in of.defaults]:
        names = ", ".join(of.defaults) or "none"
        raise InvalidValue(f"{notebook}: unknown parameter {unknown[0]!r}: known are {names}")
    try:
        values = {**of.defaults, **overrides}
        values = {n: parameters.check(n, v, of.descriptions[n]) for n, v in values.items()}
        parameters.check_together(values, of.descriptions)
        if data is not None:
            parameters.check_with(values, of.descriptions, data)
        return values
    except InvalidValue as error:
        raise InvalidValue(f"{notebook}: {error}") from None


def parse(setting: str) -> tuple[str, Any]:
    """Name and value of `name=value`; the value is data, as in YAML, JSON or the notebook."""
    name, equals, text = setting.partition("=")
    setting = " ".join(setting.split())
    if not equals or not name.strip().isidentifier():
        raise InvalidValue(f"--set {setting}: must be name=value, as in --set latent_dims=[1,2,4]")
    try:
        return name.strip(), yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # 1024-64-10 looks like a date to YAML
        raise InvalidValue(f"--set {setting}: the value can't be read") from None


def profile(path: Path, name: str) -> dict[str, Values]:
    """What profile `name` of the file at `path` overrides: by notebook, under `all` for every one.

    Raises `InvalidValue` for an unknown profile or a file of another form.
    """
    try:
        profiles = yaml.safe_load(path.read_text(encoding="utf-8"))
        json.dumps(profiles, default=str)
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InvalidValue(f"{path.name} can't be read: {reason}") from None
    if not isinstance(profiles, dict) or name not in profiles:
        names = ", ".join(map(str, profiles)) if isinstance(profiles, dict) else "none"
        raise InvalidValue(f"unknown profile {name!r}: known are {names}")
    sections = profiles[name] or {}
    if not isinstance(sections, dict) or not all(
        isinstance(values, dict | None) for values in sections.values()
    ):
        raise InvalidValue(f"{path.name}: profile {name} must map notebooks to their parameters")
    return {notebook: values or {} for notebook, values in sections.items()}
