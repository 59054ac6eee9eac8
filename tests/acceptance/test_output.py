"""The output of commands at 80 and 120 columns, in a pipe, without colors and as JSON, is that of tests/data/output.

`pytest tests/acceptance/test_output.py --freeze` writes these files anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import pytest

from charrnn.jobs import Client, Cron, GenerateRequest, SamplingOptions, Schedule, Seed, Settings, TrainRequest
from charrnn.jobs.files.layout import part_file
from charrnn.jobs.job.part import Part
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.job.version import NewVersion
from charrnn.jobs.job.views import SignOfLife
from charrnn.jobs.models.archive import write_archive
from charrnn.jobs.models.manifest import Manifest
from charrnn.jobs.rows.rows import compress, result, stored_rows
from charrnn.jobs.store.leases import Leases
from charrnn.model_files import CONFIG, VOCABULARY, read_network, read_vocabulary
from charrnn.options import NetworkOptions
from charrnn.training.progress import EpochMetrics, Preview
from producer.broker import local_broker
from tests.fixtures import entry_point
from tests.fixtures.model import make_text
from tests.fixtures.processes import COMMAND, DEADLINE_S, make_home
from tests.fixtures.store import NO_FILE, sampled

FOLDER = Path(__file__).parents[1] / "data" / "output"
MODEL = Path(__file__).parents[1] / "data" / "golden" / "1" / "model"
LONGEST_NAME = 80  # characters
USER = "ada@desk"
START_MS = 1_577_934_000_000  # 2020-01-02 03:00 UTC
TIMES = re.compile(r"(^|_)at$")

READ = (
    "config",
    "doctor",
    "events",
    "events 4 -n 1",
    "jobs",
    "models",
    "models show speeches",
    "prune --older-than 1d --dry-run",
    "schedules",
    "schedules check",
    "schedules show nightly",
    "status 1",
    "status 3",
    "status 4",
    "store check",
    "submit speeches --seed 'the ' --rng-seed 7 --dry-run",
    "train speeches text.txt --rng-seed 7 --dry-run",
)
CHANGE = (
    "cancel 5",
    "models promote speeches@2",
    "retry 4",
    "submit speeches --seed 'the ' --rng-seed 7 --label tuesday",
)
NO_JSON = (
    "--help",
    "delete 6",
    "jobs --state broken",
    "results 3",
    "results 5",
    "sample speeches",
    "schedules pause nightly",
    "schedules remove nightly",
    "show",
    "status 99",
    "submit --rng-seed 7",
    "submit --help",
    "submit nobody --seed a",
    "submit speeches --seed ÿ",
)
# Their lines are the same at any width, so a pipe is enough. Commands with a `;` between them follow each
# other in one store.
LINES = (
    "models default; models default speeches; models default; models default --unset",
    "models delete speeches --all; models import poems.zip; models delete poems --all --yes",
    "models delete speeches@2",
    "sample speeches 'the ' ÿ -n 2 -l 20 --rng-seed 7",
    "schedules add weekly --cron '0 8 * * mon' -- train speeches text.txt --then submit -n 3; schedules show weekly",
    "schedules allow nightly; schedules edit nightly --on-failure true; schedules allow nightly",
    "schedules pause nightly; schedules resume nightly",
    "schedules run nightly; schedules run nightly; schedules edit nightly --cron @hourly -- submit speeches -n 3",
    "store recover; store upgrade",
    "wait 3 -q",
    "worker --check-health",
)
LINES_AND_JSON = (
    "models compare speeches@1 speeches@2 -n 1 -l 20 --rng-seed 7",
    "models import poems.zip --as copy",
    "models import poems.zip; models export poems -o out.zip",
    "models import poems.zip; models import poems.zip; models promote poems@2; models rollback poems",
    "wait 3",
    "wait 4",
)
STAYS = {  # what they have logged when they wait for Ctrl-C, in any order
    "scheduler": {"scheduler ready"},
    "up --devices cpu": {"worker ready", "process 0 started"},
    "worker --devices cpu --queues train": {"worker ready", "process 0 started"},
}
COLOR = re.compile(r"\x1b\[(\d+;)*[39][0-7]\b")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
VARYING = (
    (re.compile(r"^texts of \S+: (?!done).*\n", re.MULTILINE), ""),  # how far they were when somebody looked
    (re.compile(r"\b[0-9a-f]{64}\b"), "SHA256"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "HEX"),
    (re.compile(r"\b(?!2020-01-02)2\d{3}-\d\d-\d\d([T ])\d\d:\d\d:\d\d"), r"YYYY-MM-DD\1hh:mm:ss"),  # now, and later
    (re.compile(r"[\d.]+ GB free"), "N GB free"),
    (re.compile(r"\bhh:mm:ss,\d{3}\b"), "hh:mm:ss,mmm"),
    (re.compile(r"\b\d+\.\d s\b"), "N.N s"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"\d+ notifications? waiting"), "N notifications waiting"),
    (re.compile(r"\d+\.\d+\.\d+ on \w+ \w+"), "X.Y.Z on SYSTEM"),
    (re.compile(r"valkey \d+\.\d+\.\d+|redis \d+\.\d+\.\d+"), "valkey X.Y.Z"),
)


@dataclass
class Desk:
    """A home without a worker, whose database and files are the same before each command."""

    path: Path

    def restore(self) -> None:
        before, store = (sqlite3.connect(self.path / name) for name in ("before.sqlite", "store.sqlite"))
        with closing(before), closing(store):
            before.backup(store)
        shutil.rmtree(self.path / "config", ignore_errors=True)  # of `models default`
        shutil.rmtree(self.path / "files")
        shutil.copytree(self.path / "files-before", self.path / "files")

    def on_terminal(self, words: list[str], columns: int, **settings: str) -> str:
        """Run a command on a terminal with so many columns. Return what it printed, and its exit code."""
        self.restore()
        environment = {**self.environment, "TERM": "xterm-256color", "COLUMNS": str(columns), **settings}
        master, slave = pty.openpty()
        process = subprocess.Popen([*COMMAND, *words], cwd=self.path, env=environment, stdout=slave, stderr=slave)
        os.close(slave)
        with closing(os.fdopen(master, "rb", buffering=0)) as output:
            text = b"".join(iter(lambda: _read(output.fileno()), b"")).decode()
        return self._plain(text.replace("\r\n", "\n"), process.wait(DEADLINE_S))

    def in_pipe(self, words: list[str]) -> str:
        """Run a command in pipes. Return what it printed, and its exit code."""
        self.restore()
        return self._call(words)

    def one_by_one(self, commands: str, *options: str) -> str:
        """Run commands in pipes, the last with options, beside what looks like a worker to them. Return what they
        printed."""
        self.restore()
        *before, last = [shlex.split(command) for command in commands.split(";")]
        with self._worker():
            return "".join(map(self._call, [*before, [*last, *options]]))

    def _call(self, words: list[str]) -> str:
        done = entry_point.call(words, self.environment, "")
        return self._plain(done.stdout + done.stderr, done.returncode)

    @contextmanager
    def _worker(self) -> Iterator[None]:
        """Sample the parts that wait, as a worker does, but without the model."""
        ended = Event()

        def work() -> None:
            with Client(Settings(home=self.path)) as client:
                leases = Leases(client.connections.store, 30)
                while not ended.wait(0.02):
                    if part := leases.claim("generate", "host/0"):
                        _sample(client, leases, part)

        with Client(Settings(home=self.path)) as client:
            life = SignOfLife(owner="host/0", host="host", pid=1, device="cpu", queues=("generate",))
            client.connections.store.record_heartbeat(life)
        thread = Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def until_ctrl_c(self, words: list[str], marks: set[str], home: Path) -> str:
        """Run a command that stays, and end it when it has logged all `marks`. Return the lines that it logged, sorted,
        since several processes write them."""
        self.restore()
        environment = {**self.environment, "CHARRNN_HOME": str(home)}
        command = [*COMMAND, *words]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                assert process.stdout
                lines, missing = list[str](), set(marks)
                for line in iter(process.stdout.readline, b""):
                    lines.append(line.decode())
                    if found := {mark for mark in missing if mark in lines[-1]}:
                        missing -= found
                        if not missing:
                            process.send_signal(signal.SIGINT)
                text = self._plain("".join(lines).replace(str(home), "HOME"), process.wait(DEADLINE_S))
                return "\n".join(sorted(filter(None, text.splitlines()))) + "\n"
            finally:
                process.kill()

    @property
    def environment(self) -> dict[str, str]:
        own = {"CHARRNN_HOME": str(self.path), "XDG_CONFIG_HOME": str(self.path / "config")}
        return {**os.environ, **own, "CHARRNN_USER": USER, "TZ": "UTC"}

    def _plain(self, text: str, code: int) -> str:
        """Return an output without what varies from run to run, such as the path and how much room it takes."""
        for pattern, word in VARYING:
            text = pattern.sub(word, text)
        lines = (re.sub(" {2,}", "  ", line) if str(self.path) in line else line for line in text.splitlines())
        return "\n".join([*lines, f"exit code {code}\n"]).replace(str(self.path), "HOME")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # Linux reports the end of a terminal like this
        return b""


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    for home in make_home():
        settings = Settings(home=home.path, user=USER)
        (home.path / "text.txt").write_text(make_text(800))
        with local_broker(settings), Client(settings) as client:
            _fill(client, home.path / "text.txt")
        _archive(home.path / "poems.zip")
        with local_broker(settings):
            _set_times(home.path / "store.sqlite")
            shutil.copytree(home.path / "files", home.path / "files-before")
            yield Desk(home.path)


def golden(command: str) -> Path:
    return FOLDER / f"{re.sub(r'[^a-z0-9]+', '-', command).strip('-')[:LONGEST_NAME]}.txt"


def _fill(client: Client, text: Path) -> None:
    """Store two trained versions, and jobs that are done, failed, waiting and cancelled."""
    leases = Leases(client.connections.store, 30)
    for number, loss in enumerate((1.25, 1.5), start=1):
        client.train(TrainRequest(model="speeches", paths=(str(text),), options={"units": 8}, rng_seed=number))
        part = leases.claim("train", "host/0")
        assert part is not None
        previews = (Preview(temperature=0.5, seed="the ", text="old sailor\nand the old lamp " * 9),)
        epochs = [
            EpochMetrics(
                epoch=epoch, step=90 * epoch, learning_rate=0.001, train_loss=loss, val_loss=loss, previews=previews
            )
            for epoch in (1, 2)
        ]
        leases.record(part, epochs)
        version = NewVersion(
            model="speeches",
            files=NO_FILE,
            characters="".join(sorted("\n .,abcdefghijklmnopqrstuvwxyz")),
            network=NetworkOptions(units=8),
            val_loss=loss,
            precision="float32",
        )
        leases.complete_training(part, version)
    sampling = SamplingOptions(temperatures=(0.5, 1.0), length=40)
    for label, error in (("monday", None), ("broken", "the disk is full"), ("later", ""), ("never", "")):
        request = GenerateRequest(model="speeches", sampling=sampling, rng_seed=7, label=label)
        job = client.submit(request, [Seed("the old ", id="a"), Seed("a\nlamp", id="b")])
        if error == "":
            continue
        part = leases.claim("generate", "host/0")
        assert part is not None
        assert isinstance(part.spec, GenerateSpec)
        if error:
            leases.fail(part, error, permanent=True)
            continue
        _sample(client, leases, part)
    client.cancel(job.id or 0)
    nightly = TrainRequest(model="speeches", paths=(str(text),), options={"epochs": 3})
    client.schedules.add(Schedule(name="nightly", cron=Cron("0 3 * * *"), request=nightly))


def _sample(client: Client, leases: Leases, part: Part) -> None:
    assert isinstance(part.spec, GenerateSpec)
    rows = stored_rows(client.connections.files, part.spec, part)
    lines = compress(result(row, part.spec.name, f"sailor {row.number}", "length", 1.5) for row in rows)
    output = client.connections.files.put(part_file(part.job, part.number, part.token), lines)
    leases.complete_rows(part, output, sampled(part, characters=32), "cpu")


def _archive(path: Path) -> None:
    """Write the model folder of the first release as an exported version."""
    validation = path.with_name("validation.txt")
    validation.write_text("to be or not to be\n" * 20)
    manifest = Manifest(
        model="poems",
        version=1,
        val_loss=2.1023615827464095,
        precision="float32",
        network=read_network(MODEL / CONFIG),
        characters=read_vocabulary(MODEL / VOCABULARY).characters,
    )
    with path.open("wb") as file:
        write_archive(file, manifest, MODEL, validation)


def _set_times(path: Path) -> None:
    """Give each row times that do not depend on when the test runs."""
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        tables = [name for (name,) in store.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for _, column, kind, *_ in store.execute(f"pragma table_info({table})").fetchall():
                if TIMES.search(column) and kind == "BIGINT":
                    store.execute(f"update {table} set {column} = ? + 60000 * rowid where {column} > 0", [START_MS])  # noqa: S608
        store.execute("update schedules set next_at = ?", [START_MS + 10**12])  # nothing is due
        with closing(sqlite3.connect(path.with_name("before.sqlite"))) as before:
            store.backup(before)


@pytest.mark.parametrize("command", [*READ, *CHANGE, *NO_JSON])
def test_the_output_of_a_command(
    desk: Desk, command: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.path)
    words = shlex.split(command)
    pipe = desk.in_pipe(words)
    shown = {"80 columns": desk.on_terminal(words, 80), "120 columns": desk.on_terminal(words, 120), "pipe": pipe}
    if command not in NO_JSON:
        shown["json"] = desk.in_pipe([*words, "--json"])
    sections = "".join(f"## {name}\n\n{text}\n" for name, text in shown.items())
    found = f"$ charrnn-jobs {command}\n\n{sections}".replace("\x1b", "␛")
    _check(command, found, request)
    assert "\x1b" not in pipe
    if "--help" not in words:  # rich fills its panels
        assert not re.search(r"[ \t]$", pipe, re.MULTILINE)


@pytest.mark.parametrize("command", READ)
def test_without_colors_the_words_are_the_same(desk: Desk, command: str) -> None:
    words = shlex.split(command)
    plain = desk.on_terminal(words, 80, NO_COLOR="1")
    assert not COLOR.search(plain)
    shown = golden(command).read_text().replace("␛", "\x1b")
    assert ANSI.sub("", plain) in ANSI.sub("", shown)


@pytest.mark.parametrize("commands", [*LINES, *LINES_AND_JSON])
def test_the_lines_of_commands(
    desk: Desk, commands: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.path)
    found = desk.one_by_one(commands)
    if commands in LINES_AND_JSON:
        found += f"\n## json\n\n{desk.one_by_one(commands, '--json')}"
    _check(commands, f"$ charrnn-jobs {commands}\n\n{found}", request)


@pytest.mark.parametrize("command", STAYS)
def test_the_log_of_a_command_that_stays(
    desk: Desk, command: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    home = tmp_path / "h" if command.startswith("up") else desk.path
    found = desk.until_ctrl_c(shlex.split(command), STAYS[command], home)
    _check(command, f"$ charrnn-jobs {command}\n\n{found}", request)


def _check(command: str, found: str, request: pytest.FixtureRequest) -> None:
    """Compare an output with that of the file of a command, or write that anew."""
    if request.config.getoption("--freeze"):
        golden(command).write_text(found)
    assert golden(command).read_text() == found


def test_every_file_belongs_to_a_command() -> None:
    every = (*READ, *CHANGE, *NO_JSON, *LINES, *LINES_AND_JSON, *STAYS)
    assert sorted(FOLDER.iterdir()) == sorted(map(golden, every))
