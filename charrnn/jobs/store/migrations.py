"""Changes of a whole database: migrations to a new schema, and what one needs that was restored from a backup.

`MIGRATIONS[n - 1]` leads from schema version n to n + 1.

An empty database gets the latest tables at once. A store with an older schema is refused until a user runs
`charrnn-jobs store upgrade`. A migration says which older programs can go on with what it made. A release first expands
the schema: new tables, new indexes, and new columns that are nullable or have a default of the server, so that programs
of the release before can still insert. It contracts the schema, by dropping or changing what it had, no sooner than one
release after the last program that uses it. A fleet can then be upgraded worker by worker.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, insert, inspect, select, update

from charrnn.errors import InputError
from charrnn.jobs.job.states import PartState
from charrnn.jobs.store import tables
from charrnn.jobs.store.database import lock_schema, skip_ids
from charrnn.jobs.store.tables import jobs, models, parts

SKIPPED_TOKENS = 1_000_000  # more than any part was claimed since the backup
SKIPPED_JOBS = 1_000
SKIPPED_VERSIONS = 100


@dataclass(frozen=True)
class Migration:
    """A change of the schema.

    Attributes:
        change: makes the change in the caller's transaction.
        serves: the oldest schema version whose programs can use the new schema.
    """

    change: Callable[[Connection], None]
    serves: int


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
        _check(*_versions(connection))
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
        tables.add_details()
        tables.metadata.create_all(connection)
        connection.execute(insert(tables.store).values(id=uuid.uuid4().hex, schema_version=latest()))


def upgrade(connection: Connection, check: Callable[[], None]) -> int:
    """Upgrade an older schema inside the caller's transaction, or create it. Return the version that it had, or 0.

    Args:
        check: raises an error if the database should not be empty.

    Raises:
        InputError: the store belongs to a newer release, or the tables to another program.
    """
    lock_schema(connection)
    if not inspect(connection).has_table(tables.store.name):
        create(connection, check)
        return 0
    version, serves = _versions(connection)
    if version > latest():
        _check(version, max(serves, latest() + 1))
    for migration in MIGRATIONS[version - 1 :]:
        migration.change(connection)
        serves = max(serves, migration.serves)
    connection.execute(update(tables.store).values(schema_version=latest(), serves=serves))
    return version


def _versions(connection: Connection) -> tuple[int, int]:
    """Return the version of the schema, and the oldest one whose programs can use it."""
    row = connection.execute(select(tables.store.c.schema_version, tables.store.c.serves)).one()
    return row.schema_version, row.serves


def _check(version: int, serves: int) -> None:
    """Refuse a schema that this release cannot use.

    Args:
        serves: the oldest version whose programs can use the schema.
    """
    if serves > latest():
        raise InputError(
            f"The store has schema version {version}, but this release supports only versions up to {latest()}. "
            f"Upgrade charrnn-jobs on this host"
        )
    if version < latest():
        goes_on = all(migration.serves <= version for migration in MIGRATIONS[version - 1 :])
        workers = "Older workers can continue" if goes_on else "Stop the older workers first"
        raise InputError(
            f"The store has schema version {version}, but this release needs version {latest()}. Run: charrnn-jobs "
            f"store upgrade. {workers}"
        )


def skip_used_numbers(connection: Connection) -> None:
    """Raise the fencing tokens, and the numbers of the next jobs and versions, above those used since the backup.

    Otherwise a worker that was cut off since could commit with the token of a new lease, and the names of lost jobs and
    versions would mean others. Raising them twice does no harm.
    """
    open_parts = parts.c.state != PartState.DONE
    connection.execute(update(parts).where(open_parts).values(token=parts.c.token + SKIPPED_TOKENS))
    connection.execute(update(models).values(newest=models.c.newest + SKIPPED_VERSIONS))
    skip_ids(connection, jobs, SKIPPED_JOBS)
