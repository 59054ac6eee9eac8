"""Stack that `bench/store.py` measures: a broker, an empty database, a model, and commands run as whole processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue as Answers
from pathlib import Path
from typing import Any

import redis

from bench.harness import COMMAND, write_topics
from charrnn.jobs.client import Client
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.requests import TrainRequest
from charrnn.jobs.job.sizing import CHARACTERS_PER_S
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.job.version import NewVersion
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.database import upsert
from charrnn.jobs.store.registry import add_version
from charrnn.jobs.store.tables import speeds
from charrnn.sampling.defaults import CPU
from charrnn.text.vocabulary import Vocabulary
from producer.broker import local_broker
from tests.fixtures.keys import KEY_PREFIX

MODEL, QUEUE = "bench", GenerateSpec.QUEUE

# A process inherits the peak memory of the process that forked it, so a small process starts the command.
LAUNCH = """
import json, os, sys, time
started = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
seconds = time.perf_counter() - started
cpu_seconds, peak_mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6
print(json.dumps([os.waitstatus_to_exitcode(status), seconds, cpu_seconds, peak_mb]), file=sys.stderr)
"""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Amounts of work to measure.

    Attributes:
        rows: rows of the job.
        rounds: repetitions of each command.
        calls: repetitions of calls that take milliseconds.
        costed_parts: parts whose bookkeeping is timed.
        words: characters of random words that texts are cut from; enough that few texts of a part overlap.
        processes: processes that claim at once.
        claim_s, beat_s: seconds of claiming and of beating.
    """

    rows: int = 1_000_000
    rounds: int = 3
    calls: int = 100
    costed_parts: int = 200
    words: int = 1 << 24
    processes: int = 8
    claim_s: float = 6.0
    beat_s: float = 25.0


@dataclass(frozen=True, kw_only=True)
class CommandRun:
    """The run of a command that has ended."""

    seconds: float
    cpu_seconds: float  # of the command alone: its time on a machine that does nothing else
    peak_mb: float
    output: str


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One database with its broker and its files."""

    settings: Settings
    client: Client
    size: Size

    def run(self, *arguments: str) -> CommandRun:
        """Run a command of `charrnn-jobs` on this stack."""
        command = [sys.executable, "-S", "-c", LAUNCH, COMMAND, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        code, *figures = json.loads(done.stderr.splitlines()[-1])
        if code:
            raise SystemExit(f"{arguments}: exit code {code}\n{done.stderr}")
        seconds, cpu_seconds, peak_mb = figures
        return CommandRun(seconds=seconds, cpu_seconds=cpu_seconds, peak_mb=peak_mb, output=done.stdout.strip())

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a command, without the settings of the person who runs the bench."""
        others = {name: text for name, text in os.environ.items() if not name.startswith("CHARRNN_")}
        return others | {"CHARRNN_HOME": str(self.settings.home), "CHARRNN_STORE_URL": self.settings.store_url}

    @property
    def connections(self) -> Connections:
        return self.client.connections

    def num_parts(self, job: int) -> int:
        return self.connections.store.job(job).parts_total

    def num_rows_done(self, job: int) -> int:
        return self.connections.store.job(job).rows_done

    @contextmanager
    def bells(self) -> Iterator[tuple[redis.Redis, str]]:
        """Yield a connection to the broker, and the key of its list of doorbells."""
        with redis.Redis(unix_socket_path=str(self.settings.broker_socket)) as client:
            yield client, KEY_PREFIX + QUEUE


def add_model(client: Client, home: Path) -> None:
    """Add a version without weights, whose recorded speed is 40,000 characters/s."""
    text = home / "text.txt"
    write_topics(text)
    training = client.train(TrainRequest(model=MODEL, paths=(str(text),)))
    version = NewVersion(
        model=MODEL,
        files=FileRef(name="none", size=0, sha256="0"),
        characters=Vocabulary.of(text.read_text()).characters,
        network=training.spec.network,
        val_loss=1.0,
        precision="bfloat16",
    )
    assert training.id is not None  # noqa: S101  # not a dry run
    with client.connections.store.write() as connection:
        add_version(connection, training.id, version)
        upsert(connection, speeds, model=MODEL, device="cpu", characters_per_s=CHARACTERS_PER_S[CPU])


@contextmanager
def postgresql() -> Iterator[str]:
    """Yield the URL of an empty database on a server started as in the tests."""
    from tests.fixtures.postgres import running_server

    with running_server() as server:
        yield server.new_database()


@contextmanager
def sqlite() -> Iterator[str]:
    """Yield the setting for the SQLite file in the home folder."""
    yield ""


DATABASES = {"sqlite": sqlite, "postgresql": postgresql}


@contextmanager
def open_stack(database: str, size: Size) -> Iterator[Stack]:
    """Run a broker and a store that holds one model, until the block ends."""
    opened = DATABASES[database]
    with tempfile.TemporaryDirectory(prefix="charrnn-") as home, opened() as url:
        settings = Settings(home=Path(home), store_url=url)
        client = Client(settings)
        with local_broker(settings):
            try:
                add_model(client, Path(home))
                yield Stack(settings=settings, client=client, size=size)
            finally:
                client.close()


def together(work: Callable[..., Any], processes: int, *arguments: Any) -> list[Any]:
    """Do the work in several processes that begin at once. Return the answers of all of them."""
    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(processes), spawn.Queue()
    started = [
        spawn.Process(target=answer, args=(answers, work, number, *arguments, start)) for number in range(processes)
    ]
    for process in started:
        process.start()
    found = [answers.get(timeout=600) for _ in started]
    for process in started:
        process.join()
    if failed := [text for text in found if isinstance(text, Exception)]:
        raise failed[0]
    return found


def answer(answers: Answers[Any], work: Callable[..., Any], *arguments: Any) -> None:
    try:
        answers.put(work(*arguments))
    except Exception as error:
        answers.put(error)
