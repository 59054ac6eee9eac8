"""The rows of schedules and slots, as values and back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Row, and_, case, func

from charrnn.jobs.job.json_object import JsonObject, to_document
from charrnn.jobs.job.schedule import Outcome, Schedule, StoredSchedule, StoredSlot
from charrnn.jobs.job.states import JobState, SlotState

OUTCOME = {"job_state": "state", **{name: name for name in ("model", "version", "error", "rows_failed")}}
"""The columns of a job that are an outcome."""


def to_schedule(row: Row[Any]) -> StoredSchedule:
    return StoredSchedule(
        name=row.name,
        added_by=row.added_by,
        cron=row.cron,
        timezone=row.timezone,
        stored_request=row.request,
        overlap=row.overlap,
        catch_up=row.catch_up,
        deadline_s=row.deadline_s,
        always=row.always,
        on_success=row.on_success,
        on_failure=row.on_failure,
        paused=row.paused,
        next_at=row.next_at,
        created_at=row.created_at,
    )


def to_slot(row: Row[Any]) -> StoredSlot:
    return StoredSlot(
        schedule=row.schedule,
        at=row.at,
        state=SlotState(row.state),
        by_hand=row.by_hand,
        job=row.job,
        then_job=row.then_job,
        reason=row.reason,
        claimed_until=row.claimed_until,
        hook_error=row.hook_error,
    )


def outcome_columns(job: FromClause, which: str) -> list[ColumnElement[Any]]:
    """Return the columns of a job that `to_outcome` needs. Their names begin with `which`."""
    return [job.c[column].label(f"{which}_{name}") for name, column in OUTCOME.items()]


def to_outcome(row: Row[Any], which: str, job: int | None) -> Outcome | None:
    """Return the outcome of a job of a slot, or None if there is none or it was deleted."""
    facts = {name: getattr(row, f"{which}_{name}") for name in OUTCOME}
    return None if job is None or facts["job_state"] is None else Outcome(job=job, **facts)


def verdict(first: FromClause, following: FromClause) -> ColumnElement[str]:
    """Return the verdict on a run from the rows of its jobs, each NULL if there is none, as `job.schedule.decisive`."""
    of_first, of_following = _verdict(first), _verdict(following)
    return case((of_first != JobState.DONE, of_first), else_=func.coalesce(of_following, of_first))


def _verdict(job: FromClause) -> ColumnElement[str]:
    """As `job.schedule.Outcome.verdict`."""
    with_failures = and_(job.c.state == JobState.DONE, job.c.rows_failed > 0)
    return case((with_failures, JobState.FAILED), else_=job.c.state)


def columns(schedule: Schedule) -> JsonObject:
    """Return the columns of a schedule that a person decides on."""
    return {
        "name": schedule.name,
        "cron": schedule.cron.expression,
        "timezone": schedule.cron.timezone,
        "request": to_document(_requested(schedule)),
        "overlap": schedule.overlap,
        "catch_up": schedule.catch_up,
        "deadline_s": schedule.deadline_s,
        "always": schedule.always,
        "on_success": schedule.on_success,
        "on_failure": schedule.on_failure,
    }


def _requested(schedule: Schedule) -> JsonObject:
    document = {"queue": schedule.request.QUEUE, "arguments": schedule.request.to_dict()}
    return document if schedule.then is None else {**document, "then": schedule.then.to_dict()}
