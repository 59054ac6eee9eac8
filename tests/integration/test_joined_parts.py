"""A GPU claims adjoining parts as one: nothing is sampled twice or left out, whatever becomes of the attempt."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, update

from charrnn.errors import LeaseLostError
from charrnn.jobs.client import Client
from charrnn.jobs.files.layout import part_file
from charrnn.jobs.job.part import BadRows, Part
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.job.states import JobState, PartState, Priority
from charrnn.jobs.rows import seeds as seeds_module
from charrnn.jobs.rows.rows import compress, result, stored_rows
from charrnn.jobs.rows.seeds import Seed
from charrnn.jobs.store import leases as leases_module
from charrnn.jobs.store import store as store_module
from charrnn.jobs.store.database import NOW, upsert
from charrnn.jobs.store.deletion.named_files import jobs_without_parts
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.reports import MERGED
from charrnn.jobs.store.shown import figures
from charrnn.jobs.store.store import show_life
from charrnn.jobs.store.tables import jobs, parts, reports, speeds
from charrnn.options import SamplingOptions
from charrnn.sampling.defaults import CPU, GPU
from tests.fixtures.client import submit
from tests.fixtures.store import each_database, life, sampled

pytestmark = each_database

ROWS, PART_ROWS = 100, 10
DIED = "process died"


@pytest.fixture
def leases(client: Client) -> Leases:
    return Leases(client.connections.store, 30)


@pytest.fixture
def job(client: Client, model: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """A job of 100 rows in 10 parts, with seeds in many frames. A GPU claims up to 45 rows at once."""
    monkeypatch.setattr(seeds_module, "FRAME_SIZE", 200)
    seeds = [Seed("a" * (1 + number % 9)) for number in range(ROWS // 2)]
    job = submit(client, model, seeds, SamplingOptions(samples=2), part_rows=PART_ROWS).id or 0
    resize(client, job, gpu_rows=45)
    return job


def resize(client: Client, job: int, **facts: int) -> None:
    with client.connections.store.write() as connection:
        spec = connection.execute(select(jobs.c.spec).where(jobs.c.id == job)).scalar_one()
        connection.execute(update(jobs).where(jobs.c.id == job).values(spec=spec | facts))


def claim(leases: Leases, kind: str) -> Part:
    part = leases.claim("generate", kind, kind)
    assert part is not None
    return part


def complete(client: Client, leases: Leases, part: Part) -> None:
    assert isinstance(part.spec, GenerateSpec)
    rows = stored_rows(client.connections.files, part.spec, part)
    lines = compress(result(row, part.spec.name, str(row.number), "length", 1.0) for row in rows)
    output = client.connections.files.put(part_file(part.job, part.number, part.token), lines)
    leases.complete_rows(part, output, sampled(part), part.spec.name)


def start_workers(client: Client, *devices: str) -> None:
    """Show a sign of life of a worker's child on each device."""
    with client.connections.store.write() as connection:
        for place, device in enumerate(devices):
            show_life(connection, replace(life(f"w/{place}"), device=device))


def work_off(client: Client, leases: Leases, job: int, kinds: Iterable[str]) -> list[tuple[int, int]]:
    """Do the parts of a job on devices of these kinds. Return the number and span of each."""
    done = []
    for kind in kinds:
        part = claim(leases, kind)
        complete(client, leases, part)
        done.append((part.number, part.span))
    assert client.status(job).ended
    return done


def texts(client: Client, job: int) -> list[str | None]:
    return [json.loads(line)["text"] for line in client.results(job)]


def places(client: Client, job: int) -> list[tuple[int, int, int, PartState]]:
    found = client.connections.store.parts(job)
    return [(part.number, part.first_row, part.rows, part.state) for part in found]


EACH_ROW = [str(row) for row in range(ROWS)]


def test_a_gpu_claims_as_many_parts_as_it_may_and_a_cpu_one(client: Client, leases: Leases, job: int) -> None:
    done = work_off(client, leases, job, (GPU, CPU, GPU, GPU))
    # Catches: more rows than a GPU may claim; a CPU that gets several; numbers that are given twice
    assert done == [(0, 4), (4, 1), (5, 4), (9, 1)]
    ended = client.status(job)
    assert (ended.state, ended.parts_total, ended.parts_left, ended.rows_done) == (JobState.DONE, 10, 0, ROWS)
    assert texts(client, job) == EACH_ROW
    assert sum(engine.commits for engine in client.connections.store.engines(job)) == 10
    with client.connections.store.read() as connection:
        assert jobs_without_parts(connection) == []  # Catches: parts of a GPU that are reported as missing


def test_what_a_cpu_works_on_is_not_claimed_again(client: Client, leases: Leases, job: int) -> None:
    first, second = claim(leases, CPU), claim(leases, CPU)
    assert leases.release(first) == PartState.QUEUED
    part = claim(leases, GPU)
    assert (part.number, part.span) == (0, 1)  # Catches: joining over a gap
    part = claim(leases, GPU)
    assert (part.number, part.span, part.first_row, part.rows) == (2, 4, 20, 40)
    assert second.number == 1


@pytest.mark.parametrize("end", ["release", "fail", "requeue", "expire"])
def test_an_attempt_that_ends_early_gives_back_the_parts(client: Client, leases: Leases, job: int, end: str) -> None:
    before = places(client, job)
    part = claim(leases, GPU)
    assert client.status(job).parts_left == 10
    if end == "release":
        assert leases.release(part) == PartState.QUEUED
    elif end == "fail":
        assert leases.fail(part, "an error") == PartState.QUEUED
    elif end == "requeue":
        assert leases.requeue(GPU) == 1
    else:
        with client.connections.store.write() as connection:
            connection.execute(update(parts).where(parts.c.id == part.id).values(lease_until=NOW - 1))
        assert leases.expire() == 1
    assert places(client, job) == before
    with pytest.raises(LeaseLostError):
        complete(client, leases, part)
    # Catches: parts of an attempt that failed, joined again, which a bad row would fail together
    spans = [4, 4, 2] if end == "release" else [1, 1, 1, 1, 4, 2]
    assert [span for _, span in work_off(client, leases, job, [GPU] * len(spans))] == spans
    assert texts(client, job) == EACH_ROW


def test_a_bad_row_fails_alone(client: Client, leases: Leases, job: int) -> None:
    bad = 25
    while part := leases.claim("generate", GPU, GPU):
        if bad in range(part.first_row, part.first_row + part.rows):
            leases.fail(part, DIED)
        else:
            complete(client, leases, part)
    assert client.status(job).state == JobState.DONE
    assert texts(client, job) == [None if row == bad else str(row) for row in range(ROWS)]
    # Catches: a piece of a split part with the number of a part that was joined, whose files would have one name
    numbers = [part.number for part in client.connections.store.parts(job)]
    assert len(set(numbers)) == len(numbers)


def test_bad_rows_of_what_was_joined_are_those_of_its_parts(client: Client, leases: Leases, job: int) -> None:
    bad = BadRows(first_row=25, rows=1, reason="bad seed")
    assert leases.fail_rows(claim(leases, GPU), [bad]) == [PartState.QUEUED]
    assert [(part.rows, part.state) for part in client.connections.store.parts(job)] == [(10, "queued")] * 10
    assert [claim(leases, GPU).span for _ in range(2)] == [1, 1]
    assert leases.fail_rows(claim(leases, GPU), [bad]) == [PartState.QUEUED, PartState.FAILED, PartState.QUEUED]
    assert client.status(job).rows_failed == 1


def test_a_failure_that_would_repeat_fails_the_parts_one_by_one(client: Client, leases: Leases, job: int) -> None:
    # Catches: parts that fail since they take too much memory together
    assert leases.fail(claim(leases, GPU), "too large", permanent=True) == PartState.QUEUED
    assert leases.fail(claim(leases, GPU), "too large", permanent=True) == PartState.FAILED
    failed = client.status(job)
    assert (failed.rows_failed, failed.parts_left) == (10, 9)


def test_parts_that_were_cancelled_before_anybody_claimed_them_are_joined_after_a_retry(
    client: Client, leases: Leases, job: int
) -> None:
    client.cancel(job)
    client.retry(job)
    assert [span for _, span in work_off(client, leases, job, [GPU] * 3)] == [4, 4, 2]


def test_no_spec_lets_a_gpu_claim_more_rows_than_a_part_may_have(
    client: Client, leases: Leases, job: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resize(client, job, gpu_rows=10**9)  # anyone may have written to the store
    monkeypatch.setattr(leases_module, "MAX_PART_ROWS", 30)
    assert claim(leases, GPU).span == 3


def test_a_cancelled_job_ends_with_the_parts_of_a_gpu(client: Client, leases: Leases, job: int) -> None:
    part = claim(leases, GPU)
    client.cancel(job)
    assert client.status(job).parts_left == 4
    assert leases.release(part) == PartState.CANCELLED
    ended = client.status(job)
    assert (ended.state, ended.parts_left) == (JobState.CANCELLED, 0)
    client.retry(job)
    work_off(client, leases, job, (GPU, GPU, GPU))
    assert texts(client, job) == EACH_ROW


def test_a_gpu_leaves_parts_that_another_transaction_holds(
    client: Client, leases: Leases, job: int, store_url: str
) -> None:
    if store_url.startswith("sqlite"):
        pytest.skip("SQLite has one transaction that writes")
    with client.connections.store.engine.connect() as other:
        other.execute(select(parts).where(parts.c.job == job, parts.c.number == 2).with_for_update())
        # Catches: a claim that waits for the end of another one, or takes its part
        assert (claim(leases, GPU).span, claim(leases, GPU).number) == (2, 3)


def test_results_are_read_in_pages_while_parts_are_joined(
    client: Client, leases: Leases, job: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "PAGE", 2)
    complete(client, leases, claim(leases, CPU))
    lines = client.results(job)
    assert json.loads(next(lines))["row"] == 0  # the first page has the parts 0 and 1
    complete(client, leases, claim(leases, GPU))  # 1 to 4 are one now
    # Catches: an error since no part begins where the second page should
    assert [json.loads(line)["row"] for line in lines] == list(range(1, 50))
    assert [json.loads(line)["row"] for line in client.results(job, rows=(33, 46))] == list(range(33, 46))


def test_the_parts_of_a_gpu_count_as_its_parts(client: Client, leases: Leases, job: int) -> None:
    claim(leases, GPU)
    with client.connections.store.read() as connection:
        assert [(row.kind, row.number) for row in figures.count_leased(connection)] == [("generate", 4)]
    start_workers(client, CPU)
    ahead = submit(client, "speeches", [Seed("a")], SamplingOptions(), priority=Priority.LOW).id or 0
    # Catches: parts that a GPU has begun, counted as waiting
    assert f"6 parts of job {job} are ahead" in (client.status(ahead).waiting_for or "")


def test_reports_are_merged_as_often(client: Client, leases: Leases, model: str) -> None:
    job = submit(client, model, [Seed("a")] * 40 * MERGED, SamplingOptions(), part_rows=1).id or 0
    resize(client, job, gpu_rows=5)  # no number of a part is the last of MERGED ones
    for _ in range(2 * MERGED):
        complete(client, leases, claim(leases, GPU))
    with client.connections.store.read() as connection:
        count = connection.execute(select(func.count()).where(reports.c.job == job)).scalar_one()
    assert count <= MERGED


def test_a_gpu_claims_four_seconds_of_work(client: Client, model: str) -> None:
    def sizes(samples: int, **facts: Any) -> tuple[int, int]:
        sampling = SamplingOptions(samples=samples)
        spec = submit(client, model, [Seed("a")], sampling, dry_run=True, **facts).spec
        return spec.part_rows, spec.gpu_rows

    assert sizes(10**6) == (7 * 256, 6 * 8192)  # 4 s at the 5,000,000 characters/s that are assumed
    with client.connections.store.write() as connection:
        upsert(connection, speeds, model="speeches", device="gpu", characters_per_s=2_500_000.0)
    start_workers(client, CPU, CPU, "0", "1", "2", "3")
    assert sizes(10**6) == (7 * 256, 3 * 8192)
    assert sizes(10**5) == (7 * 256, 8192)  # a quarter of the share of each of four GPUs
    assert sizes(10**6, part_rows=100) == (100, 100)  # Catches: a user's limit that a GPU exceeds
