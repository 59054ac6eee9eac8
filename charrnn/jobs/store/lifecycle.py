"""The life of a job: added with its parts, ended by its last part, cancelled, retried.

Each function runs in the caller's transaction. Locks are taken in one order everywhere, so that no two transactions can
wait for each other: the awaited training job, the job, the part, the model, the version, a schedule's slot.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import CTE, Connection, Row, case, func, insert, literal, select, update

from charrnn.errors import DamagedError, InputError, NotFoundError, storable
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import JsonObject, reading
from charrnn.jobs.job.part import START, Frame, frame_of
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec, read_spec
from charrnn.jobs.job.states import ENDED_JOBS, JobState, PartState, Priority
from charrnn.jobs.job.views import Job, check_id
from charrnn.jobs.store.database import NOW, insert_missing
from charrnn.jobs.store.registry import version_after, with_version
from charrnn.jobs.store.tables import LOST, QUEUED, jobs, parts
from charrnn.jobs.store.turns import Submitter, enter, last_place, needed_by

JOB = tuple(
    column for column in jobs.c if column not in {jobs.c.turn, jobs.c.splits, jobs.c.deleting, jobs.c.traceparent}
)
"""The columns of a job that are shown."""


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job that is about to be stored."""

    spec: TrainSpec | GenerateSpec
    submitted_by: str = ""  # a person, or who added the schedule; set when it is stored
    label: str | None = None
    schedule: str | None = None  # the schedule that submits it
    key: str | None = None  # idempotency key: one job is stored for it, however often it is submitted
    request: str | None = None  # a hash of the request, to tell whether the key belongs to the same request
    priority: Priority = Priority.NORMAL
    after: int | None = None  # the training job whose version is awaited
    frames: Sequence[Frame] = (START,)  # the frames of the seeds file, in order
    seed_options: Collection[str] = ()  # options that its seeds have of their own
    traceparent: str | None = None  # of its submit

    @property
    def submitter(self) -> Submitter:
        return Submitter(self.spec.QUEUE, self.priority, self.submitted_by)

    @property
    def seeds(self) -> FileRef | None:
        """The seeds file of a generate job."""
        return self.spec.seeds if isinstance(self.spec, GenerateSpec) else None


@dataclass(frozen=True, kw_only=True)
class StoredJob:
    """The result of storing a NewJob."""

    id: int
    spec: JsonObject  # the spec of the first job with the key; with the version, if that exists
    existed: bool  # whether a job with the key existed already


def add_job(connection: Connection, new: NewJob) -> StoredJob:
    """Insert a job and its parts, unless a job with its key exists.

    Raises:
        InputError: the key belongs to a job with a different request, or the awaited job made no version.
    """
    if first := first_of_key(connection, new):  # an insert that is refused would use up an id
        return first
    spec = new.spec
    if new.after is not None and isinstance(spec, GenerateSpec):
        version = awaited_version(connection, new.after)
        if version is not None:
            spec = GenerateSpec.from_dict(with_version(connection, spec.to_dict(), version))
    inserted = insert_missing(connection, jobs, **_row(new, spec))
    if inserted is None:  # another submit with this key was quicker
        if (first := first_of_key(connection, new)) is None:
            raise InputError(f"The job with the key {new.key!r} was deleted just now. Submit again")
        return first
    _add_parts(connection, inserted.id, new, needed_by(connection, spec, new.after, new.seed_options))
    enter(connection, [new.submitter])  # last: its row is locked only while this commits
    return StoredJob(id=inserted.id, spec=spec.to_dict(), existed=False)


def _row(new: NewJob, spec: TrainSpec | GenerateSpec) -> dict[str, Any]:
    generate = spec if isinstance(spec, GenerateSpec) else None
    return {
        "kind": spec.QUEUE,
        "label": new.label,
        "submitted_by": new.submitted_by,
        "schedule": new.schedule,
        "key": new.key,
        "request": new.request,
        "traceparent": new.traceparent,
        "priority": new.priority,
        "turn": last_place(new.submitter),
        "spec": spec.to_dict(),
        "model": spec.model,
        "version": generate.version if generate else None,
        "after": new.after,
        "parts_total": spec.parts,
        "parts_left": spec.parts,
        "rows_total": generate.rows if generate else 0,
    }


def first_of_key(connection: Connection, new: NewJob) -> StoredJob | None:
    """Return the stored job with the same key, or None.

    Raises:
        InputError: that job has a different request.
    """
    query = select(jobs.c.id, jobs.c.request, jobs.c.spec).where(jobs.c.key.is_not(None), jobs.c.key == new.key)
    first = connection.execute(query).one_or_none()
    if first is None:
        return None
    if first.request != new.request:
        raise InputError(
            f"The key {new.key!r} belongs to job {first.id}, which has a different request. Use another key"
        )
    return StoredJob(id=first.id, spec=first.spec, existed=True)


def _add_parts(connection: Connection, job: int, new: NewJob, spec_version: int) -> None:
    """Insert a job's parts, those of a frame of the seeds file by one statement: the database counts them itself, which
    takes a third of the time that they take as parameters."""
    spec = new.spec
    size, rows = (spec.part_rows, spec.rows) if isinstance(spec, GenerateSpec) else (0, 0)
    for frame, group in groupby(range(spec.parts), lambda number: frame_of(new.frames, number * size)):
        numbers = list(group)
        number = _series(numbers[0], numbers[-1]).c.number
        values = {
            "job": literal(job),
            "number": number,
            "spec_version": literal(spec_version),
            "first_row": number * size,
            "rows": case((rows - number * size < size, rows - number * size), else_=size),
            "frame_offset": literal(frame.offset),
            "frame_row": literal(frame.row),
        }
        connection.execute(insert(parts).from_select(list(values), select(*values.values())))


def _series(first: int, last: int) -> CTE:
    """Return a table of the numbers from `first` to `last`."""
    series = select(literal(first).label("number")).cte(recursive=True)
    return series.union_all(select(series.c.number + 1).where(series.c.number < last))


def lock_job(connection: Connection, job_id: int, *, deleting: bool = False) -> Row[Any]:
    """Return the job's row, locked until the transaction ends.

    Args:
        deleting: whether to return it even if its deletion has begun.

    Raises:
        NotFoundError: there is no such job.
    """
    check_id("job_id", job_id)
    # "key share": rows that refer to the job, such as epochs, can be inserted meanwhile.
    query = select(jobs).where(jobs.c.id == job_id).with_for_update(key_share=True)
    job = connection.execute(query).one_or_none()
    if job is None or (job.deleting and not deleting):
        raise no_job(job_id)
    return job


def no_job(job_id: int) -> NotFoundError:
    return NotFoundError(f"There is no job {job_id}. List them with: charrnn-jobs jobs")


def to_job(row: Row[Any]) -> Job:
    """Return the job of a row that has the columns of JOB."""
    values = {column.name: row._mapping[column.name] for column in JOB}
    return Job(stored_spec=values.pop("spec"), **{**values, "state": JobState(row.state)})


def awaited_version(connection: Connection, training: int) -> int | None:
    """Return the version that a training job made, or None while it can still make one. The job is locked.

    Raises:
        InputError: the job is not a training job, or it ended without a version.
        NotFoundError: there is no such job.
    """
    job = lock_job(connection, training)
    if job.kind != TrainSpec.QUEUE:
        raise InputError(f"Job {training} is not a training job, so there is no version to wait for")
    if job.state in ENDED_JOBS and job.version is None:
        raise InputError(
            f"Job {training} is {job.state} and made no version. Repeat it first: charrnn-jobs retry {training}"
        )
    return None if job.version is None else int(job.version)


def end_parts(connection: Connection, job_id: int, count: int, **added: int) -> bool:
    """Count parts as ended and add to the job's counters. With its last part the job ends: return whether it did."""
    values: dict[str, Any] = {name: jobs.c[name] + amount for name, amount in added.items()}
    values["parts_left"] = jobs.c.parts_left - count
    columns = (jobs.c.id, jobs.c.kind, jobs.c.version, jobs.c.parts_left)
    job = connection.execute(update(jobs).where(jobs.c.id == job_id).values(values).returning(*columns)).one()
    ends = count > 0 and job.parts_left == 0
    if ends:
        _end(connection, job, _final_state(connection, job))
    return ends


def _end(connection: Connection, job: Row[Any], state: JobState, **values: Any) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job.id).values(state=state, finished_at=NOW, **values))
    if job.kind == TrainSpec.QUEUE:
        _resolve_dependents(connection, job, state)


def _final_state(connection: Connection, job: Row[Any]) -> JobState:
    lost = select(parts.c.state).where(parts.c.job == job.id, LOST).distinct()
    states = set(connection.execute(lost).scalars())
    if PartState.CANCELLED in states:
        return JobState.CANCELLED
    if job.kind == TrainSpec.QUEUE and PartState.FAILED in states:
        return JobState.FAILED
    return JobState.DONE


def _resolve_dependents(connection: Connection, training: Row[Any], state: JobState) -> None:
    """Start the jobs that wait for a training job with its version, or fail them if it made none."""
    waiting = (jobs.c.after == training.id) & jobs.c.version.is_(None) & jobs.c.state.not_in(ENDED_JOBS)
    found = connection.execute(select(jobs).where(waiting).order_by(jobs.c.id).with_for_update(key_share=True)).all()
    for job in found:
        spec, error = None, f"job {training.id}, the training job that it waited for, is {state}"
        if state == JobState.DONE:
            try:
                with reading(f"job {job.id}"):
                    version = version_after(connection, job, training.version)
                    # The JSON is changed and not read: a worker of an older release may end the training job.
                    spec = with_version(connection, job.spec, version)
            except DamagedError as damaged:  # it must not fail the training job
                error = storable(str(damaged))
        if spec is not None:
            values = {"spec": spec, "version": spec["version"]}
            connection.execute(update(jobs).where(jobs.c.id == job.id).values(values))
        else:
            _cancel_parts(connection, job.id)
            _end(connection, job, JobState.FAILED, error=error, parts_left=0)
    enter(connection, map(Submitter.of, found))


def cancel_job(connection: Connection, job_id: int) -> bool:
    """Cancel a job: its waiting parts now, its leased parts through their workers.

    Returns:
        False if the job has ended already.

    Raises:
        NotFoundError: there is no such job.
    """
    if lock_job(connection, job_id).state in ENDED_JOBS:
        return False
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))
    end_parts(connection, job_id, _cancel_parts(connection, job_id))
    return True


def _cancel_parts(connection: Connection, job_id: int) -> int:
    waiting = (parts.c.job == job_id) & QUEUED
    return connection.execute(update(parts).where(waiting).values(state=PartState.CANCELLED)).rowcount


@dataclass(frozen=True, kw_only=True)
class Retried:
    """A job whose parts were queued again."""

    spec: TrainSpec | GenerateSpec
    parts: int  # the number of queued parts
    ready: bool  # False: the job waits for a training job


def retry_job(connection: Connection, job_id: int) -> Retried:
    """Queue the failed and cancelled parts of a job again, and withdraw its cancellation.

    Parts that are done stay as they are, and a training job resumes from its last checkpoint.

    Raises:
        InputError: the training job that it waited for made no version, or was deleted.
        NotFoundError: there is no such job.
    """
    check_id("job_id", job_id)
    awaited = connection.execute(select(jobs.c.after).where(jobs.c.id == job_id)).scalar_one_or_none()
    version = None if awaited is None else awaited_version(connection, awaited)
    job = lock_job(connection, job_id)
    if job.kind == GenerateSpec.QUEUE and job.version is None and awaited is None:
        raise InputError(f"The training job that job {job_id} waited for was deleted. Submit job {job_id} again")
    requeued, rows_lost = _requeue_parts(connection, job_id)
    values: dict[str, Any] = {"cancel_requested": False, "rows_failed": job.rows_failed - rows_lost}
    if requeued:
        state = JobState.RUNNING if job.started_at else JobState.QUEUED
        values |= {"state": state, "parts_left": job.parts_left + requeued, "finished_at": None, "error": None}
    with reading(f"job {job_id}"):
        stored = job.spec
        if version is not None and job.version is None:
            stored = with_version(connection, stored, version_after(connection, job, version))
            values |= {"spec": stored, "version": stored["version"]}
        spec = read_spec(job.kind, stored)
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
    enter(connection, [Submitter.of(job)])
    return Retried(spec=spec, parts=requeued, ready=awaited is None or version is not None)


def _requeue_parts(connection: Connection, job_id: int) -> tuple[int, int]:
    """Queue failed and cancelled parts. Return the number of parts, and of the rows in those that had failed."""
    chosen = (parts.c.job == job_id) & LOST
    lost = select(func.coalesce(func.sum(parts.c.rows), 0)).where(chosen, parts.c.state == PartState.FAILED)
    rows_lost = int(connection.execute(lost).scalar_one())
    again = {"state": PartState.QUEUED, "attempts": 0, "error": None, "progress": None}
    return connection.execute(update(parts).where(chosen).values(again)).rowcount, rows_lost
