"""Attempts at parts: what is joined for one, and what becomes of a part that an attempt did not complete.

Parts are sized for the slowest kind of device, 20 seconds of a CPU. A GPU would do one in 0.1 s and spend as long on
claiming it and writing its file, so it claims adjoining parts and does them as one. A part that was not completed is
cut again, queued, split, failed or cancelled.

Each function runs in the caller's transaction, in which the job is locked already, or the part just leased.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from charrnn.jobs.job.part import Part
from charrnn.jobs.job.sizing import split
from charrnn.jobs.job.states import MAX_ATTEMPTS, MAX_SPLITS, PartState
from charrnn.jobs.store.events import UNKNOWN, record_attempt
from charrnn.jobs.store.lifecycle import end_parts, lock_job
from charrnn.jobs.store.tables import QUEUED, jobs, parts


def join(connection: Connection, part: Part, most: int) -> Part:
    """Join a part that was just leased with those behind it that nobody has claimed yet.

    Their rows are deleted, which can lose no lease and no file, since they never had one: only the first part can be
    committed. They come back with their numbers if the attempt does not complete them (`_cut`). A part that has failed
    before is not joined, so that what fails is found.

    Args:
        most: rows to have in the end.

    Returns:
        The part with the rows of all.
    """
    behind = parts.c.number.between(part.number + 1, part.number + most // max(part.rows, 1))
    waiting = select(parts).where(parts.c.job == part.job, QUEUED, behind).order_by(parts.c.number)
    rows, span = part.rows, 1
    for row in connection.execute(waiting.with_for_update(skip_locked=True)) if part.attempt == 1 else ():
        next_one = (row.number, row.first_row) == (part.number + span, part.first_row + rows)
        unclaimed = row.token == row.attempts == 0
        if not (next_one and unclaimed and rows == span * part.rows >= span * row.rows and rows + row.rows <= most):
            break
        rows, span = rows + row.rows, span + 1
    if span > 1:
        last = part.first_row + rows
        joined = (parts.c.first_row > part.first_row) & (parts.c.first_row < last)
        connection.execute(delete(parts).where(parts.c.job == part.job, joined))
        connection.execute(update(parts).where(parts.c.id == part.id).values(rows=rows, span=span))
    return replace(part, rows=rows, span=span)


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
    failed = spent and not cancelled and (whole or not (part.span > 1 or _split(connection, part)))
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


def _cut(connection: Connection, part: Row[Any], ended: dict[str, Any]) -> None:
    """Cut a part that `join` made into parts of one size, with their numbers of before.

    Args:
        ended: the values of their columns that the end of the lease sets.
    """
    # The rows that `join` deleted said where in the seeds file their seeds begin. Reading from the first one's place
    # takes a part 0.1 s, and only after a failure.
    own = {name: part._mapping[name] for name in ("job", "spec_version", "frame_offset", "frame_row", "attempts")}
    size, end = -(-part.rows // part.span), part.first_row + part.rows
    for number, first in enumerate(range(part.first_row + size, end, size), part.number + 1):
        place = {"number": number, "first_row": first, "rows": min(size, end - first)}
        connection.execute(insert(parts).values(own | place | ended))
    connection.execute(update(parts).where(parts.c.id == part.id).values(rows=size, span=1))


def end_lease(connection: Connection, part: Row[Any], cancelled: bool, *, failed: bool, **values: Any) -> PartState:
    """Take a locked part from its owner, who did not complete it. Return its new state, which is stored with `values`.

    The part is cancelled if its job was, fails if this was the last attempt, and otherwise goes back to the queue.
    """
    state = PartState.CANCELLED if cancelled else PartState.FAILED if failed else PartState.QUEUED
    ended = {"state": state, "lease_until": None, **values}
    connection.execute(update(parts).where(parts.c.id == part.id).values(ended))
    if part.span > 1:
        _cut(connection, part, ended)
    if state == PartState.CANCELLED:
        end_parts(connection, part.job, part.span)
    elif state == PartState.FAILED:
        end_parts(connection, part.job, part.span, rows_failed=part.rows)
        connection.execute(update(jobs).where(jobs.c.id == part.job).values(error=values["error"]))
    return state
