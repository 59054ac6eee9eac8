"""Schedules and their slots, also as the store shows them. Times are milliseconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from charrnn.checks import check_choice, check_flag, check_number, check_type
from charrnn.errors import InputError, counted
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.json_object import JsonObject, damage, reading
from charrnn.jobs.job.requests import REQUESTS, GenerateRequest, Request, TrainRequest
from charrnn.jobs.job.specs import TrainSpec, check_name
from charrnn.jobs.job.states import JobState, SlotState
from charrnn.jobs.job.views import Job
from charrnn.text.documents import check_storable

OVERLAPS = (SKIP, QUEUE) = ("skip", "queue")
CATCH_UPS = (NONE, ONCE) = ("none", "once")
HOOK_URL = r"(?i:https?://)"  # how a hook begins that is a URL, as a pattern; all others are commands
SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
MAX_HOOK = 2000  # characters
RULES = ("cron", "timezone", "overlap", "catch_up", "deadline_s", "always", "on_success", "on_failure")
"""The columns that `schedules edit` can change, beside the request."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A request to submit, and the times at which to submit it.

    Attributes:
        then: a request to submit with each training job: its job waits for that one, and samples from the champion that
            the model has after it.
        overlap: whether to SKIP or to QUEUE a slot that is due while the previous slot's job has not ended.
        catch_up: whether to submit a job for slots at which nothing ran: NONE, or ONCE, which is one job for all.
        deadline_s: seconds after which a slot is no longer submitted, or None.
        always: submit a training job even if the text has not changed.
        on_success, on_failure: hooks for the end of a run, each a shell command or the URL of a POST: see upkeep.hooks.

    Raises:
        InputError: the name, a rule or the deadline is not valid, or `then` does not fit the request.
    """

    name: str
    cron: Cron
    request: Request
    then: GenerateRequest | None = None
    overlap: str = SKIP
    catch_up: str = ONCE
    deadline_s: float | None = None
    always: bool = False
    on_success: str | None = None
    on_failure: str | None = None

    def __post_init__(self) -> None:
        check_name("The schedule's name", self.name)
        check_type("cron", self.cron, Cron, "a Cron, such as Cron('0 3 * * *')")
        check_type("request", self.request, Request, "a TrainRequest or a GenerateRequest")
        check_type("then", self.then, GenerateRequest | None, "a GenerateRequest")
        check_choice("overlap", self.overlap, OVERLAPS)
        check_choice("catch_up", self.catch_up, CATCH_UPS)
        check_flag("always", self.always)
        if self.deadline_s is not None:
            check_number("deadline", self.deadline_s)
            if self.deadline_s == 0:
                raise InputError("deadline must be greater than 0, or every run would expire immediately")
        if isinstance(self.request, GenerateRequest) and self.request.model is None:
            raise InputError("A schedule needs the name of a model, such as: submit speeches --seeds seeds.txt")
        if self.always and self.request.QUEUE != TrainSpec.QUEUE:
            raise InputError("always applies only to training schedules, which skip an unchanged text. Leave it out")
        if self.then is not None:
            self._check_then(self.then)
        _check_hook("on_success", self.on_success)
        _check_hook("on_failure", self.on_failure)

    def _check_then(self, then: GenerateRequest) -> None:
        if not isinstance(self.request, TrainRequest):
            raise InputError("Only a training can be followed by a sampling: train NAME PATH --then submit")
        if then.model not in (None, self.request.model):
            raise InputError(
                f"What follows the training of {self.request.model} samples from its champion, not from {then.model}. "
                f"Leave out the model"
            )
        if then.random_seeds is not None:
            raise InputError("`random_seeds` cannot be used after a training. Use a seeds file")

    def expired(self, slot: Slot, now: int) -> str | None:
        """Return why a slot is too late to be submitted, or None if it is not."""
        if self.deadline_s is None or now - slot.at <= 1000 * self.deadline_s:
            return None
        return f"not submitted within its deadline of {self.deadline_s:g} s"


def is_url(hook: str) -> bool:
    """Return whether a hook is the URL of a POST. All others are commands."""
    return re.match(HOOK_URL, hook) is not None


def _check_hook(name: str, hook: str | None) -> None:
    if hook is None:
        return
    check_storable(f"The hook `{name}`", hook)
    if not hook.strip() or len(hook) > MAX_HOOK:
        raise InputError(f"{name} must be a command or a URL of 1 to {MAX_HOOK:,} characters. Received: {len(hook):,}")
    scheme = re.match(SCHEME, hook.lstrip())
    if scheme and not is_url(hook):
        raise InputError(
            f"`{name}` begins with {hook[:40]!r}, to which nothing can be posted. Expected a shell command, or a URL "
            f"that begins with http:// or https://"
        )
    url = HOOK_URL + r"[^\s/?#@]+([/?#]\S*)?"
    # A password would be shown with the schedule.
    if is_url(hook) and not (re.fullmatch(url, hook) and hook.isascii() and _is_port_valid(hook)):
        raise InputError(
            f"{name} must be a URL in ASCII, without a user name and with a port that exists, such as "
            f"https://example.org:8080/hook, or a shell command"
        )


def _is_port_valid(url: str) -> bool:
    """Return whether a URL has no port or one up to 65,535. Of more, the system would take the rest of a division."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


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
        added_by: who added it; its jobs are theirs.
        stored_request: the request as stored, with the kind of its jobs, and the one that follows it, if any.
        next_at: the first slot that is not decided yet.
    """

    name: str
    added_by: str
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

    def schedule(
        self, *, request: Request | None = None, then: GenerateRequest | None = None, **changes: Any
    ) -> Schedule:
        """Return the schedule, with some of its values changed. Only the others must be readable.

        Args:
            request: a new request. `then` follows it, and what followed the old one is dropped.

        Raises:
            DamagedError: its request cannot be read.
            InputError: a value is not valid.
        """
        values = {name: getattr(self, name) for name in RULES} | changes
        cron = Cron(values.pop("cron"), values.pop("timezone"))
        if request is None:
            request, then = self.request, self.then
        return Schedule(name=self.name, cron=cron, request=request, then=then, **values)

    @property
    def request(self) -> Request:
        """The request that it submits. Raises DamagedError if it cannot be read."""
        with reading(f"schedule {self.name}"):
            return REQUESTS[self.kind].from_dict(self.stored_request["arguments"])

    @property
    def then(self) -> GenerateRequest | None:
        """The request that follows it, if any. Raises DamagedError if it cannot be read."""
        following = self.stored_request.get("then")
        with reading(f"schedule {self.name}"):
            return None if following is None else GenerateRequest.from_dict(following)

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
        then_job: the job that follows it, if any.
        reason: why it has no job, or other details.
        claimed_until: the end of the claim of the process that is about to submit it.
        hook_error: why the hook failed that was told of its end.
    """

    schedule: str
    at: int
    state: SlotState
    by_hand: bool
    job: int | None
    then_job: int | None
    reason: str | None
    claimed_until: int
    hook_error: str | None

    @property
    def jobs(self) -> tuple[int, ...]:
        """The ids of its jobs."""
        return tuple(job for job in (self.job, self.then_job) if job is not None)


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

    job: int
    job_state: JobState
    model: str
    version: int | None
    error: str | None
    rows_failed: int
    val_loss: float | None = None
    gate: str | None = None

    @classmethod
    def of(cls, job: Job) -> Outcome:
        """Return the outcome of a job, without what its version has."""
        facts = {name: getattr(job, name) for name in ("model", "version", "error", "rows_failed")}
        return cls(job=job.id, job_state=job.state, **facts)

    @property
    def verdict(self) -> JobState:
        """The job's state, which is FAILED also if it is done with failed rows."""
        return JobState.FAILED if self.job_state == JobState.DONE and self.rows_failed else self.job_state

    @property
    def reason(self) -> str | None:
        """Why it did not succeed, if it ended so."""
        if self.job_state == JobState.CANCELLED:
            return "the job was cancelled"
        if self.verdict != JobState.FAILED:
            return None
        rows = f"{counted(self.rows_failed, 'row')} failed" if self.rows_failed else None
        return ": ".join(filter(None, (rows, self.error))) or None

    @property
    def name(self) -> str | None:
        """The version that the job made or samples from, if it is known."""
        return f"{self.model}@{self.version}" if self.version else None


def decisive(outcome: Outcome | None, then_outcome: Outcome | None) -> Outcome | None:
    """Return the outcome that is that of the whole run: that of its first job that did not succeed, or of its last one.

    Args:
        outcome: that of the run's job; None if there is none or it was deleted.
        then_outcome: that of the job that follows it, likewise.
    """
    found = [one for one in (outcome, then_outcome) if one is not None]
    return next((one for one in found if one.verdict != JobState.DONE), found[-1] if found else None)


@dataclass(frozen=True, kw_only=True)
class ShownSlot(StoredSlot):
    """A slot with the outcomes of its jobs, each None if there is no such job or it was deleted."""

    outcome: Outcome | None
    then_outcome: Outcome | None

    @property
    def decisive(self) -> Outcome | None:
        """The outcome of the whole run."""
        return decisive(self.outcome, self.then_outcome)


@dataclass(frozen=True, kw_only=True)
class ListedSchedule(StoredSchedule):
    """A schedule with its latest slot, or None if it had none yet."""

    last: ShownSlot | None


@dataclass(frozen=True, kw_only=True)
class ScheduleDetails(StoredSchedule):
    """A schedule with its latest slots, latest first, and its next times, of which a paused schedule has none."""

    slots: tuple[ShownSlot, ...]
    upcoming: tuple[int, ...]


def utc(ms: int) -> str:
    """Return a time for users. A damaged one is shown as such."""
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OSError, OverflowError, ValueError):
        return "unreadable"
