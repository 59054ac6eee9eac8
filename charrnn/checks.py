"""Checks of values from users, with one wording for each kind of error. Pure Python."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any

from charrnn.errors import InputError

MAX_TEMPERATURES = 1000


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise InputError unless `value` is one of `choices`."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}. Received: {value!r}")


def check_integer(name: str, value: object, low: int, high: int) -> None:
    """Raise InputError unless `value` is an integer from `low` to `high`, both included. Booleans are refused."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{name} must be a whole number from {low} to {high:,}. Received: {value!r}")


def check_flag(name: str, value: object) -> None:
    """Raise InputError unless `value` is True or False: a text such as "no" would count as true."""
    check_type(name, value, bool, "true or false")


def check_keywords(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError as Python does for an unknown keyword argument, of a function that collects them."""
    expected = sorted(known)
    for name in given:
        if name not in expected:
            hint = did_you_mean(name, expected)
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{'. ' if hint else ''}{hint}")


def check_length(what: str, text: str, most: int) -> None:
    """Raise InputError unless `text` has at most `most` characters."""
    if len(text) > most:
        raise InputError(f"{what} must have at most {most:,} characters. Received: {len(text):,}")


def check_number(name: str, value: object) -> None:
    """Raise InputError unless `value` is a finite number of at least 0. Booleans are refused."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= sys.float_info.max:
        raise InputError(f"{name} must be a finite number of at least 0. Received: {value!r}")


def check_type(name: str, value: object, kind: type | UnionType, expected: str) -> None:
    """Raise InputError unless `value` is of a type, which the message calls `expected`, such as "a string"."""
    if not isinstance(value, kind):
        raise InputError(f"{name} must be {expected}. Received: {value!r:.80}")


def check_string(name: str, value: object) -> None:
    """Raise InputError unless `value` is a string."""
    check_type(name, value, str, "a string")


def check_strings(name: str, value: object) -> tuple[str, ...]:
    """Return one or several strings as a tuple. Raises InputError if it is anything else."""
    return _check_several(name, value, str, "a string or several strings")


def check_path(name: str, value: object) -> str:
    """Return a path as a string, unchanged if it is one. Raises InputError if it is anything else."""
    check_type(name, value, str | Path, "a string or a Path")
    return str(value)


def check_paths(name: str, value: object) -> tuple[str, ...]:
    """Return one or several paths as a tuple of strings. Raises InputError if it is anything else."""
    return tuple(map(str, _check_several(name, value, str | Path, "a path or several paths")))


def _check_several(name: str, value: object, kind: type | UnionType, expected: str) -> tuple[Any, ...]:
    values = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else (value,)
    for each in values:
        check_type(name, each, kind, expected)
    return values


def check_temperatures(temperatures: float | Iterable[float]) -> tuple[float, ...]:
    """Return one or several temperatures as a tuple of floats.

    -0.0 becomes 0.0, since the random stream of a row depends on how its temperature is spelled.

    Raises:
        InputError: there are no temperatures or more than MAX_TEMPERATURES, one is repeated, or one is not a finite
            number of at least 0.
    """
    if isinstance(temperatures, int | float):
        temperatures = (temperatures,)
    if isinstance(temperatures, str | bytes) or not isinstance(temperatures, Iterable):
        raise InputError(f"temperature must be a number or several numbers. Received: {temperatures!r}")
    temperatures = tuple(temperatures)
    if not 0 < len(temperatures) <= MAX_TEMPERATURES:
        raise InputError(f"Expected 1 to {MAX_TEMPERATURES:,} temperatures. Received: {len(temperatures):,}")
    for temperature in temperatures:
        check_number("temperature", temperature)
    checked = tuple(float(temperature) + 0.0 for temperature in temperatures)
    if len(set(checked)) < len(checked):
        raise InputError(f"Temperatures must be distinct. Received: {list(checked)}")
    return checked


def did_you_mean(name: str, known: Sequence[str], *, suggest_any: bool = False) -> str:
    """Return the question "Did you mean NAME?" with the known name closest to `name`, or "" if none is close.

    Args:
        name: the unknown name.
        known: the names to choose from.
        suggest_any: offer up to three names, and the first ones if none is close. Use it for names that users chose,
            because the intended one may look quite different.
    """
    if suggest_any:
        nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or list(known[:3])
    else:
        nearest = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {' or '.join(nearest)}?" if nearest else ""
