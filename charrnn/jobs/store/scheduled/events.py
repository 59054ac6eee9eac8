"""Events: runs of schedules that have ended, each of which is told once to a hook of its schedule.

`hook_at` of a slot is the time from which on its event may be told, and NULL when nothing is left to tell. A partial
index has the slots in which it is set: those of runs that have not ended, and of events that were not told yet. Looking
for events reads these alone, however many jobs and slots the store keeps.

A process claims an event before it tells it, and marks it afterwards. If it dies in between, the claim runs out and
another process tells the event again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Row, and_, or_, select, update

from charrnn.errors import shorten, storable
from charrnn.jobs.job.json_object import JsonObject, iso_time
from charrnn.jobs.job.requests import with_options
from charrnn.jobs.job.schedule import Outcome, Slot, decisive
from charrnn.jobs.job.states import ENDED_JOBS, FAILED_SLOTS, JobState, SlotState
from charrnn.jobs.store.scheduled.rows import outcome_columns, to_outcome
from charrnn.jobs.store.tables import WITH_HOOK, jobs, schedules, slots

CLAIM_MS = 2 * 60 * 1000  # longer than a hook may take: see charrnn.jobs.upkeep.hooks
PAUSE_MS = 60 * 1000  # between two attempts
ATTEMPTS = 3
UNTOLD_MS = 7 * 24 * 3600 * 1000  # after a run's time; one that no host allows to tell must not wait for ever
MAX_OPEN = 10_000  # runs to look at: more than may run at once


@dataclass(frozen=True, kw_only=True)
class Event:
    """The end of a run of a schedule, as hooks are told.

    Attributes:
        state: "done"; "failed" also for failed rows and for a job that was refused; "cancelled" or "expired".
        reason: why it did not succeed; None if it did.
        version: the version that the job trained or sampled from.
        then_job: the job that samples after a training job.
        then_version: the version that it sampled from.
    """

    slot: Slot
    state: str
    reason: str | None = None
    job: int | None = None
    version: str | None = None
    then_job: int | None = None
    then_version: str | None = None

    def to_dict(self) -> JsonObject:
        reason = None if self.reason is None else shorten(with_options(str(self.reason)))
        return {
            "schedule": self.slot.schedule,
            "time": iso_time(self.slot.at),
            "state": str(self.state),
            "reason": reason,
            "job": self.job,
            "version": self.version,
            "then_job": self.then_job,
            "then_version": self.then_version,
        }


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    """A slot that got no job or whose jobs have ended, with what is needed to tell a hook.

    Attributes:
        outcome: that of its job; None if it got none, or the job was deleted.
        then_outcome: that of the job that follows it, likewise.
        hook_at: the time from which on a hook may be told.
        attempts: how often one was told.
    """

    slot: Slot
    state: str
    reason: str | None
    outcome: Outcome | None
    then_outcome: Outcome | None
    on_success: str | None
    on_failure: str | None
    hook_at: int
    attempts: int

    @property
    def event(self) -> Event | None:
        """The event, or None if there is none: a rule of the schedule skipped the slot, or the job was deleted."""
        if self.state in FAILED_SLOTS:
            return Event(slot=self.slot, state=self.state, reason=self.reason)
        job, following = self.outcome, self.then_outcome
        run = decisive(job, following)
        if job is None or run is None:
            return None
        return Event(
            slot=self.slot,
            state=str(run.verdict),
            reason=run.reason,
            job=job.job,
            version=job.name,
            then_job=following.job if following else None,
            then_version=following.name if following else None,
        )

    @property
    def hook(self) -> str | None:
        """The hook that is to be told, if any."""
        if (event := self.event) is None:
            return None
        return self.on_success if event.state == JobState.DONE else self.on_failure


def ended(connection: Connection, now: int) -> list[EndedRun]:
    """Return the runs that have ended and were not told yet, the ones that wait longest first."""
    open_slots = select(slots).where(_due(now))
    # Its limit keeps SQLite from merging it into the join, which would begin with the schedules and read all slots.
    slot = open_slots.order_by(slots.c.hook_at).limit(MAX_OPEN).subquery()
    first, following = jobs.alias(), jobs.alias()
    query = (
        select(
            slot,
            *outcome_columns(first, "first"),
            *outcome_columns(following, "following"),
            schedules.c.on_success,
            schedules.c.on_failure,
        )
        .select_from(slot.join(schedules, schedules.c.name == slot.c.schedule))
        .outerjoin(first, first.c.id == slot.c.job)
        .outerjoin(following, following.c.id == slot.c.then_job)
        .where(has_ended(first), has_ended(following))
        .order_by(slot.c.hook_at, slot.c.schedule, slot.c.at)
    )
    return [_run(row) for row in connection.execute(query)]


def any_ended(now: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that a run has ended and was not told yet."""
    first, following = jobs.alias(), jobs.alias()
    open_slots = slots.outerjoin(first, first.c.id == slots.c.job)
    open_slots = open_slots.outerjoin(following, following.c.id == slots.c.then_job)
    ended = (_due(now), has_ended(first), has_ended(following))
    return select(slots.c.at).select_from(open_slots).where(*ended).exists()


def _due(now: int | ColumnElement[int]) -> ColumnElement[bool]:
    # A claim that ends later than any can was made before the clock was set back.
    due = or_(slots.c.hook_at <= now, slots.c.hook_at > now + 2 * CLAIM_MS)
    return and_(WITH_HOOK, due, slots.c.state != SlotState.DUE)


def has_ended(job: FromClause) -> ColumnElement[bool]:
    """Return the condition that a job of a slot has ended, was deleted, or never was."""
    return or_(job.c.id.is_(None), job.c.state.in_(ENDED_JOBS))


def _run(row: Row[Any]) -> EndedRun:
    return EndedRun(
        slot=Slot(row.schedule, row.at),
        state=row.state,
        reason=row.reason,
        outcome=to_outcome(row, "first", row.job),
        then_outcome=to_outcome(row, "following", row.then_job),
        on_success=row.on_success,
        on_failure=row.on_failure,
        hook_at=row.hook_at,
        attempts=row.hook_attempts,
    )


def forget(connection: Connection, run: EndedRun, error: str | None = None) -> None:
    """Mark a run as told that no hook waits for, or that none could be told of."""
    connection.execute(update(slots).where(_is(run)).values(hook_at=None, hook_error=_stored(error)))


def claim(connection: Connection, run: EndedRun, now: int) -> bool:
    """Claim an event in order to tell it. Return False if another process was quicker."""
    attempt = {"hook_at": now + CLAIM_MS, "hook_attempts": run.attempts + 1}
    return connection.execute(update(slots).where(_is(run)).values(attempt)).rowcount == 1


def mark(connection: Connection, run: EndedRun, now: int, error: str | None) -> None:
    """Mark a claimed event as told or, after an error, as one to tell again until its last attempt."""
    again = error is not None and run.attempts + 1 < ATTEMPTS
    mine = (slots.c.schedule == run.slot.schedule) & (slots.c.at == run.slot.at)
    mine &= slots.c.hook_attempts == run.attempts + 1  # otherwise the claim has run out
    told = {"hook_at": now + PAUSE_MS if again else None, "hook_error": _stored(error)}
    connection.execute(update(slots).where(mine).values(told))


def _stored(error: str | None) -> str | None:
    return None if error is None else storable(error)


def _is(run: EndedRun) -> ColumnElement[bool]:
    own = (slots.c.schedule == run.slot.schedule) & (slots.c.at == run.slot.at)
    return own & (slots.c.hook_at == run.hook_at) & (slots.c.hook_attempts == run.attempts)
