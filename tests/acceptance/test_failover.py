"""A standby of the database takes the place of its primary while a job runs."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.fixtures.postgres import running_server, running_standby, url_of_both
from tests.fixtures.processes import Home, until

ROWS = ("-m", "tiny", "--seeds", "-", "-n", "400", "-l", "400", "--rng-seed", "3", "--part-rows", "2000")  # three parts
SEEDS = "the old sailor\na small lamp \nevery child\n" * 5
SETTINGS = {"CHARRNN_HEARTBEAT_S": "0.2", "CHARRNN_MAINTAIN_S": "1", "CHARRNN_LEASE_S": "120"}


@pytest.mark.slow(
    "test_an_acknowledged_submit_is_on_the_synchronous_standby", "test_workers_outlive_a_store_that_is_away"
)
def test_a_job_survives_the_loss_of_the_primary(home: Home, untrained: str) -> None:
    with running_server() as primary, running_standby(primary) as standby:
        primary.replicate_synchronously()
        url = url_of_both(primary, standby)
        home.settings = {**SETTINGS, "CHARRNN_STORE_URL": url}
        with home.up():
            home.ok("models", "import", untrained)
            calm = home.ok("submit", *ROWS, "--wait", stdin=SEEDS).strip()
            job = home.ok("submit", *ROWS, stdin=SEEDS).strip()
            waiting = home.ok("submit", *ROWS, "--key", "k", stdin=SEEDS).strip()
            until(lambda: is_done(url, job) and is_in_work(url, job, waiting), "a part that is done, and one in work")
            primary.crash()
            until(lambda: ": waiting: " in home.log(), "the worker to wait with a finished part")
            standby.promote()
            assert is_done(url, job)
            assert home.ok("submit", *ROWS, "--key", "k", stdin=SEEDS).strip() == waiting
            for each in (job, waiting):
                home.ok("wait", each, "--timeout", "110s")
                assert home.ok("results", each) == home.ok("results", calm)
            # Catches: a worker that drops its part when the database does not answer, which costs another lease
            assert {part["token"] for part in parts(url, job, waiting)} == {1}


def is_done(url: str, job: str) -> bool:
    """Return whether a part of the job is done."""
    return any(part["state"] == "done" for part in parts(url, job))


def is_in_work(url: str, *jobs: str) -> bool:
    """Return whether a part has made progress."""
    return any(part["state"] == "leased" and part["progress"] for part in parts(url, *jobs))


def parts(url: str, *jobs: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as store:
        query = "select state, token, progress from parts where job = any(%s)"
        return store.execute(query, [list(map(int, jobs))]).fetchall()
