"""Events: runs of schedules that have ended, each of which is told once to a hook of its schedule.

`hook_at` of a slot is the time from which on its event may be told, and NULL when nothing is left to tell. A partial
index has the slots in which it is set: those of runs that have not ended, and of events that were not told yet. Looking
for events reads these alone, however many jobs and slots the store keeps.

A process claims an event before it tells it, and marks it afterwards. If it dies in between, the claim runs out and
another process tells the event again.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, update

from charrnn.jobs.job.schedule import EndedRun, Slot
from charrnn.jobs.job.states import ENDED_JOBS, SlotState
from charrnn.jobs.store.tables import WITH_HOOK, jobs, schedules, slots

CLAIM_MS = 2 * 60 * 1000  # longer than a hook may take: see charrnn.jobs.upkeep.hooks
PAUSE_MS = 60 * 1000  # between two attempts
ATTEMPTS = 3
UNTOLD_MS = 7 * 24 * 3600 * 1000  # after a run's time; one that no host allows to tell must not wait for ever
MAX_OPEN = 10_000  # runs to look at: more than may run at once


ENDED = or_(jobs.c.id.is_(None), jobs.c.state.in_(ENDED_JOBS))


def ended(connection: Connection, now: int) -> list[EndedRun]:
    """Return the runs that have ended and were not told yet, the ones that wait longest first."""
    open_slots = select(slots).where(_due(now))
    # Its limit keeps SQLite from merging it into the join, which would begin with the schedules and read all slots.
    slot = open_slots.order_by(slots.c.hook_at).limit(MAX_OPEN).subquery()
    outcome = (jobs.c.state.label("job_state"), jobs.c.model, jobs.c.version, jobs.c.error, jobs.c.rows_failed)
    query = (
        select(slot, *outcome, schedules.c.on_success, schedules.c.on_failure)
        .select_from(slot.join(schedules, schedules.c.name == slot.c.schedule))
        .outerjoin(jobs, jobs.c.id == slot.c.job)
        .where(ENDED)
        .order_by(slot.c.hook_at, slot.c.schedule, slot.c.at)
    )
    return [_run(row) for row in connection.execute(query)]


def any_ended(now: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that a run has ended and was not told yet."""
    open_slots = slots.outerjoin(jobs, jobs.c.id == slots.c.job)
    return select(slots.c.at).select_from(open_slots).where(_due(now), ENDED).exists()


def _due(now: int | ColumnElement[int]) -> ColumnElement[bool]:
    # A claim that ends later than any can was made before the clock was set back.
    due = or_(slots.c.hook_at <= now, slots.c.hook_at > now + 2 * CLAIM_MS)
    return and_(WITH_HOOK, due, slots.c.state != SlotState.DUE)


def _run(row: Row[Any]) -> EndedRun:
    return EndedRun(
        slot=Slot(row.schedule, row.at),
        state=row.state,
        reason=row.reason,
        job=row.job,
        job_state=row.job_state,
        model=row.model,
        version=row.version,
        error=row.error,
        rows_failed=row.rows_failed,
        on_success=row.on_success,
        on_failure=row.on_failure,
        hook_at=row.hook_at,
        attempts=row.hook_attempts,
    )


def forget(connection: Connection, run: EndedRun, error: str | None = None) -> None:
    """Mark a run as told that no hook waits for, or that none could be told of."""
    connection.execute(update(slots).where(_is(run)).values(hook_at=None, hook_error=error))


def claim(connection: Connection, run: EndedRun, now: int) -> bool:
    """Claim an event in order to tell it. Return False if another process was quicker."""
    attempt = {"hook_at": now + CLAIM_MS, "hook_attempts": run.attempts + 1}
    return connection.execute(update(slots).where(_is(run)).values(attempt)).rowcount == 1


def mark(connection: Connection, run: EndedRun, now: int, error: str | None) -> None:
    """Mark a claimed event as told or, after an error, as one to tell again until its last attempt."""
    again = error is not None and run.attempts + 1 < ATTEMPTS
    mine = (slots.c.schedule == run.slot.schedule) & (slots.c.at == run.slot.at)
    mine &= slots.c.hook_attempts == run.attempts + 1  # otherwise the claim has run out
    told = {"hook_at": now + PAUSE_MS if again else None, "hook_error": error}
    connection.execute(update(slots).where(mine).values(told))


def _is(run: EndedRun) -> ColumnElement[bool]:
    own = (slots.c.schedule == run.slot.schedule) & (slots.c.at == run.slot.at)
    return own & (slots.c.hook_at == run.hook_at) & (slots.c.hook_attempts == run.attempts)
