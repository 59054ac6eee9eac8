"""Opening of databases: their URLs, drivers and connections, and how transactions begin."""

from __future__ import annotations

import sqlite3
import time
from functools import partial
from importlib.util import find_spec
from typing import Any

from sqlalchemy import URL, Connection, Engine, String, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError

from charrnn.errors import InputError
from charrnn.jobs.job.json_object import parse_stored

SQLITE, POSTGRESQL = "sqlite", "postgresql"
EXPECTED = "Expected: sqlite:////path/to/store.sqlite or postgresql://user:password@host/database"
BUSY_TIMEOUT_S = 30  # how long a transaction waits for another one's lock
TURN_S = 0.5  # how long SQLite waits for it at once: meanwhile, a process cannot react to Ctrl-C
CREATION_S = 1.0  # how long a process waits for others that create the file of SQLite, which takes 0.1 s

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
ANEW = "charrnn_anew"  # execution option of a statement that PostgreSQL must plan for each execution
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

# Otherwise the idle connections of a host that vanished would count on the server for 2 hours.
KEEPALIVE = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3"
PREPARED = 5  # executions on one connection after which PostgreSQL keeps a statement's plan, which takes most of a look
CONNECTION = {
    "autocommit": True,  # for the driver: BEGIN is ours
    "prepare_threshold": None,  # until it is known that there is no pooler: see `_configure_postgresql`
    "application_name": "charrnn-jobs",
    "client_encoding": "utf8",  # otherwise a database without an encoding (SQL_ASCII) returns text as bytes
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}


class _Readable(String):
    """A text of SQLite, which keeps any type in any column: a blob is shown with U+FFFD."""

    def result_processor(self, dialect: Any, coltype: object) -> Any:
        return lambda value: value.decode(errors="replace") if isinstance(value, bytes) else value


def open_engine(url: str, connections: int) -> Engine:
    """Return an engine whose transactions begin as their option `HOW` says.

    Raises:
        InputError: the URL names another kind of database, or its driver is not installed.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == POSTGRESQL:
        engine = _postgresql(parsed, connections)
    else:
        engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S}, json_deserializer=parse_stored)
        engine.dialect.colspecs = {**engine.dialect.colspecs, String: _Readable}
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
            f"CHARRNN_STORE_URL must name a SQLite file or a PostgreSQL database. {EXPECTED}. Received: {shown(parsed)}"
        )
    return parsed


def shown(url: URL) -> str:
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
    event.listen(engine, "connect", _configure_postgresql)
    event.listen(engine, "do_execute", _execute_anew)
    return engine


def _configure_postgresql(connection: Any, _record: Any) -> None:
    """Let the driver prepare statements, unless there is a pooler, which gives each transaction another session. A
    pooler is known by the process id that it told when it accepted the connection: it is not that of the session."""
    connection.execute(KEEPALIVE)
    (process,) = connection.execute("SELECT pg_backend_pid()").fetchone()
    if process == connection.info.backend_pid:
        connection.prepare_threshold = PREPARED


def _execute_anew(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Execute a statement that is ANEW without preparing it, and return True. Others are left to SQLAlchemy."""
    if anew := bool(context.execution_options.get(ANEW)):
        cursor.execute(statement, parameters, prepare=False)
    return anew


def _configure_sqlite(connection: Any, _record: Any) -> None:
    """Turn off the driver's own transactions, which begin too late for a read that is followed by a write."""
    connection.isolation_level = None
    # A damaged text is shown with U+FFFD: the driver's error would hide all rows that are read with it.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    _write_ahead(connection)
    # FULL: committed data is on the disk and survives a loss of power.
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: Any) -> None:
    """Set the mode of the journal. If others that have just made the file do the same, SQLite fails without waiting."""
    ends = time.monotonic() + CREATION_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > ends:
                raise
            time.sleep(0.01)


def _begin(connection: Connection) -> None:
    how = connection.get_execution_options().get(HOW, WRITE)
    if how == ALONE:
        return
    if connection.dialect.name == SQLITE and how != READ:
        _begin_writing(connection)
    else:
        connection.exec_driver_sql(BEGIN[connection.dialect.name][how])


def _begin_writing(connection: Connection) -> None:
    """Wait for the lock of SQLite's only writer in turns, between which signals are handled."""
    ends = time.monotonic() + BUSY_TIMEOUT_S
    driver: Any = connection.connection.dbapi_connection
    driver.execute(f"PRAGMA busy_timeout = {round(TURN_S * 1000)}")
    try:
        while True:
            try:
                connection.exec_driver_sql(BEGIN[SQLITE][WRITE])
                break
            except OperationalError as error:
                busy = getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > ends:
                    raise
    finally:
        driver.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")
