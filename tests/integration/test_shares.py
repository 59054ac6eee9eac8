"""Shares of the workers: of a queue and priority, people take turns, whatever the number and size of their jobs."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from sqlalchemy import event, insert, literal, select, update

from charrnn.jobs.client import Client
from charrnn.jobs.job.part import Part
from charrnn.jobs.job.states import Priority
from charrnn.jobs.job.version import NewVersion
from charrnn.jobs.queue import Queue
from charrnn.jobs.store import lifecycle, registry
from charrnn.jobs.store.database import Database
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.lifecycle import NewJob
from charrnn.jobs.store.shown.queues import MOST_USERS
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import jobs, parts, submitters
from charrnn.jobs.store.turns import forget_idle
from charrnn.jobs.upkeep.maintenance import maintain
from charrnn.options import NetworkOptions
from tests.fixtures.store import NO_FILE, AddJob, each_database, generate_spec, life, on_postgresql, sampled

VERSION: dict[str, Any] = {
    "model": "speeches",
    "files": NO_FILE,
    "characters": "ab",
    "network": NetworkOptions(units=1),
    "val_loss": 1.0,
    "precision": "float32",
}


def claim(leases: Leases, queue: str = "generate") -> Part:
    part = leases.claim(queue, "a", "cpu")
    assert part is not None
    return part


def complete(leases: Leases, part: Part) -> None:
    leases.complete_rows(part, NO_FILE, sampled(part), "cpu")


def shares(leases: Leases, count: int) -> Counter[str]:
    """Return who got the next parts, each of which is completed."""
    got = Counter[str]()
    for _ in range(count):
        part = claim(leases)
        got[leases.store.job(part.job).submitted_by] += 1
        complete(leases, part)
    return got


@each_database
def test_a_person_with_many_jobs_and_one_with_a_single_job_get_equal_shares(leases: Leases, add_job: AddJob) -> None:
    for _ in range(100):
        add_job(parts=2, submitted_by="ada")
    single = add_job(parts=40, submitted_by="bob")
    # Catches: turns of jobs alone, by which bob would get 1% of the workers
    assert shares(leases, 60) == {"ada": 30, "bob": 30}
    assert leases.store.job(single).parts_left == 10


@each_database
def test_a_stream_of_jobs_of_one_person_does_not_keep_another_from_turns(leases: Leases, add_job: AddJob) -> None:
    add_job(parts=20, submitted_by="bob")
    got = Counter[str]()
    for _ in range(20):
        for _ in range(3):
            add_job(submitted_by="ada")
        got += shares(leases, 1)
    assert got == {"ada": 10, "bob": 10}  # Catches: a new turn for each submit


@each_database
def test_the_jobs_of_each_person_take_turns(leases: Leases, add_job: AddJob) -> None:
    first, second = (add_job(parts=4, submitted_by="ada") for _ in range(2))
    single = add_job(parts=9, submitted_by="bob")
    # Catches: a person who works through one job after the other
    assert [claim(leases).job for _ in range(6)] == [first, single, second, single, first, single]


@each_database
def test_a_person_whose_parts_are_all_in_work_gives_the_turn_to_others(leases: Leases, add_job: AddJob) -> None:
    add_job(submitted_by="ada")
    claim(leases)
    job = add_job(parts=3, submitted_by="bob")
    # Catches: a turn of somebody who has no part that waits
    assert [claim(leases).job for _ in range(3)] == [job] * 3
    assert leases.claim("generate", "a", "cpu") is None


@each_database
def test_shares_are_apart_by_priority_and_queue(leases: Leases, add_job: AddJob) -> None:
    add_job(submitted_by="eve")
    claim(leases)  # so that the next one comes later, in a higher priority
    low = add_job(parts=2, submitted_by="bob", priority=Priority.LOW)
    high = add_job(parts=2, submitted_by="ada")
    add_job(train=True, submitted_by="ada")
    # Catches: a person who comes before a higher priority, where others came earlier
    assert [claim(leases).job for _ in range(4)] == [high, high, low, low]


@each_database
def test_others_who_wait_are_counted(client: Client, leases: Leases, add_job: AddJob) -> None:
    job = add_job(parts=3, submitted_by="ada")
    client.connections.store.record_heartbeat(life("w", ("generate",)))
    assert client.status(job).waiting_for == "a worker is about to claim it"
    for person in ("bob", "eve", "bob"):
        add_job(submitted_by=person)
    second = add_job(submitted_by="ada")
    # Catches: jobs of others taken for jobs that come before all of one's own; a person counted by each job
    assert client.status(job).waiting_for == "jobs of 2 other users take turns with it"
    waits = f"1 part of job {job} is ahead; jobs of 2 other users take turns with it"
    assert client.status(second).waiting_for == waits
    for number in range(MOST_USERS):
        add_job(submitted_by=f"user {number}")
    # Catches: a count that stops somewhere and does not say so
    assert client.status(job).waiting_for == f"jobs of at least {MOST_USERS} other users take turns with it"


@each_database
def test_idle_people_are_forgotten_and_no_others(store: Store, leases: Leases, add_job: AddJob) -> None:
    with store.write() as connection:
        registry.freeze_validation(connection, "speeches", NO_FILE)
    awaited = add_job(train=True, submitted_by="eve")
    add_job(submitted_by="bob", awaits=awaited)
    job = add_job(submitted_by="ada")
    complete(leases, claim(leases))
    forget_idle(store)
    with store.read() as connection:
        left = set(connection.execute(select(submitters.c.kind, submitters.c.submitted_by)).all())
    # Catches: a table that grows by everyone who ever submitted, each of whom a claim would read
    assert left == {("train", "eve")}
    assert store.job(job).ended
    # Catches: a job that nobody can claim, since its submitter was forgotten while it waited
    leases.complete_training(claim(leases, queue="train"), NewVersion(**VERSION))
    assert store.job(claim(leases).job).submitted_by == "bob"


@on_postgresql
def test_who_submits_while_idle_people_are_forgotten_is_not(store: Store, leases: Leases, add_job: AddJob) -> None:
    """A submit is about to commit while the submitter, who was idle, is about to be forgotten."""
    add_job(submitted_by="ada")
    complete(leases, claim(leases))
    with store.write() as connection:
        job = lifecycle.add_job(connection, NewJob(spec=generate_spec(), submitted_by="ada")).id
        forgetting = threading.Thread(target=forget_idle, args=(store,))
        forgetting.start()
        forgetting.join()  # Catches: one that waits for the submit; one that forgets its submitter
    assert claim(leases).job == job


@on_postgresql
def test_who_submitted_when_idle_people_were_looked_for_is_not_forgotten(
    store: Store, leases: Leases, add_job: AddJob
) -> None:
    """A submit commits after an idle submitter was found, and before the row was locked."""
    done = add_job(submitted_by="ada")
    complete(leases, claim(leases))
    other = Database(store.engine.url.render_as_string(hide_password=False))

    def submit(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE FROM submitters"):
            with other.write() as connection:
                copied = [
                    column for column in jobs.c if column.name not in ("id", "finished_at", "parts_left", "state")
                ]
                rows = select(*copied, literal(1), literal("running")).where(jobs.c.id == done)
                connection.execute(insert(jobs).from_select([*copied, "parts_left", "state"], rows))
                connection.execute(update(parts).where(parts.c.job == done).values(job=done + 1, state="queued"))

    event.listen(store.engine, "before_cursor_execute", submit)
    forget_idle(store)
    other.close()
    assert claim(leases).job == done + 1  # Catches: a row that is deleted without a second look


@each_database
def test_maintenance_forgets_idle_people(store: Store, leases: Leases, queue: Queue, add_job: AddJob) -> None:
    add_job(submitted_by="ada")
    complete(leases, claim(leases))
    assert maintain(store, leases, queue, 0.0)
    with store.read() as connection:
        assert connection.execute(select(submitters)).all() == []
