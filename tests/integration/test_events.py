"""The record of who did what: written with the deed, only ever added to, and bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, update

from charrnn.errors import InputError, NotFoundError
from charrnn.jobs.client import Client
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.part import Part
from charrnn.jobs.job.requests import GenerateRequest
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.job.states import DIED, OUT_OF_MEMORY
from charrnn.jobs.job.version import NewVersion
from charrnn.jobs.settings import Settings
from charrnn.jobs.store import registry
from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.deletion.jobs import begin_deletion
from charrnn.jobs.store.events import CHUNK, KEPT, forget_old
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.tables import events, jobs, parts
from charrnn.jobs.upkeep.maintenance import RETENTION, tidy
from charrnn.options import NetworkOptions, SamplingOptions
from tests.fixtures.client import DoPart, submit
from tests.fixtures.plans import plans, statements
from tests.fixtures.store import NO_FILE, AddJob, each_database, life

pytestmark = each_database

SAMPLING = SamplingOptions(temperatures=(0.5,), length=10)
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def ada(settings: Settings) -> Iterator[Client]:
    with Client(replace(settings, user="ada")) as client:
        yield client


@pytest.fixture
def bob(settings: Settings) -> Iterator[Client]:
    with Client(replace(settings, user="bob")) as client:
        yield client


def told(client: Client, **which: Any) -> list[tuple[str, str]]:
    """Return who did what, the oldest first."""
    return [(found.actor, found.words) for found in reversed(client.events(1000, **which))]


def claim(client: Client, owner: str = "host-1/0") -> Part:
    part = Leases(client.connections.store, 30).claim("generate", owner, "cpu")
    assert part is not None
    return part


def test_the_life_of_a_job_is_recorded_with_who_did_what(ada: Client, bob: Client, model: str) -> None:
    job = submit(ada, model, ["a"], SAMPLING).id or 0
    assert bob.cancel(job)
    assert not bob.cancel(job)
    assert ada.retry(job) == 1
    assert bob.cancel(job)
    assert bob.retry(job) == 1
    assert bob.cancel(job)
    ada.delete(job)
    # Catches: a deed of the client's own user taken for that of the submitter; one that changed nothing
    assert told(ada, job=job) == [
        ("ada", f"submitted: job {job}"),
        ("bob", f"cancelled: job {job}"),
        ("ada", f"retried: job {job}"),
        ("bob", f"cancelled: job {job}"),
        ("bob", f"retried: job {job}"),
        ("bob", f"cancelled: job {job}"),
        ("ada", f"deleted: job {job}"),
    ]


def test_a_deed_that_was_refused_is_not_recorded(ada: Client, model: str) -> None:
    job = submit(ada, model, ["a"], SAMPLING, key="k").id or 0
    before = told(ada)
    submit(ada, model, ["a"], SAMPLING, key="k")
    submit(ada, model, ["a"], SAMPLING, dry_run=True)
    refused: list[Callable[[], object]] = [
        partial(ada.delete, job),
        partial(ada.models.delete, f"{model}@1"),
        partial(ada.models.rollback, model),
        partial(ada.models.promote, f"{model}@9"),
        partial(ada.schedules.remove, "nightly"),
    ]
    for deed in refused:
        with pytest.raises((InputError, NotFoundError)):
            deed()
    assert told(ada) == before  # Catches: an event outside the transaction of its deed


def test_deeds_on_versions_are_recorded(ada: Client, bob: Client, model: str) -> None:
    new = NewVersion(
        model=model, files=NO_FILE, characters="\nab", network=NetworkOptions(), val_loss=2.0, precision="float32"
    )
    with ada.connections.store.write() as connection:
        for _ in range(3):
            registry.import_version(connection, new)
    ada.models.promote(f"{model}@2")
    ada.models.promote(f"{model}@3", "staging")
    bob.models.rollback(model)
    bob.models.delete(f"{model}@2")
    with ada.connections.store.write() as connection:
        connection.execute(update(jobs).values(state="done", finished_at=1, parts_left=0))
    ada.models.delete_all(model)
    assert told(ada)[2:] == [
        ("ada", "promoted: speeches@2: champion"),
        ("ada", "promoted: speeches@3: staging"),
        ("bob", "rolled back: speeches@1"),
        ("bob", "deleted: speeches@2"),
        *(("ada", f"deleted: speeches@{number}") for number in (1, 3, 4)),
    ]


def test_promotions_by_the_gate_are_recorded_with_their_verdict(ada: Client, add_job: AddJob) -> None:
    leases = Leases(ada.connections.store, 30)
    with ada.connections.store.write() as connection:
        registry.freeze_validation(connection, "speeches", NO_FILE)
    trained = [add_job(train=True) for _ in range(3)]
    for val_loss in (1.5, 1.6, 1.4):
        part = leases.claim("train", "host-1/0", "cpu")
        assert part is not None
        new = NewVersion(
            model="speeches",
            files=NO_FILE,
            characters="ab",
            network=NetworkOptions(),
            val_loss=val_loss,
            precision="float32",
        )
        assert leases.complete_training(part, new) is None
    # Catches: a champion that nobody is said to have made; a candidate that counts as promoted
    assert [found for found in told(ada) if "promoted" in found[1]] == [
        ("host-1/0", f"promoted: job {trained[0]}, speeches@1: the first version"),
        (
            "host-1/0",
            f"promoted: job {trained[2]}, speeches@3: 1.4000 nats, better than 1.5000 of speeches@1",
        ),
    ]


def test_a_release_that_joins_is_recorded_once(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ada.connections.store

    def begin(name: str, number: str) -> None:
        for module in ("events", "store"):
            monkeypatch.setattr(f"charrnn.jobs.store.{module}.release", lambda: number)
        store.join(f"{name}/0")
        store.record_heartbeat(life(f"{name}/0"))

    begin("a", "0.1.0")
    begin("b", "0.1.0")  # Catches: an event of each process
    begin("c", "0.2.0")
    begin("a", "0.1.0")  # Catches: a release that is said to come back although it never left
    begin("c", "0.2.0")
    store.forget_worker("c", drained=False)
    begin("c", "0.2.0")  # Catches: an event for each start of a fleet of one worker
    for name in ("a", "b"):
        store.forget_worker(name, drained=False)
    begin("a", "0.1.0")  # Catches: a return to the previous release that nobody sees
    assert told(ada) == [
        ("a/0", "joined: release 0.1.0"),
        ("c/0", "joined: release 0.2.0"),
        ("a/0", "joined: release 0.1.0"),
    ]


def test_a_release_joins_once_although_its_processes_begin_at_once(ada: Client) -> None:
    store = ada.connections.store
    with ThreadPoolExecutor(2) as pool:
        for begun in [pool.submit(store.join, f"host/{index}") for index in range(8)]:
            begun.result()
    assert len(told(ada)) == 1


def test_drains_of_workers_are_recorded(ada: Client) -> None:
    store = ada.connections.store
    for drained in (False, True):
        store.record_heartbeat(life("host-7/0"))
        store.record_heartbeat(life("host-70/0"))
        store.forget_worker("host-7", drained=drained)
    assert [worker.owner for worker in store.workers(60_000)] == ["host-70/0"]
    # Catches: a worker that Celery gave up, which starts again
    assert told(ada) == [("host-7", "drained")]


def test_deeds_on_schedules_are_recorded(ada: Client, bob: Client, model: str, tmp_path: Path) -> None:
    (tmp_path / "seeds.txt").write_text("a\n")
    request = GenerateRequest(model=model, seeds=str(tmp_path / "seeds.txt"))
    schedule = Schedule(name="nightly", cron=Cron("0 3 * * *", "UTC"), request=request)
    ada.schedules.add(schedule)
    bob.schedules.add(schedule, replace=True)
    bob.schedules.edit("nightly", overlap="queue")
    bob.schedules.pause("nightly")
    bob.schedules.resume("nightly")
    job = bob.schedules.run("nightly").job
    bob.schedules.remove("nightly")
    assert told(ada)[2:] == [
        ("ada", "added: schedule nightly"),
        ("bob", "changed: schedule nightly"),
        ("bob", "changed: schedule nightly"),
        ("bob", "paused: schedule nightly"),
        ("bob", "resumed: schedule nightly"),
        ("bob", "run by hand: schedule nightly"),
        ("ada", f"submitted: job {job}, schedule nightly"),
        ("bob", "removed: schedule nightly"),
    ]


def test_each_failed_attempt_is_recorded_with_its_worker_and_reason(ada: Client, model: str) -> None:
    job, leases = submit(ada, model, ["a"], SAMPLING).id or 0, Leases(ada.connections.store, 30)
    claim(ada, "host-1/0")
    leases.requeue("host-1/0", OUT_OF_MEMORY)
    late = claim(ada, "host-2/0")
    with ada.connections.store.write() as connection:
        connection.execute(update(parts).where(parts.c.id == late.id).values(lease_until=NOW - 1))
    leases.expire()
    leases.fail(claim(ada, "host-3/0"), "the disk is full", permanent=True)
    # Catches: an attempt whose reason is replaced by that of the next one; the death of a worker taken for its reason
    assert told(ada, job=job)[1:] == [
        ("host-1/0", f"attempt failed: job {job}, part 0: {OUT_OF_MEMORY}"),
        ("host-2/0", f"attempt failed: job {job}, part 0: lease expired"),
        ("host-3/0", f"attempt failed: job {job}, part 0: the disk is full"),
    ]


def test_a_flood_of_failed_attempts_keeps_the_newest_of_each_job(ada: Client, add_job: AddJob) -> None:
    leases = Leases(ada.connections.store, 30)
    other, flooded = add_job(), add_job(parts=KEPT + 5)
    for number in range(KEPT + 6):
        leases.fail(claim(ada), f"accident {number}", permanent=True)
    of_job = [found.detail for found in ada.events(1000, job=flooded)]
    # Catches: a table that grows by each failed part; the first attempts kept; those of other jobs deleted
    assert len(of_job) == KEPT
    assert of_job[0] == f"accident {KEPT + 5}"
    assert len(ada.events(1000, job=other)) == 1


def test_a_reason_of_any_length_and_content_is_stored(ada: Client, add_job: AddJob) -> None:
    add_job()
    Leases(ada.connections.store, 30).fail(claim(ada), "\0\ud800" + "x" * 1_000_000, permanent=True)
    (found,) = ada.events()
    assert len(found.detail or "") < 10_000


def test_a_part_that_is_done_or_returned_writes_no_event(ada: Client, model: str, do_part: DoPart) -> None:
    submit(ada, model, ["a", "b"], SAMPLING, part_rows=1)
    before = told(ada)
    Leases(ada.connections.store, 30).release(claim(ada))
    tables: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        tables.append(statement)

    event.listen(ada.connections.store.engine, "before_cursor_execute", note)
    do_part()
    assert not [statement for statement in tables if "events" in statement]
    assert told(ada) == before


def test_events_come_with_their_deed_in_one_transaction(ada: Client, model: str) -> None:
    job = submit(ada, model, ["a"], SAMPLING).id or 0
    store = ada.connections.store
    # Catches: a transaction more for each event, which a crash could lose
    assert statements(store, lambda: ada.cancel(job)).count("BEGIN") == 1
    assert ada.retry(job)
    part = claim(ada)
    assert statements(store, lambda: Leases(store, 30).fail(part, "an accident")).count("BEGIN") == 1


def test_events_are_read_in_pages_of_one_job_by_an_index(ada: Client, add_job: AddJob) -> None:
    store, job = ada.connections.store, add_job()
    rows = [{"actor": "ada", "action": "cancelled", "job": job + number} for number in range(2000)]
    with store.write() as connection:
        connection.execute(insert(events), rows)
        connection.exec_driver_sql("analyze")
    newest = ada.events(3)
    assert [found.job for found in newest] == [job + 1999, job + 1998, job + 1997]
    assert [found.job for found in ada.events(2, before=newest[-1].id)] == [job + 1996, job + 1995]
    (plan,) = plans(store, lambda: ada.events(20, job=job + 7))
    assert ("events_by_job" in plan, "Seq Scan" in plan) == (True, False)  # Catches: a page that reads all events


def test_old_events_are_deleted_with_old_jobs(ada: Client, model: str, do_part: DoPart) -> None:
    job = submit(ada, model, ["a"], SAMPLING, part_rows=9).id or 0
    do_part()
    store, files = ada.connections.store, ada.connections.files
    with store.write() as connection:
        connection.execute(update(events).values(at=events.c.at - 40 * DAY_MS))
        connection.execute(update(jobs).where(jobs.c.id == job).values(finished_at=NOW - 40 * DAY_MS))
    new = submit(ada, model, ["a"], SAMPLING).id
    ada.prune(41 * 86_400.0)
    assert told(ada, job=job) == [("ada", f"submitted: job {job}")]
    assert tidy(store, files, 30.0)
    # Catches: a record that is never pruned; one without the deletion itself; newer events deleted
    assert told(ada) == [("ada", f"submitted: job {new}"), (RETENTION, f"deleted: job {job}")]


def test_a_deletion_that_goes_on_is_recorded_once(
    ada: Client, bob: Client, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.jobs.store.deletion.jobs.CHUNK", 0)  # a job with many parts
    job = submit(ada, model, ["a"], SAMPLING).id or 0
    ada.cancel(job)
    with ada.connections.store.write() as connection:
        begin_deletion(connection, job)  # and the process is killed
    before = told(ada)
    monkeypatch.setattr("charrnn.jobs.store.deletion.jobs.CHUNK", 10)
    bob.delete(job)
    assert told(ada) == before  # Catches: a deed of bob, who deleted what was deleted


def test_many_old_events_are_deleted_in_chunks(ada: Client, add_job: AddJob) -> None:
    store = ada.connections.store
    old = {"at": 1, "actor": "ada", "action": "cancelled"}
    with store.write() as connection:
        connection.execute(insert(events), [old] * (CHUNK + 5))
        connection.execute(insert(events).values(actor="ada", action="cancelled"))
    begun = statements(store, lambda: forget_old(store, DAY_MS)).count("BEGIN")
    assert begun == 2  # Catches: one transaction for millions of rows
    assert len(ada.events(10)) == 1


def test_an_accident_of_a_worker_is_a_death(ada: Client, add_job: AddJob) -> None:
    job = add_job()
    claim(ada)
    Leases(ada.connections.store, 30).requeue("host-1/0")
    assert told(ada) == [("host-1/0", f"attempt failed: job {job}, part 0: {DIED}")]
