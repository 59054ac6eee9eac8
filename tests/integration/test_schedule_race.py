"""Three processes run the same schedules and are killed at any moment: each slot becomes one job."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select, update

from charrnn.jobs.client import Client
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.requests import GenerateRequest
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.job.states import JobState, SlotState
from charrnn.jobs.schedules import Schedules
from charrnn.jobs.sources import PREFIX
from charrnn.jobs.store.tables import jobs, slots
from charrnn.options import SamplingOptions
from tests.fixtures.processes import until

# On SQLite, one writer at a time, there is less to go wrong.
sqlite = pytest.param("sqlite", marks=pytest.mark.slow("test_each_slot_becomes_exactly_one_job"))
pytestmark = pytest.mark.parametrize("store_url", [sqlite, "postgresql"], indirect=True)

PROCESSES, SCHEDULES, HOURS = 3, 20, 4
HOUR_MS, LOOK_MS = 3_600_000, 5_000  # the clock advances by LOOK_MS per poll: a dead process is soon noticed
KILLED = 0.1  # share of polls with a kill, of a process that has worked


class Tickers:
    """Processes that are killed and started again."""

    def __init__(self, client: Client, clock: Path) -> None:
        settings = {
            f"{PREFIX}HOME": str(client.connections.settings.home),
            f"{PREFIX}STORE_URL": client.connections.settings.store_url,
            f"{PREFIX}REDIS_URL": client.connections.settings.redis_url,
            f"{PREFIX}FILES_URL": client.connections.settings.files_url,
        }
        self.environment = {**os.environ, **settings}
        self.clock = clock
        self.running = [self._start() for _ in range(PROCESSES)]
        self.chance = random.Random(1)
        self.kills = 0

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.programs.ticker", str(self.clock)],
            env=self.environment,
            cwd=Path(__file__).parents[2],
        )

    def perhaps_kill(self) -> None:
        assert all(process.poll() is None for process in self.running)
        oldest = self.running[0]
        if self.chance.random() < KILLED and self.clock.with_name(f"ticked-{oldest.pid}").exists():
            process = self.running.pop(0)  # else no process would come to work where a start takes seconds
            process.kill()
            process.wait()
            self.running.append(self._start())
            self.kills += 1

    def end(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    path = tmp_path / "clock"
    path.write_text("0")
    return path


@pytest.fixture
def tickers(client: Client, clock: Path) -> Iterator[Tickers]:
    tickers = Tickers(client, clock)
    yield tickers
    tickers.end()


def set_clock(path: Path, ms: int) -> None:
    """Set the clock atomically: half a number would be another time."""
    written = path.with_suffix(".new")
    written.write_text(str(ms))
    written.replace(path)


def test_each_slot_becomes_exactly_one_job(client: Client, model: str, tickers: Tickers, clock: Path) -> None:
    # Catches: a job that is stored without its slot
    request = GenerateRequest(model=model, sampling=SamplingOptions(), rng_seed=None)
    schedules = Schedules(client.connections, lambda: 0)
    for number in range(SCHEDULES):
        schedules.add(Schedule(name=f"every-hour-{number}", cron=Cron("0 * * * *"), request=request))
    for hour in range(1, HOURS + 1):
        until(partial(all_submitted, client, tickers, clock, hour), f"the slots of hour {hour}")
        with client.connections.store.write() as connection:
            connection.execute(update(jobs).values(state=JobState.DONE, parts_left=0))
    with client.connections.store.read() as connection:
        found = connection.execute(select(slots)).all()
        stored = set(connection.execute(select(jobs.c.id).where(jobs.c.kind == "generate")).scalars())
    assert {(slot.schedule, slot.at) for slot in found} == {
        (f"every-hour-{number}", hour * HOUR_MS) for number in range(SCHEDULES) for hour in range(1, HOURS + 1)
    }
    assert {slot.state for slot in found} == {SlotState.SUBMITTED}
    assert len({slot.job for slot in found}) == len(stored) == SCHEDULES * HOURS


def all_submitted(client: Client, tickers: Tickers, clock: Path, hour: int) -> bool:
    """Return whether all slots of the hour are submitted, and a process was killed for each hour. Each call advances
    the clock, within the hour."""
    set_clock(clock, max(hour * HOUR_MS, int(clock.read_text()) + LOOK_MS))
    tickers.perhaps_kill()
    with client.connections.store.read() as connection:
        mine = select(slots.c.state).where(slots.c.at == hour * HOUR_MS, slots.c.state == SlotState.SUBMITTED)
        return len(connection.execute(mine).all()) == SCHEDULES and tickers.kills >= hour
