"""Conversion to JSON: the one place where values of the store and the client become documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

JsonObject = dict[str, Any]
"""A JSON object."""


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
