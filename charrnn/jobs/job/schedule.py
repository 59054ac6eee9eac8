"""Schedules and their slots, also as the store shows them. Times are milliseconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from charrnn.checks import check_choice, check_number
from charrnn.errors import InputError, counted, shorten
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.json_object import JsonObject, damage, reading
from charrnn.jobs.job.requests import REQUESTS, GenerateRequest, Request
from charrnn.jobs.job.specs import TrainSpec, check_name
from charrnn.jobs.job.states import JobState, SlotState
from charrnn.text.documents import check_storable

OVERLAPS = (SKIP, QUEUE) = ("skip", "queue")
CATCH_UPS = (NONE, ONCE) = ("none", "once")
HOOK_URL = r"(?i:https?://)"  # how a hook begins that is a URL, as a pattern; all others are commands
MAX_HOOK = 2000  # characters
RULES = ("cron", "timezone", "overlap", "catch_up", "deadline_s", "always", "on_success", "on_failure")
"""The columns that `schedules edit` can change, beside the request."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A request to submit, and the times at which to submit it.

    Attributes:
        overlap: whether to SKIP or to QUEUE a slot that is due while the previous slot's job has not ended.
        catch_up: whether to submit a job for slots at which nothing ran: NONE, or ONCE, which is one job for all.
        deadline_s: seconds after which a slot is no longer submitted, or None.
        always: submit a training job even if the text has not changed.
        on_success, on_failure: hooks for the end of a run, each a shell command or the URL of a POST: see upkeep.hooks.

    Raises:
        InputError: the name, a rule or the deadline is not valid.
    """

    name: str
    cron: Cron
    request: Request
    overlap: str = SKIP
    catch_up: str = ONCE
    deadline_s: float | None = None
    always: bool = False
    on_success: str | None = None
    on_failure: str | None = None

    def __post_init__(self) -> None:
        check_name("The schedule's name", self.name)
        check_choice("overlap", self.overlap, OVERLAPS)
        check_choice("catch-up", self.catch_up, CATCH_UPS)
        if self.deadline_s is not None:
            check_number("deadline", self.deadline_s)
            if self.deadline_s == 0:
                raise InputError("deadline must be greater than 0, or every run would expire immediately")
        if isinstance(self.request, GenerateRequest) and self.request.model is None:
            raise InputError("A schedule needs the name of a model, such as: submit speeches --seeds seeds.txt")
        if self.always and self.request.QUEUE != TrainSpec.QUEUE:
            raise InputError("always applies only to training schedules, which skip an unchanged text. Leave it out")
        _check_hook("on-success", self.on_success)
        _check_hook("on-failure", self.on_failure)

    def expired(self, slot: Slot, now: int) -> str | None:
        """Return why a slot is too late to be submitted, or None if it is not."""
        if self.deadline_s is None or now - slot.at <= 1000 * self.deadline_s:
            return None
        return f"not submitted within its deadline of {self.deadline_s:g} s"


def _check_hook(name: str, hook: str | None) -> None:
    if hook is None:
        return
    check_storable(f"The hook {name}", hook)
    if not hook.strip() or len(hook) > MAX_HOOK:
        raise InputError(f"{name} must be a command or a URL of 1 to {MAX_HOOK:,} characters. Received: {len(hook):,}")
    is_url, url = re.match(HOOK_URL, hook), HOOK_URL + r"[^\s/?#@]+([/?#]\S*)?"
    if is_url and not (re.fullmatch(url, hook) and hook.isascii()):  # a password would be shown with the schedule
        raise InputError(
            f"{name} must be a URL in ASCII without a user name, such as https://example.org/hook, or a shell command"
        )


@dataclass(frozen=True)
class Slot:
    """A time at which a schedule is due."""

    schedule: str
    at: int

    def __str__(self) -> str:
        return f"{self.schedule} at {utc(self.at)}"


class SkippedError(Exception):
    """A slot's job was not stored: because of a rule of its schedule, or because another process was quicker."""


@dataclass(frozen=True, kw_only=True)
class StoredSchedule:
    """A schedule as stored. If a newer release stored it, `schedule` may be unable to read it.

    Attributes:
        stored_request: the request as stored, with the kind of its jobs.
        next_at: the first slot that is not decided yet.
    """

    name: str
    cron: str
    timezone: str
    stored_request: JsonObject
    overlap: str
    catch_up: str
    deadline_s: float | None
    always: bool
    on_success: str | None
    on_failure: str | None
    paused: bool
    next_at: int
    created_at: int

    def schedule(self, *, request: Request | None = None, **changes: Any) -> Schedule:
        """Return the schedule, with some of its values changed. What is changed need not be readable.

        Raises:
            DamagedError: its request cannot be read.
            InputError: a value is not valid.
        """
        values = {name: getattr(self, name) for name in RULES} | changes
        cron = Cron(values.pop("cron"), values.pop("timezone"))
        return Schedule(name=self.name, cron=cron, request=request or self.request, **values)

    @property
    def request(self) -> Request:
        """The request that it submits. Raises DamagedError if it cannot be read."""
        with reading(f"schedule {self.name}"):
            return REQUESTS[self.kind].from_dict(self.stored_request["arguments"])

    @property
    def unreadable(self) -> str | None:
        """Why it cannot be read, or None."""
        return damage(self._read)

    def _read(self) -> None:
        with reading(f"schedule {self.name}"):
            self.schedule()
            if not isinstance(self.next_at, int):
                raise TypeError("its next time is not a number")

    @property
    def kind(self) -> str:
        """The kind of the jobs that it submits. Like `model`, it is for a request that can be read."""
        return str(self.stored_request["queue"])

    @property
    def model(self) -> str:
        return str(self.stored_request["arguments"]["model"])


@dataclass(frozen=True, kw_only=True)
class StoredSlot:
    """A slot as stored.

    Attributes:
        job: the job that was submitted for it; it may have been deleted since.
        reason: why it has no job, or other details.
        claimed_until: the end of the claim of the process that is about to submit it.
        hook_error: why the hook failed that was told of its end.
    """

    schedule: str
    at: int
    state: SlotState
    by_hand: bool
    job: int | None
    reason: str | None
    claimed_until: int
    hook_error: str | None


@dataclass(frozen=True, kw_only=True)
class WaitingSlot:
    """A slot whose job is to be submitted. It is `blocked` while a job of its schedule has not ended."""

    slot: Slot
    by_hand: bool
    blocked: bool
    stored: StoredSchedule


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a slot's job. Only the version of a training job has `val_loss` and `gate`."""

    job_state: JobState
    model: str
    version: int | None
    val_loss: float | None = None
    gate: str | None = None

    @property
    def name(self) -> str | None:
        """The version that the job made or samples from, if it is known."""
        return f"{self.model}@{self.version}" if self.version else None


@dataclass(frozen=True, kw_only=True)
class ShownSlot(StoredSlot):
    """A slot with the outcome of its job, or None if it has no job or the job was deleted."""

    outcome: Outcome | None


@dataclass(frozen=True, kw_only=True)
class ListedSchedule(StoredSchedule):
    """A schedule with its latest slot, or None if it had none yet."""

    last: StoredSlot | None


@dataclass(frozen=True, kw_only=True)
class ScheduleDetails(StoredSchedule):
    """A schedule with its latest slots, latest first, and its next times, of which a paused schedule has none."""

    slots: tuple[ShownSlot, ...]
    upcoming: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Event:
    """The end of a run of a schedule, as hooks are told.

    Attributes:
        state: "done"; "failed" also for failed rows and for a job that was refused; "cancelled" or "expired".
        reason: why it did not succeed.
        version: the version that the job trained or sampled from.
    """

    slot: Slot
    state: str
    reason: str | None = None
    job: int | None = None
    version: str | None = None

    def to_dict(self) -> JsonObject:
        reason = None if self.reason is None else shorten(str(self.reason))
        return {
            "schedule": self.slot.schedule,
            "time": iso_time(self.slot.at),
            "state": str(self.state),
            "reason": reason,
            "job": self.job,
            "version": self.version,
        }


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    """A slot that got no job or whose job has ended, with what is needed to tell a hook.

    Attributes:
        job_state: None if there is no job, or no longer.
        hook_at: the time from which on a hook may be told.
        attempts: how often one was told.
    """

    slot: Slot
    state: str
    reason: str | None
    job: int | None
    job_state: str | None
    model: str | None
    version: int | None
    error: str | None
    rows_failed: int | None
    on_success: str | None
    on_failure: str | None
    hook_at: int
    attempts: int

    @property
    def event(self) -> Event | None:
        """The event, or None if there is none: a rule of the schedule skipped the slot, or the job was deleted."""
        if self.state in (SlotState.FAILED, SlotState.EXPIRED):
            return Event(slot=self.slot, state=self.state, reason=self.reason)
        if self.job_state is None:
            return None
        state, reason = self.job_state, self.error
        if state == JobState.DONE and self.rows_failed:
            state, reason = JobState.FAILED, f"{counted(self.rows_failed, 'row')} failed"
        version = f"{self.model}@{self.version}" if self.version else None
        return Event(slot=self.slot, state=state, reason=reason, job=self.job, version=version)

    @property
    def hook(self) -> str | None:
        """The hook that is to be told, if any."""
        if (event := self.event) is None:
            return None
        return self.on_success if event.state == JobState.DONE else self.on_failure


def iso_time(ms: int) -> str:
    """Return a time in ISO 8601, such as 2026-11-29T03:00:00Z."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def utc(ms: int) -> str:
    """Return a time for users. A damaged one is shown as such."""
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OSError, OverflowError, ValueError):
        return "unreadable"
