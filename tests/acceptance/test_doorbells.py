"""Few notifications for many parts: no worker is idle while a part waits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest
import redis

from charrnn.jobs.settings import Settings
from tests.fixtures.keys import KEY_PREFIX
from tests.fixtures.processes import LIGHT, Home, make_home, until

DEADLY = 30  # number of the part whose first worker dies before it passes the notification on


def _two_workers(home: Home) -> bool:
    return len(home.workers()) == 2


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, untrained: str) -> Iterator[Home]:
    """Two workers, without maintenance that would send them notifications."""
    died = tmp_path_factory.mktemp("crash") / "died"
    crash = f"claimed/{DEADLY}:kill:{died}"
    for home in make_home(CHARRNN_MAINTAIN_S="3600", CHARRNN_HEARTBEAT_S="0.5", CHARRNN_CRASH_AT=crash, **LIGHT):
        with home.up():
            home.ok("models", "import", untrained)
            with home.start("worker", "--devices", "cpu") as second:
                until(partial(_two_workers, home), "a second worker")
                yield home
                second.terminate()
                second.communicate(timeout=60)


def submit(home: Home, parts: int) -> str:
    """Submit a job and remove all of its notifications except one."""
    job = home.ok("submit", "-m", "tiny", "-l", "1", "-n", str(parts), "--part-rows", "1").strip()
    with closing(redis.Redis(unix_socket_path=str(Settings(home=home.path).broker_socket))) as broker:
        broker.ltrim(f"{KEY_PREFIX}generate", 0, 0)
    return job


def part(home: Home, job: str, number: int) -> tuple[int, str]:
    """Return the token and state of a part."""
    with closing(sqlite3.connect(home.path / "store.sqlite")) as store:
        query = "select token, state from parts where job = ? and number = ?"
        token, state = store.execute(query, (job, number)).fetchone()
    return token, state


def test_one_doorbell_is_enough_for_all_parts(pair: Home) -> None:
    # Catches: no _ring_on in tasks
    job = submit(pair, parts=DEADLY)
    pair.ok("wait", job, "--timeout", "100s")
    assert part(pair, job, DEADLY - 1) == (1, "done")


def test_the_replacement_of_a_child_that_died_with_the_last_doorbell_rings(pair: Home) -> None:
    # Catches: no ring_missing in take_over
    job = submit(pair, parts=DEADLY + 20)
    pair.ok("wait", job, "--timeout", "100s")
    assert part(pair, job, DEADLY) == (2, "done")
