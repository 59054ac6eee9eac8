"""Connections to PostgreSQL: two for each process at most, which PgBouncer can share among hundreds of workers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import delete, event, select

from charrnn.errors import UnreachableError
from charrnn.jobs.client import Client
from charrnn.jobs.job.part import PartProgress
from charrnn.jobs.job.states import JobState
from charrnn.jobs.settings import CONNECTIONS, Settings
from charrnn.jobs.store import database, opening
from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.opening import LIMITS
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import workers
from producer.commands.doctor import examine
from tests.fixtures.history import add_workers
from tests.fixtures.processes import until
from tests.fixtures.store import NO_FILE, PART_ROWS, AddJob, behind_pgbouncer, on_postgresql, sampled
from worker.child import Child

ROOT = Path(__file__).parents[2]
CHILDREN = 120  # more than PostgreSQL's default of max_connections


@contextmanager
def busy_child(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    places = {"HOME": settings.home, "STORE_URL": settings.store_url, "FILES_URL": settings.files_url}
    environment = os.environ | {f"CHARRNN_{name}": str(value) for name, value in places.items()}
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "tests.programs.busy_child"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


@on_postgresql
def test_a_child_has_two_connections_at_most_and_one_while_it_is_idle(
    settings: Settings, store: Store, add_job: AddJob
) -> None:
    add_job(parts=60)
    store.close()
    count = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    with psycopg.connect(settings.store_url, autocommit=True) as watcher, busy_child(settings) as child:
        assert child.stdout is not None
        assert int(child.stdout.readline()) <= CONNECTIONS  # Catches: a pool that grows with the threads of a child

        def is_idle() -> bool:
            return watcher.execute(count).fetchone() == (1,)

        until(is_idle, "the second connection to be closed", pause_s=0.001)


@on_postgresql
def test_a_thread_that_gets_no_connection_says_which_setting_helps(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "BUSY_TIMEOUT_S", 0.01)
    for connections in (1, 2, 3):
        with closing(Store(store_url, connections=connections)) as store, ExitStack() as used:
            for _ in range(connections):
                used.enter_context(store.write())
            # Catches: more connections than the setting allows
            with pytest.raises(UnreachableError, match="all connections of this process are in use"):
                store.now()


class Gate:
    """A lock that tells when a thread waits for it."""

    def __init__(self) -> None:
        self._lock, self.waiting = threading.Lock(), threading.Event()
        self.release = self._lock.release

    def acquire(self, *, timeout: float) -> bool:
        if timeout and self._lock.locked():
            self.waiting.set()
        return self._lock.acquire(timeout=timeout)


@on_postgresql
def test_a_thread_waits_a_moment_for_the_connection_that_is_open(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE_S", 60.0)
    opened: list[object] = []
    with closing(Store(store_url)) as store, ThreadPoolExecutor(1) as pool:
        event.listen(store.engine, "connect", lambda connection, _record: opened.append(connection))
        monkeypatch.setattr(store, "_kept_open", gate := Gate())
        with store.read():
            second = pool.submit(store.now)
            until(lambda: gate.waiting.is_set() or second.done(), "the second thread")
        second.result()
    assert opened == []  # Catches: a connection that is opened and closed whenever two threads meet


@on_postgresql
def test_a_connection_that_the_server_closed_is_replaced_without_an_error(settings: Settings, store: Store) -> None:
    cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> %s"
    with psycopg.connect(settings.store_url, autocommit=True) as other:
        for use in (store.now, lambda: store.read_row(select(NOW))):
            use()
            other.execute(cut, [other.info.backend_pid])
            use()  # Catches: a transaction, or a statement alone, that does not begin again on a new connection


@behind_pgbouncer
def test_limits_hold_in_each_transaction_behind_pgbouncer(store: Store) -> None:
    for transaction in (store.read, store.write):
        with transaction() as connection:
            found = {name: connection.exec_driver_sql(f"show {name}").scalar_one() for name in LIMITS}
        # Catches: options of a session, which PgBouncer refuses or gives to another one
        assert found == {**LIMITS, "tcp_user_timeout": "10000"}


@behind_pgbouncer
def test_no_statement_needs_the_session_that_prepared_it(store: Store, leases: Leases, add_job: AddJob) -> None:
    """Each of several clients repeats its statements more often than the driver needs to prepare them."""
    add_job(parts=80)
    done: list[int] = []

    def work(number: int) -> None:
        with closing(Store(store.engine.url.render_as_string(hide_password=False))) as own:
            mine = Leases(own, 30)
            while part := mine.claim("generate", f"host-{number}", "cpu"):
                mine.complete_rows(part, NO_FILE, sampled(part), "cpu")
                done.append(part.number)

    together(work, 4)
    assert sorted(done) == list(range(80))  # Catches: a pooler that is taken for a server


@behind_pgbouncer
def test_more_children_than_postgresql_accepts_finish_a_job_behind_pgbouncer(
    settings: Settings, store: Store, add_job: AddJob
) -> None:
    job = add_job(parts=2 * CHILDREN)
    with store.read() as connection:
        assert int(connection.exec_driver_sql("show max_connections").scalar_one()) < CHILDREN
    begun = threading.Barrier(CHILDREN)

    def work(number: int) -> None:
        child = Child(settings, f"host-{number}/0", "cpu", ["generate"])
        child.store.record_heartbeat(child.life)
        begun.wait()  # all of them are connected
        while part := child.leases.claim("generate", child.owner, "cpu"):
            assert not child.leases.heartbeat(part, PartProgress())
            child.leases.complete_rows(part, NO_FILE, sampled(part), "cpu")
        child.connections.close()

    together(work, CHILDREN)
    ended = store.job(job)
    assert (ended.state, ended.parts_left, ended.rows_done) == (JobState.DONE, 0, 2 * CHILDREN * PART_ROWS)
    assert len(store.workers(3_600_000)) == CHILDREN


@on_postgresql
def test_doctor_compares_the_fleet_with_the_connections_that_the_database_accepts(client: Client, store: Store) -> None:
    limit = store.connection_limit()
    assert limit is not None

    def report(fleet: int) -> tuple[bool, bool]:
        with store.write() as connection:
            connection.execute(delete(workers))
            add_workers(connection, fleet)
        (check,) = [check for check in examine(client) if check.name == "connections"]
        return check.ok, f"but it accepts {limit}" in check.detail

    most = limit // CONNECTIONS
    assert [report(fleet) for fleet in (1, most, most + 1)] == [(True, False), (True, False), (False, True)]


@behind_pgbouncer
def test_doctor_counts_no_connections_behind_pgbouncer(client: Client) -> None:
    assert client.connections.store.connection_limit() is None
    assert "connections" not in {check.name for check in examine(client)}


def together(work: Callable[[int], object], count: int) -> None:
    """Do the work in that many threads at once, and raise the first error."""
    with ThreadPoolExecutor(count) as pool:
        for ended in [pool.submit(work, number) for number in range(count)]:
            ended.result()
