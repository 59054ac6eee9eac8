"""Follow a job on the terminal until it ends."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

import typer

from charrnn.errors import CharrnnError
from charrnn.jobs.job.specs import TrainSpec
from charrnn.jobs.job.states import JobState
from charrnn.jobs.programs import INTERRUPTED
from producer.output import console, models, progress
from producer.output import jobs as render

if TYPE_CHECKING:
    from charrnn.jobs.client import Client
    from charrnn.jobs.job.views import JobStatus


def follow(
    client: Client, job_id: int, timeout_s: float | None, name: str | None = None, *, quiet: bool = False
) -> bool:
    """Show a job until it ends. Return whether it is done without failed rows.

    Args:
        name: what to call a temporary job, whose id is of no use to the reader.
        quiet: show neither progress nor what came of it.
    """
    job: JobStatus | None = None
    try:
        with nullcontext(_ignore) if quiet else progress.follower(name or f"job {job_id}") as show:
            for job in client.follow(job_id, timeout_s):
                show(job)
    except KeyboardInterrupt:
        if name is None:
            console.note(
                f"job {job_id} continues. Follow it: charrnn-jobs wait {job_id}   "
                f"Cancel it: charrnn-jobs cancel {job_id}"
            )
        raise typer.Exit(INTERRUPTED) from None
    if job is None or quiet:
        return job is not None and job.succeeded
    render.ended(job, name)
    if job.kind == TrainSpec.QUEUE and job.state == JobState.DONE:
        with suppress(CharrnnError):  # it was deleted since, or the store does not answer any more
            console.note(models.verdict(client.models.show(job.name)))
            console.note(f"generate: charrnn-jobs sample {job.name}")
    return job.succeeded


def _ignore(_: JobStatus) -> None:
    """Show nothing."""
