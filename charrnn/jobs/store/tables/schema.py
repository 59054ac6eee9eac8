"""Shared by all tables: their metadata, the store's own row, and details that only their creation needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from sqlalchemy import Column, ColumnElement, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

store = Table(
    "store",
    metadata,
    Column("id", String, primary_key=True),  # recorded in the broker too: see Queue.claim_for
    Column("schema_version", Integer, nullable=False),
    Column("serves", Integer, nullable=False, server_default="1"),  # oldest schema version whose programs can use it
    Column("files", Text),  # the place of its files; set when the first one is about to be written
)

PARTIAL_INDEXES: list[Callable[[], Index]] = []
"""A function for each partial index that makes it. Their options import the dialect of PostgreSQL, for 10 ms of each
command, and only the creation of the tables needs them."""


def index_where(name: str, condition: ColumnElement[bool], *columns: ColumnElement[Any]) -> None:
    """Declare a partial index: it has only the rows for which the condition holds, which must have no parameters."""
    PARTIAL_INDEXES.append(partial(Index, name, *columns, sqlite_where=condition, postgresql_where=condition))


STORAGE: dict[Table, dict[str, float]] = {}
"""Storage options of PostgreSQL by table. Like partial indexes, these options import its dialect."""


@cache
def add_details() -> None:
    """Add the partial indexes and the storage options to the tables, which must have them when they are created."""
    for make_index in PARTIAL_INDEXES:
        make_index()
    for table, storage in STORAGE.items():
        table.dialect_options["postgresql"]["with"] = storage
