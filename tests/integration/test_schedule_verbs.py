"""Schedules and slots independent of the time: claims, mistakes, dying processes, removal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from charrnn.errors import InputError, NotFoundError
from charrnn.jobs.client import Client
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.requests import GenerateRequest, Request, TrainRequest
from charrnn.jobs.job.schedule import Schedule, Slot
from charrnn.jobs.schedules import PAUSE_MS
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.scheduled import slots as schedules
from charrnn.jobs.store.scheduled.slots import CLAIM_MS
from charrnn.jobs.store.tables import jobs
from charrnn.jobs.store.tables import schedules as schedules_table
from charrnn.options import SamplingOptions
from charrnn.training.progress import EpochMetrics
from producer.records import jobs as job_records
from producer.records import schedules as records
from tests.fixtures.nights import NIGHT, Add, Nights, ms
from tests.fixtures.plans import statements
from tests.fixtures.processes import until
from tests.fixtures.store import NO_FILE, each_database

pytestmark = each_database


def test_a_manual_run(nights: Nights, add: Add) -> None:
    add(deadline_s=1)
    nights.schedules.pause("nightly")
    slot = nights.schedules.run("nightly")
    assert (slot.state, slot.by_hand, slot.at) == ("submitted", True, nights.now)
    with pytest.raises(InputError, match=f"is busy: job {slot.job} has not ended"):
        nights.schedules.run("nightly")
    nights.end_jobs()
    assert (nights.schedules.run("nightly").job or 0) > (slot.job or 0)


def test_a_job_that_cannot_be_submitted_fails_only_its_slot(
    nights: Nights, add: Add, train: Request, text_file: Path
) -> None:
    add(request=train)
    text = text_file.read_text()
    text_file.unlink()
    slot = nights.at("2026-01-01T03:00")[-1]
    assert (slot.state, slot.job) == ("failed", None)
    assert f"{text_file}: no such file" in (slot.reason or "")
    text_file.write_text(text)
    assert nights.at("2026-01-02T03:00")[-1].state == "submitted"


def test_a_refused_run_is_an_event_and_json_names_options_as_commands_do(
    nights: Nights, add: Add, train: Request, text_file: Path
) -> None:
    add(request=train)
    text_file.write_bytes("caffè, città, perché\n".encode("cp1252") * 1000)
    (slot,) = nights.at("2026-01-01T03:00")
    (event,) = nights.client.events(1)
    # Catches: a failure that only the schedule itself tells; a failure of nobody
    assert (event.action, event.schedule, event.job, event.detail) == ("run failed", "nightly", None, slot.reason)
    assert event.actor == nights.schedules.list()[0].added_by
    shown = records.schedule_details(nights.schedules.show("nightly")).slots[0]
    for reason in (shown.reason, shown.run_reason, job_records.event(event).detail):
        assert (reason or "").endswith("use --encoding cp1252")  # Catches: `encoding`
    nights.schedules.tick()
    assert len([found for found in nights.client.events() if found.action == "run failed"]) == 1


def test_a_check_asks_once_for_the_last_run_of_a_schedule(nights: Nights, add: Add, sample: Request) -> None:
    def count() -> int:
        return statements(nights.client.connections.store, nights.schedules.find_troubles).count("SELECT")

    add()
    before = count()
    nights.schedules.add(Schedule(name="weekly", cron=Cron("@weekly"), request=sample))
    assert count() == before + 1  # Catches: a query for the run and one for its hook


def test_a_slot_waits_for_what_does_not_answer(nights: Nights, add: Add, tmp_path: Path) -> None:
    add()
    with _without_broker(nights, tmp_path) as away:
        (slot,) = away.at("2026-01-01T03:00")
    assert slot.state == "due"
    assert nights.at(ms("2026-01-01T03:00") + PAUSE_MS - 1)[-1].state == "due"
    assert nights.at(ms("2026-01-01T03:00") + PAUSE_MS)[-1].state == "submitted"


@contextmanager
def _without_broker(nights: Nights, folder: Path) -> Iterator[Nights]:
    """Provide schedules with the same store and without a broker."""
    known = nights.client.connections.settings
    client = Client(Settings(home=folder, store_url=known.database_url, files_url=known.files_location))
    yield Nights(client, nights.now)
    client.close()


def test_a_slot_whose_process_died_is_claimed_again(nights: Nights, add: Add) -> None:
    add()
    nights.now = ms("2026-01-01T03:00")
    with nights.client.connections.store.write() as connection:
        schedules.decide(connection, "nightly", nights.now)
        assert schedules.claim(connection, Slot("nightly", nights.now), nights.now)
        assert not schedules.claim(connection, Slot("nightly", nights.now), nights.now)
    assert nights.at(nights.now + CLAIM_MS - 1)[-1].state == "due"
    assert nights.at(nights.now + 1)[-1].state == "submitted"


def test_a_late_submission_stores_no_second_job(nights: Nights, add: Add) -> None:
    add()
    (slot,) = nights.at("2026-01-01T03:00")
    before = len(nights.client.jobs())
    schedule = Schedule(name="nightly", cron=Cron(NIGHT), request=_request(nights))
    nights.schedules._submit(schedule, Slot("nightly", slot.at), nights.now)
    assert len(nights.client.jobs()) == before  # Catches: a job that is stored although its slot is not due
    assert nights.slots() == [slot]
    assert len(list(nights.client.connections.files.list("seeds"))) == 1


def _request(nights: Nights) -> Request:
    with nights.client.connections.store.read() as connection:
        return schedules.get_schedule(connection, "nightly").request


def test_a_name_is_assigned_once(nights: Nights, add: Add) -> None:
    add()
    with pytest.raises(InputError, match="A schedule nightly already exists"):
        add()
    nights.schedules.remove("nightly")
    add()
    with pytest.raises(NotFoundError, match="There is no schedule 'nightli'. Did you mean nightly"):
        nights.schedules.pause("nightli")


def test_a_removed_schedule_leaves_its_jobs(nights: Nights, add: Add) -> None:
    add()
    (slot,) = nights.at("2026-01-01T03:00")
    nights.end_jobs()
    second = nights.at("2026-01-02T03:00")[-1]
    assert [job.id for job in nights.client.jobs(schedule="nightly")] == [second.job, slot.job]
    assert nights.client.jobs(schedule="weekly") == []
    nights.schedules.remove("nightly")
    assert nights.client.status(second.job).state == "queued"
    assert len(nights.client.jobs(schedule="nightly")) == 2  # Catches: jobs that are found through their slots
    assert nights.schedules.list() == []


def test_a_deleted_version_leaves_its_loss(nights: Nights, add: Add, train: Request) -> None:
    add(request=train)
    (slot,) = nights.at("2026-01-01T03:00")
    while (part := nights.leases.claim("train", "worker", "cpu")) and part.job != slot.job:
        pass
    assert part is not None
    epoch = EpochMetrics(epoch=1, step=1, learning_rate=0.1, train_loss=2.0, val_loss=1.5)
    nights.leases.checkpoint(part, NO_FILE, [epoch], "cpu", "float32")
    with nights.client.connections.store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == slot.job).values(version=7))
    (shown,) = nights.slots()
    assert shown.outcome is not None
    outcome = (shown.outcome.version, shown.outcome.val_loss, shown.outcome.gate)
    assert outcome == (7, 1.5, "the version was deleted")


def test_a_deleted_job_leaves_its_slot(nights: Nights, add: Add) -> None:
    add()
    (slot,) = nights.at("2026-01-01T03:00")
    nights.client.cancel(slot.job or 0)
    nights.client.delete(slot.job or 0)
    assert nights.slots()[0].job == slot.job
    assert nights.at("2026-01-02T03:00")[-1].state == "submitted"


def test_adding_a_schedule_checks_its_command(nights: Nights, add: Add, train: TrainRequest) -> None:
    with pytest.raises(NotFoundError, match="no model 'nobody'"):
        add(request=GenerateRequest(model="nobody", sampling=SamplingOptions(), rng_seed=None))
    with pytest.raises(InputError, match="no such file"):
        add(request=TrainRequest(**{**vars(train), "paths": ("/nowhere.txt",)}))
    assert nights.schedules.list() == []


def test_nothing_is_stored_of_a_training_that_is_only_checked(nights: Nights, add: Add, train: Request) -> None:
    before = [len(list(nights.client.connections.files.list(folder))) for folder in ("corpora", "validation")]
    add(request=train)
    assert [len(list(nights.client.connections.files.list(folder))) for folder in ("corpora", "validation")] == before
    assert [job.model for job in nights.client.jobs()] == ["speeches"]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"overlap": "allow"}, "overlap must be one of skip, queue"),
        ({"catch_up": "all"}, "catch_up must be one of none, once"),
        ({"deadline_s": -1.0}, "deadline must be a finite number"),
        ({"deadline_s": 0.0}, "deadline must be greater than 0"),
        ({"always": True}, "always applies only to training schedules"),
        ({"name": "Not A Name"}, "The schedule's name 'Not A Name' is not valid"),
    ],
)
def test_invalid_rules_are_refused(sample: Request, rules: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Schedule(**{"name": "nightly", "cron": Cron(NIGHT), "request": sample, **rules})


def test_a_manual_slot_waits_past_its_deadline(nights: Nights, add: Add, tmp_path: Path) -> None:
    add(deadline_s=1)
    with _without_broker(nights, tmp_path) as away:
        assert away.schedules.run("nightly").state == "due"
    with pytest.raises(InputError, match="the run of .* is still waiting"):  # Catches: a second slot beside it
        nights.schedules.run("nightly")
    nights.schedules.pause("nightly")
    assert nights.states() == ["due"]  # Catches: a pause that skips a slot that a person requested
    assert nights.at(nights.now + PAUSE_MS)[-1].state == "submitted"  # Catches: a deadline for such a slot


def test_a_claim_survives_a_process_with_an_older_clock_reading(nights: Nights, add: Add) -> None:
    add()
    now = ms("2026-01-01T03:00")
    with nights.client.connections.store.write() as connection:
        schedules.decide(connection, "nightly", now)
        assert schedules.claim(connection, Slot("nightly", now), now + 1)
        assert not schedules.claim(connection, Slot("nightly", now), now)  # Catches: a clock set back by 1 ms
        assert schedules.claim(connection, Slot("nightly", now), now - 3 * CLAIM_MS)  # Catches: a permanent claim


def test_a_schedule_that_cannot_be_read_holds_up_no_other(nights: Nights, add: Add, sample: Request) -> None:
    add()
    broken = Schedule(name="broken", cron=Cron(NIGHT), request=sample)
    nights.schedules.add(broken)
    with nights.client.connections.store.write() as connection:
        unknown = update(schedules_table).where(schedules_table.c.name == "broken")
        connection.execute(unknown.values(timezone="Mars/Olympus"))
    assert nights.at("2026-01-01T03:00")[-1].state == "submitted"


def test_an_unexpected_error_fails_its_slot(nights: Nights, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise ZeroDivisionError("an accident")

    add()
    with monkeypatch.context() as patch:
        patch.setattr("charrnn.jobs.schedules.submit", break_down)
        slot = nights.at("2026-01-01T03:00")[-1]
    assert (slot.state, slot.reason) == ("failed", "ZeroDivisionError: an accident")
    assert nights.at("2026-01-02T03:00")[-1].state == "submitted"  # Catches: a slot that is due forever


def test_a_schedule_removed_during_a_manual_run(nights: Nights, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    add()
    monkeypatch.setattr(nights.schedules, "_submit", lambda *_, **__: nights.schedules.remove("nightly"))
    with pytest.raises(NotFoundError, match="no schedule 'nightly'"):
        nights.schedules.run("nightly")


def test_the_scheduler_alone_submits(nights: Nights, add: Add) -> None:
    # Catches: a scheduler that only does maintenance
    add()
    known = nights.client.connections.settings
    environment = {
        **os.environ,
        "CHARRNN_HOME": str(known.home),
        "CHARRNN_STORE_URL": known.database_url,
        "CHARRNN_FILES_URL": known.files_location,
    }
    with nights.client.connections.store.write() as connection:
        connection.execute(update(schedules_table).values(next_at=1))
    with subprocess.Popen([sys.executable, "-m", "worker.scheduler"], env=environment) as scheduler:
        try:
            until(lambda: nights.states() == ["submitted"], "the slot to be submitted")
        finally:
            scheduler.terminate()
