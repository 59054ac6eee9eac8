"""The transactions of a child that nobody asked for: its heartbeat, and its looks for what is due."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import pytest
from sqlalchemy import Table, insert, update

from charrnn.errors import LeaseLostError
from charrnn.jobs.job.part import Part, PartProgress, SamplingProgress
from charrnn.jobs.job.states import JobState, SlotState
from charrnn.jobs.job.views import SignOfLife
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.scheduled.duties import MAINTAIN, SEEN_MS, TIDY, TIDY_MS, Due, claim_round, look
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import jobs, rounds, schedules, slots, workers
from tests.fixtures.plans import statements
from tests.fixtures.processes import until
from tests.fixtures.store import AddJob, each_database, life, on_postgresql
from worker import heartbeat as module
from worker.child import Child
from worker.heartbeat import Heartbeat

MINUTE = 60_000


@pytest.fixture
def child(settings: Settings) -> Iterator[Child]:
    child = Child(settings, "host-1-a/0", "cpu", ["generate"])
    child.files.claim_for(child.store.id, None)
    yield child
    child.connections.close()


@pytest.fixture
def part(child: Child, add_job: AddJob) -> Part:
    add_job()
    part = child.leases.claim("generate", child.owner, "cpu")
    assert part is not None
    return part


@each_database
def test_a_heartbeat_is_one_transaction_for_the_process_and_its_part(child: Child, part: Part) -> None:
    heartbeat = Heartbeat(child, lambda: None)
    assert statements(child.store, heartbeat._beat) == ["BEGIN", "INSERT"]
    with heartbeat.watching(part):
        # Catches: a transaction for the sign of life, and another one for the part
        assert statements(child.store, heartbeat._beat) == ["BEGIN", "INSERT", "UPDATE"]
    assert [worker.owner for worker in child.store.workers(MINUTE)] == [child.owner]


@each_database
def test_the_first_failed_self_check_is_kept_and_each_is_logged_once(
    child: Child, caplog: pytest.LogCaptureFixture
) -> None:
    heartbeat, failures = Heartbeat(child, lambda: None), ["failed (a card, 16 slots)", "failed (a card, 256 slots)"]
    for result in ("passed", *failures, "passed", *failures):
        child.record_self_check(result)
    heartbeat._beat()
    assert [worker.self_check for worker in child.store.workers(MINUTE)] == failures[:1]
    # Catches: a line for each part, where two batch sizes fail in turn
    assert [record.getMessage() for record in caplog.records] == [f"self-check {failure}" for failure in failures]


@each_database
def test_a_process_shows_that_it_lives_although_its_lease_is_lost(child: Child, part: Part) -> None:
    child.leases.requeue(child.owner)
    with pytest.raises(LeaseLostError):
        child.leases.heartbeat(part, PartProgress(), child.life)
    # Catches: an error that rolls the sign of life back
    assert [worker.owner for worker in child.store.workers(MINUTE)] == [child.owner]


@each_database
def test_the_children_of_a_parent_look_once_a_second_in_all_by_one_statement(child: Child) -> None:
    for name in (MAINTAIN, TIDY):
        claim_round(child.store, name, MINUTE)
    siblings = [Heartbeat(child, lambda: None) for _ in range(3)]

    def look_all() -> None:
        for sibling in siblings:
            sibling._look()

    module._next_look.value, begun = 0.0, time.monotonic()
    # Catches: a look of each child; a look that is a transaction
    assert statements(child.store, look_all) == ["SELECT"]
    assert module._next_look.value >= begun + child.settings.look_s
    module._next_look.value -= child.settings.look_s
    assert statements(child.store, look_all) == ["SELECT"]  # Catches: a look that is taken once for ever

    def look_elsewhere() -> None:
        module._next_look.value = time.monotonic() + 60

    module._next_look.value = 0.0
    sibling = get_context("fork").Process(target=look_elsewhere)
    sibling.start()
    sibling.join()
    assert statements(child.store, look_all) == []  # Catches: a time that each forked child has of its own


@each_database
def test_a_look_finds_what_is_due(store: Store) -> None:
    assert look(store, MINUTE) == Due(maintenance=True, tidying=True, schedules=False, workers=0)
    assert [claim_round(store, MAINTAIN, MINUTE) for _ in range(2)] == [True, False]
    claim_round(store, TIDY, TIDY_MS)
    assert look(store, MINUTE) == Due(maintenance=False, tidying=False, schedules=False, workers=0)
    with store.write() as connection:
        connection.execute(update(rounds).where(rounds.c.name == MAINTAIN).values(at=NOW + MINUTE))
    # Catches: a round of a clock that was set back, which would put off all others
    assert look(store, MINUTE) == Due(maintenance=True, tidying=False, schedules=False, workers=0)


@each_database
def test_many_workers_share_the_looks(child: Child) -> None:
    store = child.store
    for name in (MAINTAIN, TIDY):
        claim_round(store, name, MINUTE)

    def live(parent: str, children: int = 1, seen_ms_ago: int = 0) -> None:
        for index in range(children):
            owner = f"{parent}/{index}"
            store.record_heartbeat(SignOfLife(owner=owner, host="box", pid=7, device="0", queues=("generate",)))
            with store.write() as connection:
                connection.execute(update(workers).where(workers.c.owner == owner).values(seen_at=NOW - seen_ms_ago))

    live("box-7-0123abcd", children=12)  # Catches: a worker that looks the less often, the more GPUs it has
    live("box-8-0123abcd", seen_ms_ago=2 * SEEN_MS)  # Catches: workers that have left, in whose place nobody looks
    live("box-9-0123abcd", seen_ms_ago=-MINUTE)  # Catches: the same, after the database's clock was set back
    due = look(store, MINUTE)
    assert (due.workers, due.pause(1.0)) == (1, 1.0)
    for pid in range(50):  # Catches: looks that are shared by the hosts, of which one may have a worker for each GPU
        live(f"box-{pid}-89abcdef")
    due = look(store, MINUTE)
    pauses = [due.pause(1.0) for _ in range(500)]
    # Catches: looks that cost in proportion to the workers; workers that look at the same time
    assert due.workers == 51
    assert 3.0 < min(pauses) < 4.0
    assert 6.0 < max(pauses) < 7.2
    assert replace(due, workers=100_000).pause(1.0) < 15  # Catches: workers that wait for long after the others left
    module._next_look.value, begun = 0.0, time.monotonic()
    Heartbeat(child, lambda: None)._look()
    # Catches: a pause that nobody makes
    assert module._next_look.value > begun + 3 * child.settings.look_s


@each_database
def test_a_look_finds_schedules_slots_and_ends_of_runs(store: Store, add_job: AddJob) -> None:
    job = add_job()
    rules = {"cron": "@daily", "timezone": "UTC", "request": {}, "requested_at": 0, "overlap": "skip"}
    rules |= {"catch_up": "once", "always": False}
    slot = {"schedule": "nightly", "at": 1}

    def found(table: Table, **values: Any) -> bool:
        with store.write() as connection:
            connection.execute(update(table).values(values))
        return look(store, MINUTE).schedules

    with store.write() as connection:
        connection.execute(insert(schedules).values(name="nightly", added_by="ada", **rules, next_at=NOW + MINUTE))
    assert [found(schedules, next_at=NOW + more) for more in (MINUTE, -1)] == [False, True]
    assert not found(schedules, paused=True)
    with store.write() as connection:
        connection.execute(insert(slots).values(**slot, state=SlotState.DUE, claimed_until=NOW + MINUTE))
    assert [found(slots, claimed_until=NOW + more) for more in (MINUTE, -1)] == [False, True]
    # Catches: a look that finds a run again and again while its job runs
    assert not found(slots, state=SlotState.SUBMITTED, job=job, hook_at=0)
    assert found(jobs, state=JobState.DONE)
    assert not found(slots, hook_at=None)  # Catches: a run that was told


@on_postgresql
def test_a_heartbeat_of_a_part_writes_no_index(store: Store, leases: Leases, add_job: AddJob) -> None:
    add_job(parts=3)
    part = leases.claim("generate", "a", "cpu")
    assert part is not None
    updates = 30
    for rows in range(updates):
        progress = PartProgress(work=SamplingProgress(rows=rows, characters=rows))
        leases.heartbeat(part, progress, life("a"))
    store.close()  # its session reports what it counted
    query = "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'parts'"

    def counted() -> tuple[int, int] | None:
        with store.read() as connection:
            all_updates, hot = connection.exec_driver_sql(query).one()
        return (all_updates, hot) if all_updates > updates else None

    all_updates, hot = until(counted, "statistics of the updates")
    assert (all_updates, hot >= updates - 2) == (updates + 1, True)  # Catches: the lease's time in an index
