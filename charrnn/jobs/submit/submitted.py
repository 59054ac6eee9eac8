"""The result of a submit, and the transaction that stores a job."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from charrnn.errors import InputError
from charrnn.jobs import tracing
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.requests import Request, draw_rng_seed, rng_seed_of
from charrnn.jobs.job.schedule import Slot
from charrnn.jobs.job.sizing import Estimate, TrainingEstimate
from charrnn.jobs.job.specs import MAX_LABEL, GenerateSpec, TrainSpec
from charrnn.jobs.job.views import Action
from charrnn.jobs.store.events import record
from charrnn.jobs.store.lifecycle import NewJob, StoredJob, add_job
from charrnn.jobs.store.registry import lock_needs
from charrnn.jobs.store.scheduled import slots
from charrnn.text.documents import check_storable

Spec = TypeVar("Spec", TrainSpec, GenerateSpec, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Submitted(Generic[Spec]):
    """A job as it was stored. After a dry run it is the job that would be stored, and `id` is None.

    Attributes:
        estimate: time and storage of a generate job, or the time of a training job.
        existed: whether a job with its key existed already.
        then_job: id of the job that was stored with it and samples after it, if any.
        blank_lines: number of blank lines in the seeds file, which were skipped.
        bad_seeds: number of seeds that cannot be used, which were skipped.
        first_bad_seed: why the first of them cannot be used.
    """

    id: int | None
    spec: Spec
    estimate: Estimate | TrainingEstimate
    existed: bool = False
    then_job: int | None = None
    blank_lines: int = 0
    bad_seeds: int = 0
    first_bad_seed: str | None = None

    @property
    def parts(self) -> int:
        return self.spec.parts


def check_label(label: str | None) -> None:
    """Check a job's label, if it has one. An empty one could not be found again.

    Raises:
        InputError: it is empty, too long, or a text that no database accepts.
    """
    if label is None:
        return
    check_storable("The label", label)
    if not label.strip() or len(label) > MAX_LABEL:
        raise InputError(
            f"The label must have 1 to {MAX_LABEL} characters that are not all blank. Received: {len(label):,}"
        )


def choose_rng_seed(request: Request, fixed: str | None) -> int:
    """Return the random seed of a job.

    It is the request's, if it has one. Otherwise it is derived from `fixed`, such as an idempotency key, so that the
    same request again gets the same random seed. Without either it is drawn.
    """
    if request.rng_seed is not None:
        return request.rng_seed
    return draw_rng_seed() if fixed is None else rng_seed_of(fixed)


def store_job(
    connections: Connections, new: NewJob, slot: Slot | None, then: NewJob | None = None
) -> tuple[StoredJob, int | None]:
    """Store a job with its parts, and mark the slot of the schedule that submits it, if any, as submitted.

    Args:
        then: a job to store with it, which waits for it.

    Returns:
        The job, and the id of the one that waits for it, if any.

    Raises:
        InputError: something that the job needs has changed meanwhile, or its key belongs to a different request.
        NotFoundError: something that the job needs was deleted meanwhile.
        SkippedError: the slot must not get the job.
    """
    with connections.store.write() as connection:
        lock_needs(connection, new.spec)
        schedule, trace = None if slot is None else slot.schedule, tracing.traceparent()
        person = connections.settings.person if slot is None else slots.added_by(connection, slot)
        facts: dict[str, Any] = {"submitted_by": person, "schedule": schedule, "traceparent": trace}
        job = add_job(connection, replace(new, **facts))
        then_job = None
        if then is not None:
            then_job = add_job(connection, replace(then, **facts, after=job.id)).id
        for new_job in () if job.existed else (job.id, then_job):
            if new_job is not None:
                record(connection, person, Action.SUBMITTED, job=new_job, schedule=schedule)
        if slot is not None:
            slots.fill(connection, slot, job.id, new.spec, then_job)
    tracing.annotate(job=job.id, kind=new.spec.QUEUE, model=new.spec.model, parts=new.spec.parts)
    return job, then_job
