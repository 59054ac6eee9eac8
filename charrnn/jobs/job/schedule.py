"""Schedules: what to submit and when, their slots, and both as the store shows them. Times are milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from charrnn.checks import check_choice, check_number
from charrnn.errors import InputError
from charrnn.jobs.job.cron import Cron
from charrnn.jobs.job.json_object import JsonObject
from charrnn.jobs.job.requests import REQUESTS, Request
from charrnn.jobs.job.specs import TrainSpec, check_name
from charrnn.jobs.job.states import JobState, SlotState

OVERLAPS = (SKIP, QUEUE) = ("skip", "queue")
CATCH_UPS = (NONE, ONCE) = ("none", "once")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What to submit, and when.

    Raises:
        InputError: a name, expression, zone, rule or deadline that is none.
    """

    name: str
    cron: Cron
    request: Request
    overlap: str = SKIP  # of a slot that comes while the job of one before has not ended: skip it, or let it wait
    catch_up: str = ONCE  # of slots at which nothing ran: submit none of them, or one for all
    deadline_s: float | None = None
    always: bool = False

    def __post_init__(self) -> None:
        check_name("The schedule's name", self.name)
        check_choice("overlap", self.overlap, OVERLAPS)
        check_choice("catch-up", self.catch_up, CATCH_UPS)
        if self.deadline_s is not None:
            check_number("deadline", self.deadline_s)
            if self.deadline_s == 0:
                raise InputError("deadline must be more than 0, or every time is over when it comes")
        if self.always and self.request.QUEUE != TrainSpec.QUEUE:
            raise InputError("--always is of trainings, which an unchanged text is skipped for. Leave it out")

    def expired(self, slot: Slot, now: int) -> str | None:
        """Why a slot is too late to be submitted, if it is."""
        if self.deadline_s is None or now - slot.at <= 1000 * self.deadline_s:
            return None
        return f"not submitted within its deadline of {self.deadline_s:g} s"


@dataclass(frozen=True)
class Slot:
    """A time at which a schedule is due."""

    schedule: str
    at: int

    def __str__(self) -> str:
        return f"{self.schedule} at {utc(self.at)}"


class SkippedError(Exception):
    """A slot's job was not stored: by a rule of its schedule, or because somebody else was quicker."""


@dataclass(frozen=True, kw_only=True)
class StoredSchedule:
    """A schedule as the store has it, perhaps one of a newer release that `schedule` cannot read.

    Attributes:
        stored_request: the request as stored, with the kind of its jobs.
        next_at: the first slot that was not decided on.
    """

    name: str
    cron: str
    timezone: str
    stored_request: JsonObject
    overlap: str
    catch_up: str
    deadline_s: float | None
    always: bool
    paused: bool
    next_at: int
    created_at: int

    def schedule(self) -> Schedule:
        return Schedule(
            name=self.name,
            cron=Cron(self.cron, self.timezone),
            request=self.request,
            overlap=self.overlap,
            catch_up=self.catch_up,
            deadline_s=self.deadline_s,
            always=self.always,
        )

    @property
    def request(self) -> Request:
        return REQUESTS[self.kind].from_dict(self.stored_request["arguments"])

    @property
    def kind(self) -> str:
        """Of the jobs that it submits."""
        return str(self.stored_request["queue"])

    @property
    def model(self) -> str:
        return str(self.stored_request["arguments"]["model"])

    @property
    def reads(self) -> list[str]:
        """Paths of the texts or the seeds."""
        arguments = self.stored_request["arguments"]
        return list(arguments.get("paths") or filter(None, [arguments.get("seeds")]))

    def to_dict(self) -> JsonObject:
        return {("request" if name == "stored_request" else name): value for name, value in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class StoredSlot:
    """A slot as the store has it.

    Attributes:
        job: that was submitted for it; it may have been deleted since.
        reason: why it has no job, or more to know about it.
        claimed_until: by who is about to submit it.
    """

    schedule: str
    at: int
    state: SlotState
    by_hand: bool
    job: int | None
    reason: str | None
    claimed_until: int


@dataclass(frozen=True, kw_only=True)
class WaitingSlot:
    """A slot whose job is to be submitted; `blocked` while a job of its schedule is in work."""

    slot: Slot
    by_hand: bool
    blocked: bool
    stored: StoredSchedule


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a slot's job; `val_loss` and `gate` are of a training's version."""

    job_state: JobState
    model: str
    version: int | None
    val_loss: float | None = None
    gate: str | None = None

    @property
    def name(self) -> str | None:
        """The version that the job made or samples from, if it is known."""
        return f"{self.model}@{self.version}" if self.version else None

    def to_dict(self) -> JsonObject:
        trained = ("val_loss", "gate") if self.gate is not None else ()
        return {name: getattr(self, name) for name in ("job_state", "model", "version", *trained)}


@dataclass(frozen=True, kw_only=True)
class ShownSlot(StoredSlot):
    """A slot with what became of its job; None of one without a job that is still there."""

    outcome: Outcome | None

    def to_dict(self) -> JsonObject:
        facts = {name: value for name, value in vars(self).items() if name != "outcome"}
        return facts | (self.outcome.to_dict() if self.outcome else {})


@dataclass(frozen=True, kw_only=True)
class ListedSchedule(StoredSchedule):
    """A schedule with its latest slot, if it had one."""

    last: StoredSlot | None


@dataclass(frozen=True, kw_only=True)
class ScheduleDetails(StoredSchedule):
    """A schedule with its latest slots, latest first, and its next times; none while it is paused."""

    slots: tuple[ShownSlot, ...]
    upcoming: tuple[int, ...]


def utc(ms: int) -> str:
    """A time for people."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
