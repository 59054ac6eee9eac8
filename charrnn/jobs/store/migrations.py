"""The store's schema, one step at a time: `MIGRATIONS[n - 1]` leads from version n to n + 1.

An empty database gets today's tables at once. One with an older schema is refused until a person
has it upgraded, when no older worker runs: `charrnn-jobs store upgrade`.
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
"""Since the schema of the first release, which is version 1."""


def latest() -> int:
    return 1 + len(MIGRATIONS)


def is_store(connection: Connection) -> bool:
    """Whether the database holds a store, of this release's schema, or nothing of ours.

    Raises:
        InputError: tables of somebody else, or a store of another release.
    """
    present = set(inspect(connection).get_table_names())
    if tables.store.name in present:
        _check(schema_version(connection))
        return True
    if foreign := sorted(present & set(tables.metadata.tables)):
        raise InputError(
            f"The database has a table {foreign[0]} that is not of this program. Give the store a database of its own"
        )
    return False


def create(connection: Connection) -> None:
    """Make the tables in an empty database, unless somebody made them just now."""
    lock_schema(connection)
    if not is_store(connection):
        tables.metadata.create_all(connection)
        connection.execute(insert(tables.store).values(id=uuid.uuid4().hex, schema_version=latest()))


def upgrade(connection: Connection) -> int:
    """Bring an older schema up to date, inside the caller's transaction -> the version that it had.

    Raises:
        InputError: no store, or one of a newer release.
    """
    lock_schema(connection)
    if not inspect(connection).has_table(tables.store.name):
        raise InputError("There is no store in this database. It is made when it is first used")
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
            f"The store has schema {version}, this release knows up to {latest()}. Upgrade charrnn-jobs here"
        )
    if version < latest():
        raise InputError(
            f"The store has schema {version}, this release needs {latest()}. Stop the workers and run: "
            f"charrnn-jobs store upgrade"
        )
