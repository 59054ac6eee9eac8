"""The differences between SQLite and PostgreSQL: how they are opened, their clock, their locks and their upsert.

Everything else is written once, for both. SQLite lets one writer in at a time. PostgreSQL lets many in, so code that
reads a row in order to change it locks it first (`with_for_update`, which SQLite leaves out).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

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
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles

from charrnn.errors import DamagedError, InputError, UnreachableError
from charrnn.jobs.job.json_object import parse_stored
from charrnn.jobs.settings import CONNECTIONS

T = TypeVar("T")
SQLITE, POSTGRESQL = "sqlite", "postgresql"
EXPECTED = "Expected: sqlite:////path/to/store.sqlite or postgresql://user:password@host/database"

SCHEMA_LOCK = 0x63686172726E6E  # "charrnn" as a number
NOT_PERMITTED = "42501"  # PostgreSQL's SQLSTATE for a missing privilege
BUSY_TIMEOUT_S = 30  # how long a transaction waits for another one's lock

# A host that is cut off must not hold its locks until TCP gives up after hours. Therefore PostgreSQL ends idle
# transactions, and both ends of a connection find out within seconds that the other end is gone. PgBouncer gives each
# transaction another session, so each one sets its own limits, in the message that begins it.
LIMITS = {
    "idle_in_transaction_session_timeout": "15s",
    "lock_timeout": f"{BUSY_TIMEOUT_S}s",
    "tcp_user_timeout": "10s",
}
_SET = "".join(f"; SET LOCAL {name} = '{text}'" for name, text in LIMITS.items())
HOW = "charrnn_how"  # execution option: how a transaction begins
READ, WRITE, WRITE_SOON, ALONE = "read", "write", "write soon", "alone"
BEGIN = {
    SQLITE: {READ: "BEGIN", WRITE: "BEGIN IMMEDIATE", WRITE_SOON: "BEGIN IMMEDIATE"},
    POSTGRESQL: {
        READ: f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY{_SET}",
        WRITE: f"BEGIN{_SET}",
        WRITE_SOON: f"BEGIN{_SET}; SET LOCAL synchronous_commit = off",
    },
}
"""The first statement of a transaction. A statement that is ALONE has none."""

# The ends of idle connections on the server's side: otherwise those of a host that vanished would count for 2 hours.
KEEPALIVE = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3"
CONNECTION_LIMIT = """
select least(
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
  nullif(rolconnlimit, -1), nullif(datconnlimit, -1)
), pg_backend_pid()
from pg_roles, pg_database where rolname = current_user and datname = current_database()
"""
CONNECTION = {
    "autocommit": True,  # for the driver: BEGIN is ours
    "prepare_threshold": None,  # PgBouncer gives the next transaction another session, which knows no such statement
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

    Args:
        connections: most connections to PostgreSQL at once. One is kept open; a thread that finds all of them in use
            waits.

    Attributes:
        url: the database URL without its password.

    Raises:
        InputError: the URL names another kind of database.
        UnreachableError: raised by a transaction if the database does not answer.
    """

    def __init__(self, url: str, connections: int = CONNECTIONS) -> None:
        self.engine = _open_engine(url, connections)
        self.url = _shown(self.engine.url).replace("+psycopg", "", 1)

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database and writes nothing.

        Raises:
            DamagedError: a value has another type or is none of those expected, as SQLite allows in any column.
        """
        try:
            with self._begin(READ) as connection:
                yield connection
        except (OverflowError, TypeError, ValueError) as error:
            raise DamagedError(f"The store {self.url} has a value that cannot be read: {error}") from error

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """Open a transaction that writes. In SQLite only one runs at a time.

        Args:
            durable: wait until it is on the disk. Otherwise a crash of PostgreSQL may lose it, within its last second.
        """
        with self._begin(WRITE if durable else WRITE_SOON) as connection:
            yield connection

    def read_row(self, query: Select[*tuple[Any, ...]]) -> Row[Any]:
        """Return the only row of a query that runs alone, without the messages that begin and end a transaction."""
        with self._translate_errors():
            connection, row = self._connect(ALONE, lambda connection: connection.execute(query).one())
            connection.close()
        return row

    @contextmanager
    def _begin(self, how: str) -> Iterator[Connection]:
        with self._translate_errors():
            connection, transaction = self._connect(how, Connection.begin)
            with connection, transaction:
                yield connection

    def _connect(self, how: str, first: Callable[[Connection], T], *, again: bool = True) -> tuple[Connection, T]:
        """Return a connection and the result of its first action.

        The server may have closed a pooled connection since its last use, for example in a restart. A new one takes its
        place without an error, since nothing was done yet. A ping before each transaction would cost a message.
        """
        connection = self.engine.execution_options(**{HOW: how}).connect()
        try:
            return connection, first(connection)
        except BaseException as error:
            connection.close()
            if not (again and isinstance(error, DBAPIError) and error.connection_invalidated):
                raise
        return self._connect(how, first, again=False)

    def connection_limit(self) -> int | None:
        """Return how many connections this user may open, or None if nothing limits them.

        Nothing does in SQLite, nor behind a connection pooler, which has limits of its own.
        """
        if self.engine.dialect.name == SQLITE:
            return None
        with self.read() as connection:
            limit, process = connection.exec_driver_sql(CONNECTION_LIMIT).one()
            driver: Any = connection.connection.dbapi_connection
            return int(limit) if driver.info.backend_pid == process else None

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
        except PoolTimeout as error:
            raise UnreachableError(
                f"The store {self.url} was not asked: all connections of this process are in use. Set "
                f"CHARRNN_STORE_CONNECTIONS to more"
            ) from error
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


def upsert(connection: Connection, table: Table, changed: dict[str, Any] | None = None, /, **values: Any) -> None:
    """Insert a row, or update the one with the same primary key.

    Args:
        changed: the values to update. Default: all that are not in the key.
    """
    statement = _insert(connection, table).values(values)
    keys = [column.name for column in table.primary_key]
    changed = changed or {name: value for name, value in values.items() if name not in keys}
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


def _open_engine(url: str, connections: int) -> Engine:
    """Return an engine whose transactions begin as their option `HOW` says.

    Raises:
        InputError: the URL names another kind of database, or its driver is not installed.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == POSTGRESQL:
        engine = _postgresql(parsed, connections)
    else:
        engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S}, json_deserializer=parse_stored)
        event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin)
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


def _postgresql(url: URL, connections: int) -> Engine:
    if find_spec("psycopg") is None:
        raise InputError("A store in PostgreSQL requires psycopg. Install the extra: pip install '.[postgres]'")
    from psycopg import ProgrammingError as InvalidOption
    from psycopg.conninfo import make_conninfo

    try:
        make_conninfo("", **dict.fromkeys(url.query, ""))
    except InvalidOption as error:
        raise InputError(f"CHARRNN_STORE_URL: {str(error).strip()}. Expected options of PostgreSQL's libpq") from error
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args=CONNECTION,
        json_deserializer=parse_stored,
        use_native_hstore=False,
        pool_size=1,
        max_overflow=connections - 1,  # opened and closed when a second thread needs one
        pool_timeout=BUSY_TIMEOUT_S,
    )
    event.listen(engine, "connect", lambda connection, _record: connection.execute(KEEPALIVE))
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    """Turn off the driver's own transactions, which begin too late for a read that is followed by a write."""
    connection.isolation_level = None
    # A damaged text is shown with U+FFFD: the driver's error would hide all rows that are read with it.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    # FULL: committed data is on the disk and survives a loss of power.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    how = connection.get_execution_options().get(HOW, WRITE)
    if how != ALONE:
        connection.exec_driver_sql(BEGIN[connection.dialect.name][how])
