"""The differences between SQLite and PostgreSQL: their transactions, their clock, their locks and their upsert.

Everything else is written once, for both. SQLite lets one writer in at a time. PostgreSQL lets many in, so code that
reads a row in order to change it locks it first (`with_for_update`, which SQLite leaves out).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from threading import Lock, local
from typing import Any, TypeVar, TypeVarTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    Row,
    Select,
    Table,
    func,
    literal_column,
    select,
)
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from charrnn.errors import DamagedError, InputError, UnreachableError
from charrnn.jobs.settings import CONNECTIONS
from charrnn.jobs.store.opening import ALONE, HOW, POSTGRESQL, READ, SQLITE, WRITE, WRITE_SOON, open_engine, shown

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SCHEMA_LOCK = 0x63686172726E6E  # "charrnn" as a number
NOT_PERMITTED = "42501"  # PostgreSQL's SQLSTATE for a missing privilege

PATIENCE_S = 0.1  # for the connection that is open: opening another one takes 7 ms of the server's CPU, most work less
CONNECTION_LIMIT = """
select least(
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
  nullif(rolconnlimit, -1), nullif(datconnlimit, -1)
)
from pg_roles, pg_database where rolname = current_user and datname = current_database()
"""


class _Reading(local):
    """The transaction that a thread reads in, if it is in one."""

    connection: Connection | None = None


class Database:
    """A database with transactions that read and transactions that write.

    Args:
        connections: most connections to PostgreSQL at once. One is kept open. A thread that finds it in use waits for
            it a moment before it opens another one, and longer if there are as many as may be.

    Attributes:
        url: the database URL without its password.

    Raises:
        InputError: the URL names another kind of database.
        UnreachableError: raised by a transaction if the database does not answer.
    """

    def __init__(self, url: str, connections: int = CONNECTIONS) -> None:
        self.engine = open_engine(url, connections)
        self.url = shown(self.engine.url).replace("+psycopg", "", 1)
        self._kept_open = Lock() if self.engine.dialect.name == POSTGRESQL else None
        self._reading = _Reading()

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database and writes nothing. Inside of such a block of the same
        thread it is the same transaction.

        Raises:
            DamagedError: a value has another type or is none of those expected, as SQLite allows in any column.
        """
        if self._reading.connection is not None:
            yield self._reading.connection
            return
        try:
            with self._begin(READ) as connection:
                self._reading.connection = connection
                try:
                    yield connection
                finally:
                    self._reading.connection = None
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
        with self._translate_errors(), self._first_come():
            connection, row = self._connect(ALONE, lambda connection: connection.execute(query).one())
            connection.close()
        return row

    @contextmanager
    def _begin(self, how: str) -> Iterator[Connection]:
        with self._translate_errors(), self._first_come():
            connection, transaction = self._connect(how, Connection.begin)
            with connection, transaction:
                yield connection

    @contextmanager
    def _first_come(self) -> Iterator[None]:
        """Wait a moment for the other threads that use the connection which is open."""
        mine = self._kept_open is not None and self._kept_open.acquire(timeout=PATIENCE_S)
        try:
            yield
        finally:
            if mine and self._kept_open is not None:
                self._kept_open.release()

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
            driver: Any = connection.connection.dbapi_connection
            limit = int(connection.exec_driver_sql(CONNECTION_LIMIT).scalar_one())
            return None if driver.prepare_threshold is None else limit

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
            hint = "" if self.engine.dialect.name == SQLITE else ". Start the database, or correct CHARRNN_STORE_URL"
            raise UnreachableError(f"The store {self.url} does not answer: {reason}{hint}") from error


class _Now(FunctionElement[int]):
    """The time in milliseconds by the database's clock and not the host's, since hosts disagree.

    It is a function, since SQLAlchemy compiles a statement with another kind of element anew for each execution.
    """

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


def add_up(connection: Connection, table: Table, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or add their values of the column `name` to those of the rows with the same primary keys."""
    statement = _insert(connection, table)
    keys = [column.name for column in table.primary_key]
    total = {name: table.c[name] + statement.excluded[name]}
    # Row by row: SQLAlchemy would compile a statement with many rows each time, which takes 1 ms.
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=total), rows)


def insert_missing(connection: Connection, table: Table, **values: Any) -> Row[Any] | None:
    """Insert a row unless one with an equal unique value exists. Return its primary key, or None if one exists."""
    statement = _insert(connection, table).values(values).on_conflict_do_nothing()
    return connection.execute(statement.returning(*table.primary_key)).one_or_none()


def limited(query: Select[*Ts], number: int) -> Select[*Ts]:
    """Return a query of the first rows. With a parameter as its limit, PostgreSQL would plan it for each execution."""
    return query.limit(literal_column(str(number)))


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
