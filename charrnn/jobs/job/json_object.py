"""Conversion to JSON: the one place where values of the store and the client become documents.

A document of the database may be damaged. Reading its row then still succeeds, with `Damaged` in its place, so that one
cell does not hide all other rows; only using it raises DamagedError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

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
    return value


def field_values(value: DataclassInstance) -> JsonObject:
    """Return the fields of a dataclass with their values, which are not converted."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
