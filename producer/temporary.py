"""Jobs that a command submits for itself, and deletes when it has shown what they made."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from charrnn.errors import NotFinishedError, NotFoundError
from producer.output import console

if TYPE_CHECKING:
    from charrnn.jobs.client import Client
    from charrnn.jobs.job.requests import GenerateRequest

ENDS_S = 10.0  # time that a cancelled job has to end: a worker looks every few seconds


def submit(client: Client, request: GenerateRequest, seeds: Sequence[str] | None, key: str | None = None) -> int:
    """Submit a job and return its id."""
    return client.submit(request, seeds, key=key).id or 0  # 0: after a dry run


@contextmanager
def temporary(client: Client) -> Iterator[Callable[[GenerateRequest, Sequence[str] | None], int]]:
    """Yield a function that submits a job. At the end of the block, its jobs are cancelled, if they have not ended, and
    deleted.

    They are found by their keys: Ctrl-C may come when a job was stored, and its id not returned yet.
    """
    keys: list[str] = []

    def submit_with_key(request: GenerateRequest, seeds: Sequence[str] | None) -> int:
        keys.append(f"temporary-{secrets.token_hex(16)}")
        return submit(client, request, seeds, keys[-1])

    try:
        yield submit_with_key
    finally:
        jobs = [job.id for key in keys for job in client.connections.store.jobs(1, key=key)]
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
