"""A notebook's parameters: each says in its own line of what type and range it is.

    seeds: "int, at least 1" = 2  # models for each size, from different random numbers

The annotation is a type (`int`, `float`, `str`, `bool`, or a list of them, also `or None`), then
ranges in words: `at least 1`, `at most 500`, `above 0`, `below 1`, `a low and a high end`, `as many
as` another parameter, `one of adam sgd`, or what the words of `KINDS` stand for. It is checked
before a notebook is started, and again by the notebook itself, whoever runs it.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from aecore import checks
from aecore.checks import InvalidValue
from aecore.corruption import Masking
from aecore.data import load
from aecore.page import classes
from aecore.spec import Spec, check_field
from aecore.store.forms import is_path
from aecore.store.paths import writable_folder
from aecore.store.sources import DATASETS, KNOWN

PIXELS = "pixels"  # in the widths of a network: however many an image has
TYPES = ("int", "float", "str", "bool", "list", "dict")
LIMITS = {"at least": "low", "above": "above", "at most": "high", "below": "below"}


def _device(name: str, value: object) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"(auto|cpu|cuda)(:\d+)?", value):
        raise InvalidValue.of(name, value, "auto, or a device of torch such as cpu, cuda or cuda:0")


def _data_set(name: str, value: object) -> None:
    if not isinstance(value, str) or (value not in DATASETS and not is_path(value)):
        raise InvalidValue.of(name, value, f"one of {KNOWN}")


KINDS = {
    "a data set": _data_set,
    "a device": _device,
    "a network": lambda name, value: parse_network(name, value),
    "a folder": writable_folder,
    "a class": partial(checks.whole, low=0),
    "a test image": partial(checks.whole, low=0),
}


def described(source: str) -> dict[str, tuple[Any, str]]:
    """Default and description of each parameter in the `source` of a parameters cell.

    Nothing is run. Raises `ValueError` for a default that is no literal.
    """
    found = {}
    for line in ast.parse(source).body:
        if isinstance(line, ast.Assign | ast.AnnAssign) and line.value is not None:
            target = line.target if isinstance(line, ast.AnnAssign) else line.targets[0]
            default, text = ast.literal_eval(line.value), getattr(line, "annotation", None)
            own = text.value if isinstance(text, ast.Constant) else text and ast.unparse(text)
            found[target.id] = default, own or type(default).__name__
    return found


def check(name: str, value: object, description: str) -> Any:
    """`value` in its canonical type, if it is what `description` says; else `InvalidValue`.

    A text that reads as the type asked for is taken for it: papermill's `-p` hands over lists as
    texts, YAML 1.1 a `1e-3`. Without words a field of `Spec` has that field's check.
    """
    kind, *ranges = [part.strip() for part in description.split(",")]
    kind, optional = kind.removesuffix(" or None"), kind.endswith(" or None")
    item = re.fullmatch(r"list\[(\w+)\]", kind)
    if not item and kind not in TYPES:  # a type of somebody's own, or None for a default
        return value
    value = _read(value, item[1] if item else kind, bool(item), optional)
    if optional and value is None:
        return None
    try:
        if not ranges and not item and name in Spec.__dataclass_fields__:
            return check_field(name, value)
        if not item:
            return _one(name, value, kind, ranges)
        values = [*checks.several(name, value, lambda n, v: _one(n, v, item[1], ranges))]
    except InvalidValue as error:
        raise InvalidValue(f"{error}{', or None' if optional else ''}") from None
    ends = "a low and a high end" in ranges
    if not values or (ends and (len(values) != 2 or values[0] > values[1])):
        raise InvalidValue.of(name, value, "a low and a high end" if ends else "a list with values")
    return values


def _one(name: str, value: object, kind: str, ranges: list[str]) -> Any:
    limits: dict[str, Any] = {}
    for words in ranges:
        if words in KINDS:
            KINDS[words](name, value)
            return value
        if words.startswith("one of "):
            return checks.choice(name, value, words.removeprefix("one of ").split())
        for start, end in LIMITS.items():
            if words.startswith(f"{start} "):
                limits[end] = float(words.removeprefix(start))
    if kind == "bool":
        return checks.flag(name, value)
    if kind in ("str", "list", "dict"):
        if type(value).__name__ != kind:
            raise InvalidValue.of(name, value, f"a {kind}")
        return value
    return (checks.whole if kind == "int" else checks.real)(name, value, **limits)


def _read(value: object, kind: str, several: bool, optional: bool) -> object:
    if isinstance(value, list | tuple):
        return [_read(item, kind, False, False) for item in value] if several else value
    if isinstance(value, str) and (several or kind != "str" or (optional and value == "None")):
        try:
            read = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return value
        return _read(read, kind, several, optional) if isinstance(read, list | tuple) else read
    return value


def check_together(values: Mapping[str, Any], descriptions: Mapping[str, str]) -> None:
    """Raise `InvalidValue` where one list is not as long as that for which it is."""
    for name, description in descriptions.items():
        if match := re.search(r"as many as (\w+)", description):
            count = len(values[match[1]])
            if len(values[name]) != count:
                allowed = f"{count} numbers, one for each of {match[1]}"
                raise InvalidValue.of(name, values[name], allowed)


def check_with(values: Mapping[str, Any], descriptions: Mapping[str, str], data: Any) -> None:
    """Raise `InvalidValue` for a class, test image or network that does not fit the data set.

    A path from a class or image to itself is refused too.
    """
    limits = {"a class": data.tested, "a test image": len(data.test_images)}
    for name, description in descriptions.items():
        value, words = values[name], description.rpartition(", ")[2]
        if words == "a network":
            for text in value if isinstance(value, list) else [value]:
                parse_network(name, text, data.test_images[0].numel())
        if words in limits and value is not None:
            if value >= limits[words]:
                allowed = f"a whole number at most {limits[words] - 1} for this data set"
                raise InvalidValue.of(name, value, allowed)
            if name.startswith("end_") and value == values.get(start := f"start_{name[4:]}"):
                raise InvalidValue(f"{name}={value} is not allowed: must differ from {start}")


def recipe(names: dict[str, Any], **changes: Any) -> Spec:
    """The spec of a notebook's parameters, which are the annotated ones of its `globals()`.

    All are checked, and stand in `names` in their canonical types from then on; those that are
    fields of `Spec` make the spec, with `changes` over them. Cells that need classes are left out
    from then on if the data have none (see `page.classes`). Raises `InvalidValue`.
    """
    said = {name: text for name, text in names["__annotations__"].items() if name in names}
    descriptions = {n: t.__name__ if isinstance(t, type) else str(t) for n, t in said.items()}
    values = {name: check(name, names[name], text) for name, text in descriptions.items()}
    check_together(values, descriptions)
    data = load(values.get("dataset", "mnist"))
    check_with(values, descriptions, data)
    classes.expect(data)
    names.update(values)
    fields = {name: value for name, value in values.items() if name in Spec.__dataclass_fields__}
    return Spec(**{**fields, **changes})


def parse_widths(written: object) -> tuple[int, tuple[int, ...], int]:
    """Inputs, hidden widths and latent dimension of a dense network written `784-512-128-10`.

    Raises `InvalidValue` for anything but whole numbers of at least 1, two or more, between dashes.
    """
    parts = written.split("-") if isinstance(written, str) else []
    if len(parts) < 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InvalidValue(
            f"widths {written!r} are not allowed: must be numbers of units from the input to the "
            "code, as in 784-512-128-10"
        )
    inputs, *hidden, code = map(int, parts)
    return inputs, tuple(hidden), code


def parse_network(name: str, written: object, pixels: int | None = None) -> tuple[str, dict]:
    """What tables call a dense network, and the fields of its spec.

    It is written `784-512-128-10` or `pixels-512-128-10`, or with ` noise 0.4` after it, the part
    of the pixels that `Masking` sets to 0. Raises `InvalidValue`, which calls the text `name`, for
    anything else, and for a network that is not for images of so many `pixels`.
    """
    widths, noisy, noise = written.partition(" noise ") if isinstance(written, str) else ("",) * 3
    any_image = widths.startswith(f"{PIXELS}-")
    try:
        numbers = f"{pixels or 1}{widths.removeprefix(PIXELS)}" if any_image else widths
        inputs, hidden, code = parse_widths(numbers)
        masked = checks.real(name, float(noise), 0, below=1) if noisy else 0.0
    except ValueError:
        raise InvalidValue.of(
            name, written, f"widths from the image to the code, as in 784-512-128-10 or {PIXELS}-"
            "512-128-10, and where noise hides a part of the pixels, that part from 0 to below 1, "
            "as in 784-512-128-10 noise 0.4"
        ) from None  # fmt: skip
    if pixels is not None and inputs != pixels:
        allowed = f"for images of {pixels} pixels: begin with that number or the word {PIXELS}"
        raise InvalidValue.of(name, written, allowed)
    title = f"{numbers}, noise {masked:g}" if masked else numbers
    damage = Masking(masked) if masked else None
    fields = {"widths": hidden, "latent_dim": code, "corruption": damage}
    return title, {"architecture": "dense", **fields}


def networks(written: Iterable[str], pixels: int, recipe: Spec) -> dict[str, Spec]:
    """`recipe` for each of the dense networks, by its name, for images of so many `pixels`."""
    parsed = [parse_network(f"networks[{n}]", one, pixels) for n, one in enumerate(written)]
    return {title: recipe.replace(**fields) for title, fields in parsed}
