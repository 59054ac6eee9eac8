"""The query by which KEDA scales the workers of the chart, as the user whom deploy/README.md creates."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import update

from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.sizing import TURNS
from charrnn.jobs.store import lifecycle
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import jobs
from tests.fixtures.charts import AUTOSCALING, VALUES, Charts, of_kind
from tests.fixtures.pods import README
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.store import AddJob, sampled

OUTPUT = FileRef(name="jobs/1/0-1.jsonl.zst", size=1, sha256="1")
SCALER = "charrnn_scaler"
pytestmark = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)


class Scaler:
    """KEDA: it divides what the query returns by the target, and rounds up."""

    def __init__(self, connection: psycopg.Connection[tuple[float]], trigger: dict[str, str]) -> None:
        self.connection, self.query = connection, trigger["query"]
        self.target = float(trigger["targetQueryValue"])

    def replicas(self) -> int:
        row = self.connection.execute(self.query.encode()).fetchone()
        assert row
        return math.ceil(row[0] / self.target)


@pytest.fixture
def scaler(charts: Charts, store: Store, postgres_url: str, postgres_server: PostgresServer) -> Iterator[Scaler]:
    values = ("--values", VALUES, "--values", AUTOSCALING)
    (scaled,) = of_kind(charts.render(*values), "ScaledObject").values()
    (statements,) = re.findall(r"^```sql\n(create role .*?)```$", README.read_text(), re.MULTILINE | re.DOTALL)
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        try:
            owner.execute(statements.replace("'...'", f"'{postgres_server.password}'").encode())
            url = postgres_url.replace("//charrnn:", f"//{SCALER}:")
            with psycopg.connect(url, autocommit=True) as connection:
                yield Scaler(connection, scaled["spec"]["triggers"][0]["metadata"])
        finally:
            owner.execute(f"drop owned by {SCALER}; drop role {SCALER}".encode())


def test_workers_are_as_many_as_there_is_work_for(
    scaler: Scaler, store: Store, leases: Leases, add_job: AddJob
) -> None:
    assert scaler.replicas() == 0
    job = add_job(parts=2 * TURNS)
    assert scaler.replicas() == 2
    claimed = [leases.claim("generate", str(number), "cpu") for number in range(2 * TURNS)]
    assert scaler.replicas() == 2  # Catches: a count of parts that wait, which takes busy workers away
    for part in claimed[:-1]:
        assert part
        leases.complete_rows(part, OUTPUT, sampled(part), "cpu")
    assert scaler.replicas() == 1
    assert claimed[-1]
    leases.complete_rows(claimed[-1], OUTPUT, sampled(claimed[-1]), "cpu")
    assert store.job(job).ended
    assert scaler.replicas() == 0


def test_each_training_job_has_a_worker_and_those_that_wait_for_it_have_none(
    scaler: Scaler, store: Store, add_job: AddJob
) -> None:
    trainings = [add_job(train=True) for _ in range(3)]
    add_job(awaits=trainings[0])
    assert scaler.replicas() == 3  # Catches: a training job that counts as one of four parts; one that cannot begin
    with store.write() as connection:
        lifecycle.cancel_job(connection, trainings[1])
    assert scaler.replicas() == 2


def test_the_query_reads_jobs_that_have_not_ended_alone(scaler: Scaler, store: Store, add_job: AddJob) -> None:
    # Catches: a condition that the index of claims does not have, so that each question reads all jobs ever kept
    for _ in range(200):
        add_job()
    with store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id > 2).values(state="done", finished_at=1, parts_left=0))
    with psycopg.connect(store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)) as owner:
        owner.execute("analyze jobs")
    plan = scaler.connection.execute(f"explain {scaler.query}".encode()).fetchall()
    assert "jobs_by_turn" in str(plan)


def test_the_scaler_s_user_sees_nothing_else(scaler: Scaler) -> None:
    for statement in ("select spec from jobs", "select * from parts", "update jobs set parts_left = 0"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            scaler.connection.execute(statement.encode())
