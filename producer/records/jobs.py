"""Jobs as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import field_values
from charrnn.jobs.job.part import RunningPart, SamplingProgress
from charrnn.jobs.job.report import ReportSummary
from charrnn.jobs.job.requests import with_options
from charrnn.jobs.job.sizing import Estimate, TrainingEstimate
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import JobState, Priority
from charrnn.jobs.job.views import Engine, Event, Job, JobStatus
from charrnn.options import NetworkOptions, SamplingOptions, TrainingOptions
from charrnn.training.progress import EpochMetrics, Progress
from producer.records.time import time

if TYPE_CHECKING:
    from charrnn.jobs.submit.submitted import Submitted

Kind = Literal["train", "generate"]
PriorityName = Literal["low", "normal", "high"]

PRIORITIES: dict[int, PriorityName] = {Priority.LOW: "low", Priority.NORMAL: "normal", Priority.HIGH: "high"}


@dataclass(frozen=True, kw_only=True)
class TrainRecord:
    """The work of a training job."""

    model: str
    corpus: FileRef
    """The text to train on, without the validation text."""
    characters: int
    """Length of that text."""
    validation: FileRef
    validation_characters: int
    validation_source: str
    """Source of the validation text, in words."""
    reserved: bool
    """Whether the validation text is left out of the training."""
    baseline: float | None
    """Validation loss of an n-gram model."""
    vocabulary: str
    network: NetworkOptions
    training: TrainingOptions
    start: str | None
    """The version to fine-tune."""
    sources: tuple[str, ...]
    """The first of the files that were read."""
    files: int
    """Number of files that were read."""
    source_bytes: int
    left_out_characters: int
    """Copies of the validation text, which were left out."""
    num_lines: int
    """Number of lines of that text, if each is a text of its own; otherwise 0."""
    margin: float
    keep: int | None


@dataclass(frozen=True, kw_only=True)
class GenerateRecord:
    """The work of a generate job."""

    model: str
    version: str | None
    """null while the job waits for the training job that will make it."""
    seeds: FileRef
    num_seeds: int
    rows: int
    characters: int
    """Maximum number of characters to sample."""
    sampling: SamplingOptions
    """Options that a seed may override for its rows."""
    batches: Mapping[str, int]
    """Batch size in slots by kind of device, `cpu` and `gpu`."""
    part_rows: int
    gpu_rows: int
    """Maximum number of rows that a GPU claims at once, as several parts."""


@dataclass(frozen=True, kw_only=True)
class SubmittedRecord:
    """A submitted job. After a dry run, `job` is null."""

    job: int | None
    existed: bool
    """Whether a job with its key existed before."""
    parts: int


@dataclass(frozen=True, kw_only=True)
class SubmittedTrainRecord(SubmittedRecord, TrainRecord):
    """A submitted training job."""

    estimate: TrainingEstimate


@dataclass(frozen=True, kw_only=True)
class SubmittedGenerateRecord(SubmittedRecord, GenerateRecord):
    """A submitted generate job."""

    estimate: Estimate
    blank_lines: int
    bad_seeds: int
    """Seeds that cannot be used, which were skipped."""
    first_bad_seed: str | None


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """A job."""

    id: int
    kind: Kind
    state: JobState
    model: str
    version: str | None
    """The version that it samples from or trained; null until it is known."""
    label: str | None
    submitted_by: str
    """Who submitted it, or added the schedule that did."""
    schedule: str | None
    """The schedule that submitted it, which may have been removed since."""
    key: str | None
    after: int | None
    """The training job whose version it uses."""
    priority: PriorityName | None
    parts_total: int
    parts_left: int
    rows_total: int
    rows_done: int
    rows_failed: int
    characters: int
    """Characters sampled so far, by parts that have ended."""
    cancel_requested: bool
    error: str | None
    created_at: str | None
    started_at: str | None
    finished_at: str | None
    spec: TrainRecord | GenerateRecord | None
    unreadable: str | None
    """Why there is no spec."""


@dataclass(frozen=True, kw_only=True)
class ProgressRecord:
    """The progress of a part in work."""

    part: int
    attempt: int
    work: SamplingProgress | Progress | None
    """null before the first step."""
    phase: str | None
    """loading, compiling or writing; null while it samples or trains."""
    waits: str | None
    """The error that the worker is waiting out while store or files do not answer."""


@dataclass(frozen=True, kw_only=True)
class StatusRecord(JobRecord):
    """A job with all its details."""

    progress: list[ProgressRecord]
    """The parts in work."""
    report: ReportSummary | None
    """The report on sampling so far."""
    history: tuple[EpochMetrics, ...]
    """The epochs of a training job."""
    engines: tuple[Engine, ...]
    waiting_for: str | None
    """Why the job is still waiting."""


@dataclass(frozen=True, kw_only=True)
class EventRecord:
    """A deed of a person or a worker, or a failed attempt at a part."""

    id: int
    at: str | None
    actor: str
    """A person, a worker, or the process of a worker."""
    action: str
    job: int | None
    """The job, model, version or schedule may have been deleted since."""
    part: int | None
    model: str | None
    """A version, such as speeches@3."""
    schedule: str | None
    detail: str | None
    """Why an attempt failed or a version was promoted, the alias that was moved, or the release that joined."""


def event(found: Event) -> EventRecord:
    detail = None if found.detail is None else with_options(found.detail)
    return EventRecord(**{**vars(found), "at": time(found.at), "detail": detail})


def submitted(job: Submitted[TrainSpec] | Submitted[GenerateSpec]) -> SubmittedTrainRecord | SubmittedGenerateRecord:
    if isinstance(job.spec, TrainSpec):
        return SubmittedTrainRecord(
            job=job.id,
            existed=job.existed,
            parts=job.parts,
            estimate=cast("TrainingEstimate", job.estimate),
            **vars(train(job.spec)),
        )
    return SubmittedGenerateRecord(
        job=job.id,
        existed=job.existed,
        parts=job.parts,
        estimate=cast("Estimate", job.estimate),
        blank_lines=job.blank_lines,
        bad_seeds=job.bad_seeds,
        first_bad_seed=job.first_bad_seed,
        **vars(generate(job.spec)),
    )


def job(found: Job) -> JobRecord:
    return JobRecord(
        id=found.id,
        kind=cast("Kind", found.kind),
        state=found.state,
        model=found.model,
        version=found.name if found.version else None,
        label=found.label,
        submitted_by=found.submitted_by,
        schedule=found.schedule,
        key=found.key,
        after=found.after,
        priority=PRIORITIES.get(found.priority),
        parts_total=found.parts_total,
        parts_left=found.parts_left,
        rows_total=found.rows_total,
        rows_done=found.rows_done,
        rows_failed=found.rows_failed,
        characters=found.characters,
        cancel_requested=found.cancel_requested,
        error=found.error,
        created_at=time(found.created_at),
        started_at=time(found.started_at),
        finished_at=time(found.finished_at),
        spec=_spec(found.known_spec),
        unreadable=found.unreadable,
    )


def status(found: JobStatus) -> StatusRecord:
    return StatusRecord(
        **vars(job(found)),
        progress=[_progress(part) for part in found.progress],
        report=found.report,
        history=found.history,
        engines=found.engines,
        waiting_for=found.waiting_for,
    )


def _progress(found: RunningPart) -> ProgressRecord:
    progress = found.progress
    return ProgressRecord(
        part=found.part,
        attempt=found.attempt,
        work=progress.work,
        phase=progress.phase,
        waits=progress.waits,
    )


def _spec(spec: TrainSpec | GenerateSpec | None) -> TrainRecord | GenerateRecord | None:
    if spec is None:
        return None
    return train(spec) if isinstance(spec, TrainSpec) else generate(spec)


def train(spec: TrainSpec) -> TrainRecord:
    values = field_values(spec)
    return TrainRecord(files=values.pop("num_sources"), **values)


def generate(spec: GenerateSpec) -> GenerateRecord:
    return GenerateRecord(**{**field_values(spec), "version": spec.name if spec.version else None})
