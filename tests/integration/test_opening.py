"""URLs of stores, and databases that cannot be used."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest
from sqlalchemy import Connection, make_url, text

from charrnn.errors import InputError, UnreachableError
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.migrations import latest
from charrnn.jobs.store.store import Store, upgrade


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:secret@host/db",
        "postgresql+asyncpg://user:secret@host/db",
        "sqlite://",
        "sqlite://there/x",  # SQLite has no host: ArgumentError when it is opened
        "sqlite://user:secret@/x",
        "nonsense",
        "postgresql://h:x/d",
        "mysql://host/db?password=secret",
        "postgresql://host/db?virtual_host=secret",  # an option that libpq does not know
    ],
)
def test_an_url_of_another_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InputError, match="CHARRNN_STORE_URL") as caught:
        Store(url)
    assert "secret" not in str(caught.value)


def test_a_signal_is_handled_while_another_process_writes(tmp_path: Path) -> None:
    url, handled, waited = f"sqlite:///{tmp_path / 'store.sqlite'}", Event(), []

    def interrupt(*_: object) -> None:
        handled.set()
        raise KeyboardInterrupt

    def release(holder: sqlite3.Connection) -> None:
        waited.append(handled.wait(25))  # less than the driver would wait for the lock
        holder.rollback()

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with (
            closing(Store(url)) as store,
            closing(
                sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None, check_same_thread=False)
            ) as holder,
        ):
            with store.write():  # of which the first one sets the journal's mode
                pass
            holder.execute("begin immediate")
            thread = Thread(target=release, args=(holder,))
            thread.start()
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012  # the signal may come before the wait
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                with store.write():
                    pass
            thread.join()
            with store.write():
                pass
    finally:
        signal.signal(signal.SIGALRM, before)
    assert waited == [True]  # Catches: Ctrl-C that has no effect for half a minute


def test_a_database_that_cannot_be_opened_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="does not answer"):
        Store(f"sqlite:///{tmp_path / 'no' / 'folder' / 'store.sqlite'}")


def test_a_file_that_is_not_a_database_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_text("not a database, but long enough to be read as one's header" * 10)
    with pytest.raises(UnreachableError):
        Store(f"sqlite:///{tmp_path / 'store.sqlite'}")


def test_an_unreachable_postgresql_is_named_without_its_password() -> None:
    with pytest.raises(UnreachableError, match=r"user:\*\*\*@127\.0\.0\.1:1/db does not answer") as caught:
        Store("postgres://user:secret@127.0.0.1:1/db")
    assert "secret" not in str(caught.value)


def test_a_postgresql_without_an_encoding_keeps_text(postgres_url: str) -> None:
    # initdb makes SQL_ASCII without a locale. Catches: SQLAlchemy's TypeError at the server's version, in bytes
    name = f"ascii_{secrets.token_hex(8)}"
    url = make_url(postgres_url).set(database=name)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database {name} encoding 'SQL_ASCII' locale 'C' template template0")
        store = Store(url.render_as_string(hide_password=False))
        with store.read() as read:
            assert read.execute(text("select 'é⏎'")).scalar_one() == "é⏎"
        store.close()
        connection.execute(f"drop database {name}")


def test_a_connection_to_a_silent_server_times_out(postgres_url: str) -> None:
    # Catches: no tcp_user_timeout: a client that sends to a host that is cut off waits for a quarter of an hour
    store = Store(postgres_url)
    with store.read() as connection, socket.socket(fileno=os.dup(_file(connection))) as link:
        assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
        assert link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    store.close()


def _file(connection: Connection) -> int:
    driver: psycopg.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    return driver.fileno()


def test_an_upgrade_creates_a_home_that_only_its_owner_can_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert upgrade(Settings(home=home)) == (0, latest())
    assert {path.stat().st_mode & 0o077 for path in (home, *home.iterdir())} == {0}
