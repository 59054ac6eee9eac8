"""Faults of the broker: it is restarted, killed, emptied, stopped and cut off. `make faults` runs this."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from sqlalchemy import delete

from charrnn.jobs.programs import UNREACHABLE
from charrnn.jobs.queue import BELLS
from charrnn.jobs.store.tables import rounds
from tests.faults.conftest import Judge
from tests.fixtures.fleet import PARTS, SAMPLES, SEEDS, Fleet
from tests.fixtures.processes import until
from tests.fixtures.records import Record, records

CONSUMES_S, BACKLOG_S = 15.0, 60.0  # promised
BACKLOG = 10_000
SILENT_S = 30  # how long the broker is paused
KILLED_CONNECTIONS_S, EVERY_S = 60, 2
FLAT = 1.1  # allowed growth factor of memory


@pytest.fixture(autouse=True)
def repaired(fleet: Fleet) -> Iterator[None]:
    """Leave a broker that answers to the next test."""
    yield
    fleet.stop_workers()
    broker = fleet.broker
    if broker.process and broker.process.poll() is None:
        broker.send(signal.SIGCONT)
        broker.end(signal.SIGKILL)
    broker.start(empty=True)


def claimed(fleet: Fleet, job: int) -> int:
    """Return how many leases its parts have had."""
    return sum(part.token for part in fleet.parts(job))


def test_a_restart_while_workers_are_idle(fleet: Fleet, judge: Judge) -> None:
    fleet.start_workers()
    pids = fleet.pids()
    fleet.broker.end()
    fleet.broker.start()
    since, job = time.monotonic(), fleet.submit()
    until(lambda: claimed(fleet, job), "a claim")
    seconds = time.monotonic() - since
    assert seconds < CONSUMES_S
    judge("F01", "the broker restarts while workers are idle", job, claimed_s=seconds)
    assert fleet.pids() == pids  # Catches: workers that die with their connections


def test_a_restart_while_parts_are_in_work(fleet: Fleet, judge: Judge) -> None:
    fleet.start_workers()
    job = fleet.submit()
    fleet.part_in_work(job)
    fleet.broker.end()
    fleet.broker.start()
    assert judge("F02", "the broker restarts while parts are in progress", job).wasted == 0


def test_a_kill_while_a_job_is_submitted(fleet: Fleet, judge: Judge) -> None:
    fleet.start_workers()
    submitting = threading.Thread(target=lambda: jobs.append(fleet.submit(part_rows=150)))
    jobs: list[int] = []
    submitting.start()
    until(lambda: fleet.broker.doorbells() > 5, "doorbells")
    fleet.broker.end(signal.SIGKILL)
    fleet.broker.start()
    submitting.join()
    # Catches: no ring_missing in maintain
    judge("F03", "the broker is killed while notifications are sent; its log lacks the last second", jobs[0])


def test_a_broker_that_lost_everything_with_a_long_backlog(fleet: Fleet) -> None:
    # Catches: no ring_missing in maintain; no _ring_on in tasks: only the parts of one maintenance round are done
    job = fleet.submit("-n", str(BACKLOG // 15 + 1), "-l", "1", part_rows=1)
    assert len(fleet.parts(job)) >= BACKLOG
    fleet.broker.end(signal.SIGKILL)
    fleet.broker.start(empty=True)
    assert fleet.broker.doorbells() == 0
    with fleet.client() as client, client.connections.store.write() as connection:
        connection.execute(delete(rounds))  # those of the workers of other tests
    since = time.monotonic()
    fleet.start_workers(CHARRNN_MAINTAIN_S="3600")  # one round
    until(lambda: len({part.owner for part in fleet.parts(job)} - {None}) == 2, "both workers to work", 2 * BACKLOG_S)
    seconds = time.monotonic() - since
    assert seconds < BACKLOG_S
    until(lambda: claimed(fleet, job) > 2 * BELLS, "both workers to work on")
    fleet.ok("cancel", str(job))
    fleet.wait(job)
    what = f"the broker is killed and starts empty while {BACKLOG:,} parts wait; all workers work again"
    records.append(Record("F04", what, fleet.database, numbers={"backlog_s": seconds}))


def test_a_broker_that_lost_everything(fleet: Fleet, judge: Judge) -> None:
    fleet.start_workers()
    job = fleet.submit()
    fleet.part_in_work(job)
    fleet.broker.end(signal.SIGKILL)
    fleet.broker.start(empty=True)
    # Catches: no ring_missing in maintain
    judge("F04", "the broker is killed and starts empty", job)


def test_parts_end_while_the_broker_is_away(fleet: Fleet, judge: Judge) -> None:
    fleet.start_workers()
    job = fleet.submit()
    part = fleet.part_in_work(job)
    fleet.broker.end()
    # Catches: a shutdown that needs the broker
    until(lambda: fleet.parts(job)[part.number].state == "done", "the part's end without a broker")
    assert fleet.parts(job)[part.number].token == part.token
    time_away = threading.Event()
    time_away.wait(SILENT_S)
    fleet.broker.start()
    judge("F05", f"the broker is away for {SILENT_S} s; parts in progress end in that time", job)


def test_a_suspended_broker(fleet: Fleet, judge: Judge) -> None:
    # A lease is shorter than the time that maintenance waits for the broker, and shorter than the part takes.
    fleet.start_workers(CHARRNN_LEASE_S="5", CHARRNN_MAINTAIN_S="1")
    job = fleet.submit(part_rows=SEEDS * SAMPLES)
    fleet.part_in_work(job)
    fleet.broker.send(signal.SIGSTOP)
    since = time.monotonic()
    said = fleet.run("submit", "-m", "tiny", "-l", "5")  # Catches: a connection without a time limit
    assert said.returncode == UNREACHABLE, said.stderr
    threading.Event().wait(SILENT_S - (time.monotonic() - since))
    fleet.broker.send(signal.SIGCONT)
    # Catches: heartbeats in maintenance's thread
    assert judge("F06", f"the broker's process is suspended for {SILENT_S} s", job).wasted == 0


@pytest.mark.parametrize("kind", ["ALL", "WRITE"])
def test_a_broker_that_pauses_its_clients(fleet: Fleet, judge: Judge, kind: str) -> None:
    fleet.start_workers()
    job = fleet.submit()
    fleet.part_in_work(job)
    with fleet.broker.client() as client:
        client.execute_command("CLIENT", "PAUSE", str(SILENT_S * 1000), kind)
    since = time.monotonic()
    said = fleet.run("submit", "-m", "tiny", "-l", "5")
    # Catches: a connection without a time limit
    assert (said.returncode, time.monotonic() - since < SILENT_S) == (UNREACHABLE, True), said.stderr
    judge("F07", f"CLIENT PAUSE {kind} for {SILENT_S} s; submit reports it", job)


def test_connections_that_are_cut_again_and_again(fleet: Fleet, judge: Judge) -> None:
    # Catches: a connection or a thread left behind at each reconnect
    fleet.start_workers()
    jobs = [fleet.submit()]
    until(lambda: fleet.job(jobs[0]).state == "done", "all to be loaded")
    calm = [used(pid) for pid in all_pids(fleet)]
    with fleet.broker.client() as client:
        ends = time.monotonic() + KILLED_CONNECTIONS_S
        while time.monotonic() < ends:
            for kind in ("normal", "pubsub"):
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            if fleet.job(jobs[-1]).state == "done":
                jobs.append(fleet.submit())
            threading.Event().wait(EVERY_S)
    after = [used(pid) for pid in all_pids(fleet)]
    judge("F08", f"all connections are cut every {EVERY_S} s for a minute", *jobs)
    for (files, memory), (files_after, memory_after) in zip(calm, after, strict=True):
        assert files_after <= files + 5
        assert memory_after < FLAT * memory + (30 << 20)


def all_pids(fleet: Fleet) -> list[int]:
    """Return the pids of parents and children in a stable order."""
    return [*(worker.process.pid for worker in fleet.workers), *(pid for _, pid in sorted(fleet.pids().items()))]


def used(pid: int) -> tuple[int, int]:
    """Return the number of open files of a process and its memory in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), pages * os.sysconf("SC_PAGE_SIZE")


def test_a_doorbell_that_is_delivered_fifty_times(fleet: Fleet, judge: Judge) -> None:
    # Catches: work that is assigned by the message instead of the claim
    job = fleet.submit()
    with fleet.broker.client() as client:
        (message, *_) = client.lrange("charrnn:generate", 0, 0)
        client.rpush("charrnn:generate", *[message] * 50)
    fleet.start_workers()
    assert judge("F21", "one notification is delivered fifty times", job).wasted == 0


@contextmanager
def full(client: redis.Redis) -> Iterator[None]:
    client.config_set("maxmemory", "1")
    try:
        yield
    finally:
        client.config_set("maxmemory", "0")


def test_a_broker_without_memory(fleet: Fleet, judge: Judge) -> None:
    fleet.start_workers()
    job = fleet.submit()
    fleet.part_in_work(job)
    with fleet.broker.client() as client, full(client):
        said = fleet.run("submit", "-m", "tiny", "-l", "5")
        assert said.returncode in (0, 4), said.stderr
        assert "memory" in said.stderr or "broker" in said.stderr
        # Catches: a worker that ends when Celery does
        until(lambda: any("restarting the worker" in worker.log.read_text() for worker in fleet.workers), "a restart")
    judge("F42", "the broker refuses writes because its memory is full", job)
    assert len(fleet.parts(job)) == PARTS
