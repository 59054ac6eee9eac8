"""Statements that workers, maintenance and people repeat read a few rows, however many jobs and parts the store keeps.

The plans are checked and not the times, which depend on the machine: bench/fleet.py measures these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from charrnn.jobs.client import Client
from charrnn.jobs.job.part import Part, PartProgress
from charrnn.jobs.job.states import PartState
from charrnn.jobs.queue import BELLS
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.opening import ALONE, HOW
from charrnn.jobs.store.scheduled.duties import MAINTAIN, claim_round, look
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.turns import forget_idle
from tests.fixtures.history import History, add_history
from tests.fixtures.plans import compiled, plans, statements
from tests.fixtures.store import NO_FILE, PART_ROWS, AddJob, each_database, life, sampled

pytestmark = each_database

SIZE = History(ended=300, parts=100, unended=2000, waiting=5, people=50, leased=300, workers=300)

SMALL = (
    "parts_queued|parts_leased|parts_lost|jobs_by_turn|jobs_deleting"  # of what has not ended: they may be read whole
)
BOUNDED = re.compile("SEARCH|Index Cond|Bitmap Heap Scan")  # the latter reads what the index scan below it found


def unbounded(plan: str) -> Iterator[str]:
    """Yield the lines of a plan that read all rows of a table, themselves or through an index that has all of them."""
    lines = plan.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        found = re.search(r"\bSCAN (parts|jobs)|(Scan.*) on (parts|jobs)", line)
        if found and not re.search(SMALL, line) and not BOUNDED.search(line) and not BOUNDED.search(following):
            yield line.strip()


def taken(leases: Leases) -> Part:
    part = leases.claim("generate", "owner", "cpu")
    assert part is not None
    return part


@pytest.fixture
def leases(store: Store, add_job: AddJob) -> Leases:
    add_history(store, add_job(gpu_rows=9 * PART_ROWS), SIZE)
    return Leases(store, lease_s=30)


def repeated(client: Client, store: Store, leases: Leases) -> dict[str, Callable[[], object]]:
    """Return what is repeated while jobs wait and run, by name."""
    first, second, third, fourth, fifth = (taken(leases) for _ in range(5))
    waits = store.jobs(1)[0].id
    lists: list[dict[str, Any]] = [
        {"state": "failed"},
        {"kind": "train"},
        {"model": "other"},
        {"label": "a"},
        {"submitted_by": "ada"},
        {"schedule": "nightly"},
    ]
    return {
        "claim": lambda: taken(leases),
        "claim of a GPU": lambda: leases.claim("generate", "owner", "gpu"),
        "claim from an empty queue": lambda: leases.claim("train", "owner", "cpu"),
        "look whether a part waits": lambda: leases.waits("generate"),
        "heartbeat of a part": lambda: leases.heartbeat(first, PartProgress(), life("owner")),
        "complete": lambda: leases.complete_rows(second, NO_FILE, sampled(second), "cpu"),
        "look whether it was completed": lambda: leases.committed(second),
        "release": lambda: leases.release(third),
        "fail": lambda: leases.fail(fourth, "an accident"),
        "fail for good": lambda: leases.fail(fifth, "an accident", permanent=True),
        "sign of life": lambda: store.record_heartbeat(life("owner")),
        "requeue": lambda: leases.requeue("nobody"),
        "expire": leases.expire,
        "forget who has no job": lambda: forget_idle(store),
        "count what waits": lambda: leases.waiting(BELLS),
        "look for what is due": lambda: look(store, 10_000),
        "round of maintenance": lambda: claim_round(store, MAINTAIN, 10_000),
        "silent workers": lambda: store.forget_silent_workers(600_000),
        "schedules": client.schedules.tick,
        "live workers": client.workers,
        "status of a job that waits": lambda: client.status(waits),
        "status of a job in work": lambda: client.status(first.job),
        "unfinished": lambda: store.unfinished([waits]),
        "parts of a job": lambda: store.parts(waits, first=2000),
        "parts in work": lambda: store.parts(waits, PartState.LEASED),
        **{f"list by {' '.join(filters)}": partial(store.jobs, 20, **filters) for filters in lists},
        "list page": lambda: store.jobs(20, before=100),
    }


def test_repeated_statements_read_a_few_rows(client: Client, store: Store, leases: Leases) -> None:
    found = {
        name: [line for plan in plans(store, action) for line in unbounded(plan)]
        for name, action in repeated(client, store, leases).items()
    }
    # Catches: an index that is gone, or a condition on parts that has a parameter and therefore fits no partial index
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_repeated_statements_are_compiled_once(client: Client, store: Store, leases: Leases) -> None:
    for action in repeated(client, store, leases).values():
        action()
    found = {name: compiled(store, action) for name, action in repeated(client, store, leases).items()}
    # Catches: a clock that is no function for SQLAlchemy, which then compiles each claim, heartbeat and look anew: 1 ms
    # of 4 for each statement
    assert {name: texts for name, texts in found.items() if texts} == {}


def test_the_plan_of_the_next_job_is_not_kept_from_an_empty_store(store: Store, add_job: AddJob) -> None:
    if store.engine.dialect.name == "sqlite":
        pytest.skip("SQLite keeps no plans")
    add_job(parts=40)
    with store.engine.execution_options(**{HOW: ALONE}).connect() as connection:
        connection.exec_driver_sql("vacuum analyze")
    leases = Leases(store, lease_s=30)
    for _ in range(20):
        taken(leases)
    with store.read() as connection:
        kept = connection.exec_driver_sql("select statement from pg_prepared_statements where generic_plans > 0")
        statements_kept = kept.scalars().all()
    assert [text for text in statements_kept if text.startswith("UPDATE parts")]
    # Catches: a search that reads all 100,000 parts of the next submit for each job, until statistics are renewed
    assert not [text for text in statements_kept if "FROM submitters JOIN jobs" in text]


def test_the_newest_jobs_are_read_from_the_end(store: Store, leases: Leases) -> None:
    (plan,) = plans(store, lambda: store.jobs(20))
    assert "Seq Scan" not in plan  # Catches: a sort of all jobs
    assert "TEMP B-TREE" not in plan


def test_the_status_of_a_job_is_one_transaction(client: Client, store: Store, leases: Leases) -> None:
    waits, in_work = store.jobs(1)[0].id, taken(leases).job
    for job in (waits, in_work):
        begun = statements(client.connections.store, partial(client.status, job)).count("BEGIN")
        assert begun == 1  # Catches: a status of several states of a job, and a transaction for each of its queries
