"""The connections of one process to store, files and broker. Each is opened when it is first used."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from charrnn.errors import InputError, UnreachableError
from charrnn.jobs.job.views import WorkerInfo
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.store import Store, upgrade

if TYPE_CHECKING:
    from charrnn.jobs.files.files import Files
    from charrnn.jobs.queue import Queue

logger = logging.getLogger(__name__)


class Connections:
    """Connections to one store, the files that belong to it, and one broker.

    An instance is cheap to create. Do not share it across a fork: a child process creates its own.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self._closed = settings, False

    @cached_property
    def store(self) -> Store:
        self._check_open()
        return Store.open(self.settings, self._owner)

    def _owner(self) -> str | None:
        """Return the id of the store that the files belong to, with the database that the broker knows; or None."""
        owner = self.files.owner()
        if owner is not None:
            with suppress(UnreachableError):
                if (known := self.queue.known_store()) is not None:
                    return f"{owner}, and the broker to {known}"
        return owner

    @cached_property
    def files(self) -> Files:
        from charrnn.jobs.files.files import Files  # a list of jobs needs no files

        self._check_open()
        return Files(self.settings.files_location, self.settings.cache)

    @cached_property
    def queue(self) -> Queue:
        from charrnn.jobs.queue import Queue  # most commands need no broker

        self._check_open()
        return Queue(self.settings)

    def _check_open(self) -> None:
        if self._closed:  # otherwise it would be opened again, and stay open
            raise InputError("The client is closed. Create another one: Client()")

    def upgrade(self) -> tuple[int, int]:
        """Upgrade the schema of the store, or create it: see `store.upgrade`."""
        return upgrade(self.settings, self._owner)

    def close(self) -> None:
        """Close the connections that were opened, permanently."""
        self._closed = True
        self.__dict__.pop("files", None)  # they hold nothing open
        for name in ("store", "queue"):
            if opened := self.__dict__.pop(name, None):
                opened.close()

    def probe(self) -> None:
        """Connect to broker, store and files, and check that they belong together.

        Raises:
            InputError: they belong to different stores.
            UnreachableError: one of them does not answer.
        """
        self.queue.claim_for(self.store.id, self.store.url)
        self.claim_files()

    def claim_files(self) -> None:
        """Bind the files to the store permanently, or check that they are bound to it.

        Raises:
            InputError: the files belong to another store, or this store's files are elsewhere.
            UnreachableError: the files do not answer.
        """
        if self.files.claim_for(self.store.id, self.store.files_url):
            self.store.set_files_url(self.files.url)

    def workers(self) -> list[WorkerInfo]:
        """Return the pool children whose last heartbeat is no older than a lease's length."""
        return self.store.workers(round(self.settings.lease_s * 1000))

    def ring(self, queue: str, job: int, count: int) -> None:
        """Send `count` notifications for waiting parts of a stored job. Only warn if the broker cannot be reached."""
        try:
            self.queue.ring(queue, count)
        except UnreachableError as error:  # maintenance will send the notifications
            logger.warning("job %d is stored and starts when the broker is back: %s", job, error)
        except KeyboardInterrupt:
            logger.warning("job %d is stored and starts soon. Cancel it with: charrnn-jobs cancel %d", job, job)
            raise
