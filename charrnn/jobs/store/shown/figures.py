"""Figures of a store for its metrics: each function is one query, which reads the jobs that have not ended and not all.

Only `count_jobs` reads an entry of an index for each job ever kept. Cells may be damaged, so the caller checks numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from charrnn.jobs.job.states import ENDED_JOBS, FAILED_SLOTS, JobState, SlotState
from charrnn.jobs.job.version import CHAMPION
from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.scheduled.events import has_ended
from charrnn.jobs.store.scheduled.rows import verdict
from charrnn.jobs.store.tables import (
    LEASED,
    READY,
    aliases,
    claimable,
    jobs,
    models,
    parts,
    rounds,
    schedules,
    slots,
    versions,
    workers,
)

FIRST, THEN = jobs.alias(), jobs.alias()  # the jobs of a slot
OPEN = jobs.c.state.in_([state for state in JobState if state not in ENDED_JOBS])


def count_jobs(connection: Connection) -> Sequence[Any]:
    """Return kind, state and `number` of the jobs in each state."""
    grouped = select(jobs.c.kind, jobs.c.state, func.count().label("number")).group_by(jobs.c.state, jobs.c.kind)
    return connection.execute(grouped).all()


def open_work(connection: Connection) -> Sequence[Any]:
    """Return the work of the jobs that have not ended, by kind, without those that wait for a training job.

    `left` are the parts that wait or are leased; `oldest_ms` is how long the first of the jobs waits of which no part
    was claimed yet.
    """
    # Subqueries and no joins: PostgreSQL would read all jobs ever kept to join ten thousand.
    training = jobs.alias()
    awaited = select(training.c.finished_at).where(training.c.id == jobs.c.after).scalar_subquery()
    ready_at = case((jobs.c.after.is_not(None), func.coalesce(awaited, jobs.c.created_at)), else_=jobs.c.created_at)
    unclaimed = and_(jobs.c.state == JobState.QUEUED, jobs.c.started_at.is_(None))
    query = (
        select(
            jobs.c.kind,
            func.sum(jobs.c.parts_left).label("left"),
            func.max(case((unclaimed, NOW - ready_at))).label("oldest_ms"),
        )
        .where(claimable(jobs))
        .group_by(jobs.c.kind)
    )
    return connection.execute(query).all()


def count_blocked(connection: Connection) -> int:
    """Return the number of parts of jobs that wait for a training job. All of them sample."""
    blocked = select(func.coalesce(func.sum(jobs.c.parts_left), 0)).where(jobs.c.state == JobState.QUEUED, ~READY)
    return int(connection.execute(blocked).scalar_one())


def count_leased(connection: Connection) -> Sequence[Any]:
    """Return kind and `number` of the leased parts."""
    kind = select(jobs.c.kind).where(jobs.c.id == parts.c.job).scalar_subquery()
    leased = select(kind.label("kind"), parts.c.span).where(LEASED).subquery()
    counted = select(leased.c.kind, func.sum(leased.c.span).label("number"))
    return connection.execute(counted.group_by(leased.c.kind)).all()


def live_workers(connection: Connection, seen_within_ms: int) -> Sequence[Any]:
    """Return device, release, queues and self-check of each pool child that showed a sign of life within that time."""
    shown = select(workers.c.device, workers.c.release, workers.c.queues, workers.c.self_check)
    return connection.execute(shown.where(workers.c.seen_at > NOW - seen_within_ms)).all()


def round_age(connection: Connection, name: str) -> int | None:
    """Return the milliseconds since the last round of a task, or None if there was none."""
    age: int | None = connection.execute(select(NOW - rounds.c.at).where(rounds.c.name == name)).scalar_one_or_none()
    return age


def newest_models(connection: Connection, at_most: int) -> Sequence[Any]:
    """Return name and `val_loss` of the champion of the newest models; None if one has no champion."""
    champion = and_(aliases.c.model == models.c.name, aliases.c.alias == CHAMPION)
    version = and_(versions.c.model == aliases.c.model, versions.c.version == aliases.c.version)
    query = select(models.c.name, versions.c.val_loss)
    query = query.select_from(models.outerjoin(aliases, champion).outerjoin(versions, version))
    return connection.execute(query.order_by(models.c.created_at.desc(), models.c.name).limit(at_most)).all()


def active_schedules(connection: Connection, at_most: int) -> Sequence[Any]:
    """Return the first schedules that are not paused, by name.

    `overdue_ms` is the time since the first slot that has no job yet, or negative; one that waits for the job before it
    does not count. `success_at` is when the last run ended all of whose jobs succeeded, and `failed` is 1 if the last
    run that ended has failed, 0 if it has not, and None if there was none.
    """
    open_job = select(jobs.c.id).where(jobs.c.schedule == schedules.c.name, OPEN).exists()
    due = select(slots.c.schedule, func.min(slots.c.at).label("at")).where(slots.c.state == SlotState.DUE)
    first = due.group_by(slots.c.schedule).subquery()
    due_at = case((and_(first.c.at < schedules.c.next_at, ~open_job), first.c.at), else_=schedules.c.next_at)
    failed_slot = slots.c.state.in_(FAILED_SLOTS)
    # A sampling job fails with the training job that it waited for, also if that one was cancelled: no failure.
    run = verdict(FIRST, THEN)
    tried = and_(slots.c.state.not_in((SlotState.SKIPPED, SlotState.DUE)), has_ended(FIRST), has_ended(THEN))
    ended_at = func.coalesce(THEN.c.finished_at, FIRST.c.finished_at, slots.c.at)
    query = (
        select(
            schedules.c.name,
            (NOW - due_at).label("overdue_ms"),
            _last(ended_at, or_(slots.c.state == SlotState.UNCHANGED, run == JobState.DONE)).label("success_at"),
            _last(case((or_(failed_slot, run == JobState.FAILED), 1), else_=0), tried).label("failed"),
        )
        .select_from(schedules.outerjoin(first, first.c.schedule == schedules.c.name))
        .where(~schedules.c.paused)
        .order_by(schedules.c.name)
        .limit(at_most)
    )
    return connection.execute(query).all()


def _last(value: ColumnElement[Any], condition: ColumnElement[bool]) -> ColumnElement[Any]:
    """Return a value of a schedule's latest slot for which a condition holds, and of the slot's jobs."""
    both = slots.outerjoin(FIRST, FIRST.c.id == slots.c.job).outerjoin(THEN, THEN.c.id == slots.c.then_job)
    own = select(value).select_from(both)
    own = own.where(slots.c.schedule == schedules.c.name, condition).order_by(slots.c.at.desc()).limit(1)
    return own.correlate(schedules).scalar_subquery()
