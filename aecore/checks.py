"""Checks of single values: each returns the value in its canonical type or says what is allowed."""

from __future__ import annotations

import dataclasses
import numbers
import sys
from collections.abc import Callable, Sequence
from typing import Any

Check = Callable[[str, object], Any]  # of a name and a value


class InvalidValue(ValueError):
    """A value that is not allowed; the message names it and says what is."""

    @classmethod
    def of(cls, name: str, value: object, allowed: str) -> InvalidValue:
        """The value of that name, which must be what is `allowed`."""
        return cls(f"{name}={value!r} is not allowed: must be {allowed}")


def whole(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """`value` as int if it is a whole number in [low, high]; raises `InvalidValue` otherwise."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return int(_within(name, value, is_whole, "a whole number", low, high))


def real(
    name: str,
    value: object,
    low: float | None = None,
    high: float | None = None,
    *,
    above: bool = False,
    below: bool = False,
) -> float:
    """`value` as float if it is finite and in [low, high]; `above` and `below` open the interval.

    Raises `InvalidValue` otherwise, for a bool and for NaN too.
    """
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    finite = is_real and abs(value) <= sys.float_info.max  # a whole number may be larger
    return float(_within(name, value, finite, "a finite number", low, high, above, below))


def _within(
    name: str,
    value: Any,
    allowed: bool,
    what: str,
    low: float | None,
    high: float | None,
    above: bool = False,
    below: bool = False,
) -> Any:
    if low is not None:
        allowed = allowed and (value > low or (value == low and not above))
    if high is not None:
        allowed = allowed and (value < high or (value == high and not below))
    if not allowed:
        ends = [] if low is None else [f"{'above' if above else 'at least'} {low:g}"]
        ends += [] if high is None else [f"{'below' if below else 'at most'} {high:g}"]
        raise InvalidValue.of(name, value, f"{what} {' and '.join(ends)}".strip())
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

    def checked(name: str, value: object) -> Any:
        return check(name, value, *arguments, **limits)

    return dataclasses.field(default=default, metadata={"check": checked})


def check_fields(made: Any) -> None:
    """Check every such field of a frozen dataclass, and put canonical values in their place."""
    for each in dataclasses.fields(made):
        if check := each.metadata.get("check"):
            object.__setattr__(made, each.name, check(each.name, getattr(made, each.name)))
