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
    if not is_whole or not _inside(int(value), low, high, False, False):
        raise InvalidValue.of(name, value, f"a whole number{_bounds(low, high, False, False)}")
    return int(value)


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
    largest = sys.float_info.max  # a whole number may be larger, and then is no float
    if not is_real or not abs(value) <= largest or not _inside(value, low, high, above, below):
        raise InvalidValue.of(name, value, f"a finite number{_bounds(low, high, above, below)}")
    return float(value)


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
    return dataclasses.field(default=default, metadata={"check": _late(check, arguments, limits)})


def check_fields(made: Any) -> None:
    """Check every such field of a frozen dataclass, and put canonical values in their place."""
    for each in dataclasses.fields(made):
        if check := each.metadata.get("check"):
            object.__setattr__(made, each.name, check(each.name, getattr(made, each.name)))


def _late(check: Check, arguments: tuple, limits: dict) -> Check:
    return lambda name, value: check(name, value, *arguments, **limits)


def _bounds(low: float | None, high: float | None, above: bool, below: bool) -> str:
    parts = []
    if low is not None:
        parts.append(f"above {low:g}" if above else f"at least {low:g}")
    if high is not None:
        parts.append(f"below {high:g}" if below else f"at most {high:g}")
    return f" {' and '.join(parts)}" if parts else ""


def _inside(value: float, low: float | None, high: float | None, above: bool, below: bool) -> bool:
    if low is not None and (value < low or (above and value == low)):
        return False
    return not (high is not None and (value > high or (below and value == high)))
