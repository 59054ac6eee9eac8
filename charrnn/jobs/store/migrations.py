"""Migrations of the store's schema: `MIGRATIONS[n - 1]` leads from version n to n + 1.

An empty database gets the latest tables at once. A store with an older schema is refused until somebody runs
`charrnn-jobs store upgrade`, which must happen while no older worker runs.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from sqlalchemy import Connection, insert, inspect, select, update

from charrnn.errors import InputError
from charrnn.jobs.store import tables
from charrnn.jobs.store.database import lock_schema

Migration = Callable[[Connection], None]

MIGRATIONS: list[Migration] = []
"""All migrations since the schema of the first release, which is version 1."""


def latest() -> int:
    return 1 + len(MIGRATIONS)


def is_store(connection: Connection) -> bool:
    """Return whether the database holds a store with this release's schema. False: it has no tables of ours.

    Raises:
        InputError: the database has tables of another program, or a store of another release.
    """
    present = set(inspect(connection).get_table_names())
    if tables.store.name in present:
        _check(schema_version(connection))
        return True
    if foreign := sorted(present & set(tables.metadata.tables)):
        raise InputError(
            f"The database has a table {foreign[0]} of another program. Give the store a database of its own"
        )
    return False


def create(connection: Connection, check: Callable[[], None]) -> None:
    """Create the tables in an empty database, unless another process has just created them.

    Args:
        check: raises an error if the database should not be empty.
    """
    lock_schema(connection)
    if not is_store(connection):
        check()
        tables.metadata.create_all(connection)
        connection.execute(insert(tables.store).values(id=uuid.uuid4().hex, schema_version=latest()))


def upgrade(connection: Connection) -> int:
    """Upgrade an older schema inside the caller's transaction. Return the version that it had.

    Raises:
        InputError: there is no store, or it belongs to a newer release.
    """
    lock_schema(connection)
    if not inspect(connection).has_table(tables.store.name):
        raise InputError("There is no store in this database, so there is nothing to upgrade. The first use creates it")
    version = schema_version(connection)
    if version > latest():
        _check(version)
    for migration in MIGRATIONS[version - 1 :]:
        migration(connection)
    connection.execute(update(tables.store).values(schema_version=latest()))
    return version


def schema_version(connection: Connection) -> int:
    return int(connection.execute(select(tables.store.c.schema_version)).scalar_one())


def _check(version: int) -> None:
    if version > latest():
        raise InputError(
            f"The store has schema version {version}, but this release supports only versions up to {latest()}. "
            f"Upgrade charrnn-jobs on this host"
        )
    if version < latest():
        raise InputError(
            f"The store has schema version {version}, but this release needs version {latest()}. Stop the workers and "
            f"run: charrnn-jobs store upgrade"
        )
