"""A child process of the pool: its place, its device, its connections and its loaded models."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

from charrnn.errors import UnreachableError
from charrnn.jobs.connections import Connections
from charrnn.jobs.files.temporary import sweep_temporary_folders
from charrnn.jobs.job.report import is_failure, worst_self_check
from charrnn.jobs.job.views import SignOfLife
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.upkeep.maintenance import ring_missing
from worker.parts.model_cache import ModelCache

logger = logging.getLogger(__name__)

SPEED_S = 60.0  # least seconds between two records of a model's throughput


class Child:
    """One child process of a worker, created after the fork.

    Args:
        owner: the name of its place in the pool, not of its process: a child that replaces it has the same owner.
        device: the one GPU, or the CPU, that it is pinned to.
        queues: the queues that it serves.

    Attributes:
        models: the loaded versions, ready to sample.
        self_check: the worst result of its self-checks so far, see `charrnn.jobs.job.report`.
    """

    def __init__(self, settings: Settings, owner: str, device: str, queues: Sequence[str]) -> None:
        sweep_temporary_folders()  # the process before it may have been killed
        self.settings, self.owner, self.device, self.queues = settings, owner, device, tuple(queues)
        self.connections = Connections(settings)
        # All of them are opened here and not at first use, which could happen in any of several threads.
        self.store, self.files, self.queue = self.connections.store, self.connections.files, self.connections.queue
        self.leases = Leases(self.store, settings.lease_s)
        self.models = ModelCache()
        self.self_check: str | None = None
        self._failures: set[str] = set()  # results of self-checks that are in the log
        self._recorded: dict[str, float] = {}  # when the throughput of each model was recorded

    def take_over(self, reason: str) -> None:
        """Join the fleet, and requeue the work of the previous process, which died for this reason. Called before the
        first claim."""
        self.store.join(self.owner)
        if self.leases.requeue(self.owner, reason):
            logger.warning("requeued the work of the previous process: %s", reason, extra={"event": "requeued"})
            ring_missing(self.leases, self.queue)

    def ring(self, queue: str) -> None:
        """Ring once for a waiting part. If the broker does not answer, maintenance rings later."""
        with suppress(UnreachableError):
            self.queue.ring(queue, 1)

    @property
    def life(self) -> SignOfLife:
        """The sign of life that this process records in the store."""
        host, pid = socket.gethostname(), os.getpid()
        return SignOfLife(
            owner=self.owner,
            host=host,
            pid=pid,
            device=self.device,
            queues=self.queues,
            self_check=self.self_check,
        )

    def record_self_check(self, result: str) -> None:
        """Show the result of a self-check with the next sign of life. The first failure is kept; each is logged."""
        if is_failure(result) and result not in self._failures:
            self._failures.add(result)
            logger.error("self-check %s", result, extra={"event": "self-check"})
        self.self_check = worst_self_check(self.self_check, result)

    def record_speed(self, model: str, kind: str, speed: float) -> None:
        """Record the throughput of a model on this kind of device, at most once a minute."""
        now = time.monotonic()
        if now - self._recorded.get(model, -SPEED_S) >= SPEED_S:
            with suppress(UnreachableError):  # the next part measures it again
                self.store.record_speed(model, kind, speed)
                self._recorded[model] = now

    def has_waiting_part(self) -> bool:
        """Return whether a part waits in one of its queues."""
        return any(map(self.leases.waits, self.queues))
