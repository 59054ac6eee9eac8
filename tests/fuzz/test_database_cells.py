"""Fuzz targets for cells of the database, as commands and workers read them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import strategies as st

from charrnn.errors import CharrnnError
from charrnn.jobs.client import Client
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.requests import GenerateRequest
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.rows.seeds import Seed
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.leases import Leases
from charrnn.options import SamplingOptions
from tests.fixtures.client import DoPart, submit
from tests.fixtures.processes import Home
from tests.fixtures.store import life
from tests.fuzz.exploration import REFUSED, Exploration, check_printable, check_said
from tests.fuzz.mutations import documents, odd_texts

# A table and the condition of a row, and those of its columns that have JSON or text.
CELLS = (
    ("jobs", "id = 1", "spec"),
    ("jobs", "id = 2", "spec"),
    ("jobs", "id = 3", "spec"),
    ("reports", "job = 2", "report"),
    ("jobs", "id = 2", "error"),
    ("jobs", "id = 2", "label"),
    ("jobs", "id = 2", "submitted_by"),
    ("events", "id = 1", "actor"),
    ("events", "id = 1", "action"),
    ("events", "id = 1", "job"),
    ("parts", "job = 1", "checkpoint"),
    ("parts", "job = 1", "progress"),
    ("parts", "job = 2", "output"),
    ("parts", "job = 2", "error"),
    ("models", "name = 'speeches'", "validation"),
    ("versions", "model = 'speeches'", "files"),
    ("versions", "model = 'speeches'", "network"),
    ("versions", "model = 'speeches'", "gate"),
    ("versions", "model = 'speeches'", "characters"),
    ("schedules", "name = 'nightly'", "request"),
    ("schedules", "name = 'nightly'", "cron"),
    ("schedules", "name = 'nightly'", "timezone"),
    ("workers", "owner = 'host/0'", "queues"),
    ("workers", "owner = 'host/0'", "host"),
)
TEXTS = {"actor", "action", "job", "submitted_by", "error", "label", "characters", "cron", "timezone", "host"}

COMMANDS = (
    "jobs",
    "jobs --json",
    *(f"status {job}" for job in (1, 2, 3)),
    *(f"status {job} --json" for job in (1, 2, 3)),
    "status 1 --plot",
    "events",
    "events --json",
    "results 2",
    "results 2 --format csv",
    "results 2 --distinct",
    "results 3",
    "schedules",
    "schedules --json",
    "schedules show nightly",
    "schedules show nightly --json",
    "models",
    "models --json",
    "models show speeches",
    "models show speeches --json",
    "models export speeches -o speeches.zip",
    "submit -m speeches --dry-run",
    "submit -m speeches --random-seeds 2 --dry-run",
    "train speeches text.txt --dry-run",
    "store check",
    "store check --json",
    "prune --older-than 1s --dry-run",
    "doctor",
    "doctor --json",
)
CODES = (*REFUSED, 1, 4)  # also of `store check` and `doctor`, which find damage

Value = bytes | str | int | float | None


@dataclass(frozen=True)
class Cell:
    """A cell, and the value to write into it."""

    table: str
    row: str
    column: str
    value: Value


@contextmanager
def damaged(path: Path, cell: Cell) -> Iterator[None]:
    """Write a cell as a bad disk or a foreign program does, and restore it afterwards."""
    write = f"update {cell.table} set {cell.column} = ? where {cell.row}"  # noqa: S608
    read = f"select {cell.column} from {cell.table} where {cell.row}"  # noqa: S608
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        (before,) = database.execute(read).fetchone()
        with suppress(sqlite3.IntegrityError):  # not null
            database.execute(write, [cell.value])
        try:
            yield
        finally:
            database.execute(write, [before])


def cells(path: Path) -> st.SearchStrategy[Cell]:
    """Return cells with damaged values, made from those that the database has."""
    with closing(sqlite3.connect(path)) as database:
        found = [
            (*cell, database.execute(f"select {cell[2]} from {cell[0]} where {cell[1]}").fetchone()[0])  # noqa: S608
            for cell in CELLS
        ]

    def value(cell: tuple[str, str, str, str | None]) -> st.SearchStrategy[Cell]:
        table, row, column, before = cell
        if column in TEXTS:
            texts: st.SearchStrategy[Value] = odd_texts().filter(_storable) | st.binary(max_size=20)
        else:
            texts = documents(json.loads(before or "{}"), ascii=True).map(_as_text)
        others: st.SearchStrategy[Value] = st.sampled_from([None, 7, 1.5, -(1 << 63), b"\xff", b"{}"])
        return (texts | texts | texts | others).map(lambda drawn: Cell(table, row, column, drawn))

    return st.sampled_from(found).flatmap(value)


def _storable(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _as_text(data: bytes) -> Value:
    """Return bytes as SQLite's text, which most cells are, or as a blob if they are not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


@pytest.fixture
def filled(client: Client, model: str, do_part: DoPart, folder: Path, text: bytes) -> Client:
    """A client whose store has a training job, a job that is done, one that waits, a schedule and a worker."""
    for _ in range(2):
        submit(client, model, [Seed("a"), Seed("b")], SamplingOptions(), label="label")
    do_part()
    request = GenerateRequest(model=model, seeds=str(folder / "seeds.txt"))
    (folder / "seeds.txt").write_text("a\nb\n")
    client.schedules.add(Schedule(name="nightly", cron=Cron("0 3 * * *"), request=request))
    client.connections.store.record_heartbeat(life("host/0", ("generate",)))
    return client


@pytest.fixture
def database(settings: Settings) -> Path:
    return Path(settings.store_url.removeprefix("sqlite:///"))


def test_cells_that_commands_read(exploration: Exploration, filled: Client, settings: Settings, database: Path) -> None:
    home = Home(
        settings.home,
        {
            "CHARRNN_STORE_URL": settings.store_url,
            "CHARRNN_FILES_URL": settings.files_url,
            "CHARRNN_CORPUS_ROOTS": settings.corpus_roots,
            "CHARRNN_LEASE_S": "3600",  # the worker's last sign stays young enough
            "COLUMNS": "200",
        },
    )

    def check(value: tuple[Cell, list[str]]) -> None:
        cell, commands = value
        with damaged(database, cell):
            for command in commands:
                done = home.call(*command.split())
                check_said(done, CODES)
                if "--json" in command and done.stdout:
                    json.loads(done.stdout)
                elif not command.startswith("results"):
                    check_printable(done.stdout)

    exploration.run(st.tuples(cells(database), st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=3)), check)


def test_cells_that_workers_read(exploration: Exploration, filled: Client, database: Path) -> None:
    store = filled.connections.store
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(":memory:")) as copy:
        source.backup(copy)

        def check(cell: Cell) -> None:
            leases = Leases(store, 30)
            with damaged(database, cell):
                for act in actions(filled, leases):
                    with suppress(CharrnnError):
                        act()
            with closing(sqlite3.connect(database)) as target:
                copy.backup(target)

        exploration.run(cells(database), check)


def actions(client: Client, leases: Leases) -> list[Callable[[], object]]:
    """Return what workers do with a store."""

    def work(queue: str) -> None:
        for _ in range(3):
            if (part := leases.claim(queue, "host/0", "cpu")) is None:
                return
            if queue == "generate":
                leases.fail(part, "fuzzed", permanent=False)

    return [
        lambda: work("train"),
        lambda: work("generate"),
        client.schedules.tick,
        lambda: leases.requeue("host/0", "fuzzed"),
        lambda: client.cancel(3),
        lambda: client.retry(2),
    ]
