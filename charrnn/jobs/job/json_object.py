"""Conversion to JSON: the one place where values of the store and the client become documents.

A document of the database may be damaged. Reading its row then still succeeds, with `Damaged` in its place, so that one
cell does not hide all other rows; only using it raises DamagedError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from json import JSONDecodeError
from math import isfinite
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from charrnn.errors import DamagedError, InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

JsonObject = dict[str, Any]
"""A JSON object."""

MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, InputError)
"""The exceptions of code that reads an object of another form than it expects."""


class Damaged(JsonObject):
    """A stored document that is not JSON. It has no fields, and unlike another empty object it is true."""

    def __bool__(self) -> bool:
        return True


def parse_stored(document: str | bytes) -> Any:
    """Parse a document of the database. Return Damaged if it is not JSON as the store writes it, in ASCII."""
    try:
        return json.loads(document) if document.isascii() else Damaged()
    except (AttributeError, RecursionError, ValueError):  # AttributeError: it is a number
        return Damaged()


def whole(document: JsonObject) -> JsonObject:
    """Return a stored document if it was JSON. Called where an object without fields has a meaning of its own.

    Raises:
        ValueError: it is damaged.
    """
    if isinstance(document, Damaged):
        raise ValueError("not JSON")
    return document


def damage(read: Callable[[], object]) -> str | None:
    """Return the message of the DamagedError that a function raises, or None."""
    try:
        read()
    except DamagedError as error:
        return str(error)
    return None


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Name the row to which a stored document belongs if the block cannot read it.

    Raises:
        DamagedError: replaces the exceptions of code that reads an object of another form than it expects.
    """
    try:
        yield
    except MALFORMED as error:
        raise DamagedError(
            f"{what} cannot be read: it is damaged in the database, or was stored by a newer release "
            f"({type(error).__name__}: {error!s:.200})"
        ) from error


def not_json(error: Exception) -> str:
    """Return why a line of a file is not JSON. The number of the line is left to the caller: json counts from 1 in each
    line that it is given."""
    return f"{error.msg}: column {error.colno}" if isinstance(error, JSONDecodeError) else f"{error!s:.200}"


def to_document(value: object) -> Any:
    """Return a value as JSON. A dataclass becomes an object of its fields, unless it has its own `to_dict`."""
    if hasattr(value, "to_dict"):
        return to_document(value.to_dict())
    if is_dataclass(value) and not isinstance(value, type):
        return to_document(field_values(value))
    if isinstance(value, Mapping):
        return {name: to_document(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_document(item) for item in value]
    if isinstance(value, float) and not isfinite(value):  # damaged; JSON has no such numbers
        return None
    return value


def iso_time(ms: int) -> str:
    """Return a time in ISO 8601, such as 2026-11-29T03:00:00Z."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def field_values(value: DataclassInstance) -> JsonObject:
    """Return the fields of a dataclass with their values, which are not converted."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


Since = Mapping[str, int]
"""The versions that brought fields and choices, by `Class.field` and `Class.field=choice`. Others are of version 1."""


def stored(value: DataclassInstance, since: Since) -> JsonObject:
    """Return a dataclass, and those in its fields, as JSON for all releases that can do the same with it.

    A field that came after version 1 is left out where it has its default, which means "as before": an older release
    refuses fields that it does not know. Fields of version 1 are always written, so that a default that changes later
    changes nothing that is stored.
    """
    return {
        field.name: stored(item, since) if is_dataclass(item) and not isinstance(item, type) else item
        for field, item in _used(value, since)
    }


def needed_version(value: DataclassInstance, since: Since) -> int:
    """Return the highest version of the fields and choices that `stored` writes for a value."""
    versions = [1]
    for field, item in _used(value, since):
        name = _name(value, field)
        versions.append(since.get(name, 1))
        if is_dataclass(item) and not isinstance(item, type):
            versions.append(needed_version(item, since))
        else:
            choices = item if isinstance(item, list | tuple) else (item,)
            versions += [since.get(f"{name}={choice}", 1) for choice in choices]
    return max(versions)


def _used(value: DataclassInstance, since: Since) -> Iterator[tuple[Field[Any], Any]]:
    for field in fields(value):
        item = getattr(value, field.name)
        if _name(value, field) not in since or item != _default(field):
            yield field, item


def _name(value: DataclassInstance, field: Field[Any]) -> str:
    return f"{type(value).__name__}.{field.name}"


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def check_types(value: DataclassInstance) -> None:
    """Check that the fields of a dataclass that was made from a stored document have the types that they should.

    Raises:
        TypeError: one does not.
    """
    hints = _hints(type(value))
    for field in fields(value):
        item = getattr(value, field.name)
        if not _fits(item, hints[field.name]):
            raise TypeError(f"{field.name} is {item!r:.80}")


_hints = cache(get_type_hints)


def _fits(item: object, hint: Any) -> bool:
    """Return whether a value has a type: a class, a tuple of any length, any mapping, or one of several types."""
    if isinstance(hint, UnionType):
        return any(_fits(item, each) for each in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(item, tuple) and all(_fits(each, get_args(hint)[0]) for each in item)
    if isinstance(item, bool):  # which is an int, to isinstance
        return hint is bool
    return isinstance(item, int | float if hint is float else get_origin(hint) or hint)


def known_fields(kind: type[DataclassInstance], values: Mapping[str, Any]) -> JsonObject:
    """Return the values of the fields that a dataclass has. A newer release may have stored more."""
    names = {field.name for field in fields(kind)}
    return {name: item for name, item in values.items() if name in names}
