"""The same faults in a plain Celery configuration, with which this product is compared.

Nothing is promised about it: the results are put into the table. `make faults` runs this.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.faults.test_worker_faults import POP_AND_DIE
from tests.fixtures.fleet import PART_ROWS, PARTS, SEEDS, Broker, Worker
from tests.fixtures.model import make_text
from tests.fixtures.processes import until
from tests.fixtures.records import BASELINE, Record, records
from tests.programs import plain_celery

OBSERVED_S = 90.0  # twice what the product needs to notice that a host died


def _is_ready(worker: Worker) -> bool:
    return "ready." in worker.log.read_text()


@dataclass
class Plain:
    """Two workers with one child each, and a chord of PARTS tasks."""

    home: Path
    broker: Broker
    workers: list[Worker]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, plain_celery.HOME: str(self.home), plain_celery.BROKER: self.url}

    @property
    def url(self) -> str:
        return f"redis+socket://{self.broker.socket}"

    def start_workers(self, count: int = 2, **settings: str) -> None:
        started = [self._start_worker(f"worker-{len(self.workers) + index}", settings) for index in range(count)]
        self.workers += started
        for worker in started:
            until(partial(_is_ready, worker), f"{worker.log} to be ready")

    def _start_worker(self, name: str, settings: dict[str, str]) -> Worker:
        log = self.home / f"{name}.log"
        words = ["-A", "tests.programs.plain_celery", "worker", "-c", "1", "-l", "INFO", "-n", name]
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", *words],
                env={**self.environment, **settings},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        return Worker(process, log)

    def submit(self) -> None:
        """Submit the chord from a separate process, since its app is bound to this fleet's broker."""
        submit = "from tests.programs.plain_celery import submit; submit()"
        subprocess.run([sys.executable, "-c", submit], env=self.environment, check=True)

    def executions(self) -> list[tuple[int, int]]:
        """Return (part, pid) of every execution that began."""
        path = self.home / "executions"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(number), int(pid)) for number, pid in map(str.split, lines)]

    def in_work(self) -> tuple[int, int]:
        """Wait for an execution and return (part, pid) of the newest."""
        return until(lambda: self.executions()[-1:], "a part in work")[0]

    def rows(self) -> list[int]:
        path = self.home / "export"
        return [json.loads(line)["row"] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def plain(tmp_path: Path, version: Path) -> Iterator[Plain]:
    (tmp_path / "version").symlink_to(version)
    (tmp_path / "seeds.txt").write_text(make_text(SEEDS))
    (tmp_path / "broker").mkdir()
    plain = Plain(tmp_path, Broker(tmp_path / "broker"), [])
    plain.broker.start()
    yield plain
    for worker in plain.workers:
        if worker.process.poll() is None:
            worker.end(signal.SIGKILL, group=True)
    plain.broker.end(signal.SIGKILL)


def seconds_until(find: Callable[[], object], since: float) -> float | None:
    """Return the seconds from `since` until `find` is true, None if that takes longer than OBSERVED_S."""
    try:
        until(find, "it", since + OBSERVED_S - time.monotonic())
    except AssertionError:
        return None
    return time.monotonic() - since


def tell(plain: Plain, fault: str, what: str, hurt: tuple[int, int] | None = None, recovery: str = "") -> Record:
    """Wait for the result and record it for the table."""
    since, numbers = time.monotonic(), {}
    if hurt:
        number, killed = hurt
        seconds = seconds_until(lambda: any(n == number and pid != killed for n, pid in plain.executions()), since)
        numbers = {recovery: seconds} if seconds else {"not_claimed_again_within_s": OBSERVED_S}
    record = Record(fault, what, BASELINE, numbers=numbers)
    if seconds_until(plain.rows, since) is None:
        numbers["no_result_within_s"] = OBSERVED_S
    else:
        rows = plain.rows()
        record.lost, record.duplicated = PARTS * PART_ROWS - len(set(rows)), len(rows) - len(set(rows))
    begun = [number for number, _ in plain.executions()]
    record.wasted = len(begun) - len(set(begun))
    records.append(record)
    return record


def test_nothing_happens(plain: Plain) -> None:
    plain.start_workers()
    plain.submit()
    record = tell(plain, "none", "nothing happens")
    assert (record.lost, record.duplicated, record.wasted) == (0, 0, 0)


def test_a_restart_of_the_broker(plain: Plain) -> None:
    plain.start_workers()
    plain.submit()
    plain.in_work()
    plain.broker.end()
    plain.broker.start()
    tell(plain, "F02", "the broker restarts while parts are in progress")


def test_a_broker_that_lost_everything(plain: Plain) -> None:
    plain.start_workers()
    plain.submit()
    plain.in_work()
    plain.broker.end(signal.SIGKILL)
    plain.broker.start(empty=True)
    tell(plain, "F04", "the broker is killed and starts empty")


def test_a_child_killed_in_a_part(plain: Plain) -> None:
    plain.start_workers()
    plain.submit()
    hurt = plain.in_work()
    os.kill(hurt[1], signal.SIGKILL)
    tell(plain, "F12", "a child is killed during a part", hurt, "recovery_child_s")


def test_a_host_that_dies(plain: Plain) -> None:
    plain.start_workers()
    plain.submit()
    hurt = plain.in_work()
    os.killpg(os.getpgid(hurt[1]), signal.SIGKILL)
    tell(plain, "F13", "parent and child are killed at the same time", hurt, "recovery_host_s")


def test_a_message_whose_consumer_is_killed(plain: Plain) -> None:
    (plain.home / "sitecustomize.py").write_text(POP_AND_DIE.format(once=str(plain.home / "died")))
    plain.start_workers(1, PYTHONPATH=str(plain.home))
    plain.submit()
    assert plain.workers[0].process.wait(60) == -signal.SIGKILL
    plain.start_workers(1)
    tell(plain, "F14", "a parent is killed between BRPOP and unacked")


def test_a_part_that_kills_every_process(plain: Plain) -> None:
    plain.start_workers(PLAIN_POISON="3")
    plain.submit()
    tell(plain, "F18", "a part kills every process that takes it")


def test_a_message_that_is_delivered_fifty_times(plain: Plain) -> None:
    plain.submit()
    with plain.broker.client() as client:
        (message, *_) = client.lrange("celery", 0, 0)
        client.rpush("celery", *[message] * 50)
    plain.start_workers()
    tell(plain, "F21", "one message is delivered fifty times")
