"""Benchmark of a part's bookkeeping: claim, heartbeats and completion, in one process and in several at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

from bench.commands import TEXT_LENGTH, longest_message, make_report, submit, times
from bench.figures import say
from bench.stack import QUEUE, Size, Stack, together
from charrnn.errors import CharrnnError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import PartProgress, SamplingProgress
from charrnn.jobs.job.report import Report
from charrnn.jobs.job.sizing import PART_S
from charrnn.jobs.job.tallies import Tallies
from charrnn.jobs.queue import BELLS
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.store import Store
from charrnn.jobs.upkeep.maintenance import maintain, ring_missing
from charrnn.sampling.defaults import CPU
from worker.child import Child
from worker.heartbeat import Heartbeat

SMALL_PART = 10  # rows; gives the largest number of parts that a job may have
PART_TEXTS = 2000  # texts that a part's report counts: 20 seconds of work
BEATS_FASTER = 4  # times as fast as workers beat, for four times as many measurements
COMPLETED_PER_S = 5.0  # parts per second, completed while the processes beat


class TimedHeartbeat(Heartbeat):
    """A worker's heartbeat that records the seconds of each beat, and of each look for what is due."""

    def __init__(self, settings: Settings, number: int) -> None:
        super().__init__(Child(settings, f"bench:{number}", "cpu", [QUEUE]), lambda: None)
        self.beats: list[float] = []
        self.rounds: list[float] = []

    def beat(self) -> None:
        """Beat once, in the caller's thread."""
        self._beat()
        self._look()

    def _beat(self) -> None:
        self.beats.append(timed(super()._beat))

    def _look(self) -> None:
        self.rounds.append(timed(super()._look))


def small_parts(stack: Stack, seeds: Path) -> tuple[int, int]:
    """Submit a job with the largest number of parts. Return it, and the size in bytes of its longest message."""
    job, ran = submit(stack, seeds, "--part-rows", str(SMALL_PART))
    facts = f"{times([ran])}; peak {ran.peak_mb:.0f} MB"
    say(f"submit with {stack.num_parts(job):,} parts, seconds ({facts})", ran.seconds)
    return job, longest_message(stack)


def lose_bells(stack: Stack) -> None:
    """Time the repair of lost doorbells, and a round of maintenance without repairs."""
    store, queue = stack.connections.store, stack.connections.queue
    leases = Leases(store, stack.settings.lease_s)
    with stack.bells() as (client, key):
        client.delete(key)
        seconds = timed(lambda: ring_missing(leases, queue))
        if client.llen(key) != BELLS:
            raise SystemExit(f"{client.llen(key)} doorbells after the repair, expected {BELLS}")
    say(f"repair of {BELLS} lost doorbells, seconds", seconds)
    rounds = [timed(lambda: maintain(store, leases, queue, 0)) for _ in range(stack.size.rounds)]
    say("a round of maintenance without repairs, seconds", median(rounds))


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def full_report(temperatures: int) -> Report:
    """Return a worker's report of 20 seconds of work. The texts differ from call to call."""
    tallies = Tallies()
    for number in range(PART_TEXTS):
        temperature = repr(round(0.2 * (1 + number % temperatures), 1))
        tallies.at(temperature).add("seed ", random.randbytes(TEXT_LENGTH // 2).hex(), 1.25)
    return make_report(PART_TEXTS, PART_S[CPU], tallies)


# The output of all parts completed here. Nobody reads their rows, and writing a part file is measured separately.
OUTPUT = FileRef(name=f"jobs/1/0-1-{'0' * 8}.jsonl.zst", size=300_000, sha256="0" * 64)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The bookkeeping of one part, in seconds."""

    claim: float
    beats: float
    complete: float

    @property
    def share(self) -> float:
        """Return the bookkeeping as a percentage of the part's work."""
        return 100 * (self.claim + self.beats + self.complete) / PART_S[CPU]


def costs(stack: Stack, temperatures: int, beats: int) -> list[Cost]:
    """Return the bookkeeping of parts done one after another, each with this number of beats."""
    heartbeat = TimedHeartbeat(stack.settings, 0)  # not started: this function does the work of its thread
    reports = [full_report(temperatures) for _ in range(8)]
    found = []
    for number in range(stack.size.costed_parts):
        started = time.perf_counter()
        part = heartbeat.child.leases.claim(QUEUE, heartbeat.child.owner, "cpu")
        claimed = time.perf_counter()
        assert part is not None  # noqa: S101  # enough parts wait
        with heartbeat.watching(part) as watch:
            watch.progress = PartProgress(work=SamplingProgress(rows=1000, characters=400_000))
            for _ in range(beats):
                heartbeat.beat()
        extended = time.perf_counter()
        heartbeat.child.leases.complete_rows(part, OUTPUT, reports[number % len(reports)], "cpu")
        found.append(Cost(claim=claimed - started, beats=extended - claimed, complete=time.perf_counter() - extended))
    heartbeat.child.connections.close()
    return found


def say_costs(costs: Sequence[Cost], temperatures: int, beats: int) -> float:
    """Print the medians. Return the median share."""
    parts = {name: 1e3 * median(getattr(cost, name) for cost in costs) for name in ("claim", "beats", "complete")}
    share = median(cost.share for cost in costs)
    figures = f"claim {parts['claim']:.2f}, {beats} beats {parts['beats']:.2f}, complete {parts['complete']:.2f} ms"
    say(f"{temperatures} temperature(s): {figures}; % of a part", share, "bookkeeping_share")
    return share


@dataclass(frozen=True, kw_only=True)
class Claims:
    """The work of one process that claims and completes parts as fast as it can.

    Attributes:
        errors: number of times that the store did not answer.
        longest_s: longest seconds for one part.
        cpu_s: CPU seconds for all parts.
    """

    parts: int
    errors: int
    longest_s: float
    cpu_s: float


def claim_and_complete(number: int, settings: Settings, seconds: float, start: Barrier) -> Claims:
    store, report = Store.open(settings), full_report(1)
    leases = Leases(store, settings.lease_s)
    start.wait()
    count, errors, longest, cpu = 0, 0, 0.0, time.process_time()
    ends = time.perf_counter() + seconds
    while (began := time.perf_counter()) < ends:
        try:
            if part := leases.claim(QUEUE, f"bench:{number}", "cpu"):
                leases.complete_rows(part, OUTPUT, report, "cpu")
                count += 1
        except CharrnnError:
            errors += 1
        longest = max(longest, time.perf_counter() - began)
    store.close()
    return Claims(parts=count, errors=errors, longest_s=longest, cpu_s=time.process_time() - cpu)


def say_claims(stack: Stack) -> None:
    """Claim and complete parts in several processes at once, and print the throughput."""
    size = stack.size
    found: list[Claims] = together(claim_and_complete, size.processes, stack.settings, size.claim_s)
    count, errors = sum(claims.parts for claims in found), sum(claims.errors for claims in found)
    longest, cpu = max(claims.longest_s for claims in found), sum(claims.cpu_s for claims in found) / max(1, count)
    facts = f"longest {longest:.2f} s; CPU {1e3 * cpu:.1f} ms per part; {errors} errors"
    say(f"{size.processes} processes claim and complete, parts/s ({facts})", count / size.claim_s, "parts_per_s")


@dataclass(frozen=True, kw_only=True)
class Beats:
    """The work of one process that beats while it completes parts at a worker's pace; beats and rounds in seconds."""

    beats: list[float]
    rounds: list[float]
    parts: int


def beat_and_complete(number: int, settings: Settings, size: Size, start: Barrier) -> Beats:
    heartbeat, report = TimedHeartbeat(settings, number), full_report(1)
    start.wait()
    heartbeat.beat()  # at least one beat, however short the time is
    heartbeat.start()
    now = time.monotonic()
    due, ends, count = now + number / COMPLETED_PER_S, now + size.beat_s, 0
    while due < ends and (part := heartbeat.child.leases.claim(QUEUE, heartbeat.child.owner, "cpu")):
        with heartbeat.watching(part) as watch:
            time.sleep(max(0.0, due - time.monotonic()))
            watch.check()
            heartbeat.child.leases.complete_rows(part, OUTPUT, report, "cpu")
        due += size.processes / COMPLETED_PER_S
        count += 1
    return Beats(beats=heartbeat.beats, rounds=heartbeat.rounds, parts=count)


def say_beats(stack: Stack) -> None:
    """Beat in several processes at once while they complete a few parts, and print the longest beat."""
    size = stack.size
    settings = replace(stack.settings, heartbeat_s=stack.settings.heartbeat_s / BEATS_FASTER)
    found: list[Beats] = together(beat_and_complete, size.processes, settings, size)
    beats = sorted(seconds for process in found for seconds in process.beats)
    rounds = [seconds for process in found for seconds in process.rounds]
    pace = sum(process.parts for process in found) / size.beat_s
    say(f"longest of {len(beats)} beats while {pace:.1f} parts/s are completed, seconds", beats[-1], "beat_max_s")
    say("  99% were shorter than", beats[int(len(beats) * 0.99)])
    say("  longest look for what is due between two beats", max(rounds))


def progress(stack: Stack, job: int) -> float:
    """Return the milliseconds that reading a job's progress takes."""
    store = stack.connections.store
    return 1e3 * median(timed(lambda: store.job(job)) for _ in range(stack.size.calls))


def part_figures(stack: Stack, seeds: Path) -> dict[str, float]:
    """Measure with 100,000 waiting parts. Their job's report has one temperature at first, and five in the end."""
    job, message_bytes = small_parts(stack, seeds)
    lose_bells(stack)
    beats = round(PART_S[CPU] / stack.settings.heartbeat_s)
    say_costs(costs(stack, 1, beats), 1, beats)
    say_claims(stack)
    say_beats(stack)
    share = say_costs(costs(stack, 5, beats), 5, beats)
    milliseconds = progress(stack, job)
    say("reading the progress of that job, ms", milliseconds, "progress_ms")
    return {"message_bytes": float(message_bytes), "progress_ms": milliseconds, "bookkeeping_share": share}
