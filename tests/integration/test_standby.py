"""A standby of the database that takes the place of its primary."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from charrnn.errors import LeaseLostError, NotFoundError
from charrnn.jobs.client import Client
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.rows.seeds import Seed
from charrnn.jobs.store.leases import Leases
from charrnn.options import SamplingOptions
from tests.fixtures.client import submit
from tests.fixtures.postgres import PostgresServer, running_server, running_standby, url_of_both
from tests.fixtures.processes import until
from tests.fixtures.store import sampled

OUTPUT = FileRef(name="jobs/x", size=1, sha256="1")
WAITS = "select 1 from pg_stat_activity where wait_event = 'SyncRep'"


@pytest.fixture
def primary() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    with running_standby(primary) as server:
        yield server


@pytest.fixture
def store_url(primary: PostgresServer, standby: PostgresServer) -> str:
    return url_of_both(primary, standby)


def submit_one(client: Client, model: str) -> int:
    return submit(client, model, [Seed("a")], SamplingOptions()).id or 0


def test_an_acknowledged_submit_is_on_the_synchronous_standby(
    client: Client, model: str, primary: PostgresServer, standby: PostgresServer
) -> None:
    primary.replicate_synchronously()
    standby.stop()
    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(submit_one, client, model)
        # Catches: a session that turns synchronous_commit off, whose submit is acknowledged without a standby
        until(lambda: submitted.done() or primary.execute(WAITS), "a commit that waits")
        assert not submitted.done()
        standby.start()
        job = submitted.result()
    primary.crash()
    standby.promote()
    part = Leases(client.connections.store, 30).claim("generate", "a", "cpu")  # over connections to the lost server
    assert part
    assert part.job == job


def test_a_failover_without_synchronous_replication_is_made_safe_as_a_restore_is(
    client: Client, model: str, primary: PostgresServer, standby: PostgresServer
) -> None:
    kept = submit_one(client, model)
    primary.wait_for_standby("async")
    standby.stop()
    leases = Leases(client.connections.store, 30)
    old = leases.claim("generate", "cut off", "cpu")
    lost = submit_one(client, model)
    primary.crash()
    standby.start()
    standby.promote()

    with pytest.raises(NotFoundError):
        client.job(lost)
    client.recover()
    new = leases.claim("generate", "new", "cpu")
    assert old
    assert new
    assert (old.job, new.job) == (kept, kept)
    with pytest.raises(LeaseLostError):  # Catches: a failover without `store recover`: both leases have the token 1
        leases.complete_rows(old, OUTPUT, sampled(old), "cpu")
    leases.complete_rows(new, OUTPUT, sampled(new), "cpu")
    assert submit_one(client, model) > lost
