"""Random faults for minutes: nothing lost, nothing duplicated, nothing grows. `make soak MINUTES=30` runs this.

The kinds of faults come in shuffled rounds, so that each occurs equally often. The printed seed gives the same order
again, but not the same moments.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import update

from charrnn.jobs.job.states import ENDED_JOBS, PartState
from charrnn.jobs.programs import UNREACHABLE
from charrnn.jobs.settings import LONGEST_S
from charrnn.jobs.store.tables import parts
from tests.faults.test_broker_faults import used
from tests.fixtures.fleet import STOP_S, Fleet, Worker
from tests.fixtures.processes import until
from tests.fixtures.records import Record, records

QUICK = {"CHARRNN_LEASE_S": "10", "CHARRNN_MAINTAIN_S": "2"}  # short, so that a dead host costs a soak little time
WORKERS, JOBS = 3, 3
PAUSE_S = (0.3, 1.5)  # between two faults
STILL_S = 1.5
GROWN_FILES, GROWN_BYTES = 10, 50 << 20


@dataclass
class Soak:
    """A fleet under random faults. One parent is never killed, so that growth in it would show."""

    fleet: Fleet
    order: random.Random  # order of the kinds
    chance: random.Random  # all other choices, which depend on the fleet's state
    jobs: list[int] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    while_leased: int = 0
    leaving: list[Worker] = field(default_factory=list)  # killed, or asked to stop

    def run(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        kinds: list[Callable[[], None]] = []
        while time.monotonic() < ends:
            self._keep_going()
            if not kinds:
                kinds = self.order.sample(self.kinds, len(self.kinds))
            fault = kinds.pop()
            leased = self._leased()
            fault()
            self.faults[fault.__name__] += 1
            self.while_leased += leased
            threading.Event().wait(self.chance.uniform(*PAUSE_S))

    @property
    def kinds(self) -> list[Callable[[], None]]:
        common = [
            self.kill_child,
            self.kill_parent,
            self.kill_worker,
            self.stop_worker,
            self.freeze_child,
            self.restart_broker,
            self.empty_broker,
            self.freeze_broker,
            self.cut_broker,
            self.double_doorbells,
            self.cancel_and_retry,
            self.step_clock,
        ]
        return [*common, *[self.cut_database] * 2] if self.fleet.postgres else common  # SQLite has none

    def _keep_going(self) -> None:
        """Keep enough unfinished jobs and live workers."""
        with self.fleet.client() as client:
            states = {job.id: job.state for job in client.jobs(1000)}
        unfinished = [job for job in self.jobs if states[job] not in ENDED_JOBS]
        for _ in range(JOBS - len(unfinished)):
            self.jobs.append(self.fleet.submit())
        for worker in [worker for worker in self.fleet.workers if worker.process.poll() is not None]:
            # Only a new worker may end while broker or database is away; one that has worked waits for them.
            assert (worker.process.returncode, "worker ready" in worker.log.read_text()) == (UNREACHABLE, False)
            self.fleet.workers.remove(worker)
        missing = WORKERS - len(self.fleet.workers)
        self.fleet.start_workers(missing, wait=not self.faults, **QUICK)

    def _leased(self) -> bool:
        with self.fleet.client() as client:
            return any(client.connections.store.parts(job, PartState.LEASED, limit=1) for job in self.jobs[-2 * JOBS :])

    def _victim(self) -> Worker:
        victim = self.chance.choice(self.fleet.workers[1:])
        self.fleet.workers.remove(victim)
        self.leaving.append(victim)
        return victim

    def _child(self) -> int | None:
        pids = list(self.fleet.pids().values())
        return self.chance.choice(pids) if pids else None

    def kill_child(self) -> None:
        _signal(self._child(), signal.SIGKILL)

    def kill_parent(self) -> None:
        self._victim().end(signal.SIGKILL)

    def kill_worker(self) -> None:
        self._victim().end(signal.SIGKILL, group=True)

    def stop_worker(self) -> None:
        self._victim().process.terminate()

    def freeze_child(self) -> None:
        child = self._child()
        _signal(child, signal.SIGSTOP)
        threading.Event().wait(STILL_S)
        _signal(child, signal.SIGCONT)

    def restart_broker(self) -> None:
        self.fleet.broker.end()
        self.fleet.broker.start()

    def empty_broker(self) -> None:
        self.fleet.broker.end(signal.SIGKILL)
        self.fleet.broker.start(empty=True)

    def freeze_broker(self) -> None:
        self.fleet.broker.send(signal.SIGSTOP)
        threading.Event().wait(STILL_S)
        self.fleet.broker.send(signal.SIGCONT)

    def cut_broker(self) -> None:
        with self.fleet.broker.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def double_doorbells(self) -> None:
        with self.fleet.broker.client() as client:
            if messages := client.lrange("charrnn:generate", 0, -1):
                client.rpush("charrnn:generate", *messages)

    def cancel_and_retry(self) -> None:
        job = str(self.jobs[-1])
        self.fleet.ok("cancel", job)
        self.fleet.ok("retry", job)

    def step_clock(self) -> None:
        # Further than the longest lease: one that has just run out and is put off by less looks like a long one.
        step_ms = self.chance.choice([-1, 1]) * 2 * round(LONGEST_S * 1000)
        with self.fleet.client() as client, client.connections.store.write() as connection:
            connection.execute(update(parts).values(lease_until=parts.c.lease_until + step_ms))

    def cut_database(self) -> None:
        self.fleet.cut_database()

    def judge(self) -> Record:
        """Check that all jobs ended as without faults. Parts that were hit three times are retried, as by a person."""
        total = Record("soak", "random faults", self.fleet.database, 0, 0, 0)
        for worker in self.leaving:
            worker.process.wait(STOP_S)
        for job in self.jobs:
            while self.fleet.wait(job).state != "done" or self.fleet.job(job).rows_failed:
                self.fleet.ok("retry", str(job))
            found = self.fleet.judge(job)
            assert found.sha256 == self.fleet.calm
            total.add(found)
        return total


def _signal(pid: int | None, number: int) -> None:
    if pid and Path(f"/proc/{pid}").exists():
        os.kill(pid, number)


@pytest.mark.timeout(0)
def test_nothing_is_lost_and_nothing_grows(fleet: Fleet, request: pytest.FixtureRequest) -> None:
    # Catches: no expire in maintain
    minutes = request.config.getoption("--minutes")
    if not minutes:
        pytest.skip("make soak MINUTES=30")
    minutes /= 2  # half of the time for each database
    seed = request.config.getoption("--soak-seed") or random.SystemRandom().randrange(1_000_000)
    print(f"soak on {fleet.database}: --soak-seed {seed}")  # noqa: T201
    soak = Soak(fleet, random.Random(seed), random.Random(seed + 1))
    soak.run(60 * minutes / 4)
    spared = fleet.workers[0].process.pid  # its child may be killed
    files, memory = used(spared)
    soak.run(60 * minutes * 3 / 4)
    files_after, memory_after = used(spared)
    total = soak.judge()
    total.faults = sum(soak.faults.values())
    total.numbers = {
        "faults": total.faults,
        "while_leased": soak.while_leased,
        "of_each_kind_at_least": min(soak.faults.values()),
        "minutes": minutes,
        "jobs": len(soak.jobs),
    }
    print(f"{soak.faults}")  # noqa: T201
    records.append(total)
    assert (total.lost, total.duplicated) == (0, 0)
    assert total.wasted
    assert (files_after <= files + GROWN_FILES, memory_after <= memory + GROWN_BYTES) == (True, True)
    until(lambda: fleet.broker.doorbells() == 0, "surplus doorbells to be answered")
