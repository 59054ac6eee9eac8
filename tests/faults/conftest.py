"""Fleets for fault injection, and the table of results: `--table FILE` writes it into a document."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.fixtures.fleet import SEEDS, Fleet, make_fleet
from tests.fixtures.model import make_text
from tests.fixtures.records import BASELINE, Record, records

BEGIN, END = "<!-- faults -->", "<!-- end of faults -->"
RECOVERIES = ("recovery_child_s", "recovery_host_s", "cancel_s", "backlog_s")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", type=Path, help="the document to write the table of faults into")
    parser.addoption("--soak-seed", type=int, help="random seed that an earlier run printed, to repeat it")


_before = 0


def pytest_runtest_logstart() -> None:
    global _before
    _before = len(records)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Drop the records of a failed test."""
    if report.failed:
        del records[_before:]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not records:
        return
    if path := config.getoption("--table"):
        write_table(path)
    terminalreporter.write_line(json.dumps(summary([record for record in records if record.database != BASELINE])))


def summary(ours: list[Record]) -> dict[str, float | None]:
    longest = {name: max((r.numbers[name] for r in ours if name in r.numbers), default=None) for name in RECOVERIES}
    totals = {name: sum(getattr(record, name) or 0 for record in ours) for name in ("lost", "duplicated", "wasted")}
    return {"faults": sum(record.faults for record in ours), **totals, **longest}


def write_table(path: Path) -> None:
    """Put the records between the marks of a document, and keep the lines of tests that were not run."""
    before, _, rest = path.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {_key(line): line for line in old.splitlines()[4:] if line} | {_key(row): row for row in map(_row, records)}
    head = "| fault | what | on | lost | duplicated | leases wasted | numbers |\n|" + 7 * " --- |"
    table = "\n".join([head, *(rows[key] for key in sorted(rows))])
    path.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")


def _key(row: str) -> tuple[str, ...]:
    """Return the columns fault, what and on."""
    return tuple(row.split(" | ")[:3])


def _row(record: Record) -> str:
    numbers = ", ".join(_number(name, value) for name, value in record.numbers.items())
    counts = ("" if count is None else str(count) for count in (record.lost, record.duplicated, record.wasted))
    return f"| {' | '.join((record.fault, record.what, record.database, *counts, numbers))} |"


def _number(name: str, value: float) -> str:
    words = name.removesuffix("_s").replace("_", " ")
    return f"{words} {value:.1f} s" if name.endswith("_s") else f"{words} {value:g}"


@pytest.fixture(scope="session")
def fleets(archive: Path) -> Iterator[Callable[[str], Fleet]]:
    """Return a fleet per database, made when it is first needed."""
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
    """A fleet without running workers; a test repairs what it breaks."""
    fleet = fleets(request.param)
    yield fleet
    fleet.stop_workers()


class Judge(Protocol):
    def __call__(self, fault: str, what: str, *jobs: int, **numbers: float) -> Record: ...


@pytest.fixture
def judge(fleet: Fleet) -> Judge:
    """Check that jobs ended as if no fault had occurred, and record the fault for the table."""

    def judge(fault: str, what: str, *jobs: int, **numbers: float) -> Record:
        record = Record(fault, what, fleet.database, 0, 0, 0, numbers)
        records.append(record)
        for found in map(fleet.judge, jobs):
            record.add(found)
            assert (found.lost, found.duplicated, found.sha256) == (0, 0, fleet.calm)
        return record

    return judge
