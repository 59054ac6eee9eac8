"""Schedules and their slots: the times at which each schedule was due, and the outcome of each.

A slot is decided once: by the process that inserts its row, in the transaction that advances the schedule. Its job is
stored in the transaction that marks the slot submitted. So any number of processes may do this, and may die in between.
Functions take the time from their caller, in milliseconds of the database's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import ColumnElement, Connection, FromClause, and_, delete, or_, select, update

from charrnn.checks import did_you_mean
from charrnn.errors import DamagedError, InputError, NotFoundError, storable
from charrnn.jobs.job.json_object import reading
from charrnn.jobs.job.schedule import (
    NONE,
    SKIP,
    Schedule,
    SkippedError,
    Slot,
    StoredSchedule,
    StoredSlot,
    WaitingSlot,
    decisive,
    utc,
)
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import ENDED_JOBS, FAILED_SLOTS, JobState, SlotState
from charrnn.jobs.store.database import insert_missing
from charrnn.jobs.store.events import record_run
from charrnn.jobs.store.scheduled.rows import columns, outcome_columns, to_outcome, to_schedule, to_slot
from charrnn.jobs.store.tables import jobs, schedules, slots
from charrnn.text.documents import check_storable

ON_TIME_MS = 5 * 60 * 1000  # a slot that is later than this counts as missed
CLAIM_MS = 10 * 60 * 1000  # time to submit a claimed slot; after it, others assume that the process died
KEPT_SLOTS = 1000  # slots with a job that a schedule keeps, and as many without one


def add(connection: Connection, schedule: Schedule, now: int, person: str, *, replace: bool = False) -> bool:
    """Store a schedule. Its first slot is its next time after now. Return False if one of that name was changed.

    Args:
        person: who adds it. Its jobs are theirs, whoever changes it.
        replace: change a schedule of that name, if there is one.

    Raises:
        InputError: a schedule with that name exists.
    """
    values = columns(schedule)
    upcoming = next(schedule.cron.after(now))
    facts = {"added_by": person, "next_at": upcoming, "requested_at": now}
    if insert_missing(connection, schedules, **values, **facts) is not None:
        return True
    if not replace:
        raise InputError(
            f"A schedule {schedule.name} already exists. Use another name, or change it: charrnn-jobs schedules edit "
            f"{schedule.name}, or schedules add --replace"
        )
    change(connection, schedule, now)
    return False


def change(connection: Connection, schedule: Schedule, now: int) -> None:
    """Change a schedule to a new one of the same name, which keeps the slots and stays paused.

    A slot that was claimed before is submitted with the old request, one that is claimed later with the new one.

    Raises:
        NotFoundError: there is no such schedule.
    """
    stored = get_schedule(connection, schedule.name, locked=True)
    values = columns(schedule)
    if values["request"] != stored.stored_request:
        values["requested_at"] = now
    if (values["cron"], values["timezone"]) != (stored.cron, stored.timezone):
        if not stored.unreadable:
            decide(connection, schedule.name, now)  # a time that came just now would be lost
        values["next_at"] = next(schedule.cron.after(now))
    connection.execute(update(schedules).where(schedules.c.name == schedule.name).values(values))


def get_schedule(connection: Connection, name: str, *, locked: bool = False) -> StoredSchedule:
    """Return a schedule, if `locked` with a lock until the transaction ends.

    Raises:
        NotFoundError: there is none; the message has the nearest names.
    """
    check_storable("The schedule's name", name)
    query = select(schedules).where(schedules.c.name == name)
    row = connection.execute(query.with_for_update() if locked else query).one_or_none()
    if row is None:
        names = connection.execute(select(schedules.c.name).order_by(schedules.c.name)).scalars().all()
        hint = did_you_mean(name, names, suggest_any=True) or "Add one with: charrnn-jobs schedules add"
        raise NotFoundError(f"There is no schedule {name!r}. {hint}")
    return to_schedule(row)


def added_by(connection: Connection, slot: Slot) -> str:
    """Return who added the schedule of a slot; "" if it was removed, so that `fill` refuses the slot."""
    query = select(schedules.c.added_by).where(schedules.c.name == slot.schedule)
    return connection.execute(query).scalar_one_or_none() or ""


def pause(connection: Connection, name: str) -> None:
    """Stop a schedule from submitting jobs until it is resumed. `run` still works."""
    get_schedule(connection, name, locked=True)
    connection.execute(update(schedules).where(schedules.c.name == name).values(paused=True))
    own = (slots.c.schedule == name) & (slots.c.state == SlotState.DUE) & ~slots.c.by_hand
    connection.execute(update(slots).where(own).values(state=SlotState.SKIPPED, reason="paused"))


def resume(connection: Connection, name: str, now: int) -> None:
    """Resume a schedule at its next time after now. Times during the pause do not count as missed."""
    stored = get_schedule(connection, name, locked=True)
    if stored.paused:
        upcoming = next(stored.schedule().cron.after(now))
        connection.execute(update(schedules).where(schedules.c.name == name).values(paused=False, next_at=upcoming))


def remove(connection: Connection, name: str) -> None:
    """Delete a schedule and its slots. The jobs that it submitted stay."""
    get_schedule(connection, name, locked=True)
    connection.execute(delete(slots).where(slots.c.schedule == name))
    connection.execute(delete(schedules).where(schedules.c.name == name))


def add_by_hand(connection: Connection, name: str, now: int) -> Slot:
    """Add and return a slot for now, whatever the schedule's times.

    Raises:
        InputError: another slot of the schedule waits, or a job of the schedule has not ended.
        NotFoundError: there is no such schedule.
    """
    get_schedule(connection, name, locked=True)
    if reason := _waiting(connection, name) or _running(connection, name):
        raise InputError(f"The schedule {name} is busy: {reason}. Wait for it, or cancel it")
    while insert_missing(connection, slots, schedule=name, at=now, by_hand=True) is None:
        now += 1  # this millisecond is a slot already
    return Slot(name, now)


def find_undecided(connection: Connection, now: int) -> Sequence[str]:
    """Return the schedules to decide on."""
    return connection.execute(select(schedules.c.name).where(undecided(now)).order_by(schedules.c.name)).scalars().all()


def undecided(now: int | ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that a schedule is due, or that it advanced by a clock that was set back."""
    own = slots.c.schedule == schedules.c.name
    ahead = select(slots.c.at).where(own, slots.c.at > now, slots.c.at < schedules.c.next_at).exists()
    return and_(~schedules.c.paused, or_(schedules.c.next_at <= now, ahead))


def decide(connection: Connection, name: str, now: int) -> StoredSlot | None:
    """Insert the latest slot that is due together with the decision on it, and advance the schedule.

    Returns:
        The slot, or None if there is none.
    """
    stored, decided = get_schedule(connection, name, locked=True), None
    if stored.paused:
        return None
    schedule = stored.schedule()
    upcoming = next(schedule.cron.after(now))
    if stored.next_at <= now:
        # Only the latest one: earlier ones were missed or are moments old, and one job stands for all.
        # `max` is needed if the rules of the time zone have changed since.
        slot = Slot(name, max(schedule.cron.last(now), stored.next_at))
        state, reason = _decision(connection, schedule, slot, stored.next_at, now)
        if insert_missing(connection, slots, schedule=name, at=slot.at, state=state, reason=reason) is not None:
            decided = get_slot(connection, slot)
            _record_failure(connection, slot, state, reason)
        _trim(connection, name)
    if stored.next_at != upcoming:
        connection.execute(update(schedules).where(schedules.c.name == name).values(next_at=upcoming))
    return decided


def _decision(
    connection: Connection, schedule: Schedule, slot: Slot, first: int, now: int
) -> tuple[SlotState, str | None]:
    if reason := schedule.expired(slot, now):
        return SlotState.EXPIRED, reason
    if now - slot.at > ON_TIME_MS and schedule.catch_up == NONE:
        return SlotState.SKIPPED, "missed: no worker or scheduler ran at that time"
    if reason := _waiting(connection, schedule.name):
        return SlotState.SKIPPED, reason
    if reason := _running(connection, schedule.name):
        return (SlotState.SKIPPED, reason) if schedule.overlap == SKIP else (SlotState.DUE, f"waited: {reason}")
    return SlotState.DUE, f"for all missed times since {utc(first)}" if first < slot.at else None


def _waiting(connection: Connection, name: str) -> str | None:
    due = select(slots.c.at).where(slots.c.schedule == name, slots.c.state == SlotState.DUE).limit(1)
    at = connection.execute(due).scalar_one_or_none()
    return None if at is None else f"the run of {utc(at)} is still waiting"


def _running(connection: Connection, name: str) -> str | None:
    unfinished = select(jobs.c.id).join(slots, _is_of(slots))
    unfinished = unfinished.where(slots.c.schedule == name, jobs.c.state.not_in(ENDED_JOBS))
    job = connection.execute(unfinished.order_by(jobs.c.id).limit(1)).scalar_one_or_none()
    return None if job is None else f"job {job} has not ended"


def _is_of(slot: FromClause) -> ColumnElement[bool]:
    """Return the condition that a job belongs to a slot."""
    return jobs.c.id.in_([slot.c.job, slot.c.then_job])


def _trim(connection: Connection, name: str) -> None:
    # Two separate limits: a job in work and the last training job are found through their slots, however many slots
    # were skipped after them.
    for kind in (slots.c.job.is_not(None), slots.c.job.is_(None) & (slots.c.state != SlotState.DUE)):
        own = (slots.c.schedule == name) & kind
        oldest = select(slots.c.at).where(own).order_by(slots.c.at.desc()).offset(KEPT_SLOTS).limit(1).scalar_subquery()
        connection.execute(delete(slots).where(own, slots.c.at <= oldest))


def waiting(connection: Connection) -> list[WaitingSlot]:
    """Return the slots whose jobs are to be submitted, the oldest first."""
    other = slots.alias()
    unfinished = select(jobs.c.id).join(other, _is_of(other))
    blocked = unfinished.where(other.c.schedule == slots.c.schedule, jobs.c.state.not_in(ENDED_JOBS)).exists()
    own = slots.join(schedules, schedules.c.name == slots.c.schedule)
    query = select(slots.c.at, slots.c.by_hand, blocked.label("blocked"), schedules).select_from(own)
    due = connection.execute(query.where(slots.c.state == SlotState.DUE).order_by(slots.c.at)).all()
    return [
        WaitingSlot(slot=Slot(row.name, row.at), by_hand=row.by_hand, blocked=row.blocked, stored=to_schedule(row))
        for row in due
    ]


def claim(connection: Connection, slot: Slot, now: int) -> bool:
    """Claim a slot in order to submit its job. Return False if another process holds it."""
    mine = update(slots).where(_is(slot), unclaimed(now)).values(claimed_until=now + CLAIM_MS)
    return connection.execute(mine).rowcount == 1


def unclaimed(now: int | ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that a slot is due and that no process submits its job."""
    # One that ends later than any can was made before the clock was set back. Twice: others read it before us.
    free = or_(slots.c.claimed_until <= now, slots.c.claimed_until > now + 2 * CLAIM_MS)
    return and_(slots.c.state == SlotState.DUE, free)


def postpone(connection: Connection, slot: Slot, until: int) -> None:
    """Release a claimed slot, which can be claimed again at that time."""
    connection.execute(update(slots).where(_is(slot)).values(claimed_until=until))


def settle(connection: Connection, slot: Slot, state: SlotState, reason: str) -> bool:
    """Store why a slot gets no job. Return False if it is no longer due."""
    own = _is(slot) & (slots.c.state == SlotState.DUE)
    settled = update(slots).where(own).values(state=state, reason=storable(reason))
    if connection.execute(settled).rowcount != 1:
        return False
    _record_failure(connection, slot, state, reason)
    return True


def _record_failure(connection: Connection, slot: Slot, state: SlotState, reason: str | None) -> None:
    """Record a run that fails. Its actor is the person who added the schedule."""
    if state in FAILED_SLOTS:
        record_run(connection, added_by(connection, slot), slot.schedule, reason)


def fill(
    connection: Connection, slot: Slot, job: int, spec: TrainSpec | GenerateSpec, then_job: int | None = None
) -> None:
    """Mark a slot submitted, in the transaction that stores its jobs.

    Args:
        job: the job with `spec`.
        then_job: the job that follows it, if any.

    Raises:
        SkippedError: another process submitted it, or its text is that of the last jobs, which succeeded.
    """
    values = {"state": SlotState.SUBMITTED, "job": job, "then_job": then_job}
    filled = update(slots).where(_is(slot), slots.c.state == SlotState.DUE).values(values)
    row = connection.execute(filled.returning(slots.c.by_hand)).one_or_none()
    if row is None:
        raise SkippedError(f"The slot {slot} is no longer due")
    rules = select(schedules.c.always, schedules.c.requested_at).where(schedules.c.name == slot.schedule)
    schedule = connection.execute(rules).one()
    if isinstance(spec, TrainSpec) and not (schedule.always or row.by_hand):
        _check_changed(connection, slot, spec, schedule.requested_at)


def _check_changed(connection: Connection, slot: Slot, spec: TrainSpec, since: int) -> None:
    """Compare the text with that of the last slot with a training job since the request was last changed.

    If one of that slot's jobs did not succeed, the text counts as changed: its alarm must not end before the work is
    done.
    """
    first, following = jobs.alias(), jobs.alias()
    own = slots.join(first, first.c.id == slots.c.job).outerjoin(following, following.c.id == slots.c.then_job)
    outcomes = (first.c.spec, *outcome_columns(first, "first"), *outcome_columns(following, "following"))
    query = select(slots.c.job, slots.c.then_job, *outcomes).select_from(own)
    query = query.where(slots.c.schedule == slot.schedule, slots.c.at >= since, slots.c.at != slot.at)
    before = connection.execute(query.order_by(slots.c.at.desc()).limit(1)).one_or_none()
    run = before and decisive(to_outcome(before, "first", before.job), to_outcome(before, "following", before.then_job))
    if before is None or run is None or run.verdict != JobState.DONE:
        return
    with suppress(DamagedError), reading(f"job {before.job}"):  # its text is not known, so this one may be new
        if before.spec["corpus"]["sha256"] == spec.corpus.sha256:
            raise SkippedError(f"the text has not changed since job {before.job}")


def newest(connection: Connection, name: str, limit: int) -> list[StoredSlot]:
    """Return the latest slots of a schedule, latest first."""
    query = select(slots).where(slots.c.schedule == name).order_by(slots.c.at.desc()).limit(limit)
    return [to_slot(row) for row in connection.execute(query)]


def last_tried(connection: Connection, name: str, *, told: bool = False) -> StoredSlot | None:
    """Return the latest slot of a schedule that was neither skipped nor is due.

    Args:
        told: look only at those whose end is told to a hook, and thus not at an unchanged text.
    """
    tried = slots.c.state.not_in((SlotState.SKIPPED, SlotState.DUE, *((SlotState.UNCHANGED,) if told else ())))
    query = select(slots).where(slots.c.schedule == name, tried).order_by(slots.c.at.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else to_slot(row)


def get_slot(connection: Connection, slot: Slot) -> StoredSlot:
    """Return a slot in its current state.

    Raises:
        NotFoundError: its schedule was removed.
    """
    get_schedule(connection, slot.schedule)
    return to_slot(connection.execute(select(slots).where(_is(slot))).one())


def all_schedules(connection: Connection) -> list[StoredSchedule]:
    """Return every schedule, by name."""
    return [to_schedule(row) for row in connection.execute(select(schedules).order_by(schedules.c.name))]


def _is(slot: Slot) -> ColumnElement[bool]:
    return (slots.c.schedule == slot.schedule) & (slots.c.at == slot.at)
