"""The deletion of jobs with many parts: in steps, after the first of which nothing finds the job any more."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, update

from charrnn.errors import InputError, NotFoundError
from charrnn.jobs.client import Client
from charrnn.jobs.settings import Settings
from charrnn.jobs.store import tables
from charrnn.jobs.store.deletion import jobs as deletion
from charrnn.jobs.store.deletion.jobs import CHUNK
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import jobs, parts, rounds
from charrnn.jobs.upkeep.maintenance import tidy
from tests.fixtures.processes import COMMAND
from tests.fixtures.store import AddJob, each_database

pytestmark = each_database


def num_parts(store: Store, job: int) -> int:
    with store.read() as connection:
        return connection.execute(select(func.count()).where(parts.c.job == job)).scalar_one()


def ended_job(client: Client, add_job: AddJob, num_parts: int, **facts: str) -> int:
    job = add_job(parts=num_parts, **facts)
    client.connections.claim_files()
    client.cancel(job)
    client.connections.files.put(f"jobs/{job}/0-1.jsonl.zst", [b"rows"])
    return job


def files_of(client: Client, job: int) -> list[str]:
    return [file.name for file in client.connections.files.list(f"jobs/{job}")]


def test_no_transaction_deletes_more_than_a_chunk(
    client: Client, store: Store, add_job: AddJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "CHUNK", 3)
    many, few, other = (ended_job(client, add_job, count) for count in (10, 3, 10))
    seen, before = [], num_parts(store, many)

    def look(deleted: int) -> None:
        # Catches: one transaction for all; a count of something else
        assert num_parts(store, many) == before - deleted
        seen.append(deleted)

    client.delete(many, look)
    assert seen == [3, 6, 9, 10]
    client.delete(few, look)
    assert len(seen) == 4  # it was deleted at once
    with store.read() as connection:
        assert connection.execute(select(jobs.c.id)).scalars().all() == [other]
        assert set(connection.execute(select(parts.c.job)).scalars()) == {other}
    assert num_parts(store, other) == 10  # Catches: parts of other jobs in the range
    assert [files_of(client, job) for job in (many, few, other)] == [[], [], [f"jobs/{other}/0-1.jsonl.zst"]]


def break_off(settings: Settings, job: int) -> None:
    """Begin to delete a job in a process that is killed after the first chunk."""
    variables = {
        "CHARRNN_HOME": str(settings.home),
        "CHARRNN_STORE_URL": settings.database_url,
        "CHARRNN_REDIS_URL": settings.broker_url,
        "CHARRNN_FILES_URL": settings.files_location,
        "CHARRNN_CRASH_AT": "deleting:kill",
    }
    words = [*COMMAND, "delete", str(job)]
    done = subprocess.run(words, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("way", ["delete", "prune", "maintenance"])
def test_a_killed_deletion_hides_the_job_and_can_be_continued(
    settings: Settings, client: Client, store: Store, leases: Leases, add_job: AddJob, way: str
) -> None:
    kept = ended_job(client, add_job, CHUNK + 3)
    job = ended_job(client, add_job, CHUNK + 5, key="once")
    break_off(settings, job)
    assert num_parts(store, job) == 5
    assert files_of(client, job)
    # Catches: half a job that is shown, sampled again or exported as if it were whole
    assert [found.id for found in client.jobs()] == [kept]
    assert store.job().id == kept
    for act in (client.job, client.status, client.cancel, client.retry, lambda job: list(client.results(job))):
        with pytest.raises(NotFoundError, match=f"There is no job {job}"):
            act(job)
    assert leases.claim("generate", "worker", "cpu") is None
    # Catches: a job that lacks parts, and files without a row
    assert not [found for found in client.inspect() if re.search(rf"\bjobs?[ /]{job}\b", found.problem)]
    again = add_job(key="once")  # Catches: a key that belongs to a job that nobody can see
    assert again > job
    if way == "delete":
        client.delete(job)
    elif way == "prune":
        client.prune(10**6)
    else:
        with store.write() as connection:
            connection.execute(delete(rounds))
        assert tidy(store, client.connections.files)
    assert (num_parts(store, job), files_of(client, job)) == (0, [])
    assert (num_parts(store, kept), num_parts(store, again)) == (CHUNK + 3, 1)
    assert files_of(client, kept)
    with store.read() as connection:
        assert set(connection.execute(select(jobs.c.id)).scalars()) == {kept, again}
    with pytest.raises(NotFoundError):
        client.delete(job)


def test_a_backlog_is_pruned_in_pages(
    client: Client, store: Store, add_job: AddJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "PAGE", 2)
    ended = [ended_job(client, add_job, 1) for _ in range(5)]
    waiting = add_job()
    with store.read() as connection:
        # Catches: a list of all old jobs, which may be a million
        assert deletion.prunable(connection, -1000) == ended[:2]
        assert deletion.prunable(connection, -1000, after=ended[3]) == ended[4:]
    with store.write() as connection:
        connection.execute(update(jobs).values(finished_at=jobs.c.finished_at - 1000))
    assert client.prune(0.5, dry_run=True).jobs == client.prune(0.5).jobs == 5
    assert [job.id for job in client.jobs()] == [waiting]


def test_a_job_that_has_not_ended_is_not_hidden(
    client: Client, store: Store, add_job: AddJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "CHUNK", 3)
    job = add_job(parts=10)
    client.connections.claim_files()
    with pytest.raises(InputError, match="Cancel it first"):
        client.delete(job)
    assert client.job(job).state == "queued"
    assert num_parts(store, job) == 10


def test_reports_and_engines_go_with_a_job_of_many_parts(
    client: Client, store: Store, add_job: AddJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(deletion, "CHUNK", 3)
    job = ended_job(client, add_job, 10)
    facts = {"device": "cpu", "precision": "float32", "release": "0.1.0", "commits": 1}
    with store.write() as connection:
        connection.execute(tables.reports.insert().values(job=job, report={}))
        connection.execute(tables.engines.insert().values(job=job, **facts))
    client.delete(job)
    with store.read() as connection:
        for table in (tables.reports, tables.engines):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
