"""The real command line and the real local stack, in a home folder of their own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import pytest

from tests.fix_model import make_text

COMMAND = [str(Path(sys.executable).with_name("charrnn-jobs"))]
DEADLINE_S = 120
T = TypeVar("T")


def until(find: Callable[[], T | None], what: str, deadline_s: float = DEADLINE_S) -> T:
    """Poll until `find` returns something true."""
    deadline = time.monotonic() + deadline_s
    pause = Event()
    while not (found := find()):
        assert time.monotonic() < deadline, f"waited {deadline_s} s for {what}"
        pause.wait(0.01)  # lets others run between two looks
    return found


@dataclass
class Home:
    """A home folder and the commands that run in it."""

    path: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CHARRNN_HOME": str(self.path), **self.settings}

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever that is."""
        return subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def ok(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command that must succeed -> its standard output."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"{arguments}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            [*COMMAND, *arguments], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "--json"))

    @contextmanager
    def up(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """`charrnn-jobs up` while the block runs; its end is part of the test."""
        with open(self.path / "up.log", "a") as log:
            process = subprocess.Popen(
                [*COMMAND, "up", "--devices", "cpu", *arguments], env=self.environment, stderr=log, text=True
            )
        try:
            until(lambda: self._worker_or_end(process), "a live worker")
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                code = process.wait(60)
            finally:
                process.kill()
        assert code == 0, self.log()

    def _worker_or_end(self, process: subprocess.Popen[str]) -> bool:
        assert process.poll() is None, self.log()
        return bool(self.workers())

    def workers(self) -> list[str]:
        """The checks of live workers; their names are "worker" and a pid."""
        checks = json.loads(self.run("doctor", "--json").stdout)
        return [check["name"] for check in checks if check["name"].startswith("worker ")]

    def part(self, job: str) -> dict[str, Any]:
        """The first part of a job, as the store has it."""
        return self._row("select * from parts where job = ? order by number limit 1", job)

    def part_in_work(self, job: str) -> dict[str, Any] | None:
        """The first part once its running attempt has made progress."""
        part = self.part(job)
        assert part["state"] != "done", "the job was too quick for this test"
        return part if part["state"] == "leased" and part["progress"] not in (None, "null") else None

    def pid_of(self, owner: str) -> int:
        return int(self._row("select pid from workers where owner = ?", owner)["pid"])

    def _row(self, query: str, value: str) -> dict[str, Any]:
        connection = sqlite3.connect(self.path / "store.sqlite")
        connection.row_factory = sqlite3.Row
        try:
            return dict(connection.execute(query, (value,)).fetchone())
        finally:
            connection.close()

    def weights(self, model: str) -> str:
        """sha256 of the weights of a model's newest version."""
        newest = max(self.path.glob(f"files/models/{model}/*/model.safetensors"), key=lambda path: path.stat().st_mtime)
        return hashlib.sha256(newest.read_bytes()).hexdigest()

    def log(self) -> str:
        return (self.path / "up.log").read_text()


def make_home(**settings: str) -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        yield Home(Path(folder), settings)


@pytest.fixture
def home() -> Iterator[Home]:
    """An empty home folder in which nothing runs."""
    yield from make_home()


@pytest.fixture(scope="session")
def stack() -> Iterator[Home]:
    """A running stack with a small trained model `tiny`; tests add jobs to it."""
    for home in make_home(CHARRNN_HEARTBEAT_S="0.1", CHARRNN_MAINTAIN_S="1", CHARRNN_LEASE_S="300"):
        text = home.path / "text.txt"
        text.write_text(make_text(800))
        with home.up():
            home.ok("train", "tiny", str(text), "--units", "32", "--epochs", "2", "--rng-seed", "1", "--wait")
            yield home
