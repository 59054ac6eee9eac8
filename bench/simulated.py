"""Simulated workers: what a worker with one child does in the database, at the times at which it does it.

A worker claims a part, is busy for its time and completes it. It beats, with its part if it has one, and looks for what
is due; if maintenance is, it does a round without a broker. The actions of all workers of a process wait in a heap, and
a few threads do them, since 200 workers are hardly ever active at once.
"""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Any

from sqlalchemy import event

from bench.parts import OUTPUT, full_report
from bench.stack import QUEUE
from charrnn.errors import CharrnnError
from charrnn.jobs.job.part import Part, PartProgress, SamplingProgress
from charrnn.jobs.job.report import Report
from charrnn.jobs.job.views import SignOfLife
from charrnn.jobs.queue import BELLS
from charrnn.jobs.settings import CONNECTIONS
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.scheduled.duties import MAINTAIN, TIDY, TIDY_MS, claim_round, look
from charrnn.jobs.store.store import Store

THREADS = 16  # of a process
TEMPERATURES = 3  # of a part's report
MAINTAIN_MS = 10_000
PROGRESS = PartProgress(work=SamplingProgress(rows=1000, characters=400_000))


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The number of simulated workers, and the times of a worker in seconds.

    Attributes:
        seconds: how long they work.
        part_s: the work on a part, 20% more or less. 0: claims and completions follow each other, and nothing else.
    """

    workers: int
    seconds: float
    part_s: float = 20.0
    heartbeat_s: float = 5.0
    look_s: float = 1.0


@dataclass(kw_only=True)
class Outcome:
    """The work of the simulated workers of one process.

    Attributes:
        busy: seconds in which workers worked on a part.
        claims: seconds of each claim.
        errors: times that the store did not answer in time, or a lease was lost.
        connections: sum over the workers of the most connections that each had at once.
    """

    parts: int = 0
    errors: int = 0
    busy: float = 0.0
    claims: list[float] = field(default_factory=list)
    connections: int = 0
    cpu_s: float = 0.0


def simulate(number: int, url: str, pace: Pace, processes: int, start: Barrier) -> Outcome:
    """Simulate the workers of one of several processes."""
    report = full_report(TEMPERATURES)
    workers = [Worker(url, f"host-{index}", report) for index in range(number, pace.workers, processes)]
    start.wait()
    cpu, agenda = time.process_time(), Agenda(pace)
    if pace.part_s:
        for worker in workers:
            agenda.enter(worker)
        threads: list[Callable[[], None]] = [agenda.work] * min(THREADS, 3 * len(workers))
    else:
        threads = [partial(worker.hurry, agenda.ends) for worker in workers]
    with ThreadPoolExecutor(len(threads)) as pool:
        for ended in [pool.submit(thread) for thread in threads]:
            ended.result()
    outcome = agenda.outcome
    outcome.cpu_s = time.process_time() - cpu
    for worker in workers:
        outcome.parts += worker.parts
        outcome.claims += worker.claims
        outcome.errors += worker.errors
        outcome.connections += worker.peak
        worker.store.close()
    return outcome


class Worker:
    """One simulated worker, with connections of its own."""

    def __init__(self, url: str, host: str, report: Report) -> None:
        self.open = self.peak = 0
        self.store = Store(url, connections=CONNECTIONS)
        self.store.close()  # what it opens from here on is counted
        event.listen(self.store.engine, "connect", self._opened)
        event.listen(self.store.engine, "close", self._closed)
        self.leases = Leases(self.store, 30.0)
        owner = f"{host}-7-0123abcd/0"
        self.life = SignOfLife(owner=owner, host=host, pid=7, device="0", queues=("train", "generate"))
        self.report, self.parts, self.errors = report, 0, 0
        self.part: Part | None = None
        self.claims: list[float] = []

    def _opened(self, *_: Any) -> None:
        self.open += 1
        self.peak = max(self.peak, self.open)

    def _closed(self, *_: Any) -> None:
        self.open -= 1

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Count errors, after which a worker goes on."""
        try:
            yield
        except CharrnnError:
            self.errors += 1

    def claim(self) -> None:
        begun = time.perf_counter()
        with self._counting():
            self.part = self.leases.claim(QUEUE, self.life.owner, "cpu")
        self.claims.append(time.perf_counter() - begun)

    def complete(self) -> None:
        part, self.part = self.part, None
        with self._counting():
            if part is not None:
                self.leases.complete_rows(part, OUTPUT, self.report, "gpu")
                self.parts += 1

    def beat(self, pause_s: float) -> float:
        with self._counting():
            if (part := self.part) is not None:
                self.leases.heartbeat(part, PROGRESS, self.life)
            else:
                self.store.record_heartbeat(self.life)
        return pause_s

    def look(self, pause_s: float) -> float:
        with self._counting():
            due = look(self.store, MAINTAIN_MS)
            pause_s = due.pause(pause_s)
            if due.tidying:
                claim_round(self.store, TIDY, TIDY_MS)
            if due.maintenance and claim_round(self.store, MAINTAIN, MAINTAIN_MS):
                self.leases.expire()
                self.leases.waiting(BELLS)
        return pause_s

    def hurry(self, ends: float) -> None:
        """Claim and complete one part after the other until a time of the monotonic clock."""
        while time.monotonic() < ends:
            self.claim()
            self.complete()


class Agenda:
    """The next actions of a process's workers, by time."""

    def __init__(self, pace: Pace) -> None:
        self.pace, self.outcome = pace, Outcome()
        self.ends = time.monotonic() + pace.seconds
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count, self._changed = 0, threading.Condition()

    def enter(self, worker: Worker) -> None:
        """Let a worker begin, in the middle of a part, so that parts do not end at once."""
        now, pace = time.monotonic(), self.pace
        self._repeat(now + random.uniform(0, pace.heartbeat_s), lambda: worker.beat(pace.heartbeat_s))
        self._repeat(now + random.uniform(0, pace.look_s), lambda: worker.look(pace.look_s))
        self._plan(now, lambda: self._claim(worker, random.random()))

    def work(self) -> None:
        """Do one action after the other, each at its time, until the end."""
        while (action := self._next()) is not None:
            action()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while (now := time.monotonic()) < self.ends:
                if self._heap and self._heap[0][0] <= now:
                    return heapq.heappop(self._heap)[2]
                due = self._heap[0][0] if self._heap else self.ends
                self._changed.wait(min(due, self.ends) - now)
        return None

    def _plan(self, at: float, action: Callable[[], None]) -> None:
        with self._changed:
            self._count += 1  # two actions at the same time are not compared
            heapq.heappush(self._heap, (at, self._count, action))
            self._changed.notify()

    def _repeat(self, at: float, action: Callable[[], float]) -> None:
        """Plan an action that returns the seconds until it is due again."""

        def act() -> None:
            pause_s = action()
            self._plan(time.monotonic() + pause_s, act)  # as in a worker, the pause follows the action

        self._plan(at, act)

    def _claim(self, worker: Worker, share: float = 1.0) -> None:
        worker.claim()
        now = time.monotonic()
        if worker.part is None:  # an error
            self._plan(now + 1.0, lambda: self._claim(worker))
            return
        took = share * random.uniform(0.8, 1.2) * self.pace.part_s
        with self._changed:
            self.outcome.busy += max(0.0, min(took, self.ends - now))

        def complete() -> None:
            worker.complete()
            self._claim(worker)

        self._plan(now + took, complete)
