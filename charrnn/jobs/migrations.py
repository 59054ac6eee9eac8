"""The store's schema, one step at a time: `MIGRATIONS[n - 1]` leads to version n."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from sqlalchemy import Connection, insert, inspect, select, update

from charrnn.errors import InputError
from charrnn.jobs import tables


def m001_initial(connection: Connection) -> None:
    tables.metadata.create_all(connection)
    connection.execute(insert(tables.store).values(id=uuid.uuid4().hex, schema_version=0))


MIGRATIONS: list[Callable[[Connection], None]] = [m001_initial]


def migrate(connection: Connection) -> None:
    """Bring the schema up to date, inside the caller's transaction.

    Raises:
        InputError: the store was written by a newer release.
    """
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise InputError(
            f"The store has schema {version}, this release knows up to {len(MIGRATIONS)}. Upgrade charrnn-jobs here"
        )
    if version < len(MIGRATIONS):
        for migration in MIGRATIONS[version:]:
            migration(connection)
        connection.execute(update(tables.store).values(schema_version=len(MIGRATIONS)))


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table(tables.store.name):
        return 0
    return int(connection.execute(select(tables.store.c.schema_version)).scalar_one())
