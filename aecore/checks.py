"""Checks of single values: each returns the value in its canonical type or says what is allowed."""

import dataclasses
import numbers
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any, Self

Check = Callable[[str, object], Any]  # of a name and a value
ENDS = {"at least": operator.ge, "above": operator.gt, "at most": operator.le, "below": operator.lt}


class InvalidValue(ValueError):
    """A value that is not allowed; the message names it and says what is."""

    @classmethod
    def of(cls, name: str, value: object, allowed: str) -> Self:
        """The value of that name, which must be what is `allowed`."""
        return cls(f"{name}={value!r} is not allowed: must be {allowed}")


def whole(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """`value` as int if it is a whole number in [low, high]; raises `InvalidValue` otherwise."""
    proper = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return int(_within(name, value, proper, "a whole number", {"at least": low, "at most": high}))


def real(
    name: str, value: object, low: float | None = None, high: float | None = None, **ends: float
) -> float:
    """`value` as float if it is finite and in [low, high]; ends `above` and `below` are left out.

    Raises `InvalidValue` otherwise, for a bool and for NaN too.
    """
    proper = isinstance(value, numbers.Real) and not isinstance(value, bool)
    finite = proper and abs(value) <= sys.float_info.max  # a whole number may be larger
    limits = {"at least": low, **ends, "at most": high}
    return float(_within(name, value, finite, "a finite number", limits))


def _within(name: str, value: Any, proper: bool, what: str, limits: dict[str, Any]) -> Any:
    limits = {end: limit for end, limit in limits.items() if limit is not None}
    if not proper or not all(ENDS[end](value, limit) for end, limit in limits.items()):
        ends = " and ".join(f"{end} {limit:g}" for end, limit in limits.items())
        raise InvalidValue.of(name, value, f"{what} {ends}".strip())
    return value


def flag(name: str, value: object) -> bool:
    """`value` if it is True or False; raises `InvalidValue` otherwise."""
    if not isinstance(value, bool):
        raise InvalidValue.of(name, value, "true or false")
    return value


def choice(name: str, value: object, allowed: Sequence[str]) -> str:
    """`value` if it is one of `allowed`; raises `InvalidValue` otherwise."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidValue.of(name, value, f"one of {', '.join(allowed)}")
    return value


def several(name: str, value: object, check: Check, length: int | None = None) -> tuple:
    """The items of a list or tuple, each checked, of that `length` if one is asked for."""
    if not isinstance(value, tuple | list) or len(value) != (length or len(value)):
        raise InvalidValue.of(name, value, f"a list{f' of {length} values' if length else ''}")
    return tuple(check(f"{name}[{number}]", item) for number, item in enumerate(value))


def optional(name: str, value: object, check: Check) -> Any:
    """None, or `value` checked."""
    try:
        return None if value is None else check(name, value)
    except InvalidValue as error:
        raise InvalidValue(f"{error}, or None") from None


def field(default: Any, check: Check, *arguments: Any, **limits: Any) -> Any:
    """A field of a dataclass that carries its check: `check(name, value, *arguments, **limits)`."""
    metadata = {"check": lambda name, value: check(name, value, *arguments, **limits)}
    return dataclasses.field(default=default, metadata=metadata)


def check_fields(made: Any) -> None:
    """Check every such field of a frozen dataclass, and put canonical values in their place."""
    for each in dataclasses.fields(made):
        if check := each.metadata.get("check"):
            object.__setattr__(made, each.name, check(each.name, getattr(made, each.name)))


def changed(made: Any) -> dict[str, Any]:
    """The fields of a dataclass whose values are not their defaults."""
    values = {each: getattr(made, each.name) for each in dataclasses.fields(made)}
    return {each.name: value for each, value in values.items() if value != each.default}
