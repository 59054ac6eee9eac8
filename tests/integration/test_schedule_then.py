"""A training and the job that samples after it, as one schedule."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.errors import InputError
from charrnn.jobs.job.requests import GenerateRequest, Request, TrainRequest
from charrnn.jobs.job.schedule import ShownSlot
from charrnn.jobs.job.version import NewVersion
from charrnn.jobs.job.views import no_worker
from charrnn.options import NetworkOptions
from producer.output import schedules as render
from producer.records import schedules as records
from tests.fixtures.client import DoPart
from tests.fixtures.nights import Add, Nights
from tests.fixtures.store import NO_FILE, each_database

pytestmark = each_database

FIRST, SECOND, THIRD = "2026-01-01T03:00", "2026-01-02T03:00", "2026-01-03T03:00"
Train = Callable[[float | None], None]


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    path = tmp_path / "seeds.txt"
    path.write_text("the \na \n")
    return path


@pytest.fixture
def nightly(add: Add, train: Request, seeds: Path) -> Path:
    """The schedule "nightly", which trains `poems` and then samples it. Return its seeds file."""
    add(request=train, then=GenerateRequest(seeds=str(seeds)), always=True)
    return seeds


@pytest.fixture
def trained(nights: Nights) -> Train:
    """End the next training job as a worker does: with a version of this loss, or with an error."""

    def end(val_loss: float | None) -> None:
        part = nights.leases.claim("train", "worker", "cpu")
        while part and part.spec.model != "poems":  # the job that made the model `speeches` still waits
            part = nights.leases.claim("train", "worker", "cpu")
        assert part is not None
        if val_loss is None:
            nights.leases.fail(part, "out of paper", permanent=True)
            return
        facts = {"files": NO_FILE, "characters": "\nab", "network": NetworkOptions(units=1), "precision": "float32"}
        nights.leases.complete_training(part, NewVersion(model="poems", val_loss=val_loss, **facts))  # type: ignore[arg-type]

    return end


def outcomes(slot: ShownSlot) -> tuple[str | None, ...]:
    """Return the states of a run's two jobs, and their versions."""
    assert slot.outcome is not None
    assert slot.then_outcome is not None
    both = (slot.outcome, slot.then_outcome)
    return (*(outcome.job_state for outcome in both), *(outcome.name for outcome in both))


def test_both_jobs_are_stored_with_the_slot_and_the_second_waits(nights: Nights, nightly: Path) -> None:
    before = len(nights.client.jobs())
    (slot,) = nights.at(FIRST)
    assert outcomes(slot) == ("queued", "queued", None, None)
    assert len(nights.client.jobs()) == before + 2
    status = nights.client.status(slot.then_job)
    assert (status.after, status.schedule, status.rows_total) == (slot.job, "nightly", 2)
    assert status.waiting_for == f"its training, job {slot.job}: {no_worker('train')}"
    assert [job.id for job in nights.client.jobs(schedule="nightly")] == [slot.then_job, slot.job]


def test_a_version_that_lost_writes_nothing(nights: Nights, nightly: Path, trained: Train, do_part: DoPart) -> None:
    nights.at(FIRST)
    trained(1.0)
    do_part()
    assert outcomes(nights.slots()[-1]) == ("done", "done", "poems@1", "poems@1")
    second = nights.at(SECOND)[-1]
    trained(2.0)
    do_part()
    # Catches: texts of the night on which the text was garbage
    assert outcomes(nights.slots()[-1]) == ("done", "done", "poems@2", "poems@1")
    assert {row.version for row in nights.client.rows(second.then_job or 0)} == {"poems@1"}


def test_a_sampling_that_is_repeated_takes_the_champion_too(nights: Nights, nightly: Path, trained: Train) -> None:
    nights.at(FIRST)
    trained(1.0)
    nights.client.cancel(nights.slots()[-1].then_job or 0)
    second = nights.at(SECOND)[-1]
    nights.client.cancel(second.then_job or 0)
    trained(2.0)
    nights.client.retry(second.then_job or 0)
    assert outcomes(nights.slots()[-1]) == ("done", "queued", "poems@2", "poems@1")


def test_a_failed_training_fails_what_follows_and_says_so(
    nights: Nights, nightly: Path, trained: Train, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    nights.schedules.edit("nightly", on_failure=f'echo "$RUN_STATE $RUN_REASON $RUN_JOB $RUN_THEN_JOB" >> {told}')
    (slot,) = nights.at(FIRST)
    trained(None)
    assert nights.client.job(slot.then_job or 0).error == (
        f"job {slot.job}, the training job that it waited for, is failed"
    )
    nights.schedules.tick()
    assert told.read_text() == f"failed out of paper {slot.job} {slot.then_job}\n"
    (trouble,) = nights.schedules.find_troubles().values()
    assert trouble == f"job {slot.job}, the run of 2026-01-01 03:00:00 UTC, failed: out of paper"


def test_a_run_ends_with_its_second_job(
    nights: Nights, nightly: Path, trained: Train, do_part: DoPart, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    tell = f'echo "$RUN_STATE $RUN_REASON $RUN_VERSION $RUN_THEN_VERSION" >> {told}'
    nights.schedules.edit("nightly", overlap="queue", on_success=tell, on_failure=tell)
    (slot,) = nights.at(FIRST)
    trained(1.0)
    nights.schedules.tick()
    assert not told.exists()  # Catches: a hook that is told before the texts are written
    with pytest.raises(InputError, match=f"is busy: job {slot.then_job} has not ended"):
        nights.schedules.run("nightly")
    second = nights.at(SECOND)[-1]
    assert (second.state, second.reason) == ("due", f"waited: job {slot.then_job} has not ended")
    do_part("out of ink")
    assert nights.at(SECOND)[-1].state == "submitted"  # Catches: a slot that waits for the first job alone
    assert told.read_text() == "failed 2 rows failed: out of ink poems@1 poems@1\n"
    assert nights.schedules.find_troubles() == {}  # of the second run, which has not ended
    trained(0.5)
    do_part()
    nights.schedules.tick()
    assert told.read_text().splitlines()[1:] == ["done  poems@2 poems@2"]


def test_failed_rows_after_a_training_are_trouble(
    nights: Nights, nightly: Path, trained: Train, do_part: DoPart
) -> None:
    (slot,) = nights.at(FIRST)
    trained(1.0)
    assert nights.schedules.find_troubles() == {}
    do_part("out of ink")
    (trouble,) = nights.schedules.find_troubles().values()
    assert trouble.startswith(f"job {slot.then_job}, the run of ")  # Catches: a check of the training alone


def test_failed_rows_after_a_training_are_shown_everywhere(
    nights: Nights, nightly: Path, trained: Train, do_part: DoPart, capsys: pytest.CaptureFixture[str]
) -> None:
    # Catches: a list that calls such a run done, which `schedules check` calls failed
    (slot,) = nights.at(FIRST)
    trained(1.0)
    do_part("out of ink")
    (listed,) = nights.schedules.list()
    render.schedules([listed])
    words = f"failed: jobs {slot.job} and {slot.then_job}; job {slot.then_job}: 2 rows failed: out of ink"
    assert words in capsys.readouterr().out
    found = nights.schedules.show("nightly")
    render.schedule(found, lambda hook: True)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "out of ink" in line)
    assert re.search(rf"UTC +failed +{slot.then_job} +poems@1 +2 rows failed: out of ink; samples after job", line)
    shown = records.schedule_details(found).slots[0]
    assert (shown.run_state, shown.run_reason) == ("failed", "2 rows failed: out of ink")
    (trouble,) = nights.schedules.find_troubles().values()
    assert trouble.endswith("failed: 2 rows failed: out of ink")


def test_an_unchanged_text_is_tried_again_until_both_jobs_succeed(
    nights: Nights, nightly: Path, trained: Train, do_part: DoPart
) -> None:
    nights.schedules.edit("nightly", always=False)
    nights.at(FIRST)
    trained(1.0)
    do_part("out of ink")
    # Catches: an alarm that an unchanged text ends, with nothing repaired
    second = nights.at(SECOND)[-1]
    assert len(second.jobs) == 2
    trained(0.5)
    nights.client.cancel(second.then_job or 0)
    assert len(nights.at(THIRD)[-1].jobs) == 2  # Catches: texts of a cancelled job that no night makes good
    trained(0.4)
    do_part()
    assert nights.at("2026-01-04T03:00")[-1].state == "unchanged"
    assert nights.schedules.find_troubles() == {}


@pytest.mark.parametrize("which", ["training", "sampling"])
def test_a_cancelled_job_is_no_trouble_and_its_hook_says_why(
    nights: Nights, nightly: Path, trained: Train, tmp_path: Path, which: str
) -> None:
    told = tmp_path / "told"
    nights.schedules.edit("nightly", on_failure=f'echo "$RUN_STATE: $RUN_REASON" >> {told}')
    (slot,) = nights.at(FIRST)
    if which == "sampling":
        trained(1.0)
    cancelled = slot.job if which == "training" else slot.then_job
    nights.client.cancel(cancelled or 0)
    nights.schedules.tick()
    assert told.read_text() == "cancelled: the job was cancelled\n"
    # Catches: a sampling job that fails since its training was cancelled, and counts as a failure of the run
    assert nights.schedules.find_troubles() == {}
    run = nights.slots()[-1].decisive
    assert run is not None
    assert (run.job, run.verdict) == (cancelled, "cancelled")


def test_neither_job_is_stored_if_a_seed_is_refused(nights: Nights, nightly: Path) -> None:
    before = len(nights.client.jobs())
    nightly.write_text("§\n")
    (slot,) = nights.at(FIRST)
    assert (slot.state, slot.jobs) == ("failed", ())
    assert "1 seed contains characters" in (slot.reason or "")
    assert len(nights.client.jobs()) == before


def test_an_unchanged_text_leaves_neither_a_job_nor_seeds(
    nights: Nights, nightly: Path, trained: Train, do_part: DoPart
) -> None:
    nights.schedules.edit("nightly", always=False)
    nights.at(FIRST)
    trained(1.0)
    do_part()
    seeds = nights.client.connections.files.list("seeds")
    before = {file.name for file in seeds}
    nightly.write_text("a \n")  # other seeds alone are no reason to do anything
    assert nights.at(SECOND)[-1].state == "unchanged"
    # Catches: a file of seeds that no job names
    assert {file.name for file in nights.client.connections.files.list("seeds")} == before


def test_a_schedule_may_lose_what_follows(nights: Nights, nightly: Path, train: Request) -> None:
    nights.schedules.edit("nightly", overlap="queue")
    assert nights.schedules.show("nightly").then is not None  # Catches: an edit of a rule that drops it
    nights.schedules.edit("nightly", request=train)
    (slot,) = nights.at(FIRST)
    assert (len(slot.jobs), slot.then_outcome) == (1, None)


def test_deleted_jobs_of_a_run_hold_up_nothing(nights: Nights, nightly: Path, trained: Train) -> None:
    (slot,) = nights.at(FIRST)
    trained(None)
    for job in slot.jobs:
        nights.client.delete(job)
    assert nights.slots()[-1].then_outcome is None
    assert nights.at(SECOND)[-1].state == "submitted"


@pytest.mark.parametrize(
    ("then", "message"),
    [
        (GenerateRequest(model="speeches"), "samples from its champion, not from speeches. Leave out the model"),
        (GenerateRequest(model="poems@2"), "not from poems@2"),
        (GenerateRequest(random_seeds=3), "`random_seeds` cannot be used after a training"),
    ],
)
def test_what_cannot_follow_is_refused(add: Add, train: Request, then: GenerateRequest, message: str) -> None:
    with pytest.raises(InputError, match=message):
        add(request=train, then=then)


def test_nothing_follows_a_sampling(add: Add, sample: Request) -> None:
    with pytest.raises(InputError, match="Only a training can be followed by a sampling"):
        add(request=sample, then=GenerateRequest())


def test_seeds_are_checked_when_the_schedule_is_added(
    nights: Nights, add: Add, train: TrainRequest, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="No such file"):
        add(request=train, then=GenerateRequest(seeds=str(tmp_path / "nowhere.txt")))
    add(request=train, then=GenerateRequest(model=train.model))
    (slot,) = nights.at(FIRST)
    assert nights.client.job(slot.then_job or 0).rows_total == 1
