"""A fleet to be hurt: a broker, workers and a database, each a process of its own that can be killed or stopped.

What is promised is judged from outside: the rows of an export, the store's parts, files on the disk, processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import Row

from charrnn.jobs.client import Client
from charrnn.jobs.processes import MODULE
from charrnn.jobs.settings import Settings
from charrnn.jobs.states import ENDED_JOBS, PartState
from producer.local import _server_binary
from tests.fix_postgres import PostgresServer, running_server
from tests.fix_processes import COMMAND, until

# Progress is told often, so that a fault can be timed by it. What is promised of recovery is measured with DEFAULTS.
SETTINGS = {"CHARRNN_HEARTBEAT_S": "0.5"}
DEFAULTS = {"CHARRNN_HEARTBEAT_S": "5"}
SEEDS, SAMPLES, LENGTH, PART_ROWS = 15, 600, 300, 1500
PARTS = SEEDS * SAMPLES // PART_ROWS
LONG = 4500  # rows of a part, of which two are in work until a lease has run out
END_S = 240.0
STOP_S = 60.0


@dataclass
class Broker:
    """A server of its own on a Unix socket; what it holds survives `stop`, and, but for the last second, `kill`."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "broker.sock"

    @property
    def url(self) -> str:
        return f"redis+socket://{self.socket}?virtual_host=0"

    def start(self, *, empty: bool = False) -> None:
        if empty:
            for path in self.folder.glob("appendonlydir/*"):
                path.unlink()
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(self.folder / "broker.log"),
        }
        words = [word for name, text in options.items() for word in (f"--{name}", text)]
        self.process = subprocess.Popen([_server_binary(), *words], start_new_session=True)
        until(self._answers, "the broker to answer")

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket))

    def send(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> None:
        assert self.process
        self.send(number)
        self.process.wait(STOP_S)

    def doorbells(self, queue: str = "generate") -> int:
        with self.client() as client:
            return int(client.llen(f"charrnn:{queue}"))


@dataclass
class Worker:
    """A worker's parent; its child is known by the store."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def owner(self) -> str:
        """How its child's name begins."""
        return f"{socket.gethostname()}-{self.process.pid}-"

    def end(self, number: int = signal.SIGTERM, *, group: bool = False) -> int:
        """Signal it, or its whole process group, and wait -> its exit code."""
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return self.process.wait(STOP_S)


@dataclass
class Verdict:
    """Of a job after a fault."""

    lost: int  # rows
    duplicated: int  # rows
    wasted: int  # leases that committed nothing
    sha256: str


@dataclass
class Fleet:
    """A store with a model `tiny`, a broker, and the workers that a test starts."""

    home: Path
    database: str  # its kind
    settings: dict[str, str]
    broker: Broker
    postgres: PostgresServer | None = None
    workers: list[Worker] = field(default_factory=list)
    calm: str = ""  # sha256 of the results of a job that nothing happens to

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.settings}

    def ok(self, *arguments: str) -> str:
        """Run a command that must succeed -> its standard output."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        words = [*COMMAND, *arguments]
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=END_S, check=False)

    @contextmanager
    def client(self) -> Iterator[Client]:
        client = Client(Settings.from_env(self.settings))
        try:
            yield client
        finally:
            client.close()

    def start_workers(
        self, count: int = 2, prefix: Sequence[str] = (), *, wait: bool = True, **settings: str
    ) -> list[Worker]:
        """Start workers of one child each and wait until they live; `prefix` becomes the worker by exec."""
        workers = [self._start_worker(prefix, settings) for _ in range(count)]
        for worker in workers if wait else ():
            until(lambda worker=worker: self._lives(worker), "a live worker")
        return workers

    def _start_worker(self, prefix: Sequence[str], settings: dict[str, str]) -> Worker:
        log = self.home / f"worker-{len(list(self.home.glob('worker-*.log')))}.log"
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [*prefix, *MODULE, "worker", "--devices", "cpu"],
                env={**self.environment, **settings},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        worker = Worker(process, log)
        self.workers.append(worker)
        return worker

    def _lives(self, worker: Worker) -> bool:
        assert worker.process.poll() is None, worker.log.read_text()
        return any(owner.startswith(worker.owner) for owner in self.pids())

    def stop_workers(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGCONT)
                for pid in self._children(worker):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
                worker.process.terminate()
        for worker in self.workers:
            try:
                worker.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(worker.process.pid, signal.SIGKILL)
                worker.process.wait()
        self.workers.clear()

    def _children(self, worker: Worker) -> list[int]:
        return [pid for owner, pid in self.pids().items() if owner.startswith(worker.owner)]

    def pids(self) -> dict[str, int]:
        """Owner → pid of its living process."""
        with self.client() as client:
            return {worker["owner"]: worker["pid"] for worker in client.workers()}

    def submit(self, *options: str, rng_seed: int = 3, part_rows: int = PART_ROWS) -> int:
        """A job of PARTS parts, of some seconds each."""
        words = ("-m", "tiny", "--seeds", str(self.home / "seeds.txt"), "-n", str(SAMPLES), "-l", str(LENGTH))
        numbers = ("--rng-seed", str(rng_seed), "--part-rows", str(part_rows))
        return int(self.ok("submit", *words, *numbers, *options))

    def cut_database(self, *, busy: bool = False) -> None:
        """End all connections to PostgreSQL, or those in a transaction."""
        cut = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'charrnn-jobs'"
        which = "state <> 'idle'" if busy else "true"
        with self.client() as client, client.store.engine.connect() as connection:
            connection.exec_driver_sql(f"{cut} and pid <> pg_backend_pid() and {which}")

    def parts(self, job: int) -> list[Row[Any]]:
        with self.client() as client:
            return list(client.store.parts(job, limit=1_000_000))

    def job(self, job: int) -> dict[str, Any]:
        with self.client() as client:
            return client.store.job(job)

    def part_in_work(self, job: int, owner: str = "") -> Row[Any]:
        """A part of which the store has seen progress, of that owner."""

        def find() -> Row[Any] | None:
            leased = [part for part in self.parts(job) if part.state == PartState.LEASED and part.progress]
            return next((part for part in leased if part.owner.startswith(owner)), None)

        return until(find, "progress")

    def claimed_again(self, part: Row[Any], since: float) -> float:
        """Wait until the part has a later lease -> seconds since the fault, by the monotonic clock."""
        until(lambda: self.parts(part.job)[part.number].token > part.token, "the part to be claimed again", END_S)
        return time.monotonic() - since

    def wait(self, job: int) -> dict[str, Any]:
        """The job when it has ended."""
        try:
            return until(lambda: row if (row := self.job(job))["state"] in ENDED_JOBS else None, "the job's end", END_S)
        except AssertionError as error:
            logs = "\n".join(worker.log.read_text()[-2000:] for worker in self.workers)
            raise AssertionError(f"{error}\n{logs}") from error

    def judge(self, job: int) -> Verdict:
        """Wait for a job's end and look at everything that it left."""
        ended = self.wait(job)
        with self.client() as client:
            lines = list(client.results(job))
        rows = [json.loads(line)["row"] for line in lines]
        parts = self.parts(job)
        dead = [worker.log.read_text() for worker in self.workers if worker.process.poll() is not None]
        assert not dead, f"a worker ended that nobody killed:\n{dead[0][-3000:]}"
        assert ended["parts_left"] == 0
        assert not [part for part in parts if part.state in (PartState.LEASED, PartState.QUEUED)]
        until(lambda: self._files(job) == {part.output["name"] for part in parts if part.output}, "orphans to go")
        until(lambda: self.broker.doorbells() == 0, "surplus doorbells to be answered")
        return Verdict(
            lost=ended["rows_total"] - len(set(rows)),
            duplicated=len(rows) - len(set(rows)),
            wasted=sum(part.token - (part.state == PartState.DONE) for part in parts),
            sha256=hashlib.sha256(b"".join(lines)).hexdigest(),
        )

    def _files(self, job: int) -> set[str]:
        """Visible ones; what a killed writer left unfinished is swept by prune."""
        root = self.home / "files"
        return {path.relative_to(root).as_posix() for path in root.glob(f"jobs/{job}/[!.]*")}


@contextmanager
def make_fleet(database: str, archive: Path, seeds: str) -> Iterator[Fleet]:
    """A fleet without workers, on SQLite or on a PostgreSQL server of its own."""
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder, contextlib.ExitStack() as stack:
        home = Path(folder)
        (home / "broker").mkdir()
        broker = Broker(home / "broker")
        broker.start()
        stack.callback(broker.end, signal.SIGKILL)
        settings = {**SETTINGS, "CHARRNN_HOME": folder, "CHARRNN_REDIS_URL": broker.url}
        fleet = Fleet(home, database, settings, broker)
        if database == "postgresql":
            fleet.postgres = stack.enter_context(running_server())
            settings["CHARRNN_STORE_URL"] = fleet.postgres.new_database()
        stack.callback(fleet.stop_workers)
        (home / "seeds.txt").write_text(seeds)
        fleet.ok("models", "import", str(archive))
        yield fleet
