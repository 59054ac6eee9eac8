"""The differences between SQLite and PostgreSQL: how they are opened, their clock, their locks and their upsert.

Everything else is written once, for both. SQLite lets one writer in at a time. PostgreSQL lets many in, so code that
reads a row in order to change it locks it first (`with_for_update`, which SQLite leaves out).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.ext.compiler import compiles

from charrnn.errors import DamagedError, InputError, UnreachableError
from charrnn.jobs.job.json_object import parse_stored

SQLITE, POSTGRESQL = "sqlite", "postgresql"
EXPECTED = "Expected: sqlite:////path/to/store.sqlite or postgresql://user:password@host/database"

READ: dict[str, dict[str, Any]] = {
    SQLITE: {},
    POSTGRESQL: {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}
WRITE = "charrnn_write"  # execution option of a transaction that will write
SCHEMA_LOCK = 0x63686172726E6E  # "charrnn" as a number
NOT_PERMITTED = "42501"  # PostgreSQL's SQLSTATE for a missing privilege
BUSY_TIMEOUT_S = 30  # how long a transaction waits for another one's lock

# A host that is cut off must not hold its locks until TCP gives up after hours. Therefore PostgreSQL ends idle
# transactions, and both ends of a connection find out within seconds that the other end is gone.
SESSION = {
    "idle_in_transaction_session_timeout": "15s",
    "lock_timeout": f"{BUSY_TIMEOUT_S}s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
CONNECTION = {
    "application_name": "charrnn-jobs",
    "client_encoding": "utf8",  # otherwise a database without an encoding (SQL_ASCII) returns text as bytes
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}


class Database:
    """A database with transactions that read and transactions that write.

    Attributes:
        url: the database URL without its password.

    Raises:
        InputError: the URL names another kind of database.
        UnreachableError: raised by a transaction if the database does not answer.
    """

    def __init__(self, url: str) -> None:
        self.engine = _open_engine(url)
        self.url = _shown(self.engine.url).replace("+psycopg", "", 1)
        self._writing = self.engine.execution_options(**{WRITE: True})
        self._reading = self.engine.execution_options(**READ[self.engine.dialect.name])

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database and writes nothing.

        Raises:
            DamagedError: a value has another type or is none of those expected, as SQLite allows in any column.
        """
        try:
            with self._translate_errors(), self._reading.begin() as connection:
                yield connection
        except (OverflowError, TypeError, ValueError) as error:
            raise DamagedError(f"The store {self.url} has a value that cannot be read: {error}") from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that writes. In SQLite only one runs at a time."""
        with self._translate_errors(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (IntegrityError, DataError, ProgrammingError) as error:  # refused by the schema, or a bug of ours
            if getattr(error.orig, "sqlstate", None) == NOT_PERMITTED:
                raise InputError(
                    f"The store {self.url} denies permission: {error.orig}. Its user must own the database, or have "
                    f"CREATE on its schema and all rights on its tables"
                ) from error
            raise
        except DBAPIError as error:
            # PostgreSQL adds details and hints on further lines.
            reason = str(error.orig).strip().partition("\n")[0]
            raise UnreachableError(f"The store {self.url} does not answer: {reason}") from error


class _Now(ColumnElement[int]):
    """The time in milliseconds by the database's clock and not the host's, since hosts disagree."""

    type = BigInteger()
    inherit_cache = True


@compiles(_Now, SQLITE)
def _sqlite_now(*_: Any, **__: Any) -> str:
    # unixepoch('subsec') is NULL without an error on SQLite 3.40.
    return "cast((julianday('now') - 2440587.5) * 86400000 as integer)"


@compiles(_Now, POSTGRESQL)
def _postgresql_now(*_: Any, **__: Any) -> str:
    # now() is the time at which the transaction began, which is outdated after a wait for a lock.
    return "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)"


NOW = _Now()


def upsert(connection: Connection, table: Table, **values: Any) -> None:
    """Insert a row, or update the one with the same primary key."""
    statement = _insert(connection, table).values(values)
    keys = [column.name for column in table.primary_key]
    changed = {name: value for name, value in values.items() if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))


def insert_missing(connection: Connection, table: Table, **values: Any) -> Row[Any] | None:
    """Insert a row unless one with an equal unique value exists. Return its primary key, or None if one exists."""
    statement = _insert(connection, table).values(values).on_conflict_do_nothing()
    return connection.execute(statement.returning(*table.primary_key)).one_or_none()


def count_rows(connection: Connection, query: Select[Any]) -> int:
    """Return the number of rows that a query finds."""
    return connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()


def _insert(connection: Connection, table: Table) -> Any:
    return import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert(table)


def skip_ids(connection: Connection, table: Table, count: int) -> None:
    """Leave out the next `count` ids of a table."""
    if connection.dialect.name == POSTGRESQL:
        sequence = func.pg_get_serial_sequence(table.name, "id")
        connection.execute(select(func.setval(sequence, func.nextval(sequence) + count - 1)))
    else:  # it has a row for a table once that had one
        statement = "update sqlite_sequence set seq = seq + ? where name = ?"
        connection.exec_driver_sql(statement, (count, table.name))


def lock_schema(connection: Connection) -> None:
    """Keep others from creating or changing tables until the transaction ends. SQLite has only one writer anyway."""
    if connection.dialect.name == POSTGRESQL:
        connection.execute(select(func.pg_advisory_xact_lock(SCHEMA_LOCK)))


def _open_engine(url: str) -> Engine:
    """Return an engine whose transactions begin as their option `WRITE` says.

    Raises:
        InputError: the URL names another kind of database, or its driver is not installed.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == POSTGRESQL:
        return _postgresql(parsed)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S}, json_deserializer=parse_stored)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url)
    except (ArgumentError, ValueError) as error:  # ValueError: the port is not a number
        raise InputError(f"CHARRNN_STORE_URL is not a database URL. {EXPECTED}") from error
    # SQLite's own URLs, which begin with "file:", can also name a database in memory.
    path = parsed.database or ""
    elsewhere = (parsed.host, parsed.port, parsed.username, parsed.password, parsed.query)
    is_file = parsed.drivername == SQLITE and path and not path.startswith((":memory:", "file:")) and not any(elsewhere)
    if not is_file and parsed.drivername not in (POSTGRESQL, "postgresql+psycopg"):
        raise InputError(
            f"CHARRNN_STORE_URL must name a SQLite file or a PostgreSQL database. {EXPECTED}. "
            f"Received: {_shown(parsed)}"
        )
    return parsed


def _shown(url: URL) -> str:
    """Return the URL without its passwords. libpq also accepts passwords in the query."""
    hidden = {name: "***" for name in url.query if "password" in name}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def _postgresql(url: URL) -> Engine:
    if find_spec("psycopg") is None:
        raise InputError("A store in PostgreSQL requires psycopg. Install the extra: pip install '.[postgres]'")
    from psycopg import ProgrammingError as InvalidOption
    from psycopg.conninfo import make_conninfo

    try:
        make_conninfo("", **dict.fromkeys(url.query, ""))
    except InvalidOption as error:
        raise InputError(f"CHARRNN_STORE_URL: {str(error).strip()}. Expected options of PostgreSQL's libpq") from error
    options = " ".join([str(url.query.get("options", "")), *(f"-c {name}={text}" for name, text in SESSION.items())])
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={**CONNECTION, "options": options.strip()},
        json_deserializer=parse_stored,
        pool_pre_ping=True,  # replaces connections from before a restart of the server without an error
    )


def _configure_sqlite(connection: Any, _record: Any) -> None:
    """Turn off the driver's own transactions, which begin too late for a read that is followed by a write."""
    connection.isolation_level = None
    # A damaged text is shown with U+FFFD: the driver's error would hide all rows that are read with it.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    # FULL: committed data is on the disk and survives a loss of power.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get(WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
