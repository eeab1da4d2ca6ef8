"""Checks of single values: each returns the value in its canonical type or says what is allowed."""

import numbers
import os
import sys
from collections.abc import Sequence
from pathlib import Path


class InvalidValue(ValueError):
    """A value that is not allowed; the message names it and says what is."""


def _bounds(low: float | None, high: float | None, above: bool, below: bool) -> str:
    parts = []
    if low is not None:
        parts.append(f"above {low:g}" if above else f"at least {low:g}")
    if high is not None:
        parts.append(f"below {high:g}" if below else f"at most {high:g}")
    return " and ".join(parts)


def _inside(value: float, low: float | None, high: float | None, above: bool, below: bool) -> bool:
    if low is not None and (value < low or (above and value == low)):
        return False
    return not (high is not None and (value > high or (below and value == high)))


def whole(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """`value` as int if it is a whole number in [low, high]; raises `InvalidValue` otherwise."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or not _inside(int(value), low, high, False, False):
        allowed = f"a whole number {_bounds(low, high, False, False)}".strip()
        raise InvalidValue(f"{name}={value!r} is not allowed: must be {allowed}")
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
        allowed = f"a finite number {_bounds(low, high, above, below)}".strip()
        raise InvalidValue(f"{name}={value!r} is not allowed: must be {allowed}")
    return float(value)


def flag(name: str, value: object) -> bool:
    """`value` if it is True or False; raises `InvalidValue` otherwise."""
    if not isinstance(value, bool):
        raise InvalidValue(f"{name}={value!r} is not allowed: must be true or false")
    return value


def choice(name: str, value: object, allowed: Sequence[str]) -> str:
    """`value` if it is one of `allowed`; raises `InvalidValue` otherwise."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidValue(f"{name}={value!r} is not allowed: must be one of {', '.join(allowed)}")
    return value


def folder(name: str, value: object) -> Path:
    """`value` as the path of a folder that can be written, or made; nothing is made here.

    Raises `InvalidValue` for what is no path, or where the first folder above that is there is no
    folder or not to be written.
    """
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InvalidValue(f"{name}={value!r} is not allowed: must be the path of a folder")
    path = Path(value).expanduser()
    try:
        there = next(place for place in (path, *path.absolute().parents) if place.exists())
        reason = "" if there.is_dir() else f"{there} is no folder"
        if not reason and not os.access(there, os.W_OK | os.X_OK):
            reason = f"{there} can't be written"
    except OSError as error:
        reason = error.strerror
    if reason:
        allowed = "the path of a folder that can be written"
        raise InvalidValue(f"{name}={value!r} is not allowed: must be {allowed} ({reason})")
    return path
