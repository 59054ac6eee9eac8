"""Schedules of a client whose clock stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from charrnn.jobs.client import Client
from charrnn.jobs.cron import Cron
from charrnn.jobs.leases import Leases
from charrnn.jobs.requests import GenerateRequest, Request, TrainRequest
from charrnn.jobs.schedules import Schedule
from charrnn.jobs.scheduling import Schedules
from charrnn.jobs.states import JobState
from charrnn.jobs.tables import jobs
from charrnn.options import NetworkOptions, SamplingOptions, TrainingOptions

MINUTE_MS = 60_000
NIGHT = "0 3 * * *"


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


@dataclass
class Nights:
    """Schedules of a client whose clock stands still until it is moved."""

    client: Client
    now: int = ms("2026-01-01")

    def __post_init__(self) -> None:
        self.schedules = Schedules(self.client, lambda: self.now)
        self.leases = Leases(self.client.store, 30)

    def at(self, time: str | int) -> list[dict[str, Any]]:
        """Set the clock and let the schedules look at it -> all slots of "nightly", the oldest first."""
        self.now = time if isinstance(time, int) else ms(time)
        self.schedules.tick()
        return self.slots()

    def slots(self) -> list[dict[str, Any]]:
        return self.schedules.show("nightly")["slots"][::-1]

    def states(self) -> list[str]:
        return [slot["state"] for slot in self.slots()]

    def end_jobs(self, state: JobState = JobState.DONE) -> None:
        """As workers do, but for the work."""
        with self.client.store.write() as connection:
            connection.execute(update(jobs).values(state=state, parts_left=0))


@pytest.fixture
def nights(client: Client) -> Nights:
    return Nights(client)


@pytest.fixture
def sample(model: str) -> Request:
    return GenerateRequest(model=model, sampling=SamplingOptions(), rng_seed=None)


@pytest.fixture
def train(text_file: Path) -> Request:
    return TrainRequest(
        model="poems", paths=(str(text_file),), network=NetworkOptions(), training=TrainingOptions(), rng_seed=None
    )


Add = Callable[..., None]


@pytest.fixture
def add(nights: Nights, sample: Request) -> Add:
    """Add the schedule "nightly", which samples."""

    def add(cron: str = NIGHT, timezone: str = "UTC", request: Request = sample, **rules: Any) -> None:
        nights.schedules.add(Schedule(name="nightly", cron=Cron(cron, timezone), request=request, **rules))

    return add
