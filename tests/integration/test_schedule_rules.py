"""The rules of docs/schedules.md by a clock that the tests set, on every database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from charrnn.errors import InputError, NotFoundError
from charrnn.jobs import schedules
from charrnn.jobs.client import Client
from charrnn.jobs.cron import Cron
from charrnn.jobs.requests import GenerateRequest, Request, TrainRequest
from charrnn.jobs.schedules import CLAIM_MS, KEPT_SLOTS, Schedule, Slot
from charrnn.jobs.scheduling import PAUSE_MS, Schedules
from charrnn.jobs.settings import Settings
from charrnn.jobs.states import JobState
from charrnn.jobs.tables import jobs
from charrnn.options import NetworkOptions, SamplingOptions, TrainingOptions
from tests.fix_store import each_database

pytestmark = each_database

MINUTE_MS = 60_000
NIGHT = "0 3 * * *"


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


@dataclass
class Nights:
    """Schedules of a client whose clock stands still until it is moved."""

    client: Client
    now: int = ms("2026-01-01")

    def __post_init__(self) -> None:
        self.schedules = Schedules(self.client, lambda: self.now)

    def at(self, time: str | int) -> list[dict[str, Any]]:
        """Set the clock and let the schedules look at it -> all slots of "nightly", the oldest first."""
        self.now = time if isinstance(time, int) else ms(time)
        self.schedules.tick()
        return self.slots()

    def slots(self) -> list[dict[str, Any]]:
        return self.schedules.show("nightly")["slots"][::-1]

    def states(self) -> list[str]:
        return [slot["state"] for slot in self.slots()]

    def end_jobs(self, state: JobState = JobState.DONE) -> None:
        """As workers do, but for the work."""
        with self.client.store.write() as connection:
            connection.execute(update(jobs).values(state=state, parts_left=0))


@pytest.fixture
def nights(client: Client) -> Nights:
    return Nights(client)


@pytest.fixture
def sample(model: str) -> Request:
    return GenerateRequest(model=model, sampling=SamplingOptions(), rng_seed=None)


@pytest.fixture
def train(text_file: Path) -> Request:
    return TrainRequest(
        model="poems", paths=(str(text_file),), network=NetworkOptions(), training=TrainingOptions(), rng_seed=None
    )


Add = Callable[..., None]


@pytest.fixture
def add(nights: Nights, sample: Request) -> Add:
    """Add the schedule "nightly", which samples."""

    def add(cron: str = NIGHT, timezone: str = "UTC", request: Request = sample, **rules: Any) -> None:
        nights.schedules.add(Schedule(name="nightly", cron=Cron(cron, timezone), request=request, **rules))

    return add


def test_a_slot_becomes_one_job(nights: Nights, add: Add) -> None:
    add()
    before = len(nights.client.jobs())
    assert nights.at("2026-01-01T02:59:59") == []
    (slot,) = nights.at("2026-01-01T03:00:00")
    assert (slot["state"], slot["at"], slot["job_state"]) == ("submitted", ms("2026-01-01T03:00"), "queued")
    assert nights.client.jobs()[0]["id"] == slot["job"]
    assert nights.at("2026-01-01T03:00:30") == [slot]  # Catches: next_at that stays
    assert len(nights.client.jobs()) == before + 1


def test_each_slot_draws_another_rng_seed_unless_one_was_given(nights: Nights, add: Add, model: str) -> None:
    add()
    drawn = []
    for night in range(1, 4):
        slot = nights.at(f"2026-01-0{night}T03:00")[-1]
        drawn.append(nights.client.status(slot["job"])["spec"]["sampling"]["rng_seed"])
        nights.end_jobs()
    assert len(set(drawn)) == 3  # Catches: every night's texts the same
    nights.schedules.remove("nightly")
    add(request=GenerateRequest(model=model, sampling=SamplingOptions(), rng_seed=7))
    slot = nights.at("2026-01-04T03:00")[-1]
    assert nights.client.status(slot["job"])["spec"]["sampling"]["rng_seed"] == 7


def test_a_slot_that_comes_while_the_job_before_it_runs_is_skipped(nights: Nights, add: Add) -> None:
    add(overlap="skip")
    first = nights.at("2026-01-01T03:00")[0]
    second = nights.at("2026-01-02T03:00")[1]
    assert (second["state"], second["reason"]) == ("skipped", f"job {first['job']} has not ended")
    nights.end_jobs()
    assert [slot["state"] for slot in nights.at("2026-01-03T02:59")] == ["submitted", "skipped"]
    assert nights.at("2026-01-03T03:00")[-1]["state"] == "submitted"


def test_a_slot_can_wait_for_the_job_before_it(nights: Nights, add: Add) -> None:
    add(overlap="queue")
    nights.at("2026-01-01T03:00")
    assert nights.at("2026-01-02T03:00")[-1]["state"] == "due"
    assert nights.at("2026-01-03T03:00")[-1]["reason"] == "that of 2026-01-02 03:00:00 UTC waits still"
    nights.end_jobs()
    nights.at("2026-01-03T04:00")
    assert nights.states() == ["submitted", "submitted", "skipped"]


def test_missed_slots_are_caught_up_once(nights: Nights, add: Add) -> None:
    add(catch_up="once")
    (slot,) = nights.at("2026-01-05T12:00")
    assert (slot["state"], slot["at"]) == ("submitted", ms("2026-01-05T03:00"))
    assert slot["reason"] == "for all slots since 2026-01-01 03:00:00 UTC, which were missed"
    nights.end_jobs()
    assert nights.at("2026-01-05T12:01") == [{**slot, "job_state": "done"}]


def test_missed_slots_are_not_caught_up_if_nobody_wants_it(nights: Nights, add: Add) -> None:
    add(catch_up="none")
    (slot,) = nights.at("2026-01-05T12:00")
    assert (slot["state"], slot["reason"], slot["job"]) == ("skipped", "missed: nothing ran at that time", None)
    assert nights.at("2026-01-06T03:04")[-1]["state"] == "submitted"  # some minutes late is not missed


def test_a_slot_expires_at_its_deadline(nights: Nights, add: Add) -> None:
    add(deadline_s=7200)
    assert nights.at("2026-01-01T05:00")[-1]["state"] == "submitted"
    nights.end_jobs()
    slot = nights.at("2026-01-02T05:00:01")[-1]
    assert (slot["state"], slot["reason"]) == ("expired", "not submitted within its deadline of 7200 s")


def test_a_slot_that_waits_expires_at_its_deadline_too(nights: Nights, add: Add) -> None:
    add(overlap="queue", deadline_s=7200)
    nights.at("2026-01-01T03:00")
    assert nights.at("2026-01-02T05:00")[-1]["state"] == "due"
    assert nights.at("2026-01-02T05:00:01")[-1]["state"] == "expired"


def test_the_hours_that_daylight_saving_takes_and_gives(nights: Nights, add: Add) -> None:
    nights.now = ms("2026-03-28T12:00")
    add("30 2 * * *", "Europe/Paris")
    assert nights.at("2026-03-29T01:00")[-1]["state"] == "submitted"  # 03:00 there, and there was no 02:30
    nights.end_jobs()
    assert nights.at("2026-10-25T00:30")[-1]["at"] == ms("2026-10-25T00:30")
    nights.end_jobs()
    assert nights.at("2026-10-25T01:30")[-1]["at"] == ms("2026-10-25T00:30")  # 02:30 there once more
    assert nights.at("2026-10-26T01:30")[-1]["at"] == ms("2026-10-26T01:30")


def test_a_month_without_the_day_has_no_slot(nights: Nights, add: Add) -> None:
    add("0 3 31 * *")
    nights.at("2026-01-31T03:00")
    nights.end_jobs()
    assert len(nights.at("2026-02-28T23:59")) == 1
    assert nights.at("2026-03-31T03:00")[-1]["state"] == "submitted"


def test_a_clock_that_is_set_back_repeats_no_slot(nights: Nights, add: Add) -> None:
    add()
    nights.at("2026-01-01T03:00")
    nights.end_jobs()
    assert len(nights.at("2026-01-01T02:30")) == 1
    assert len(nights.at("2026-01-01T03:00")) == 1  # Catches: a slot that another insert replaces


def test_a_clock_that_was_far_ahead_stops_no_schedule(nights: Nights, add: Add) -> None:
    add()
    nights.at("2031-01-01T03:00")
    nights.end_jobs()
    nights.at("2026-01-01T12:00")
    # Catches: no `ahead` in wanting
    assert ms("2026-01-02T03:00") in [slot["at"] for slot in nights.at("2026-01-02T03:00")]


def test_a_clock_that_jumps_ahead_has_missed_what_it_jumped_over(nights: Nights, add: Add) -> None:
    add("* * * * *")
    (slot,) = nights.at("2026-12-31T12:00:10")
    assert (slot["at"], slot["state"]) == (ms("2026-12-31T12:00"), "submitted")


def test_a_paused_schedule_does_nothing_and_misses_nothing(nights: Nights, add: Add) -> None:
    add(overlap="queue")
    nights.at("2026-01-01T03:00")
    nights.at("2026-01-02T03:00")
    nights.schedules.pause("nightly")
    assert nights.slots()[-1]["reason"] == "paused"
    assert nights.schedules.show("nightly")["upcoming"] == []
    nights.end_jobs()
    assert len(nights.at("2026-01-04T12:00")) == 2
    nights.schedules.resume("nightly")
    assert len(nights.at("2026-01-05T02:59")) == 2  # Catches: next_at of before the pause
    assert nights.at("2026-01-05T03:00")[-1]["state"] == "submitted"


def test_a_run_by_hand(nights: Nights, add: Add) -> None:
    add(deadline_s=1)
    nights.schedules.pause("nightly")
    slot = nights.schedules.run("nightly")
    assert (slot["state"], slot["by_hand"], slot["at"]) == ("submitted", True, nights.now)
    with pytest.raises(InputError, match=f"is at work: job {slot['job']} has not ended"):
        nights.schedules.run("nightly")
    nights.end_jobs()
    assert nights.schedules.run("nightly")["job"] > slot["job"]


def test_an_unchanged_text_is_skipped(nights: Nights, add: Add, train: Request, text_file: Path) -> None:
    add(request=train)
    first = nights.at("2026-01-01T03:00")[0]
    nights.end_jobs(JobState.FAILED)
    assert nights.at("2026-01-02T03:00")[-1]["state"] == "submitted"  # what failed is tried again
    nights.end_jobs()
    slot = nights.at("2026-01-03T03:00")[-1]
    assert (slot["state"], slot["reason"]) == ("skipped", f"the text is that of job {first['job'] + 1}")
    assert nights.schedules.run("nightly")["state"] == "submitted"
    nights.end_jobs()
    text_file.write_text(text_file.read_text() + "more of it\n" * 50)
    assert nights.at("2026-01-04T03:00")[-1]["state"] == "submitted"


def test_an_unchanged_text_can_be_trained_on_always(nights: Nights, add: Add, train: Request) -> None:
    add(request=train, always=True)
    nights.at("2026-01-01T03:00")
    nights.end_jobs()
    assert nights.at("2026-01-02T03:00")[-1]["state"] == "submitted"


def test_what_cannot_be_submitted_fails_its_slot_alone(
    nights: Nights, add: Add, train: Request, text_file: Path
) -> None:
    add(request=train)
    text = text_file.read_text()
    text_file.unlink()
    slot = nights.at("2026-01-01T03:00")[-1]
    assert (slot["state"], slot["job"]) == ("failed", None)
    assert f"{text_file}: no such file" in slot["reason"]
    text_file.write_text(text)
    assert nights.at("2026-01-02T03:00")[-1]["state"] == "submitted"


def test_a_slot_waits_for_what_does_not_answer(nights: Nights, add: Add, tmp_path: Path) -> None:
    add()
    away = Nights(Client(_elsewhere(nights.client.settings, tmp_path)))
    (slot,) = away.at("2026-01-01T03:00")
    assert slot["state"] == "due"
    away.client.close()
    assert nights.at(ms("2026-01-01T03:00") + PAUSE_MS - 1)[-1]["state"] == "due"
    assert nights.at(ms("2026-01-01T03:00") + PAUSE_MS)[-1]["state"] == "submitted"


def _elsewhere(settings: Settings, folder: Path) -> Settings:
    """The same store, and no broker."""
    return Settings(home=folder, store_url=settings.database_url, files_url=settings.files_location)


def test_a_slot_whose_taker_died_is_taken_again(nights: Nights, add: Add) -> None:
    add()
    nights.now = ms("2026-01-01T03:00")
    with nights.client.store.write() as connection:
        schedules.decide(connection, "nightly", nights.now)
        assert schedules.claim(connection, Slot("nightly", nights.now), nights.now)
        assert not schedules.claim(connection, Slot("nightly", nights.now), nights.now)
    assert nights.at(nights.now + CLAIM_MS - 1)[-1]["state"] == "due"
    assert nights.at(nights.now + 1)[-1]["state"] == "submitted"


def test_who_was_too_slow_stores_no_second_job(nights: Nights, add: Add) -> None:
    add()
    (slot,) = nights.at("2026-01-01T03:00")
    before = len(nights.client.jobs())
    schedule = Schedule(name="nightly", cron=Cron(NIGHT), request=_request(nights))
    nights.schedules._submit(schedule, Slot("nightly", slot["at"]), nights.now)
    assert len(nights.client.jobs()) == before  # Catches: a job stored whether its slot is due or not
    assert nights.slots() == [slot]
    assert len(list(nights.client.files.list("seeds"))) == 1


def _request(nights: Nights) -> Request:
    with nights.client.store.read() as connection:
        return Schedule.from_row(schedules.found(connection, "nightly")).request


def test_a_schedule_keeps_so_many_slots(nights: Nights, add: Add) -> None:
    add("* * * * *", overlap="skip")
    nights.at("2026-01-01T00:01")
    with nights.client.store.write() as connection:
        for minute in range(2, KEPT_SLOTS + 4):
            schedules.decide(connection, "nightly", ms("2026-01-01") + minute * MINUTE_MS)
        kept = schedules.newest(connection, "nightly", 2 * KEPT_SLOTS)
    assert (len(kept), kept[0].at) == (KEPT_SLOTS, ms("2026-01-01") + (KEPT_SLOTS + 3) * MINUTE_MS)


def test_a_name_is_given_once(nights: Nights, add: Add) -> None:
    add()
    with pytest.raises(InputError, match="There is a schedule nightly already"):
        add()
    nights.schedules.remove("nightly")
    add()
    with pytest.raises(NotFoundError, match="There is no schedule 'nightli'. Did you mean nightly"):
        nights.schedules.pause("nightli")


def test_a_removed_schedule_leaves_its_jobs(nights: Nights, add: Add) -> None:
    add()
    (slot,) = nights.at("2026-01-01T03:00")
    nights.schedules.remove("nightly")
    assert nights.client.status(slot["job"])["state"] == "queued"
    assert nights.schedules.list() == []


def test_a_deleted_job_leaves_its_slot(nights: Nights, add: Add) -> None:
    add()
    (slot,) = nights.at("2026-01-01T03:00")
    nights.client.cancel(slot["job"])
    nights.client.delete(slot["job"])
    assert nights.slots()[0]["job"] == slot["job"]
    assert nights.at("2026-01-02T03:00")[-1]["state"] == "submitted"


def test_what_would_be_refused_is_refused_when_it_is_added(nights: Nights, add: Add, train: TrainRequest) -> None:
    with pytest.raises(NotFoundError, match="no model 'nobody'"):
        add(request=GenerateRequest(model="nobody", sampling=SamplingOptions(), rng_seed=None))
    with pytest.raises(InputError, match="no such file"):
        add(request=TrainRequest(**{**vars(train), "paths": ("/nowhere.txt",)}))
    assert nights.schedules.list() == []


def test_nothing_is_stored_of_a_training_that_is_only_checked(nights: Nights, add: Add, train: Request) -> None:
    before = [len(list(nights.client.files.list(folder))) for folder in ("corpora", "held-out")]
    add(request=train)
    assert [len(list(nights.client.files.list(folder))) for folder in ("corpora", "held-out")] == before
    assert [job["model"] for job in nights.client.jobs()] == ["speeches"]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"overlap": "allow"}, "overlap must be one of skip, queue"),
        ({"catch_up": "all"}, "catch-up must be one of none, once"),
        ({"deadline_s": -1.0}, "deadline must be a finite number"),
        ({"always": True}, "--always is of trainings"),
        ({"name": "Not A Name"}, "The schedule's name 'Not A Name' is not valid"),
    ],
)
def test_rules_that_are_none_are_refused(sample: Request, rules: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Schedule(**{"name": "nightly", "cron": Cron(NIGHT), "request": sample, **rules})
