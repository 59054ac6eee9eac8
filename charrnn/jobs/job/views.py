"""Jobs and workers as the store and the client show them. Times are milliseconds of the database's clock."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from charrnn.checks import check_integer
from charrnn.errors import DamagedError
from charrnn.jobs.job.json_object import JsonObject, damage, reading
from charrnn.jobs.job.part import RunningPart
from charrnn.jobs.job.report import ReportSummary
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec, read_spec
from charrnn.jobs.job.states import ENDED_JOBS, JobState
from charrnn.training.progress import EpochMetrics

MAX_ID = 2**31 - 1  # the largest integer of a database column
POLL_S = 0.5  # seconds between two queries for a job that is followed


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as stored.

    Attributes:
        submitted_by: who submitted it, or added the schedule that did.
        schedule: the schedule that submitted it; it may have been removed since.
        stored_spec: its spec as JSON. A job of a newer release can be listed even if `spec` cannot read this.
        version: the version that it samples from or trained; None until it is known.
        after: the training job whose version it uses.
        characters: number of characters sampled so far, by parts that have ended.
    """

    id: int
    kind: str
    label: str | None
    submitted_by: str
    schedule: str | None
    key: str | None
    request: str | None
    priority: int
    state: JobState
    stored_spec: JsonObject
    model: str
    version: int | None
    after: int | None
    parts_total: int
    parts_left: int
    rows_total: int
    rows_done: int
    rows_failed: int
    characters: int
    cancel_requested: bool
    error: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None

    @cached_property
    def spec(self) -> TrainSpec | GenerateSpec:
        """The spec.

        Raises:
            DamagedError: a newer release stored it, or it is damaged.
        """
        with reading(f"job {self.id}"):
            return read_spec(self.kind, self.stored_spec)

    @property
    def known_spec(self) -> TrainSpec | GenerateSpec | None:
        """The spec, or None if this release cannot read it."""
        with suppress(DamagedError):
            return self.spec
        return None

    @property
    def generate_spec(self) -> GenerateSpec | None:
        """The spec of a generate job; None for a training job.

        Raises:
            DamagedError: a newer release stored it, or it is damaged.
        """
        return self.spec if isinstance(self.spec, GenerateSpec) else None

    @property
    def unreadable(self) -> str | None:
        """Why its spec cannot be read, or None."""
        return damage(lambda: self.spec)

    @property
    def name(self) -> str:
        """The version that it samples from or trained, or the model until the version is known."""
        return f"{self.model}@{self.version}" if self.version else self.model

    @property
    def ended(self) -> bool:
        return self.state in ENDED_JOBS

    @property
    def succeeded(self) -> bool:
        """Whether it is done without failed rows."""
        return self.state == JobState.DONE and self.rows_failed == 0


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A device, precision and release that did a share of a job. Results are sure to be the same only with one.

    Attributes:
        device: "cpu" with TensorFlow, "cpu with JAX", or the name of a card, with its backend if that is not JAX.
        precision: precision of matrix multiplication.
        release: release of the program.
        commits: number of sampled parts, or of checkpoints of a training job.
    """

    device: str
    precision: str
    release: str
    commits: int = 0

    @property
    def name(self) -> str:
        return f"{self.device}, {self.precision}, release {self.release}"


@dataclass(frozen=True, kw_only=True)
class JobStatus(Job):
    """All details of a job.

    Attributes:
        progress: the parts in work with their progress.
        report: the report on sampling so far; None for a training job, and before the first part has ended.
        history: the epochs of a training job.
        engines: what did the work so far, the one that began it first. More than one: the job was not finished by the
            kind of device, precision and release that began it.
        waiting_for: why the job is still waiting, or None.
    """

    progress: tuple[RunningPart, ...]
    report: ReportSummary | None
    history: tuple[EpochMetrics, ...]
    engines: tuple[Engine, ...]
    waiting_for: str | None


class Action(StrEnum):
    """Kinds of events."""

    SUBMITTED = "submitted"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    DELETED = "deleted"
    ATTEMPT_FAILED = "attempt failed"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    IMPORTED = "imported"
    ADDED = "added"
    CHANGED = "changed"
    PAUSED = "paused"
    RESUMED = "resumed"
    RUN = "run by hand"
    RUN_FAILED = "run failed"
    REMOVED = "removed"
    JOINED = "joined"
    DRAINED = "drained"


@dataclass(frozen=True, kw_only=True)
class Event:
    """A deed of a person or a worker, a failed attempt, or a run of a schedule that failed without a job.

    The job, model or schedule may have been deleted since.

    Attributes:
        actor: a person, a worker, or the process of a worker.
        action: such as submitted, cancelled, promoted, "attempt failed" or "run failed".
        model: a model, or a version such as speeches@3.
        detail: why an attempt or a run failed or a version was promoted, the alias that was moved, or the release that
            joined.
    """

    id: int
    at: int
    actor: str
    action: str
    job: int | None
    part: int | None
    model: str | None
    schedule: str | None
    detail: str | None

    @property
    def words(self) -> str:
        """The event in words, such as "attempt failed: job 4, part 0: the disk is full"."""
        job = None if self.job is None else f"job {self.job}"
        part = None if self.part is None else f"part {self.part}"
        schedule = None if self.schedule is None else f"schedule {self.schedule}"
        about = ", ".join(word for word in (job, part, self.model, schedule) if word)
        return ": ".join(word for word in (self.action, about, self.detail) if word)


@dataclass(frozen=True, kw_only=True)
class SignOfLife:
    """A pool child that says that it is alive."""

    owner: str  # its place: the worker's name for this run, and its number in the pool
    host: str
    pid: int
    device: str
    queues: tuple[str, ...]
    self_check: str | None = None  # "passed", or how it failed; None before the first part that it samples


@dataclass(frozen=True, kw_only=True)
class WorkerInfo(SignOfLife):
    """A pool child that showed a sign of life recently."""

    release: str | None  # of its program; None if that does not say
    spec_version: int  # the highest that it can read
    seen_at: int


def check_id(name: str, value: object) -> None:
    """Raise InputError unless `value` can be the id of a job or event."""
    check_integer(name, value, 0, MAX_ID)


def check_page(limit: object, before: object) -> None:
    """Check which of the newest jobs or events are asked for.

    Raises:
        InputError: `limit` is no whole number of at least 0, or `before` is neither an id nor None.
    """
    check_integer("limit", limit, 0, MAX_ID)
    if before is not None:
        check_id("before", before)


def no_worker(*queues: str) -> str:
    """Return the message that no worker serves some queues, and what to do."""
    return (
        f"no live worker serves {', '.join(queues)}. Start one: charrnn-jobs up, or charrnn-jobs worker --queues "
        f"{','.join(queues)}"
    )


def no_release(queue: str, spec_version: int, newest: WorkerInfo) -> str | None:
    """Return the message that no live worker reads a spec version, and what to do. None: the newest one does."""
    if newest.spec_version >= spec_version:
        return None
    release = newest.release or "unknown"
    return (
        f"no live worker that serves {queue} reads spec version {spec_version}: the newest, of release {release}, "
        f"reads {newest.spec_version}. Upgrade a worker"
    )
