"""The deletion of ended jobs.

A job with few parts is deleted in one transaction. One with more is hidden by the first transaction: nothing finds it
any more, and its idempotency key is free. The next ones delete its parts, CHUNK at a time, so that none of them holds
locks or a write-ahead log for minutes. The last one deletes its row. If the process is killed in between, the row stays
hidden, and a later deletion of the job, a prune or maintenance goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, select, update

from charrnn.errors import InputError
from charrnn.jobs.job.specs import TrainSpec
from charrnn.jobs.job.states import ENDED_JOBS
from charrnn.jobs.job.views import Job
from charrnn.jobs.store.database import NOW, upsert
from charrnn.jobs.store.lifecycle import lock_job, to_job
from charrnn.jobs.store.tables import engines, jobs, metrics, parts, previews, reports, rounds, versions

# Parts that a transaction deletes: 0.05 s, after which a claim in SQLite, which has one writer, gets its turn within
# 0.3 s. With 2,000, the deletion takes its next turn so soon that others wait for 0.5 s.
CHUNK = 10_000
PAGE = 1000  # jobs that a transaction lists

DELETED = "deleted"  # the row of `rounds` with the time at which the last job was deleted


@dataclass(frozen=True)
class Deletion:
    """A deletion that has begun.

    Attributes:
        job: the job as it was.
        ended: whether nothing of it is left in the database.
        goes_on: whether it had begun before.
    """

    job: Job
    ended: bool
    goes_on: bool


def begin_deletion(connection: Connection, job_id: int) -> Deletion:
    """Delete an ended job with few parts, or hide one with many.

    Raises:
        InputError: the job has not ended, or it made a version that exists or that another job has fine-tuned.
        NotFoundError: there is no such job.
    """
    row = lock_job(connection, job_id, deleting=True)
    if row.state not in ENDED_JOBS:
        raise InputError(f"Job {job_id} is {row.state}. Cancel it first: charrnn-jobs cancel {job_id}")
    trained = row.kind == TrainSpec.QUEUE and row.version is not None
    if trained and (reason := _reason_to_keep(connection, row)):
        raise InputError(f"Job {job_id} cannot be deleted: {reason}")
    few = row.parts_total <= CHUNK
    if few:
        connection.execute(delete(parts).where(parts.c.job == job_id))
        end_deletion(connection, job_id)
    else:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(deleting=True, key=None))
    return Deletion(to_job(row), few, row.deleting)


def _reason_to_keep(connection: Connection, row: Row[Any]) -> str | None:
    """Return why a training job that made a version cannot be deleted, or None if no version came from it any more."""
    name = f"{row.model}@{row.version}"
    own = (versions.c.model == row.model) & (versions.c.version == row.version)
    if connection.execute(select(versions.c.job).where(own)).first() is not None:
        return (
            f"it records on which text {name} was trained. Delete the version first: charrnn-jobs models delete {name}"
        )
    made = (jobs.c.kind == TrainSpec.QUEUE) & jobs.c.version.is_not(None) & (jobs.c.id != row.id)
    for job, spec in connection.execute(select(jobs.c.id, jobs.c.spec).where(made).order_by(jobs.c.id)):
        if not isinstance(spec, dict):
            return f"job {job}, which cannot be read, may have fine-tuned {name}. Delete that one first"
        if spec.get("start") == name:
            return f"job {job} has fine-tuned {name}. Delete that one first"
    return None


def delete_parts(connection: Connection, job_id: int, first_row: int) -> tuple[int, int | None]:
    """Delete the next CHUNK parts of a hidden job.

    Args:
        first_row: where to go on: a search from the beginning would pass over all that was deleted since.

    Returns:
        The number of deleted parts, and where the next ones begin; None if there are none.
    """
    left = (parts.c.job == job_id) & (parts.c.first_row >= first_row)
    nth = select(parts.c.first_row).where(left).order_by(parts.c.first_row).offset(CHUNK).limit(1)
    end = connection.execute(nth).scalar_one_or_none()
    chosen = left if end is None else left & (parts.c.first_row < end)
    return connection.execute(delete(parts).where(chosen)).rowcount, end


def end_deletion(connection: Connection, job_id: int) -> None:
    """Delete the row of a job whose parts are deleted. It is not an error if it is gone."""
    for table in (previews, metrics, reports, engines):
        connection.execute(delete(table).where(table.c.job == job_id))
    connection.execute(update(jobs).where(jobs.c.after == job_id).values(after=None))
    connection.execute(delete(jobs).where(jobs.c.id == job_id))
    upsert(connection, rounds, name=DELETED, at=NOW)


def prunable(
    connection: Connection, older_than_ms: int | None, *, job_id: int | None = None, after: int = 0
) -> Sequence[int]:
    """Return the ids of PAGE jobs that ended more than `older_than_ms` ago and can be deleted, or whose deletion was
    broken off, in rising order.

    Args:
        older_than_ms: None for the second kind alone.
        job_id: consider only this job.
        after: consider only higher ids, for the next page.
    """
    has_version = (jobs.c.kind == TrainSpec.QUEUE) & jobs.c.version.is_not(None)
    chosen: ColumnElement[bool] = jobs.c.deleting.is_(True)
    if older_than_ms is not None:
        chosen |= jobs.c.state.in_(ENDED_JOBS) & (jobs.c.finished_at < NOW - older_than_ms) & ~has_version
    if job_id is not None:
        chosen &= jobs.c.id == job_id
    query = select(jobs.c.id).where(chosen, jobs.c.id > after).order_by(jobs.c.id).limit(PAGE)
    return connection.execute(query).scalars().all()
