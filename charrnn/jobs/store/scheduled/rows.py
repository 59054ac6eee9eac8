"""The rows of schedules and slots, as values and back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from charrnn.jobs.job.json_object import JsonObject, to_document
from charrnn.jobs.job.schedule import Schedule, StoredSchedule, StoredSlot
from charrnn.jobs.job.states import SlotState


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
