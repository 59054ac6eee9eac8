"""A queue as a person sees it: the jobs that wait for their turns, and the workers that serve it.

Each function reads a limited number of jobs and parts, however many there are: `wait` calls them twice a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Text, bindparam, cast, func, select

from charrnn.jobs.job.report import readable_self_check
from charrnn.jobs.job.views import Job, WorkerInfo
from charrnn.jobs.store.database import NOW, count_rows, limited
from charrnn.jobs.store.tables import LEASED, claimable, jobs, parts, workers
from charrnn.jobs.store.turns import ANYBODY, BY_SUBMITTER, BY_TURN, NEEDED, OTHER_JOBS, Submitter, waiting_submitters

MOST_JOBS = 100  # jobs to read that are ahead of another one: 1,000 take PostgreSQL 4 ms
MOST_USERS = 20  # other submitters to count: 100 take PostgreSQL 0.7 ms


@dataclass(frozen=True)
class Ahead:
    """Parts that workers get before the next part of a job, among the first MOST_JOBS jobs.

    Attributes:
        parts: their number by job, for the first jobs: one part of each job of the same submitter whose turn comes
            first, and all parts of jobs with a higher priority.
        more: number of further such jobs.
        others: number of other submitters of the same priority, whose jobs take turns with these, up to MOST_USERS.
    """

    parts: dict[int, int]
    more: int
    others: int


def parts_ahead(connection: Connection, job: Job, shown: int) -> Ahead:
    """Return what workers get before the next part of a job.

    Args:
        shown: number of jobs whose parts are counted.
    """
    submitter = Submitter(job.kind, job.priority, job.submitted_by)
    first = connection.execute(_higher(), submitter.parameters).scalars().all()
    same = connection.execute(_before(), {"own": job.id, **submitter.parameters}).scalars()
    found = [*first, *same][:MOST_JOBS]
    counted = _waiting_parts(connection, first[:shown]) | dict.fromkeys(found[len(first) : shown], 1)
    others = connection.execute(_others(), submitter.parameters).all()
    return Ahead(parts=counted, more=len(found[shown:]), others=len(others))


WAITS = select(jobs.c.id).where(claimable(jobs), NEEDED.is_not(None))


@cache
def _higher() -> Select[int]:
    """Return a query of the jobs that wait with a higher priority than a submitter's, in the order of their turns."""
    higher = WAITS.where(jobs.c.kind == ANYBODY.kind, jobs.c.priority > ANYBODY.priority)
    return limited(higher.order_by(*BY_SUBMITTER), MOST_JOBS)


@cache
def _before() -> Select[int]:
    """Return a query of the jobs of a submitter that wait and whose turn is before that of their job `own`."""
    place = select(OTHER_JOBS.c.turn).where(OTHER_JOBS.c.id == bindparam("own")).scalar_subquery()
    before = WAITS.where(ANYBODY.owns(jobs), jobs.c.turn < place)
    return limited(before.order_by(*BY_TURN), MOST_JOBS)


@cache
def _others() -> Select[str]:
    return limited(waiting_submitters(ANYBODY), MOST_USERS)


def _waiting_parts(connection: Connection, job_ids: Sequence[int]) -> dict[int, int]:
    """Return the number of waiting parts of some jobs, in the order of their turns."""
    if not job_ids:
        return {}
    spans = select(func.coalesce(func.sum(parts.c.span), 0))
    leased = spans.where(parts.c.job == jobs.c.id, LEASED).scalar_subquery()
    query = select(jobs.c.id, jobs.c.parts_left - leased).where(jobs.c.id.in_(job_ids)).order_by(*BY_SUBMITTER)
    return dict(connection.execute(query).all())


def waiting_versions(connection: Connection, job_id: int | None = None) -> dict[tuple[str, int], int]:
    """Return the number of waiting jobs by queue and the spec version that they need: all jobs, or one."""
    own = select(jobs.c.kind, NEEDED.label("version")).where(claimable(jobs))
    each = (own if job_id is None else own.where(jobs.c.id == job_id)).subquery()
    waits = select(each, func.count()).where(each.c.version.is_not(None)).group_by(each.c.kind, each.c.version)
    rows = connection.execute(waits.order_by(each.c.kind, each.c.version))
    return {(queue, version): number for queue, version, number in rows}


def newest_worker(connection: Connection, queue: str, seen_within_ms: int) -> WorkerInfo | None:
    """Return the live pool child that reads the highest spec version of those that serve a queue."""
    newest = select(workers).where(_serves(queue, seen_within_ms))
    newest = newest.order_by(func.coalesce(workers.c.spec_version, 1).desc(), workers.c.owner)
    row = connection.execute(limited(newest, 1)).one_or_none()
    return None if row is None else to_worker(row)


def busy_with(connection: Connection, job: Job, seen_within_ms: int, at_most: int) -> Sequence[int]:
    """Return the first other jobs that the live workers of a job's queue are working on.

    None are returned if a worker may be free: one that has begun a part of this job counts as free.
    """
    serving = select(workers.c.owner).where(_serves(job.kind, seen_within_ms))
    others = select(parts.c.job).where(LEASED, parts.c.owner.in_(serving), parts.c.job != job.id)
    if count_rows(connection, others) < count_rows(connection, serving):
        return []
    return connection.execute(others.distinct().order_by(parts.c.job).limit(at_most)).scalars().all()


def work_of(connection: Connection, owners: Sequence[str]) -> list[tuple[str, int]]:
    """Return what some pool children are working on: an owner and a job for each leased part."""
    query = select(parts.c.owner, parts.c.job).where(LEASED, parts.c.owner.in_(owners)).order_by(parts.c.job)
    return [(owner, job) for owner, job in connection.execute(query)]


def to_worker(row: Row[Any]) -> WorkerInfo:
    """Return the pool child of a row of `workers`."""
    # A release that did not say which spec version it can read could read the first one.
    # Damaged queues count as none until the next heartbeat, which writes them again. So does a damaged self-check.
    self_check = readable_self_check(row.self_check)
    facts = {"queues": _strings(row.queues), "spec_version": row.spec_version or 1, "self_check": self_check}
    return WorkerInfo(**{**row._mapping, **facts})


def _serves(queue: str, seen_within_ms: int) -> ColumnElement[bool]:
    named = cast(workers.c.queues, Text).contains(f'"{queue}"')  # as text: it may be damaged
    now = select(NOW).scalar_subquery()  # read once, and not for each worker
    return (workers.c.seen_at > now - seen_within_ms) & named


def _strings(values: Any) -> tuple[str, ...]:
    return tuple(values) if isinstance(values, list) and all(isinstance(value, str) for value in values) else ()
