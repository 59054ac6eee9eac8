"""Repair: parts of dead workers go back to the queue, lost doorbells are rung again.

Runs in the background of every worker's child and alone as `charrnn-jobs scheduler`; in any number
of processes, since one conditional update decides who does a round. It reads the store and never
travels through the queue that it repairs.
"""

from __future__ import annotations

import logging

from charrnn.jobs.queue import Queue
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.store import Store

logger = logging.getLogger(__name__)

ROUND = "maintain"
FORGET_WORKERS_MS = 10 * 60 * 1000


def maintain(store: Store, leases: Leases, queue: Queue, every_s: float) -> bool:
    """Do a round unless somebody did one within `every_s` seconds -> whether it was done."""
    if not store.win_round(ROUND, round(every_s * 1000)):
        return False
    if expired := leases.expire():
        logger.warning("took %d parts back whose leases ran out", expired, extra={"event": "expired"})
    ring_missing(leases, queue)
    store.forget_silent_workers(FORGET_WORKERS_MS)
    return True


def ring_missing(leases: Leases, queue: Queue) -> None:
    """Ring where parts wait and no doorbell does, as submit did: one that is left is passed on from child to child."""
    silent = [name for name, length in queue.lengths().items() if length == 0]
    waiting = leases.waiting() if silent else {}  # which counts all that waits
    for name in silent:
        if name in waiting:
            rung = queue.ring(name, waiting[name])
            logger.info("rang %d lost doorbells of queue %s", rung, name, extra={"event": "rang"})
