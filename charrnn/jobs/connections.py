"""The connections of one process: store, files and broker, each opened when it is first used."""

from __future__ import annotations

import logging
from functools import cached_property

from charrnn.errors import UnreachableError
from charrnn.jobs.files.files import Files
from charrnn.jobs.job.views import WorkerInfo
from charrnn.jobs.queue import Queue
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.store import Store

logger = logging.getLogger(__name__)


class Connections:
    """One store, the files that belong to it, and one broker.

    Cheap to make. Not to be shared across a fork: a child makes its own.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def store(self) -> Store:
        return Store.open(self.settings)

    @cached_property
    def files(self) -> Files:
        return Files(self.settings.files_location, self.settings.cache)

    @cached_property
    def queue(self) -> Queue:
        return Queue(self.settings)

    def close(self) -> None:
        """Close what was opened."""
        for name in ("store", "queue"):
            if name in self.__dict__:
                getattr(self, name).close()

    def probe(self) -> None:
        """Reach broker, store and files, and see that they belong together.

        Raises:
            InputError: They belong to different stores.
            UnreachableError: One of them does not answer.
        """
        self.queue.claim_for(self.store.id, self.store.url)
        self.claim_files()

    def claim_files(self) -> None:
        """Tie the files to the store for good, or see that they are tied to it.

        Raises:
            InputError: The files belong to another store, or this store's files are elsewhere.
            UnreachableError: The files do not answer.
        """
        if self.files.claim_for(self.store.id, self.store.files_url):
            self.store.set_files_url(self.files.url)

    def workers(self) -> list[WorkerInfo]:
        """Return the pool children that showed a sign of life within a lease's length."""
        return self.store.workers(round(self.settings.lease_s * 1000))

    def ring(self, queue: str, job: int, count: int) -> None:
        """Ring for `count` parts of a stored job that wait; a broker that is away is only warned of."""
        try:
            self.queue.ring(queue, count)
        except UnreachableError as error:  # maintenance rings for it
            logger.warning("job %d is stored and starts when the broker is back: %s", job, error)
