"""A home for the fuzz targets, the time for each, and the number of inputs that each has tried."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.jobs.settings import Settings
from producer.broker import local_broker
from tests.fixtures.model import make_text
from tests.fixtures.processes import Home, make_home
from tests.fuzz.exploration import Exploration

SMOKE_MINUTES = 0.05  # without --minutes: shows that a target works
TRIED = "inputs tried"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each target more time than it uses: making a failing input small takes minutes.

    The method leaves the alarm to `limited_time`.
    """
    for item in items:
        item.add_marker(pytest.mark.timeout(60 * _minutes(config) + 600, method="thread"))


def _minutes(config: pytest.Config) -> float:
    found: float | None = config.getoption("--minutes")
    return SMOKE_MINUTES if found is None else found


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties:
            if name == TRIED and report.when == "call":
                terminalreporter.write_line(f"{value:>10,} {TRIED}: {report.nodeid}")


@pytest.fixture
def exploration(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Exploration:
    return Exploration(60 * _minutes(request.config), lambda tried: record_property(TRIED, tried))


@pytest.fixture(scope="module")
def fuzz_home(untrained: str) -> Iterator[Home]:
    """A home with a broker and an untrained model `tiny`, in which no worker runs."""
    for home in make_home(COLUMNS="200"):
        with local_broker(Settings(home=home.path)):
            home.ok("models", "import", untrained)
            yield home


@pytest.fixture(scope="module")
def text() -> bytes:
    """Text that the model `tiny` knows."""
    return make_text(40).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, in which the process works, so that no relative path leads out of it."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)
