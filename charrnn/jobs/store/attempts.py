"""Attempts at parts: what is joined for one, and what becomes of a part that an attempt did not complete.

Parts are sized for the slowest kind of device, 20 seconds of a CPU. For a GPU that is a fraction of a second, and each
part costs about 0.1 s more, so a GPU claims adjoining parts and does them as one. A part that was not completed is cut
again, queued, split, failed or cancelled.

Each function runs in the caller's transaction, in which the job is locked already, or the part just leased.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from charrnn.errors import storable
from charrnn.jobs.job.part import BadRows, Part
from charrnn.jobs.job.sizing import MAX_PARTS, split
from charrnn.jobs.job.states import MAX_ATTEMPTS, MAX_SPLITS, PartState
from charrnn.jobs.store.events import UNKNOWN, record_attempt
from charrnn.jobs.store.lifecycle import end_parts, lock_job
from charrnn.jobs.store.tables import QUEUED, jobs, parts

MOST_PARTS = 2 * MAX_PARTS  # of a job with bad rows; a part of one that has more fails as a whole


def join(connection: Connection, part: Part, most: int) -> Part:
    """Join a part that was just leased with those behind it that nobody has claimed yet.

    Their rows are deleted, which can lose no lease and no file, since they never had one: only the first part can be
    committed. They come back with their numbers if the attempt does not complete them (`_cut`). A part that has failed
    before is not joined, so that what fails is found.

    Args:
        most: maximum number of rows.

    Returns:
        The part with the rows of all.
    """
    further = most // max(part.rows, 1) - 1
    if part.attempt > 1 or further < 1:
        return part
    behind = parts.c.number.between(part.number + 1, part.number + further + 1)  # the last may be a smaller one
    columns = (parts.c.number, parts.c.first_row, parts.c.rows, parts.c.token, parts.c.attempts)
    waiting = select(*columns).where(parts.c.job == part.job, QUEUED, behind).order_by(parts.c.number)
    rows, span = part.rows, 1
    for row in connection.execute(waiting.with_for_update(skip_locked=True)):
        next_one = (row.number, row.first_row) == (part.number + span, part.first_row + rows)
        unclaimed = row.token == row.attempts == 0
        even = rows == span * part.rows and row.rows <= part.rows  # only the last one is smaller
        if not (next_one and unclaimed and even and rows + row.rows <= most):
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
    recorded: str | None = None,
) -> PartState:
    """End a failed attempt at a locked part. Return the part's new state.

    After MAX_ATTEMPTS the part is split, and fails if it cannot be. After a permanent failure, which any other attempt
    would repeat, it fails at once. A joined part never fails: its size may be the reason.
    """
    record_attempt(connection, part.owner or UNKNOWN, part.job, part.number, recorded or reason)
    spent = part.attempts >= MAX_ATTEMPTS  # since the last checkpoint, not at the claim
    failed = not cancelled and part.span == 1 and (permanent or (spent and not _split(connection, part)))
    return end_lease(connection, part, cancelled, failed=failed, error=reason)


def _split(connection: Connection, part: Row[Any]) -> bool:
    """Split a part, so that a row which fails every attempt fails alone in the end. Return False if it cannot be.

    Each piece gets one attempt. The new ones come last, when the other parts of the job are done.
    """
    pieces = split(part.first_row, part.rows)
    if len(pieces) < 2:
        return False
    added = len(pieces) - 1
    first_number = _count_parts(connection, part, added, jobs.c.splits < MAX_SPLITS, splits=jobs.c.splits + 1)
    if first_number is None:
        return False
    last = {"attempts": MAX_ATTEMPTS - 1}
    connection.execute(update(parts).where(parts.c.id == part.id).values(rows=pieces[0][1], **last))
    for number, (first, rows) in enumerate(pieces[1:], first_number):
        connection.execute(insert(parts).values(number=number, first_row=first, rows=rows, **_place(part), **last))
    return True


def _count_parts(
    connection: Connection, part: Row[Any], added: int, allowed: ColumnElement[bool], **values: Any
) -> int | None:
    """Count further parts of a part's job. Return the number of the first one, or None if it may not have them."""
    for name in ("parts_total", "parts_left"):
        values[name] = jobs.c[name] + added
    counted = update(jobs).where(jobs.c.id == part.job, allowed).values(values).returning(jobs.c.parts_total)
    total = connection.execute(counted).scalar_one_or_none()
    return None if total is None else int(total) - added


def _place(part: Row[Any]) -> dict[str, Any]:
    """Return what the pieces of a part have from it, among it where in the seeds file to begin reading."""
    return {name: part._mapping[name] for name in ("job", "spec_version", "frame_offset", "frame_row")}


def end_bad_rows(connection: Connection, part: Row[Any], cancelled: bool, bad: Sequence[BadRows]) -> list[PartState]:
    """End an attempt at a locked part with rows that no attempt can sample. Return the states of its pieces, in order.

    Each run of bad rows becomes a part that has failed, and the rows between are queued, as if nobody had tried. The
    parts of a joined part are queued instead, each of which finds its own.
    """
    reason = storable(bad[0].reason)
    record_attempt(connection, part.owner or UNKNOWN, part.job, part.number, reason)
    if cancelled or part.span > 1:
        return [end_lease(connection, part, cancelled, failed=False)]
    pieces = list(_between(part, bad))
    first_number = _count_parts(connection, part, len(pieces) - 1, jobs.c.parts_total < MOST_PARTS, error=reason)
    if first_number is None:
        return [end_lease(connection, part, cancelled, failed=True, error=reason)]
    untried, states = {"attempts": part.attempts - 1}, []
    for number, (first, rows, error) in enumerate(pieces[1:], first_number):
        states.append(PartState.FAILED if error else PartState.QUEUED)
        place = {"number": number, "first_row": first, "rows": rows, "state": states[-1], "error": error}
        connection.execute(insert(parts).values(**_place(part), **place, **untried))
    lost = [rows for _, rows, error in pieces[1:] if error]
    if lost:
        end_parts(connection, part.job, len(lost), rows_failed=sum(lost))
    _, rows, error = pieces[0]
    first_state = end_lease(connection, part, cancelled, failed=error is not None, rows=rows, error=error, **untried)
    return [first_state, *states]


def _between(part: Row[Any], bad: Sequence[BadRows]) -> Iterator[tuple[int, int, str | None]]:
    """Yield the first row, the number of rows and the error of each piece of a part: runs of bad rows and the rest."""
    row, end = part.first_row, part.first_row + part.rows
    for run in bad:
        if run.first_row > row:
            yield row, run.first_row - row, None
        yield run.first_row, run.rows, storable(run.reason)
        row = run.first_row + run.rows
    if row < end:
        yield row, end - row, None


def _cut(connection: Connection, part: Row[Any], ended: dict[str, Any]) -> None:
    """Cut a part that `join` made into as many parts, with their numbers of before.

    They have one size, also if the last one was smaller: the part does not tell where they began.

    Args:
        ended: the values of their columns that the end of the lease sets.
    """
    # The rows that `join` deleted had the places of their seeds in the seeds file. The part's own place is before them
    # all, so these parts read some seeds that they do not need, and only after a failure.
    own = _place(part) | {"attempts": part.attempts}
    size, end = -(-part.rows // part.span), part.first_row + part.rows
    connection.execute(
        insert(parts),
        [
            own | {"number": number, "first_row": first, "rows": min(size, end - first)} | ended
            for number, first in enumerate(range(part.first_row + size, end, size), part.number + 1)
        ],
    )
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
        end_parts(connection, part.job, 1, rows_failed=values.get("rows", part.rows))
        connection.execute(update(jobs).where(jobs.c.id == part.job).values(error=values["error"]))
    return state
