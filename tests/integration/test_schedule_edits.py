"""Changes of a schedule that keep its history, also while its times come."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update

from charrnn.errors import InputError, NotFoundError
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.requests import GenerateRequest, Request, TrainRequest
from charrnn.jobs.job.schedule import Schedule, Slot
from charrnn.jobs.store.scheduled import slots as schedules
from charrnn.jobs.store.tables import schedules as schedules_table
from charrnn.options import SamplingOptions
from tests.fixtures.nights import NIGHT, Add, Nights, ms
from tests.fixtures.store import each_database

pytestmark = each_database


@pytest.fixture
def ten(model: str) -> Request:
    """A request whose jobs can be told from those of the other ones."""
    return GenerateRequest(model=model, sampling=SamplingOptions(samples=10))


def samples(nights: Nights, job: int | None) -> int:
    spec = nights.client.status(job).generate_spec
    assert spec is not None
    return spec.sampling.samples


def test_an_edit_keeps_the_history_and_what_was_not_named(nights: Nights, add: Add, ten: Request) -> None:
    add(overlap="queue", deadline_s=7200)
    (slot,) = nights.at("2026-01-01T03:00")
    nights.schedules.edit("nightly", cron="0 4 * * *", timezone="Europe/Paris", request=ten, deadline_s=None)
    shown = nights.schedules.show("nightly")
    assert shown.slots == (slot,)
    assert (shown.cron, shown.timezone, shown.overlap, shown.deadline_s) == ("0 4 * * *", "Europe/Paris", "queue", None)
    nights.end_jobs()
    # Catches: next_at by the old times
    second = nights.at("2026-01-02T03:00")[-1]
    assert (second.at, second.state) == (ms("2026-01-02T03:00"), "submitted")
    assert (samples(nights, slot.job), samples(nights, second.job)) == (1, 10)


def test_an_edit_of_other_values_moves_no_time(nights: Nights, add: Add) -> None:
    add()
    nights.now = ms("2026-01-02T12:00")  # nothing ran for two nights
    nights.schedules.edit("nightly", catch_up="none", overlap="queue")
    assert [slot.at for slot in nights.at(nights.now)] == [ms("2026-01-02T03:00")]


def test_a_time_that_has_just_come_is_not_lost(nights: Nights, add: Add, ten: Request) -> None:
    # Catches: an edit that only sets the next time
    add()
    nights.now = ms("2026-01-01T03:00")
    nights.schedules.edit("nightly", cron="0 4 * * *", request=ten)
    (slot,) = nights.at("2026-01-01T03:00:01")
    assert (slot.at, samples(nights, slot.job)) == (ms("2026-01-01T03:00"), 10)


def test_a_slot_that_is_claimed_after_an_edit_gets_the_new_request(nights: Nights, add: Add, ten: Request) -> None:
    # Catches: a tick that submits what it read before it claimed the slot
    add()
    nights.now = ms("2026-01-01T03:00")
    with nights.client.connections.store.write() as connection:
        schedules.decide(connection, "nightly", nights.now)
        (waiting,) = schedules.waiting(connection)
    nights.schedules.edit("nightly", request=ten)
    nights.schedules._advance(waiting, nights.now)
    assert samples(nights, nights.slots()[0].job) == 10


def test_a_slot_whose_job_is_being_submitted_keeps_the_old_request(
    nights: Nights, add: Add, ten: Request, sample: Request
) -> None:
    add()
    nights.now = ms("2026-01-01T03:00")
    slot = Slot("nightly", nights.now)
    with nights.client.connections.store.write() as connection:
        schedules.decide(connection, "nightly", nights.now)
        assert schedules.claim(connection, slot, nights.now)
    nights.schedules.edit("nightly", request=ten)
    nights.schedules._submit(Schedule(name="nightly", cron=Cron(NIGHT), request=sample), slot, nights.now)
    (stored,) = nights.at(nights.now)
    assert (stored.state, samples(nights, stored.job)) == ("submitted", 1)


def test_an_unchanged_text_is_trained_on_again_after_the_command_changed(
    nights: Nights, add: Add, train: TrainRequest, text_file: Path
) -> None:
    # Catches: an edit whose effect waits for a new text
    add(request=train)
    nights.at("2026-01-01T03:00")
    nights.end_jobs()
    nights.schedules.edit("nightly", overlap="queue", request=train)
    assert nights.at("2026-01-02T03:00")[-1].job is None  # Catches: a request that counts as new when it is the same
    changed = TrainRequest(model="poems", paths=(str(text_file),), options={"epochs": 1})
    nights.schedules.edit("nightly", request=changed)
    assert nights.at("2026-01-03T03:00")[-1].state == "submitted"
    nights.end_jobs()
    assert nights.at("2026-01-04T03:00")[-1].job is None


def test_a_schedule_that_cannot_be_read_can_be_repaired(nights: Nights, add: Add) -> None:
    add()
    with nights.client.connections.store.write() as connection:
        connection.execute(update(schedules_table).values(timezone="Europe/Atlantis"))
    with pytest.raises(InputError, match="Unknown time zone"):
        nights.schedules.edit("nightly", overlap="queue")
    nights.schedules.edit("nightly", timezone="UTC")
    assert nights.at("2026-01-01T03:00")[-1].state == "submitted"


def test_a_replaced_schedule_keeps_its_history_and_its_pause(nights: Nights, add: Add, ten: Request) -> None:
    new = Schedule(name="nightly", cron=Cron("0 5 * * *"), request=ten, overlap="queue")
    nights.schedules.add(new, replace=True)  # there is none yet
    (slot,) = nights.at("2026-01-01T05:00")
    nights.schedules.pause("nightly")
    nights.schedules.add(Schedule(name="nightly", cron=Cron(NIGHT), request=ten), replace=True)
    shown = nights.schedules.show("nightly")
    assert (shown.slots, shown.paused, shown.cron, shown.overlap) == ((slot,), True, NIGHT, "skip")
    nights.end_jobs()
    nights.schedules.resume("nightly")
    assert [slot.at for slot in nights.at("2026-01-02T03:00")] == [slot.at, ms("2026-01-02T03:00")]


def test_an_edit_is_checked_as_a_new_schedule_is(nights: Nights, add: Add, tmp_path: Path) -> None:
    add()
    before = nights.schedules.show("nightly")
    missing = TrainRequest(model="poems", paths=(str(tmp_path / "nowhere.txt"),))
    with pytest.raises(InputError, match="no such file"):
        nights.schedules.edit("nightly", request=missing)
    with pytest.raises(InputError, match="applies only to training schedules"):
        nights.schedules.edit("nightly", always=True)
    with pytest.raises(NotFoundError, match="Did you mean nightly"):
        nights.schedules.edit("nightli", request=missing)
    assert nights.schedules.show("nightly") == before
