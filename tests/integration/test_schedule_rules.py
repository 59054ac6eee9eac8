"""The rules of docs/schedules.md with a clock that the tests set, on every database."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from charrnn.errors import NotFoundError
from charrnn.jobs.job.requests import GenerateRequest, Request, TrainRequest
from charrnn.jobs.job.schedule import ShownSlot
from charrnn.jobs.job.states import JobState, SlotState
from charrnn.jobs.store.scheduled import slots as schedules
from charrnn.jobs.store.scheduled.slots import KEPT_SLOTS
from charrnn.jobs.store.tables import jobs
from charrnn.jobs.store.tables import schedules as schedules_table
from charrnn.jobs.store.tables import slots as slots_table
from charrnn.options import SamplingOptions
from tests.fixtures.nights import MINUTE_MS, Add, Nights, ms
from tests.fixtures.store import each_database
from worker import logs

pytestmark = each_database


def done(slot: ShownSlot) -> ShownSlot:
    """Return the slot after its job has ended."""
    assert slot.outcome is not None
    return replace(slot, outcome=replace(slot.outcome, job_state=JobState.DONE))


def test_a_slot_becomes_one_job(nights: Nights, add: Add) -> None:
    add()
    before = len(nights.client.jobs())
    assert nights.at("2026-01-01T02:59:59") == []
    (slot,) = nights.at("2026-01-01T03:00:00")
    assert (slot.state, slot.at) == ("submitted", ms("2026-01-01T03:00"))
    assert slot.outcome is not None
    assert slot.outcome.job_state == "queued"
    assert nights.client.jobs()[0].id == slot.job
    assert nights.at("2026-01-01T03:00:30") == [slot]  # Catches: next_at that does not advance
    assert len(nights.client.jobs()) == before + 1


def test_each_slot_draws_a_random_seed_unless_one_is_set(nights: Nights, add: Add, model: str) -> None:
    add()
    drawn = []
    for night in range(1, 4):
        slot = nights.at(f"2026-01-0{night}T03:00")[-1]
        drawn.append(nights.client.status(slot.job).stored_spec["sampling"]["rng_seed"])
        nights.end_jobs()
    assert len(set(drawn)) == 3  # Catches: the same texts every night
    nights.schedules.remove("nightly")
    add(request=GenerateRequest(model=model, sampling=SamplingOptions(), rng_seed=7))
    slot = nights.at("2026-01-04T03:00")[-1]
    assert nights.client.status(slot.job).stored_spec["sampling"]["rng_seed"] == 7


def test_a_slot_that_comes_while_the_job_before_it_runs_is_skipped(nights: Nights, add: Add) -> None:
    add(overlap="skip")
    first = nights.at("2026-01-01T03:00")[0]
    second = nights.at("2026-01-02T03:00")[1]
    assert (second.state, second.reason) == ("skipped", f"job {first.job} has not ended")
    nights.end_jobs()
    assert [slot.state for slot in nights.at("2026-01-03T02:59")] == ["submitted", "skipped"]
    assert nights.at("2026-01-03T03:00")[-1].state == "submitted"


def test_a_slot_can_wait_for_the_job_before_it(nights: Nights, add: Add) -> None:
    add(overlap="queue")
    nights.at("2026-01-01T03:00")
    first, second = nights.at("2026-01-02T03:00")
    assert (second.state, second.reason) == ("due", f"waited: job {first.job} has not ended")
    assert nights.at("2026-01-03T03:00")[-1].reason == "the run of 2026-01-02 03:00:00 UTC is still waiting"
    nights.end_jobs()
    nights.at("2026-01-03T04:00")
    assert nights.states() == ["submitted", "submitted", "skipped"]


def test_missed_slots_are_caught_up_once(nights: Nights, add: Add) -> None:
    add(catch_up="once")
    (slot,) = nights.at("2026-01-05T12:00")
    assert (slot.state, slot.at) == ("submitted", ms("2026-01-05T03:00"))
    assert slot.reason == "for all missed times since 2026-01-01 03:00:00 UTC"
    nights.end_jobs()
    assert nights.at("2026-01-05T12:01") == [done(slot)]


def test_missed_slots_are_skipped_without_catch_up(nights: Nights, add: Add) -> None:
    add(catch_up="none")
    (slot,) = nights.at("2026-01-05T12:00")
    assert (slot.state, slot.reason, slot.job) == ("skipped", "missed: no worker or scheduler ran at that time", None)
    assert nights.at("2026-01-06T03:04")[-1].state == "submitted"  # a few minutes late is not missed
    nights.end_jobs()
    assert nights.at("2026-01-07T03:06")[-1].state == "skipped"  # Catches: an hour late that counts as on time


def test_a_slot_expires_at_its_deadline(nights: Nights, add: Add) -> None:
    add(deadline_s=7200)
    assert nights.at("2026-01-01T05:00")[-1].state == "submitted"
    nights.end_jobs()
    slot = nights.at("2026-01-02T05:00:01")[-1]
    assert (slot.state, slot.reason) == ("expired", "not submitted within its deadline of 7200 s")
    told = nights.client.events(1)[0].words  # Catches: a failure that only the log of a worker tells
    assert told == "run failed: schedule nightly: not submitted within its deadline of 7200 s"


def test_a_slot_that_waits_expires_at_its_deadline_too(nights: Nights, add: Add) -> None:
    add(overlap="queue", deadline_s=7200)
    nights.at("2026-01-01T03:00")
    assert nights.at("2026-01-02T05:00")[-1].state == "due"
    assert nights.at("2026-01-02T05:00:01")[-1].state == "expired"


def test_hours_skipped_and_repeated_by_daylight_saving(nights: Nights, add: Add) -> None:
    nights.now = ms("2026-03-28T12:00")
    add("30 2 * * *", "Europe/Paris")
    assert nights.at("2026-03-29T01:00")[-1].state == "submitted"  # 03:00 local time; 02:30 did not exist
    nights.end_jobs()
    assert nights.at("2026-10-25T00:30")[-1].at == ms("2026-10-25T00:30")
    nights.end_jobs()
    assert nights.at("2026-10-25T01:30")[-1].at == ms("2026-10-25T00:30")  # 02:30 local time for the second time
    assert nights.at("2026-10-26T01:30")[-1].at == ms("2026-10-26T01:30")


def test_a_month_without_the_day_has_no_slot(nights: Nights, add: Add) -> None:
    add("0 3 31 * *")
    nights.at("2026-01-31T03:00")
    nights.end_jobs()
    assert len(nights.at("2026-02-28T23:59")) == 1
    assert nights.at("2026-03-31T03:00")[-1].state == "submitted"


def test_a_clock_that_is_set_back_repeats_no_slot(nights: Nights, add: Add) -> None:
    add()
    (slot,) = nights.at("2026-01-01T03:00")
    nights.end_jobs()
    count = len(nights.client.jobs())
    assert len(nights.at("2026-01-01T02:30")) == 1
    assert nights.at("2026-01-01T03:00") == [done(slot)]  # Catches: a slot that is inserted again
    assert len(nights.client.jobs()) == count


def test_a_clock_that_was_far_ahead_stops_no_schedule(nights: Nights, add: Add) -> None:
    add()
    nights.at("2031-01-01T03:00")
    nights.end_jobs()
    nights.at("2026-01-01T12:00")
    # Catches: no `ahead` in find_undecided
    assert ms("2026-01-02T03:00") in [slot.at for slot in nights.at("2026-01-02T03:00")]
    with nights.client.connections.store.read() as connection:  # Catches: a decision at each poll, until 2031
        assert schedules.find_undecided(connection, ms("2026-01-02T12:00")) == []


def test_times_that_the_clock_jumped_over_are_missed(nights: Nights, add: Add) -> None:
    add("* * * * *")
    (slot,) = nights.at("2026-12-31T12:00:10")
    assert (slot.at, slot.state) == (ms("2026-12-31T12:00"), "submitted")


def test_a_paused_schedule_does_nothing_and_misses_nothing(nights: Nights, add: Add) -> None:
    add(overlap="queue")
    nights.at("2026-01-01T03:00")
    nights.at("2026-01-02T03:00")
    nights.schedules.pause("nightly")
    assert nights.slots()[-1].reason == "paused"
    assert nights.schedules.show("nightly").upcoming == ()
    nights.end_jobs()
    assert len(nights.at("2026-01-04T12:00")) == 2
    nights.schedules.resume("nightly")
    assert len(nights.at("2026-01-05T02:59")) == 2  # Catches: next_at from before the pause
    assert nights.at("2026-01-05T03:00")[-1].state == "submitted"


def test_a_monitor_learns_of_runs_that_fail_or_are_late(
    nights: Nights, add: Add, train: Request, text_file: Path
) -> None:
    add(request=train, overlap="queue")
    assert nights.schedules.find_troubles() == {}
    nights.at("2026-01-01T03:00")
    nights.end_jobs(JobState.FAILED)
    assert nights.schedules.find_troubles() == {
        "nightly": f"job {nights.client.jobs()[0].id}, the run of 2026-01-01 03:00:00 UTC, failed"
    }
    nights.at("2026-01-02T03:00")  # Catches: a run in time that counts as late while its job is in work
    assert nights.schedules.find_troubles() == {}
    nights.at("2026-01-03T03:00")
    assert nights.states()[-1] == "due"
    nights.now = ms("2026-01-03T12:00")  # it waits for the job before it, as was asked
    assert nights.schedules.find_troubles() == {}
    nights.end_jobs()
    nights.at("2026-01-03T12:01")
    nights.end_jobs()
    nights.now = ms("2026-01-04T03:14")  # no process runs
    assert nights.schedules.find_troubles() == {}
    nights.now = ms("2026-01-04T03:16")
    assert nights.schedules.find_troubles()["nightly"].startswith("the run of 2026-01-04 03:00:00 UTC is late.")
    assert nights.schedules.find_troubles(late_ms=20 * MINUTE_MS) == {}
    nights.schedules.pause("nightly")
    assert nights.schedules.find_troubles() == {}
    nights.schedules.resume("nightly")
    with pytest.raises(NotFoundError):
        nights.schedules.find_troubles(["nightly", "nightlyy"])
    text_file.unlink()
    nights.at("2026-01-05T03:00")
    assert nights.schedules.find_troubles()["nightly"].startswith("the run of 2026-01-05 03:00:00 UTC failed: ")


def test_a_monitor_learns_of_failed_rows_and_of_a_submission_that_stays_due(nights: Nights, add: Add) -> None:
    add(overlap="queue")
    nights.at("2026-01-01T03:00")
    nights.end_jobs()
    with nights.client.connections.store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.rows_total > 0).values(rows_failed=1))
    assert "the run of 2026-01-01 03:00:00 UTC, failed" in nights.schedules.find_troubles()["nightly"]
    nights.at("2026-01-02T03:00")
    with nights.client.connections.store.write() as connection:  # as if the process had died while it submitted
        connection.execute(update(slots_table).where(slots_table.c.at == ms("2026-01-02T03:00")).values(state="due"))
    nights.end_jobs()
    nights.now = ms("2026-01-02T04:00")
    assert "the run of 2026-01-02 03:00:00 UTC is late" in nights.schedules.find_troubles()["nightly"]


def test_only_a_failed_run_is_logged_as_an_error(
    nights: Nights, add: Add, train: Request, text_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Catches: an alarm that a normal night sets off
    caplog.set_level("INFO", "charrnn.jobs.schedules")
    add(request=train)
    nights.at("2026-01-01T03:00")
    nights.end_jobs()
    assert nights.at("2026-01-02T03:00")[-1].state == "unchanged"
    text_file.unlink()
    assert nights.at("2026-01-03T03:00")[-1].state == "failed"
    levels = {record.event: record.levelname for record in caplog.records if hasattr(record, "event")}
    assert levels == {"submitted": "INFO", "unchanged": "INFO", "failed": "ERROR"}


def test_a_skipped_time_is_logged_with_its_reason(nights: Nights, add: Add, caplog: pytest.LogCaptureFixture) -> None:
    # Catches: a night without a job and without a line
    caplog.set_level("INFO", "charrnn.jobs.schedules")
    add(catch_up="none", deadline_s=86_400)
    (first,) = nights.at("2026-01-01T03:00")
    nights.at("2026-01-02T03:00")
    nights.at("2026-01-02T03:01")
    nights.end_jobs()
    nights.at("2026-01-03T12:00")
    nights.at("2026-01-05T02:59")
    lines = [(record.levelname, record.getMessage()) for record in caplog.records][1:]
    assert lines == [
        ("INFO", f"schedule nightly at 2026-01-02 03:00:00 UTC: skipped: job {first.job} has not ended"),
        (
            "INFO",
            "schedule nightly at 2026-01-03 03:00:00 UTC: skipped: missed: no worker or scheduler ran at that time",
        ),
        (
            "INFO",
            "schedule nightly at 2026-01-04 03:00:00 UTC: skipped: missed: no worker or scheduler ran at that time",
        ),
    ]


def test_what_a_submit_logs_names_its_schedule(nights: Nights, add: Add, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "poems.txt").write_text("a line of a poem\n" * 1000)
    (texts / "empty.txt").touch()
    add(request=TrainRequest(model="poems", paths=(str(texts),), rng_seed=None))
    lines = {form: StringIO() for form in (logs.TEXT, logs.JSON)}
    handlers = [logs.make_handler(form) for form in lines]
    for handler, stream in zip(handlers, lines.values(), strict=True):
        handler.setStream(stream)
        logging.getLogger("charrnn").addHandler(handler)
    try:
        nights.at("2026-01-01T03:00")
    finally:
        for handler in handlers:
            logging.getLogger("charrnn").removeHandler(handler)
    named = "schedule nightly at 2026-01-01 03:00:00 UTC: "
    # Catches: a warning about the text of one of a hundred schedules, which says nothing of whose it is
    assert f"{named}Left out as empty: " in lines[logs.TEXT].getvalue()
    found = [json.loads(line) for line in lines[logs.JSON].getvalue().splitlines()]
    # Catches: a name that is put before a line which has it already, as the second handler sees all of them
    assert all(line["message"].count(named) == 1 for line in found)
    assert {line["schedule"] for line in found} == {"nightly"}


def test_a_monitor_looks_at_the_last_run_however_many_times_were_skipped(
    nights: Nights, add: Add, train: Request, text_file: Path
) -> None:
    add("* * * * *", request=train)
    nights.at("2026-01-01T00:01")
    nights.end_jobs()
    text = text_file.read_text()
    text_file.unlink()
    nights.at("2026-01-01T00:02")
    assert "no such file" in nights.schedules.find_troubles()["nightly"]
    text_file.write_text(text)
    assert nights.at("2026-01-01T00:03")[-1].state == "unchanged"
    assert nights.schedules.find_troubles() == {}  # Catches: a text that is back, and alarms until the tenth skip
    text_file.write_text(text + text)
    nights.at("2026-01-01T00:04")
    nights.end_jobs(JobState.FAILED)
    with nights.client.connections.store.write() as connection:
        for minute in range(5, 30):
            slot = {"schedule": "nightly", "at": ms("2026-01-01") + minute * MINUTE_MS, "state": "skipped"}
            connection.execute(insert(slots_table).values(slot))
        connection.execute(update(schedules_table).values(next_at=ms("2026-01-02")))
    # Catches: a failed run that is forgotten after ten skipped times
    assert "the run of 2026-01-01 00:04:00 UTC, failed" in nights.schedules.find_troubles()["nightly"]


def test_an_unchanged_text_is_skipped(nights: Nights, add: Add, train: Request, text_file: Path) -> None:
    add(request=train)
    first = nights.at("2026-01-01T03:00")[0]
    nights.end_jobs(JobState.FAILED)
    assert nights.at("2026-01-02T03:00")[-1].state == "submitted"  # a failed job is tried again
    nights.end_jobs()
    slot = nights.at("2026-01-03T03:00")[-1]
    assert (slot.state, slot.reason) == ("unchanged", f"the text has not changed since job {(first.job or 0) + 1}")
    assert nights.schedules.run("nightly").state == "submitted"
    nights.end_jobs()
    text_file.write_text(text_file.read_text() + "more of it\n" * 50)
    assert nights.at("2026-01-04T03:00")[-1].state == "submitted"


def test_a_text_from_before_a_failed_training_is_trained_on_again(
    nights: Nights, add: Add, train: Request, text_file: Path
) -> None:
    add(request=train)
    nights.at("2026-01-01T03:00")
    nights.end_jobs()
    text = text_file.read_text()
    text_file.write_text(text + "more of it\n" * 50)
    nights.at("2026-01-02T03:00")
    failed = nights.client.jobs(1)[0].id
    with nights.client.connections.store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == failed).values(state=JobState.FAILED, parts_left=0))
    text_file.write_text(text)
    # Catches: a failure that ends with a text of two nights ago
    assert nights.at("2026-01-03T03:00")[-1].state == "submitted"


def test_a_named_file_that_is_empty_now_fails_the_run(
    nights: Nights, add: Add, text_file: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "poems.txt").write_text("a line of a poem\n" * 1000)
    add(request=TrainRequest(model="poems", paths=(str(texts), str(text_file)), rng_seed=None))
    text_file.write_text("")
    (slot,) = nights.at("2026-01-01T03:00")
    # Catches: a champion that was trained without a file, which a warning in some worker's log tells alone
    assert (slot.state, slot.reason) == ("failed", f"{text_file}: the file is empty. Expected text")


def test_an_unchanged_text_can_be_trained_on_always(nights: Nights, add: Add, train: Request) -> None:
    add(request=train, always=True)
    nights.at("2026-01-01T03:00")
    nights.end_jobs()
    assert nights.at("2026-01-02T03:00")[-1].state == "submitted"


def test_resuming_a_schedule_that_is_not_paused_has_no_effect(nights: Nights, add: Add) -> None:
    add()
    nights.now = ms("2026-01-05T12:00")
    nights.schedules.resume("nightly")
    # Catches: a resume that skips missed runs
    assert [slot.at for slot in nights.at("2026-01-05T12:00")] == [ms("2026-01-05T03:00")]


def test_a_pause_that_comes_between_look_and_decision_counts(nights: Nights, add: Add) -> None:
    add()
    nights.schedules.pause("nightly")
    with nights.client.connections.store.write() as connection:
        schedules.decide(connection, "nightly", ms("2026-01-01T03:00"))
    assert nights.slots() == []


def test_a_slot_is_never_before_the_announced_time(nights: Nights, add: Add) -> None:
    add()
    with nights.client.connections.store.write() as connection:  # as if the rules of the time zone had changed since
        connection.execute(update(schedules_table).values(next_at=ms("2026-01-01T04:00")))
    assert [slot.at for slot in nights.at("2026-01-01T04:00")] == [ms("2026-01-01T04:00")]  # Catches: no max


def test_a_running_job_is_found_after_many_skipped_slots(nights: Nights, add: Add) -> None:
    # Catches: slots deleted by age alone, with the one that names the job
    add("* * * * *", overlap="skip")
    nights.at("2026-01-01T00:01")
    minutes = [ms("2026-01-01") + minute * MINUTE_MS for minute in range(2, KEPT_SLOTS + 4)]
    with nights.client.connections.store.write() as connection:
        skipped = [{"schedule": "nightly", "at": at, "state": SlotState.SKIPPED} for at in minutes[:-3]]
        connection.execute(insert(slots_table), skipped)
        for at in minutes[-3:]:
            schedules.decide(connection, "nightly", at)
        kept = schedules.newest(connection, "nightly", 2 * KEPT_SLOTS)
    assert (len(kept), kept[0].at) == (KEPT_SLOTS + 1, ms("2026-01-01") + (KEPT_SLOTS + 3) * MINUTE_MS)
    assert [slot.at for slot in kept if slot.job is not None] == [ms("2026-01-01T00:01")]
