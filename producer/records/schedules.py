"""Schedules and their runs as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from charrnn.jobs.job.json_object import JsonObject
from charrnn.jobs.job.requests import with_options
from charrnn.jobs.job.schedule import ListedSchedule, ScheduleDetails, ShownSlot, StoredSchedule, StoredSlot
from charrnn.jobs.job.states import JobState, SlotState
from producer.command_line import add_again
from producer.records.time import time

Overlap = Literal["skip", "queue"]
CatchUp = Literal["none", "once"]


@dataclass(frozen=True, kw_only=True)
class SlotRecord:
    """A run of a schedule: a time at which it was due."""

    at: str | None
    state: SlotState
    by_hand: bool
    job: int | None
    then_job: int | None
    """The job that samples after a training job."""
    reason: str | None
    hook_error: str | None
    """Why the hook failed that was told of its end."""


@dataclass(frozen=True, kw_only=True)
class ShownSlotRecord(SlotRecord):
    """A run with what came of its job."""

    job_state: JobState | None
    version: str | None
    """The version that the job made or samples from."""
    val_loss: float | None
    gate: str | None
    """The gate's verdict on a new version, in words."""
    then_state: JobState | None
    then_version: str | None
    """The version that the job after the training samples from."""
    run_state: str
    """The state of the run: that of its first job that did not succeed, or of its last one. "failed" also if rows
    failed; "deleted" if all of its jobs were."""
    run_reason: str | None
    """Why the run did not succeed or has no job."""


@dataclass(frozen=True, kw_only=True)
class TroubleRecord:
    """A problem of a schedule: a failed or late run, or a failed hook."""

    schedule: str
    trouble: str


@dataclass(frozen=True, kw_only=True)
class ScheduleRecord:
    """A schedule."""

    name: str
    added_by: str
    """Who added it. Its jobs are theirs."""
    cron: str
    timezone: str
    request: JsonObject
    overlap: Overlap
    catch_up: CatchUp
    deadline_s: float | None
    always: bool
    on_success: str | None
    on_failure: str | None
    paused: bool
    next_at: str | None
    created_at: str | None
    unreadable: str | None


@dataclass(frozen=True, kw_only=True)
class ListedScheduleRecord(ScheduleRecord):
    """A schedule with its latest run."""

    last: ShownSlotRecord | None


@dataclass(frozen=True, kw_only=True)
class ScheduleDetailsRecord(ScheduleRecord):
    """A schedule with its latest runs, latest first, and its next times."""

    slots: list[ShownSlotRecord]
    upcoming: list[str | None]
    command: list[str] | None
    """The words of the command that would add it again."""


def listed_schedule(found: ListedSchedule) -> ListedScheduleRecord:
    return ListedScheduleRecord(**vars(_schedule(found)), last=_shown_slot(found.last) if found.last else None)


def schedule_details(found: ScheduleDetails) -> ScheduleDetailsRecord:
    return ScheduleDetailsRecord(
        **vars(_schedule(found)),
        slots=[_shown_slot(shown) for shown in found.slots],
        upcoming=[time(at) for at in found.upcoming],
        command=None if found.unreadable else ["charrnn-jobs", *add_again(found)],
    )


def _schedule(found: StoredSchedule) -> ScheduleRecord:
    return ScheduleRecord(
        name=found.name,
        added_by=found.added_by,
        cron=found.cron,
        timezone=found.timezone,
        request=found.stored_request,
        overlap=cast("Overlap", found.overlap),
        catch_up=cast("CatchUp", found.catch_up),
        deadline_s=found.deadline_s,
        always=found.always,
        on_success=found.on_success,
        on_failure=found.on_failure,
        paused=found.paused,
        next_at=time(found.next_at),
        created_at=time(found.created_at),
        unreadable=found.unreadable,
    )


def _reason(reason: str | None) -> str | None:
    """Return a reason with the options of the command line, as commands print it."""
    return None if reason is None else with_options(reason)


def slot(found: StoredSlot) -> SlotRecord:
    return SlotRecord(
        at=time(found.at),
        state=found.state,
        by_hand=found.by_hand,
        job=found.job,
        then_job=found.then_job,
        reason=_reason(found.reason),
        hook_error=found.hook_error,
    )


def _shown_slot(shown: ShownSlot) -> ShownSlotRecord:
    outcome, following, run = shown.outcome, shown.then_outcome, shown.decisive
    return ShownSlotRecord(
        **vars(slot(shown)),
        job_state=outcome.job_state if outcome else None,
        version=outcome.name if outcome else None,
        val_loss=outcome.val_loss if outcome else None,
        gate=outcome.gate if outcome else None,
        then_state=following.job_state if following else None,
        then_version=following.name if following else None,
        run_state=run.verdict if run else "deleted" if shown.jobs else shown.state,
        run_reason=_reason(run.reason if run else None if shown.jobs else shown.reason),
    )
