"""Jobs and workers as the store and the client show them. Times are milliseconds of the database's clock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from charrnn.jobs.job.json_object import JsonObject, field_values
from charrnn.jobs.job.part import RunningPart
from charrnn.jobs.job.report import ReportSummary
from charrnn.jobs.job.specs import SPECS, GenerateSpec, TrainSpec
from charrnn.jobs.job.states import ENDED_JOBS, JobState
from charrnn.training.progress import EpochMetrics


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as the store has it.

    Attributes:
        stored_spec: its spec as JSON. One of a newer release can be listed, though `spec` may not read it.
        version: sampled from, or trained; None until it is known.
        after: the training whose version it uses.
        characters: sampled so far, by parts that have ended.
    """

    id: int
    kind: str
    label: str | None
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
        return SPECS[self.kind].from_dict(self.stored_spec)

    @property
    def generate_spec(self) -> GenerateSpec | None:
        """The spec of a generate job, None of a training."""
        return GenerateSpec.from_dict(self.stored_spec) if self.kind == GenerateSpec.QUEUE else None

    @property
    def name(self) -> str:
        """The version that it samples from or trained; before that, the model."""
        return f"{self.model}@{self.version}" if self.version else self.model

    @property
    def ended(self) -> bool:
        return self.state in ENDED_JOBS

    @property
    def succeeded(self) -> bool:
        """Whether it ended and did all that was asked."""
        return self.state == JobState.DONE and self.rows_failed == 0

    def to_dict(self) -> JsonObject:
        return {("spec" if name == "stored_spec" else name): value for name, value in field_values(self).items()}


@dataclass(frozen=True, kw_only=True)
class JobStatus(Job):
    """Everything about a job.

    Attributes:
        progress: of the parts in work.
        report: what was sampled so far; None of a training, and before the first part has ended.
        history: epochs of a training.
        waiting_for: why nothing happens yet.
    """

    progress: tuple[RunningPart, ...]
    report: ReportSummary | None
    history: tuple[EpochMetrics, ...]
    waiting_for: str | None


@dataclass(frozen=True, kw_only=True)
class WorkerInfo:
    """A pool child that showed a sign of life lately."""

    owner: str  # its place: the worker's life and the number in the pool
    host: str
    pid: int
    device: str
    queues: tuple[str, ...]
    seen_at: int


def no_worker(*queues: str) -> str:
    """Say that nobody serves some queues, and what to do."""
    return f"no live worker serves {', '.join(queues)}. Start one: charrnn-jobs up, or charrnn-jobs worker"
