"""A child of the pool: its place, its device, its connections, and the models that it holds ready."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress

from charrnn.errors import UnreachableError
from charrnn.jobs.connections import Connections
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.upkeep.maintenance import ring_missing
from worker.parts.model_cache import ModelCache

logger = logging.getLogger(__name__)


class Child:
    """One child of a worker; made after the fork.

    Args:
        owner: names its place in the pool, not its process: a child that replaces it has the same one.
        device: the one GPU, or the CPU, that it is pinned to.
        queues: which it serves.

    Attributes:
        models: the versions that it holds ready to sample.
    """

    def __init__(self, settings: Settings, owner: str, device: str, queues: Sequence[str]) -> None:
        self.settings, self.owner, self.device, self.queues = settings, owner, device, tuple(queues)
        self.connections = Connections(settings)
        # All are opened here, and not when first used: by any of several threads.
        self.store, self.files, self.queue = self.connections.store, self.connections.files, self.connections.queue
        self.leases = Leases(self.store, settings.lease_s)
        self.models = ModelCache()

    def take_over(self, reason: str) -> None:
        """Give back what its predecessor held when it died of that; before the first claim."""
        if self.leases.give_back(self.owner, reason):
            logger.warning("gave back what the process before held: %s", reason, extra={"event": "given back"})
            ring_missing(self.leases, self.queue)

    def ring(self, queue: str) -> None:
        """Ring once for a part that waits; without a broker, maintenance does."""
        with suppress(UnreachableError):
            self.queue.ring(queue, 1)

    def show_life(self) -> None:
        """Show in the store that this process lives."""
        self.store.sign_of_life(self.owner, socket.gethostname(), os.getpid(), self.device, self.queues)

    def others_wait(self) -> bool:
        """Whether a part waits in one of its queues."""
        return any(map(self.leases.waits, self.queues))
