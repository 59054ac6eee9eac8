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


def newest(client: Client, job: int | None, fits: Callable[[Job], bool], what: str) -> int:
    """Return the job that was named, or else the newest that fits, and say which.

    Args:
        what: what jobs that fit do or have, after "the newest job that".

    Raises:
        NotFoundError: none of the newest LOOKED_AT jobs fits.
    """
    if job is not None:
        return job
    for found in filter(fits, client.jobs(LOOKED_AT)):
        console.note(f"job {found.id}, the newest that {what}")
        return found.id
    raise NotFoundError(f"Of the newest {LOOKED_AT} jobs, there is none that {what}. See: charrnn-jobs jobs")
