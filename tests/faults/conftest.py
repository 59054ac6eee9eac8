"""Fleets to be hurt, and the table of what became of them: `--table FILE` writes it into a document."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from charrnn.jobs.archive import Manifest, write_archive
from charrnn.model import Model
from charrnn.options import NetworkOptions
from tests.fix_fleet import SEEDS, Fleet, Verdict, make_fleet
from tests.fix_model import make_text, random_model

BEGIN, END = "<!-- faults -->", "<!-- end of faults -->"
RECOVERIES = ("recovery_child_s", "recovery_host_s", "cancel_s", "backlog_s")


@dataclass
class Record:
    """What one fault did to one fleet."""

    fault: str
    what: str
    database: str
    lost: int
    duplicated: int
    wasted: int
    numbers: dict[str, float] = field(default_factory=dict)  # seconds


records: list[Record] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", type=Path, help="the document to write the table of faults into")
    parser.addoption("--minutes", type=float, help="of random faults, on each database")
    parser.addoption("--soak-seed", type=int, help="the order of an earlier soak's faults")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not records:
        return
    if path := config.getoption("--table"):
        write_table(path)
    longest = {name: max((r.numbers[name] for r in records if name in r.numbers), default=None) for name in RECOVERIES}
    totals = {name: sum(getattr(record, name) for record in records) for name in ("lost", "duplicated", "wasted")}
    terminalreporter.write_line(json.dumps({"faults": len(records), **totals, **longest}))


def write_table(path: Path) -> None:
    """Put the records between the marks of a document."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    head = "| fault | what | database | lost | duplicated | leases wasted | seconds |\n|" + 7 * " --- |" + "\n"
    rows = "".join(map(_row, sorted(records, key=lambda record: (record.fault, record.database))))
    path.write_text(f"{before}{BEGIN}\n\n{head}{rows}\n{END}{after}")


def _row(record: Record) -> str:
    shown = {name.removesuffix("_s").replace("_", " "): value for name, value in record.numbers.items()}
    numbers = ", ".join(f"{name} {value:.1f}" for name, value in shown.items())
    cells = (record.fault, record.what, record.database, record.lost, record.duplicated, record.wasted, numbers)
    return f"| {' | '.join(map(str, cells))} |\n"


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that nobody had to train; its texts are as hard to get twice as any."""
    folder = tmp_path_factory.mktemp("archive")
    model, nats = random_model(NetworkOptions(units=48)), 3.0
    Model(model.network, model.vocabulary, model.weights, {"held_out_nats": nats}).save(folder / "version")
    (folder / "held-out.txt").write_text(make_text(20))
    manifest = Manifest(
        model="tiny",
        version=1,
        held_out_nats=nats,
        precision="float32",
        network=model.network,
        characters=model.vocabulary.characters,
    )
    with open(folder / "tiny.tar", "wb") as file:
        write_archive(file, manifest, folder / "version", folder / "held-out.txt")
    return folder / "tiny.tar"


@pytest.fixture(scope="session")
def fleets(archive: Path) -> Iterator[Callable[[str], Fleet]]:
    """Of each database one, made when it is first asked for."""
    made: dict[str, Fleet] = {}
    with ExitStack() as stack:

        def get(database: str) -> Fleet:
            if database not in made:
                made[database] = fleet = stack.enter_context(make_fleet(database, archive, make_text(SEEDS)))
                fleet.start_workers()
                fleet.calm = fleet.judge(fleet.submit()).sha256
                fleet.stop_workers()
            return made[database]

        yield get


@pytest.fixture(params=["sqlite", "postgresql"])
def fleet(request: pytest.FixtureRequest, fleets: Callable[[str], Fleet]) -> Iterator[Fleet]:
    """A fleet in which nobody works yet; a test mends what it breaks."""
    fleet = fleets(request.param)
    yield fleet
    fleet.stop_workers()


class Judge(Protocol):
    def __call__(self, fault: str, what: str, job: int, **numbers: float) -> Verdict: ...


@pytest.fixture
def judge(fleet: Fleet) -> Judge:
    """See that a job ended as if nothing had happened, and put the fault into the table. `numbers` are seconds."""

    def judge(fault: str, what: str, job: int, **numbers: float) -> Verdict:
        found = fleet.judge(job)
        records.append(Record(fault, what, fleet.database, found.lost, found.duplicated, found.wasted, numbers))
        assert (found.lost, found.duplicated, found.sha256) == (0, 0, fleet.calm)
        return found

    return judge
