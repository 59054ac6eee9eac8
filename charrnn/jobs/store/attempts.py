"""The end of an attempt at a part that did not complete it: the part is queued again, split, failed or cancelled.

Each function runs in the caller's transaction, in which the job is locked already.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update

from charrnn.jobs.job.part import Part
from charrnn.jobs.job.sizing import split
from charrnn.jobs.job.states import MAX_ATTEMPTS, MAX_SPLITS, PartState
from charrnn.jobs.store.events import UNKNOWN, record_attempt
from charrnn.jobs.store.lifecycle import end_parts, lock_job
from charrnn.jobs.store.tables import jobs, parts


def end_leases(
    connection: Connection, job_id: int, condition: ColumnElement[bool], reason: str, recorded: str
) -> list[PartState]:
    """End the leases of a job's parts that meet the condition. Return their states.

    The job is locked first: some may have ended by then.

    Args:
        recorded: the reason in the events.
    """
    cancelled = lock_job(connection, job_id).cancel_requested
    query = select(parts).where(parts.c.job == job_id, condition).order_by(parts.c.id).with_for_update()
    taken = connection.execute(query).all()
    return [end_attempt(connection, part, cancelled, reason, recorded=recorded) for part in taken]


def end_attempt(
    connection: Connection,
    part: Row[Any],
    cancelled: bool,
    reason: str,
    *,
    permanent: bool = False,
    of_a_row: bool = False,
    recorded: str | None = None,
) -> PartState:
    """End a failed attempt at a locked part. Return the part's new state.

    After MAX_ATTEMPTS the part is split, and fails if it cannot be. After a permanent failure, which any other attempt
    would repeat, it fails at once, or is split at once if only some row is to blame.
    """
    record_attempt(connection, part.owner or UNKNOWN, part.job, part.number, recorded or reason)
    spent = permanent or part.attempts >= MAX_ATTEMPTS  # since the last checkpoint, not at the claim
    whole = permanent and not of_a_row
    failed = spent and not cancelled and (whole or not _split(connection, part))
    return end_lease(connection, part, cancelled, failed=failed, error=reason)


def _split(connection: Connection, part: Row[Any]) -> bool:
    """Split a part, so that a row which fails every attempt fails alone in the end. Return False if it cannot be.

    Each piece gets one attempt. The new ones come last, when the other parts of the job are done.
    """
    pieces = split(part.first_row, part.rows)
    if len(pieces) < 2:
        return False
    own = {name: part._mapping[name] for name in ("job", "spec_version", "frame_offset", "frame_row")}
    added = len(pieces) - 1
    counts = {"splits": jobs.c.splits + 1, "parts_total": jobs.c.parts_total + added}
    counts["parts_left"] = jobs.c.parts_left + added
    allowed = update(jobs).where(jobs.c.id == part.job, jobs.c.splits < MAX_SPLITS)
    total = connection.execute(allowed.values(counts).returning(jobs.c.parts_total)).scalar_one_or_none()
    if total is None:
        return False
    last = {"attempts": MAX_ATTEMPTS - 1}
    connection.execute(update(parts).where(parts.c.id == part.id).values(rows=pieces[0][1], **last))
    for number, (first, rows) in enumerate(pieces[1:], total - added):
        connection.execute(insert(parts).values(number=number, first_row=first, rows=rows, **own, **last))
    return True


def end_lease(
    connection: Connection, part: Part | Row[Any], cancelled: bool, *, failed: bool, **values: Any
) -> PartState:
    """Take a locked part from its owner, who did not complete it. Return its new state, which is stored with `values`.

    The part is cancelled if its job was, fails if this was the last attempt, and otherwise goes back to the queue.
    """
    state = PartState.CANCELLED if cancelled else PartState.FAILED if failed else PartState.QUEUED
    connection.execute(update(parts).where(parts.c.id == part.id).values(state=state, lease_until=None, **values))
    if state == PartState.CANCELLED:
        end_parts(connection, part.job, 1)
    elif state == PartState.FAILED:
        end_parts(connection, part.job, 1, rows_failed=part.rows)
        connection.execute(update(jobs).where(jobs.c.id == part.job).values(error=values["error"]))
    return state
