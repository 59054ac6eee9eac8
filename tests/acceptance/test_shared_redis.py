"""Two stores in one Redis, each with a prefix of its own: workers, notifications and `doctor` know only their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import pytest
import redis

from charrnn.jobs.settings import Settings
from tests.fixtures.processes import LIGHT, Home, make_home, until


@pytest.fixture
def stores(broker_home: Path) -> Iterator[tuple[Home, Home]]:
    """The homes of two stores, whose maintenance would resend no notification that the other one took."""
    settings = Settings(home=broker_home)
    with closing(redis.Redis(unix_socket_path=str(settings.broker_socket))) as broker:
        broker.flushall()
    common = {"CHARRNN_REDIS_URL": settings.broker_url, "CHARRNN_MAINTAIN_S": "3600", **LIGHT}
    for first in make_home(**common, CHARRNN_REDIS_PREFIX="team-a"):
        for second in make_home(**common, CHARRNN_REDIS_PREFIX="team-b"):
            yield first, second


@contextmanager
def worker(home: Home) -> Iterator[None]:
    with home.start("worker", "--devices", "cpu") as process:
        try:
            until(home.workers, "the worker")
            yield
        finally:
            process.terminate()
            process.communicate(timeout=60)


def notifications(home: Home) -> str:
    return next(str(check["detail"]) for check in home.json("doctor") if check["name"] == "broker")


def test_two_stores_in_one_redis_know_only_their_own(
    stores: tuple[Home, Home], untrained: str, broker_home: Path
) -> None:
    first, second = stores
    for home in stores:
        home.ok("models", "import", untrained)
    submit = ("submit", "-m", "tiny", "-l", "1", "-n", "3", "--part-rows", "1")
    waits = first.ok(*submit).strip()
    with worker(second):
        job = second.ok(*submit).strip()
        second.ok("wait", job, "--timeout", "100s")
        # Catches: a worker that takes the notifications of another store, which nobody would send again
        assert "3 notifications" in notifications(first)
        assert "0 notifications" in notifications(second)
        assert first.json("status", waits)["state"] == "queued"
        with worker(first):
            first.ok("wait", waits, "--timeout", "100s")
            assert [len(home.workers()) for home in stores] == [1, 1]
    with closing(redis.Redis(unix_socket_path=str(Settings(home=broker_home).broker_socket))) as broker:
        prefixes = {key.split(b":")[0] for key in cast("list[bytes]", broker.keys())}
    assert prefixes == {b"team-a", b"team-b"}  # Catches: a key of Celery's that both would share
