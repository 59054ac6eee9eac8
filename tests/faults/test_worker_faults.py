"""Workers that are killed, stopped and made to hang in the middle of a part. `make faults` runs this."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from charrnn.jobs.job.part import StoredPart
from charrnn.jobs.job.states import OUT_OF_MEMORY, PartState
from tests.faults.conftest import Judge
from tests.fixtures.fleet import DEFAULT_HEARTBEAT_S, LONG, PART_ROWS, Fleet, Worker
from tests.fixtures.processes import until
from worker.oom import CGROUPS

CHILD_S, HOST_S, HANDOVER_S = 15.0, 45.0, 15.0  # promised


def owner_of(fleet: Fleet, worker: Worker) -> str:
    return next(owner for owner in fleet.pids() if owner.startswith(worker.owner))


def test_a_child_killed_in_a_part(fleet: Fleet, judge: Judge) -> None:
    # Catches: no take_over in Worker._begin_child, so that the part waits until its lease expires
    fleet.start_workers(CHARRNN_HEARTBEAT_S=DEFAULT_HEARTBEAT_S)
    job = fleet.submit(part_rows=LONG)
    part = fleet.claimed_part(job)
    killed, since = fleet.pids()[part.owner or ""], time.monotonic()
    os.kill(killed, signal.SIGKILL)
    seconds = fleet.claimed_again(part, since)
    assert seconds < CHILD_S
    assert until(lambda: fleet.pids().get(part.owner or ""), "another process") != killed
    judge("F12", "a child is killed during a part", job, recovery_child_s=seconds)


@pytest.mark.parametrize("point", ["claimed", "sampled", "arriving", "written", "committed"])
def test_a_child_killed_at_any_point(fleet: Fleet, judge: Judge, tmp_path: Path, point: str) -> None:
    # Catches: a file that gets its name before the commit, or is committed before it exists
    once = tmp_path / "crashed"
    fleet.start_workers(CHARRNN_CRASH_AT=f"{point}:kill:{once}")
    job = fleet.submit()
    judge("F12", f"a child is killed at the point: {point}", job)
    assert once.exists()


def test_a_parent_killed_in_a_part(fleet: Fleet, judge: Judge) -> None:
    # Catches: no expire in maintain
    first, _ = fleet.start_workers(CHARRNN_HEARTBEAT_S=DEFAULT_HEARTBEAT_S)
    job = fleet.submit(part_rows=LONG)
    part = fleet.claimed_part(job, first.owner)
    child, since = fleet.pids()[part.owner or ""], time.monotonic()
    fleet.workers.remove(first)
    first.end(signal.SIGKILL)
    until(lambda: not Path(f"/proc/{child}").exists(), "its child to end")  # Celery arranges this by a signal of Linux
    seconds = fleet.claimed_again(part, since)
    assert seconds < HOST_S
    judge("F13", "a parent is killed during a part", job, recovery_host_s=seconds)


def test_a_host_that_dies(fleet: Fleet, judge: Judge) -> None:
    # Catches: no expire in maintain
    first, _ = fleet.start_workers(CHARRNN_HEARTBEAT_S=DEFAULT_HEARTBEAT_S)
    job = fleet.submit(part_rows=LONG)
    part, since = fleet.claimed_part(job, first.owner), time.monotonic()
    fleet.workers.remove(first)
    first.end(signal.SIGKILL, group=True)
    seconds = fleet.claimed_again(part, since)
    assert seconds < HOST_S
    judge("F13", "parent and child are killed at the same time", job, recovery_host_s=seconds)


POP_AND_DIE = """
import os, pathlib, signal
from kombu.transport import redis
append, once = redis.QoS.append, pathlib.Path({once!r})
def die(self, *arguments, **options):
    if not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return append(self, *arguments, **options)
redis.QoS.append = die
"""


def test_a_doorbell_whose_consumer_is_killed(fleet: Fleet, judge: Judge, tmp_path: Path) -> None:
    # Catches: no ring_missing: the message is in no queue and in no `unacked`
    (tmp_path / "sitecustomize.py").write_text(POP_AND_DIE.format(once=str(tmp_path / "died")))
    (first,) = fleet.start_workers(1, PYTHONPATH=str(tmp_path))
    job, since = fleet.submit(part_rows=9000), time.monotonic()
    assert first.process.wait(60) == -signal.SIGKILL
    fleet.workers.remove(first)
    assert [part.token for part in fleet.parts(job)] == [0]
    fleet.start_workers(1)
    until(lambda: fleet.parts(job)[0].token, "the part to be claimed", 60)
    judge("F14", "a parent is killed between BRPOP and unacked", job, recovery_host_s=time.monotonic() - since)


def test_a_row_that_kills_every_process(fleet: Fleet, judge: Judge) -> None:
    # Catches: attempts counted when they end; a pool that stops because of one bad row
    fleet.start_workers(CHARRNN_CRASH_AT="claimed/7:kill")  # also its first piece, which keeps its number
    job = fleet.submit(part_rows=45)
    ended, parts = fleet.wait(job), {part.number: part for part in fleet.parts(job)}
    assert len(parts) == 200 + 7 + 5  # 45 rows are split into 8 times at most 6, and those into 6 times 1
    assert (parts[7].state, parts[7].rows, parts[7].token) == (PartState.FAILED, 1, 3 + 2)
    assert {part.state for part in parts.values() if part.number != 7} == {PartState.DONE}
    assert (ended.state, ended.rows_failed) == ("done", 1)
    assert "process died" in fleet.ok("status", str(job))
    assert fleet.run("wait", str(job)).returncode == 1
    fleet.stop_workers()
    fleet.start_workers(1)
    fleet.ok("retry", str(job))
    judge("F18", "a row kills every process that takes it: it fails alone after 5 attempts, then retry", job)


@dataclass
class MemoryGroup:
    """A cgroup of version 1 or 2 in which memory can be made scarce."""

    path: Path

    @property
    def prefix(self) -> tuple[str, ...]:
        """A command that joins the cgroup and execs the command after it."""
        return ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.path))

    @property
    def _v2(self) -> bool:
        return (self.path / "memory.max").exists()

    def make_scarce(self) -> None:
        """Leave too little memory for TensorFlow, which takes 500 MB."""
        stat = dict(line.split() for line in (self.path / "memory.stat").read_text().splitlines())
        self._limit(str(int(stat["anon" if self._v2 else "total_rss"]) + (200 << 20)))

    def make_ample(self) -> None:
        self._limit("max" if self._v2 else "-1")

    def _limit(self, size: str) -> None:
        (self.path / ("memory.max" if self._v2 else "memory.limit_in_bytes")).write_text(size)


@pytest.fixture
def memory_group() -> Iterator[MemoryGroup]:
    root = next((path for path in (CGROUPS / "memory", CGROUPS) if (path / "cgroup.procs").exists()), CGROUPS)
    group = MemoryGroup(root / f"charrnn-{secrets.token_hex(4)}")
    try:
        group.path.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    yield group
    until(lambda: not (group.path / "cgroup.procs").read_text(), "the group to be empty")
    group.path.rmdir()


def test_a_child_that_is_killed_for_its_memory(fleet: Fleet, judge: Judge, memory_group: MemoryGroup) -> None:
    # Catches: an error message that does not help anybody
    fleet.start_workers(1, memory_group.prefix)
    memory_group.make_scarce()
    job = fleet.submit()
    part = until(lambda: next((part for part in fleet.parts(job) if part.error), None), "the reason")
    memory_group.make_ample()
    assert (part.error, part.attempts >= 1) == (OUT_OF_MEMORY, True)
    judge("F17", "a child is killed by the kernel for its memory; the reason is reported", job)
    fleet.stop_workers()


def test_work_that_hangs(fleet: Fleet, judge: Judge, tmp_path: Path) -> None:
    # Catches: a lease that a live thread renews although the work makes no progress
    fleet.start_workers(CHARRNN_STALL_S="6", CHARRNN_CRASH_AT=f"claimed:hang:{tmp_path / 'hung'}")
    job = fleet.submit()
    told = "hung: no progress for 30 s while loading"
    until(lambda: [part for part in fleet.parts(job) if told in (part.error or "")], "it to be told")
    judge("F19", "the work hangs while its process lives", job)


def test_a_suspended_process_that_resumes(fleet: Fleet, judge: Judge) -> None:
    # Catches: no expire in maintain
    first, _ = fleet.start_workers()
    job = fleet.submit()
    part = fleet.part_in_work(job, first.owner)
    stopped, since = fleet.pids()[part.owner or ""], time.monotonic()
    os.kill(stopped, signal.SIGSTOP)
    seconds = fleet.claimed_again(part, since)
    fleet.wait(job)
    os.kill(stopped, signal.SIGCONT)
    until(
        lambda: "the lease was lost" in first.log.read_text() or "no longer leased" in first.log.read_text(),
        "it to give up",
    )
    judge("F19", "a process is suspended, and resumes after another one did its part", job, recovery_host_s=seconds)


def test_workers_replaced_one_after_the_other(fleet: Fleet, judge: Judge) -> None:
    fleet.start_workers()
    jobs: list[int] = []
    for worker in list(fleet.workers):
        fleet.start_workers(1)
        # Now, since the others would do them while a worker starts; and in parts of seconds, which can be seen in work.
        jobs += [fleet.submit(part_rows=3 * PART_ROWS) for _ in range(3)]
        part = until(partial(in_work, fleet, jobs, worker), "a part in work")
        fleet.workers.remove(worker)
        assert worker.end() == 0
        assert not in_work(fleet, jobs, worker)
        after = fleet.parts(part.job)[part.number]
        assert (after.state, after.token) == (PartState.DONE, part.token)  # Catches: a worker that requeues everything
    judge("F33", "workers are stopped one after the other, and new ones take over", *jobs)
    attempts = {part.attempts for job in jobs for part in fleet.parts(job)}
    assert attempts == {1}


def in_work(fleet: Fleet, jobs: list[int], worker: Worker) -> StoredPart | None:
    """Return a part of that worker for which the store has seen progress, None if there is none."""
    leased = [
        part for job in jobs for part in fleet.parts(job) if part.state == PartState.LEASED and part.progress.work
    ]
    return next((part for part in leased if (part.owner or "").startswith(worker.owner)), None)


def test_a_part_that_does_not_fit_is_handed_over(fleet: Fleet, judge: Judge) -> None:
    # Only the worker can send notifications. Catches: no notification for the parts that it requeues
    fleet.start_workers(CHARRNN_DRAIN_S="0.1", CHARRNN_MAINTAIN_S="3600")
    job = fleet.submit(part_rows=9000)
    part = fleet.part_in_work(job)
    first = next(worker for worker in fleet.workers if (part.owner or "").startswith(worker.owner))
    since = time.monotonic()
    fleet.workers.remove(first)
    assert first.end() == 0
    seconds = fleet.claimed_again(part, since)
    assert seconds < HANDOVER_S  # Catches: a worker that does not stop its children
    judge("F33", "a worker is stopped during a part that does not fit into its drain time", job, handover_s=seconds)
    assert {part.attempts for part in fleet.parts(job)} == {1}  # Catches: a release that counts as an attempt


def test_a_worker_killed_before_it_has_stopped(fleet: Fleet, judge: Judge) -> None:
    # Catches: no expire in maintain
    first, _ = fleet.start_workers(CHARRNN_DRAIN_S="60")
    job = fleet.submit(part_rows=4500)
    part, since = fleet.part_in_work(job, first.owner), time.monotonic()
    fleet.workers.remove(first)
    os.killpg(first.process.pid, signal.SIGTERM)
    until(lambda: "Warm shutdown" in first.log.read_text(), "it to begin to end")
    os.killpg(first.process.pid, signal.SIGKILL)
    first.process.wait()
    seconds = fleet.claimed_again(part, since)
    assert seconds < HOST_S
    judge("F34", "SIGTERM to the process group, SIGKILL before it has ended", job, recovery_host_s=seconds)
