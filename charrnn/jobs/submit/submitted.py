"""A job as it was stored, and the transaction that stores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from charrnn.jobs.connections import Connections
from charrnn.jobs.job.requests import Request, draw_rng_seed, rng_seed_of
from charrnn.jobs.job.schedule import Slot
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.store import slots
from charrnn.jobs.store.lifecycle import NewJob, StoredJob, add_job
from charrnn.jobs.store.registry import lock_needs

Spec = TypeVar("Spec", TrainSpec, GenerateSpec, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A rough estimate of the time and storage of a generate job."""

    result_bytes: int  # in the store's files
    export_bytes: int  # as JSON Lines
    seconds: float | None  # with the devices that live now; None where the model's speed is not known yet


@dataclass(frozen=True, kw_only=True)
class Submitted(Generic[Spec]):
    """A job as it was stored, or would be with `dry_run`; then `id` is None.

    Attributes:
        estimate: of a generate job.
        existed: its key stood for a job that was there.
        blank_lines: of the seeds file, which were skipped.
    """

    id: int | None
    spec: Spec
    estimate: Estimate | None = None
    existed: bool = False
    blank_lines: int = 0

    @property
    def parts(self) -> int:
        return self.spec.parts


def choose_rng_seed(request: Request, fixed: str | None) -> int:
    """Return the random seed of a job: the request's, else the one that a fixed text stands for, such as a key, so that
    who asks again asks for the same, else a drawn one."""
    if request.rng_seed is not None:
        return request.rng_seed
    return draw_rng_seed() if fixed is None else rng_seed_of(fixed)


def store_job(connections: Connections, new: NewJob, slot: Slot | None) -> StoredJob:
    """Store a job with its parts, and mark the slot of the schedule that asked for it submitted.

    Raises:
        InputError: what it needs has changed meanwhile, or its key stands for another job.
        NotFoundError: what it needs was deleted meanwhile.
        SkippedError: the slot is not to have the job.
    """
    with connections.store.write() as connection:
        lock_needs(connection, new.spec)
        job = add_job(connection, new)
        if slot is not None:
            slots.fill(connection, slot, job.id, new.spec)
        return job
