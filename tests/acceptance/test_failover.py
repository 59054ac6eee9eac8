"""A standby of the database takes the place of its primary while a job runs."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.fixtures.postgres import running_server, running_standby, url_of_both
from tests.fixtures.processes import Home, until

# 12 parts, of which some are in work, some done and some waiting when the primary is lost
ROWS = ("-m", "tiny", "--seeds", "-", "-n", "400", "-l", "400", "--rng-seed", "3", "--part-rows", "500")
SEEDS = "the old sailor\na small lamp \nevery child\n" * 5


@pytest.mark.slow(
    "test_an_acknowledged_submit_is_on_the_synchronous_standby", "test_workers_outlive_a_store_that_is_away"
)
def test_a_job_survives_the_loss_of_the_primary(home: Home, untrained: str) -> None:
    with running_server() as primary, running_standby(primary) as standby:
        primary.replicate_synchronously()
        url = url_of_both(primary, standby)
        home.settings = {"CHARRNN_HEARTBEAT_S": "0.2", "CHARRNN_MAINTAIN_S": "1", "CHARRNN_STORE_URL": url}
        with home.up():
            home.ok("models", "import", untrained)
            calm = home.ok("submit", *ROWS, "--wait", stdin=SEEDS).strip()
            job = home.ok("submit", *ROWS, stdin=SEEDS).strip()
            waiting = home.ok("submit", *ROWS, "--key", "k", stdin=SEEDS).strip()
            until(
                lambda: states(url, job).count("done") >= 2 and "leased" in states(url, job), "parts done and in work"
            )
            done = states(url, job).count("done")
            primary.crash()
            until(lambda: "does not answer" in home.log(), "the worker to find out")
            standby.promote()
            # Catches: connections that stay with the lost server; a worker that drops its part at the first error
            assert states(url, job).count("done") >= done  # what was committed is there
            assert home.ok("submit", *ROWS, "--key", "k", stdin=SEEDS).strip() == waiting
            for each in (job, waiting):
                home.ok("wait", each, "--timeout", "110s")
                assert home.ok("results", each) == home.ok("results", calm)


def states(url: str, job: str) -> list[str]:
    """Return the states of a job's parts."""
    with psycopg.connect(url, row_factory=dict_row) as store:
        rows: list[dict[str, Any]] = store.execute("select state from parts where job = %s", [job]).fetchall()
    return [row["state"] for row in rows]
