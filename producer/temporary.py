"""Jobs that a command submits for itself, and deletes when it has shown what they made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from charrnn.errors import NotFinishedError, NotFoundError
from producer.output import console

if TYPE_CHECKING:
    from charrnn.jobs.client import Client

ENDS_S = 10.0  # time that a cancelled job has to end: a worker looks every few seconds


@contextmanager
def temporary(client: Client) -> Iterator[list[int]]:
    """Yield a list to add jobs to. At the end of the block they are cancelled, if they have not ended, and deleted."""
    jobs: list[int] = []
    try:
        yield jobs
    finally:
        for job in jobs:
            with suppress(NotFoundError):  # somebody else deleted it
                client.cancel(job)
        for job in jobs:
            try:
                for _ in client.follow(job, ENDS_S):
                    pass
                client.delete(job)
            except NotFoundError:
                pass
            except NotFinishedError:
                console.note(f"job {job} is cancelled, but has not ended yet. Later: charrnn-jobs delete {job}")
