"""The job that a command means if none is named: the newest that fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from charrnn.errors import NotFoundError
from producer.output import console

if TYPE_CHECKING:
    from charrnn.jobs.client import Client
    from charrnn.jobs.job.views import Job

LOOKED_AT = 100  # jobs


def newest(
    client: Client, job: int | None, fits: Callable[[Job], bool], what: str, *, otherwise: str | None = None
) -> int:
    """Return the job that was named, or else the newest that fits, and say which.

    Args:
        what: what jobs that fit do or have, after "the newest job that".
        otherwise: what the newest job does if none fits. If given, that job is returned.

    Raises:
        NotFoundError: none of the newest LOOKED_AT jobs fits.
    """
    if job is not None:
        return job
    jobs = client.jobs(LOOKED_AT)
    for found in filter(fits, jobs):
        console.note(f"job {found.id}, the newest that {what}")
        return found.id
    if not jobs:
        raise NotFoundError("No job has been submitted yet. Start with: charrnn-jobs train NAME PATH")
    if otherwise:
        console.note(f"job {jobs[0].id}, the newest, {otherwise}")
        return jobs[0].id
    raise NotFoundError(f"There is no job that {what} among the newest {LOOKED_AT}. See: charrnn-jobs jobs")
