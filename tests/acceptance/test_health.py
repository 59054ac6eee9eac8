"""Processes that hang are ended or reported by `charrnn-jobs worker --check-health`, and a missing broker is not blamed
on them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname

import pytest
import redis

from charrnn.jobs.settings import Settings
from charrnn.release import MODULE
from producer.broker import start_server
from tests.fixtures.processes import Home, make_home, until

HANGS_S = 200  # a worker counts as hung after 90 s; the rest is for a busy machine


@dataclass
class Worker:
    """A worker with its own broker and home folder."""

    home: Home
    broker: subprocess.Popen[bytes]
    parent: subprocess.Popen[str]
    stopped: int = 0  # process id of a child that was stopped

    @property
    def children(self) -> list[int]:
        """The process ids of the children that serve; none while one is replaced."""
        return [int(name.removeprefix("worker ")) for name in self.home.workers()]

    def is_replaced(self) -> bool:
        """Return whether another child serves, and the stopped one is not listed any more."""
        children = self.children  # read once: between two readings the last one may have ended
        return bool(children) and self.stopped not in children

    def check(self) -> subprocess.CompletedProcess[str]:
        return self.home.call("worker", "--check-health")

    def is_well(self) -> bool:
        return self.check().returncode == 0


@contextmanager
def running_worker() -> Iterator[Worker]:
    for home in make_home():
        socket = Settings(home=home.path).broker_socket
        with redis.Redis(unix_socket_path=str(socket)) as client:
            broker = start_server(socket, home.path / "broker", client)
        worker = Worker(home, broker, home.start("worker", "--devices", "cpu"))
        try:
            until(home.workers, "a live worker")
            yield worker
        finally:
            for process in (worker.parent, worker.broker):
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.communicate()  # waits for the parent's children, which hold the pipe too


@pytest.fixture(scope="module")
def workers() -> Iterator[dict[str, Worker]]:
    """Four workers with a different fault each, which lasts until the first two are known to hang."""
    with ExitStack() as stack:
        found = {name: stack.enter_context(running_worker()) for name in ("child", "parent", "away", "still")}
        assert all(worker.is_well() for worker in found.values())
        (found["child"].stopped,) = found["child"].children
        os.kill(found["child"].stopped, signal.SIGSTOP)
        found["parent"].parent.send_signal(signal.SIGSTOP)
        found["away"].broker.kill()
        found["still"].broker.send_signal(signal.SIGSTOP)
        until(lambda: found["child"].is_replaced() and not found["parent"].is_well(), "two that hang", HANGS_S, 1.0)
        yield found


def test_a_child_that_hangs_is_replaced(workers: dict[str, Worker]) -> None:
    # Catches: a child whose own threads alone could end it, which stand still too
    assert not Path(f"/proc/{workers['child'].stopped}").exists()
    assert workers["child"].is_well()


def test_a_parent_that_hangs_is_reported(workers: dict[str, Worker]) -> None:
    done = workers["parent"].check()
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"Worker \S+ hangs: one of its processes showed no activity for \d+ s\. Restart it", done.stderr)


def test_a_consumer_that_hangs_is_reported_until_it_continues(workers: dict[str, Worker]) -> None:
    assert workers["parent"].check().returncode == 1
    workers["parent"].parent.send_signal(signal.SIGCONT)
    until(workers["parent"].is_well, "a sign of life")


@pytest.mark.parametrize("broker", ["away", "still"])
def test_workers_are_healthy_while_the_broker_does_not_answer(workers: dict[str, Worker], broker: str) -> None:
    # Catches: activity recorded by Celery's main loop alone, while a different loop waits for the broker
    assert workers[broker].is_well()


def test_the_file_of_a_dead_worker_is_ignored(home: Home) -> None:
    # Catches: a check of the file's time instead of its lock
    with home.up():
        assert home.call("worker", "--check-health").returncode == 0
    done = home.run("worker", "--check-health")
    assert (done.returncode, "No worker runs on this host" in done.stderr) == (1, True)


def test_a_worker_that_restarts_shows_that_it_waits(home: Home) -> None:
    words = [*MODULE, "worker", "--devices", "cpu", "--again"]
    with subprocess.Popen(words, env=home.environment, stderr=subprocess.DEVNULL) as worker:
        try:
            sign = home.path / "health" / f"{gethostname()}-{worker.pid}"
            begun = until(lambda: sign.exists() and sign.stat().st_mtime, "its file")
            # Catches: a missing broker or store that counts as a hang after 90 s, since no child has started
            until(lambda: sign.stat().st_mtime > begun + 1.0, "another sign of life")
        finally:
            worker.kill()
