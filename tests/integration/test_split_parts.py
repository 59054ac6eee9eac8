"""A row that fails every attempt fails alone in the end: its part is split, and the other pieces are done."""

from __future__ import annotations

import json
from itertools import accumulate

import pytest
from sqlalchemy import select, update

from charrnn.errors import LeaseLostError
from charrnn.jobs.client import Client
from charrnn.jobs.job.part import BadRows, Part
from charrnn.jobs.job.states import MAX_ATTEMPTS, MAX_SPLITS, JobState, PartState
from charrnn.jobs.rows import seeds as seeds_module
from charrnn.jobs.rows.seeds import Seed
from charrnn.jobs.store import attempts, counters
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import jobs, parts
from charrnn.options import SamplingOptions
from tests.fixtures.client import DoPart, submit
from tests.fixtures.store import NO_FILE, PART_ROWS, AddJob, each_database, sampled

pytestmark = each_database

ROWS, BAD = 100, 37
DIED = "process died"


@pytest.fixture
def job(client: Client, model: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """A job of 100 rows in 3 parts, with seeds in many frames."""
    monkeypatch.setattr(seeds_module, "FRAME_SIZE", 200)
    seeds = [Seed("a" * (1 + number % 9)) for number in range(ROWS // 2)]
    return submit(client, model, seeds, SamplingOptions(samples=2), part_rows=40).id or 0


def work_off(client: Client, do_part: DoPart, job: int, error: str | None = None, row: int | None = None) -> int:
    """Do parts until the job has ended. Return their number."""
    done = 0
    while not client.status(job).ended:
        do_part(error, row)
        done += 1
    return done


def rows(client: Client, job: int) -> list[tuple[int, str | None]]:
    """Return number and error of each row."""
    return [(line["row"], line["error"]) for line in map(json.loads, client.results(job))]


def test_a_bad_row_fails_alone(client: Client, job: int, do_part: DoPart) -> None:
    attempts = work_off(client, do_part, job, DIED, BAD)
    ended = client.status(job)
    assert (ended.state, ended.rows_done, ended.rows_failed, ended.error) == (JobState.DONE, ROWS - 1, 1, DIED)
    # Catches: pieces that overlap or leave a row out; results in the order of part numbers
    assert rows(client, job) == [(number, DIED if number == BAD else None) for number in range(ROWS)]
    # 40 rows are split into 8 times 5, and the piece with the bad row into 5 times 1.
    assert ended.parts_total == 3 + 7 + 4
    assert attempts == ended.parts_total + (MAX_ATTEMPTS + 1)  # Catches: a piece with three attempts


def test_a_retry_repeats_the_bad_row_and_no_other(client: Client, job: int, do_part: DoPart) -> None:
    work_off(client, do_part, job, DIED, BAD)
    client.retry(job)
    do_part()
    assert client.status(job).ended
    assert rows(client, job) == [(number, None) for number in range(ROWS)]


def test_following_a_part_that_is_split_returns_each_row_once(client: Client, job: int, do_part: DoPart) -> None:
    lines = client.results(job, follow=True)
    do_part()
    assert json.loads(next(lines))["row"] == 0
    work_off(client, do_part, job, DIED, 40)
    # Catches: a follower that goes on behind the rows that the part had before
    assert [json.loads(line)["row"] for line in lines] == list(range(1, ROWS))


def test_a_job_of_bad_rows_ends_after_a_bounded_number_of_attempts(
    store: Store, leases: Leases, add_job: AddJob
) -> None:
    # Catches: no MAX_SPLITS
    job = add_job(parts=3)
    attempts = 0
    while leases.claim("generate", "a", "cpu"):
        leases.requeue("a")
        attempts += 1
    ended = store.job(job)
    assert (ended.state, ended.rows_failed) == (JobState.DONE, 3 * PART_ROWS)
    assert attempts <= 3 * MAX_ATTEMPTS + 8 * MAX_SPLITS
    with store.read() as connection:
        assert connection.execute(select(jobs.c.splits)).scalar_one() == MAX_SPLITS


def test_a_failure_that_every_attempt_would_repeat_splits_nothing(
    store: Store, leases: Leases, add_job: AddJob
) -> None:
    job = add_job()
    leases.fail(claim(leases), "the model is damaged", permanent=True)
    assert (store.job(job).rows_failed, len(store.parts(job))) == (PART_ROWS, 1)


def bad_rows(*runs: tuple[int, int]) -> list[BadRows]:
    return [BadRows(first_row=first, rows=rows, reason=f"bad {first}") for first, rows in runs]


@pytest.mark.parametrize(
    ("runs", "state"),
    [
        ([(3, 2)], PartState.QUEUED),
        ([(0, 1), (5, 4), (PART_ROWS - 1, 1)], PartState.FAILED),
        ([(number, 1) for number in range(1, 128, 2)], PartState.QUEUED),
    ],
    ids=["one", "at both ends", "every other"],
)
def test_rows_that_no_attempt_can_sample_fail_at_once_and_no_other(
    store: Store, leases: Leases, add_job: AddJob, runs: list[tuple[int, int]], state: PartState
) -> None:
    job = add_job(parts=2)
    states = leases.fail_rows(claim(leases), bad_rows(*runs))
    assert (states[0], states.count(PartState.FAILED)) == (state, len(runs))
    found = store.parts(job, limit=1000)
    with store.read() as connection:
        totals = counters.totals(connection)
    counted = [totals[counters.Series(name, "error")] for name in ("attempts_failed", "parts_failed")]
    assert counted == [1, len(runs)]  # Catches: an alarm that stays silent unless the first row is bad
    assert [(part.first_row, part.rows, part.error) for part in found if part.state == PartState.FAILED] == [
        (first, rows, f"bad {first}") for first, rows in runs
    ]
    ends = [0, *accumulate(part.rows for part in found)]
    assert [part.first_row for part in found] == ends[:-1]  # Catches: rows that are lost, or in two parts
    assert sorted(part.number for part in found) == list(range(len(found)))
    now, bad = store.job(job), sum(rows for _, rows in runs)
    assert (now.rows_failed, now.parts_total, now.parts_left) == (bad, len(found), len(found) - len(runs))
    while part := leases.claim("generate", "a", "cpu"):
        assert part.attempt == 1  # Catches: an attempt that counts, since the rows were never tried
        leases.complete_rows(part, NO_FILE, sampled(part), "cpu")
    now = store.job(job)
    assert (now.state, now.rows_done, now.error) == (JobState.DONE, 2 * PART_ROWS - bad, f"bad {runs[0][0]}")


def test_a_part_of_bad_rows_alone_fails_and_ends_its_job(store: Store, leases: Leases, add_job: AddJob) -> None:
    job = add_job()
    assert leases.fail_rows(claim(leases), bad_rows((0, PART_ROWS))) == [PartState.FAILED]
    assert (store.job(job).state, store.job(job).rows_failed, len(store.parts(job))) == (JobState.DONE, PART_ROWS, 1)


def test_bad_rows_of_a_cancelled_job_are_cancelled(store: Store, leases: Leases, add_job: AddJob) -> None:
    job = add_job()
    part = claim(leases)
    with store.write() as connection:
        connection.execute(update(jobs).values(cancel_requested=True))
    assert leases.fail_rows(part, bad_rows((3, 1))) == [PartState.CANCELLED]
    assert (store.job(job).state, len(store.parts(job))) == (JobState.CANCELLED, 1)


def test_a_job_with_very_many_runs_of_bad_rows_ends(
    store: Store, leases: Leases, add_job: AddJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MOST_PARTS", 20)
    job = add_job()
    while part := leases.claim("generate", "a", "cpu"):
        leases.fail_rows(part, bad_rows((part.first_row + 1, 1)) if part.rows > 1 else bad_rows((part.first_row, 1)))
    assert store.job(job).rows_failed == PART_ROWS
    assert len(store.parts(job)) <= 21


def test_late_bad_rows_change_nothing(store: Store, leases: Leases, add_job: AddJob) -> None:
    job = add_job()
    part = claim(leases)
    leases.requeue("a")
    with pytest.raises(LeaseLostError):
        leases.fail_rows(part, bad_rows((3, 1)))
    assert [found.state for found in store.parts(job)] == [PartState.QUEUED]


def test_a_cancelled_part_is_not_split(store: Store, leases: Leases, add_job: AddJob) -> None:
    job = add_job()
    for _ in range(MAX_ATTEMPTS - 1):
        claim(leases)
        leases.requeue("a")
    last = claim(leases)
    with store.write() as connection:
        connection.execute(update(jobs).values(cancel_requested=True))
    leases.fail(last, "an accident")
    assert (store.job(job).state, len(store.parts(job))) == (JobState.CANCELLED, 1)


def test_the_owner_before_a_split_cannot_commit(store: Store, leases: Leases, add_job: AddJob) -> None:
    # Catches: a first piece that the token of the whole part can still commit
    add_job()
    for _ in range(MAX_ATTEMPTS - 1):
        claim(leases)
        leases.requeue("a")
    late = claim(leases)
    with store.write() as connection:
        connection.execute(update(parts).where(parts.c.id == late.id).values(lease_until=1))
    assert leases.expire() == 1
    while (piece := claim(leases)).id != late.id:
        pass
    assert piece.rows < late.rows
    with pytest.raises(LeaseLostError):
        leases.release(late)


def claim(leases: Leases) -> Part:
    part = leases.claim("generate", "a", "cpu")
    assert part is not None
    return part
