"""Processes that claim and commit the same parts at once, holders of old leases among them. `make faults` runs this."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import accumulate
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

import pytest

from charrnn.errors import LeaseLostError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import Part
from charrnn.jobs.job.states import PartState
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.store import Store
from tests.fixtures.records import Record, records
from tests.fixtures.store import PART_ROWS, AddJob, each_database, sampled

PROCESSES, PARTS, ROUNDS, MIXED_ROUNDS = 8, 1000, 20, 5
OUTPUT = FileRef(name="jobs/1/0-1.jsonl.zst", size=1, sha256="1")
SPAWN = get_context("spawn")


class Racer:
    """The state of one process of the race."""

    leases: Leases
    together: Barrier


def begin(url: str, together: Barrier) -> None:
    Racer.leases, Racer.together = Leases(Store(url), lease_s=300), together


def claim(owner: str) -> list[Part]:
    """Claim as many parts as this process gets."""
    Racer.together.wait()
    return list(iter(lambda: Racer.leases.claim("generate", owner, kind_of(owner)), None))


def kind_of(owner: str) -> str:
    return owner.split("-")[0]


def commit_and_claim(owner: str, stale: list[Part]) -> tuple[int, list[Part]]:
    """Commit old leases while others claim the parts again. Return the number of rejections, and the claimed parts."""
    Racer.together.wait()
    claimed: list[Part] = []
    rejected = 0
    for part in stale:
        rejected += not commits(part)
        if another := Racer.leases.claim("generate", owner, kind_of(owner)):
            claimed.append(another)
    return rejected, [*claimed, *iter(lambda: Racer.leases.claim("generate", owner, kind_of(owner)), None)]


def commit(parts: list[Part]) -> int:
    """Commit the parts and return how many commits were accepted."""
    Racer.together.wait()
    return sum(map(commits, parts))


def commits(part: Part) -> bool:
    try:
        Racer.leases.complete_rows(part, OUTPUT, sampled(part), "cpu")
    except LeaseLostError:
        return False
    return True


def winners(claimed: list[list[Part]]) -> set[tuple[int, int]]:
    """Return (number, token) of each claim; each part may occur once."""
    counts = Counter(part.number for parts in claimed for part in parts)
    assert (len(counts), set(counts.values())) == (PARTS, {1})
    return {(part.number, part.token) for parts in claimed for part in parts}


@pytest.mark.timeout(1800)
@each_database
def test_one_of_racing_claims_wins_and_old_leases_commit_nothing(store: Store, store_url: str, add_job: AddJob) -> None:
    # Catches: a claim without skip_locked or without BEGIN IMMEDIATE; no token in _change's condition
    owners = [f"cpu-{number}" for number in range(PROCESSES)]
    leases, rejected = Leases(store, lease_s=300), 0
    together = SPAWN.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, SPAWN, begin, (store_url, together)) as pool:
        for _ in range(ROUNDS):
            job = add_job(parts=PARTS)
            stale = list(pool.map(claim, owners))
            assert winners(stale) == {(number, 1) for number in range(PARTS)}
            for owner in owners:
                leases.requeue(owner)
            again = list(pool.map(commit_and_claim, owners, stale))
            rejected += sum(count for count, _ in again)
            assert winners([parts for _, parts in again]) == {(number, 2) for number in range(PARTS)}
            assert sum(pool.map(commit, [parts for _, parts in again])) == PARTS
            assert {part.state for part in store.parts(job, limit=PARTS)} == {PartState.DONE}
            assert (store.job(job).state, store.job(job).parts_left) == ("done", 0)
    assert rejected == ROUNDS * PARTS
    what = f"{PROCESSES} processes claim {PARTS:,} parts in {ROUNDS} rounds: one winner each"
    records.append(Record("F20", what, store.engine.dialect.name, numbers={"stale_commits_rejected": rejected}))


def check_rows(claimed: list[list[Part]]) -> None:
    """Check that the parts have each row of the job once."""
    found = sorted((part.first_row, part.rows) for parts in claimed for part in parts)
    ends = list(accumulate(rows for _, rows in found))
    assert [first for first, _ in found] == [0, *ends[:-1]]
    assert ends[-1] == PARTS * PART_ROWS


@pytest.mark.timeout(1800)
@each_database
def test_gpus_and_cpus_that_race_claim_each_row_once(store: Store, store_url: str, add_job: AddJob) -> None:
    # Catches: parts that are joined while another process claims, splits or cancels them
    owners = [f"{kind}-{number}" for number in range(PROCESSES // 2) for kind in ("cpu", "gpu")]
    leases, rejected, joined = Leases(store, lease_s=300), 0, 0
    together = SPAWN.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, SPAWN, begin, (store_url, together)) as pool:
        for _ in range(MIXED_ROUNDS):
            job = add_job(parts=PARTS, gpu_rows=9 * PART_ROWS)
            stale = list(pool.map(claim, owners))
            check_rows(stale)
            held = [part for parts in stale for part in parts]
            joined += sum(part.span > 1 for part in held)
            for owner in owners:
                leases.requeue(owner)
            again = list(pool.map(commit_and_claim, owners, stale))
            rejected += sum(count for count, _ in again) - len(held)
            check_rows([parts for _, parts in again])
            assert sum(pool.map(commit, [parts for _, parts in again])) == sum(len(parts) for _, parts in again)
            found = store.job(job)
            assert (found.state, found.parts_left, found.rows_done) == ("done", 0, PARTS * PART_ROWS)
    assert (rejected, joined > MIXED_ROUNDS) == (0, True)
    what = (
        f"{PROCESSES} processes, half of them with GPUs, claim {PARTS:,} parts in {MIXED_ROUNDS} rounds: each row once"
    )
    records.append(Record("F20", what, store.engine.dialect.name, numbers={"joined": joined}))
