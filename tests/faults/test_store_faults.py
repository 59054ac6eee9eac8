"""A database that is locked, gone and cut off; clocks that step; jobs that are canceled. `make faults` runs this."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import select, update

from charrnn.jobs.job.part import StoredPart
from charrnn.jobs.store.tables import jobs, parts, rounds, workers
from tests.faults.conftest import Judge
from tests.fixtures.fleet import DEFAULT_HEARTBEAT_S, LENGTH, LONG, STOP_S, Fleet
from tests.fixtures.processes import COMMAND, until
from tests.fixtures.records import Record, records

LOCKED_S, AWAY_S, STEP_MS = 25, 20, 7_200_000  # more than any lease
CANCEL_S = 10.0  # promised


def only(fleet: Fleet, database: str) -> None:
    if fleet.database != database:
        pytest.skip(f"of {database} alone")


def test_a_database_that_another_holds(fleet: Fleet, judge: Judge) -> None:
    only(fleet, "sqlite")
    fleet.start_workers()
    job = fleet.submit()
    fleet.part_in_work(job)
    holder = sqlite3.connect(fleet.home / "store.sqlite", isolation_level=None, timeout=30)
    holder.execute("begin immediate")
    with subprocess.Popen([*COMMAND, "submit", "-m", "tiny", "-l", "5"], env=fleet.environment) as submitting:
        threading.Event().wait(LOCKED_S)
        holder.execute("rollback")
        holder.close()
        assert submitting.wait(STOP_S) == 0  # Catches: a busy timeout that is too short for a person's command
    judge("F24", f"another process holds SQLite's lock for {LOCKED_S} s", job)


def test_a_database_that_crashes(fleet: Fleet, judge: Judge) -> None:
    only(fleet, "postgresql")
    assert fleet.postgres
    assert fleet.postgres.process
    fleet.start_workers()
    pids = fleet.pids()
    job = fleet.submit()
    fleet.part_in_work(job)
    fleet.postgres.process.send_signal(signal.SIGQUIT)  # immediate shutdown: recovery at the next start
    fleet.postgres.process.wait(60)
    threading.Event().wait(AWAY_S)
    fleet.postgres.start()
    # Catches: a part that fails when the database is away at its commit
    assert judge("F25", f"PostgreSQL crashes and is back after {AWAY_S} s", job).wasted == 0
    assert fleet.pids() == pids


def test_connections_that_the_database_cuts(fleet: Fleet, judge: Judge) -> None:
    only(fleet, "postgresql")
    assert fleet.postgres
    fleet.start_workers()
    job = fleet.submit(part_rows=150)
    while fleet.job(job).state != "done":
        for _ in range(50):
            fleet.cut_database(busy=True)
            threading.Event().wait(0.02)
        fleet.cut_database()
    # Catches: connection errors that are not recognized as such, so that parts fail
    judge("F26", "PostgreSQL cuts connections, also in the middle of transactions, many times a second", job)


@pytest.mark.parametrize("step_ms", [STEP_MS, -STEP_MS])
def test_a_clock_that_steps(fleet: Fleet, judge: Judge, step_ms: int) -> None:
    """All timestamps of the database's clock are suddenly two hours off, including the lease of a dead worker."""
    # Catches: waiting for a lease, or a round of maintenance, with a time in the future
    first, _ = fleet.start_workers()
    job = fleet.submit()
    fleet.part_in_work(job, first.owner)
    fleet.workers.remove(first)
    first.end(signal.SIGKILL, group=True)
    with fleet.client() as client, client.connections.store.write() as connection:
        connection.execute(update(parts).values(lease_until=parts.c.lease_until - step_ms))
        connection.execute(update(rounds).values(at=rounds.c.at - step_ms))
        connection.execute(update(workers).values(seen_at=workers.c.seen_at - step_ms))
    judge("F29", f"a worker dies, and the database's clock steps by {step_ms // 3_600_000:+} hours", job)


HOURS_OFF = """
import time
real = time.time
time.time = lambda: real() + {offset}
"""


def test_workers_whose_clocks_disagree(fleet: Fleet, judge: Judge, tmp_path_factory: pytest.TempPathFactory) -> None:
    # Catches: a lease that is measured by the host's clock
    for offset in (7200, -7200):
        folder = tmp_path_factory.mktemp("clock")
        (folder / "sitecustomize.py").write_text(HOURS_OFF.format(offset=offset))
        fleet.start_workers(1, PYTHONPATH=str(folder))
    job = fleet.submit()
    assert judge("F29", "two workers' clocks are two hours fast and slow", job).wasted == 0


def test_a_job_that_is_cancelled_in_work_and_retried(fleet: Fleet) -> None:
    # Catches: a heartbeat that does not check the job
    fleet.start_workers(CHARRNN_HEARTBEAT_S=DEFAULT_HEARTBEAT_S)
    longer = ("-l", str(5 * LENGTH))  # a part must take several heartbeats: progress, the command, the worker's answer
    job = fleet.submit(*longer, part_rows=LONG)
    fleet.part_in_work(job)
    since = time.monotonic()
    fleet.ok("cancel", str(job))
    assert fleet.wait(job).state == "cancelled"
    seconds = time.monotonic() - since
    assert seconds < CANCEL_S
    fleet.ok("retry", str(job))
    found, calm = fleet.judge(job), fleet.judge(fleet.submit(*longer))
    assert (found.lost, found.duplicated, found.sha256) == (0, 0, calm.sha256)
    what, numbers = "a running job is cancelled, then retried", {"cancel_s": seconds}
    records.append(Record("F36", what, fleet.database, 0, 0, found.wasted, numbers))


def test_a_job_that_is_cancelled_without_workers(fleet: Fleet, judge: Judge) -> None:
    job = fleet.submit()
    fleet.ok("cancel", str(job))
    assert fleet.wait(job).state == "cancelled"  # Catches: a job that waits for a worker to end it
    fleet.start_workers()
    fleet.ok("retry", str(job))
    judge("F36", "a job is cancelled while no worker runs, then retried", job)


def test_a_job_that_is_cancelled_as_its_worker_dies(fleet: Fleet, judge: Judge) -> None:
    (worker,) = fleet.start_workers(1)
    job = fleet.submit()
    part = fleet.part_in_work(job)
    os.kill(fleet.pids()[part.owner or ""], signal.SIGSTOP)
    fleet.ok("cancel", str(job))
    fleet.workers.remove(worker)
    worker.end(signal.SIGKILL, group=True)
    with subprocess.Popen([*COMMAND, "scheduler"], env=fleet.environment) as scheduler:
        try:
            # Catches: a part of a canceled job that goes back to the queue, where no worker is left to see it
            assert fleet.wait(job).state == "cancelled"
        finally:
            scheduler.terminate()
    fleet.start_workers()
    fleet.ok("retry", str(job))
    judge("F36", "a job is cancelled, its only worker is killed, and the job is retried", job)


def test_last_parts_that_end_at_once(fleet: Fleet, judge: Judge) -> None:
    # Catches: a job's row that is read without a lock, so that one report overwrites the other
    fleet.start_workers()
    job = fleet.submit(part_rows=4500)
    nearly = 0.7 * 4500 * LENGTH  # PostgreSQL ends a transaction in which nothing happens for 15 s
    until(lambda: all(characters(part) > nearly for part in fleet.parts(job)), "near the end")
    with fleet.client() as client, client.connections.store.write() as connection:
        connection.execute(select(jobs.c.id).where(jobs.c.id == job).with_for_update())
        files = fleet.home / "files" / "jobs" / str(job)
        until(lambda: len(list(files.glob("[!.]*"))) == 2, "both to wait for the job's row")
    judge("F39", "the last two parts end at the same time", job)
    with fleet.client() as client:
        report = client.status(job).report
    assert report is not None
    assert report.parts == 2


def characters(part: StoredPart) -> int:
    return part.progress.work.characters if part.progress.work else 0


def test_results_that_are_read_while_they_are_made(fleet: Fleet, judge: Judge) -> None:
    # Catches: a job that ends one part too early
    fleet.start_workers()
    job = fleet.submit()
    with fleet.client() as client:
        followed = b"".join(client.results(job, follow=True))
        judge("F40", "an export follows the job from its start", job)
        assert followed == b"".join(client.results(job))


def test_an_export_whose_process_dies(fleet: Fleet, judge: Judge, tmp_path: Path) -> None:
    fleet.start_workers()
    job = fleet.submit()
    until(lambda: fleet.job(job).rows_done, "a part")
    words = [*COMMAND, "results", str(job), "--follow", "-o", str(tmp_path / "rows.jsonl")]
    with subprocess.Popen(words, env=fleet.environment) as reader:
        until(lambda: any(path.stat().st_size for path in tmp_path.iterdir()), "rows")
        reader.kill()
    assert not (tmp_path / "rows.jsonl").exists()  # Catches: half a file under the final name
    judge("F40", "the process of an export is killed", job)
