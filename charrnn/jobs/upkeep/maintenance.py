"""Maintenance: requeue the parts of dead workers and ring lost doorbells again.

It runs in the background of workers, one child of which looks once a second or less often whether it is due, and alone
as `charrnn-jobs scheduler`. It may run in any number of processes, since one conditional update decides which of them
does a round. It reads the store and does not use the queue that it repairs.
"""

from __future__ import annotations

import logging

from charrnn.errors import counted
from charrnn.jobs.files.files import Files
from charrnn.jobs.queue import BELLS, Queue
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.scheduled.duties import MAINTAIN, TIDY, TIDY_MS, claim_round
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.turns import forget_idle
from charrnn.jobs.upkeep.pruning import delete_old

logger = logging.getLogger(__name__)

DAY_S = 24 * 3600.0
RETENTION = "retention"  # who deletes old jobs, in the events
FORGET_WORKERS_MS = 10 * 60 * 1000


def maintain(store: Store, leases: Leases, queue: Queue, every_s: float) -> bool:
    """Do one round of maintenance unless one was done within the last `every_s` seconds. Return whether it was done."""
    if not claim_round(store, MAINTAIN, round(every_s * 1000)):
        return False
    if expired := leases.expire():
        logger.warning("requeued %s with expired leases", counted(expired, "part"), extra={"event": "expired"})
    ring_missing(leases, queue)
    store.forget_silent_workers(FORGET_WORKERS_MS)
    forget_idle(store)
    return True


def tidy(store: Store, files: Files, retention_days: float = 0.0) -> bool:
    """Delete incomplete files and empty folders of killed processes, and jobs that ended long ago or whose deletion was
    broken off, unless that was done within a day. Return whether it was done.

    Args:
        retention_days: days for which jobs are kept after their end. 0: for ever.
    """
    if not claim_round(store, TIDY, TIDY_MS):
        return False
    files.sweep(TIDY_MS / 1000)
    if deleted := delete_old(store, files, retention_days * DAY_S if retention_days else None, RETENTION).jobs:
        why = f"ended over {retention_days:g} days ago" if retention_days else "somebody had begun to delete"
        logger.info("deleted %s that %s", counted(deleted, "job"), why, extra={"event": "retention"})
    return True


def ring_missing(leases: Leases, queue: Queue) -> None:
    """Ring as submit does for each queue with waiting parts and no doorbell.

    A queue with one doorbell left needs none: children pass it on.
    """
    silent = [name for name, length in queue.lengths().items() if length == 0]
    waiting = leases.waiting(BELLS) if silent else {}
    for name in silent:
        if name in waiting:
            rung = queue.ring(name, waiting[name])
            logger.info(
                "sent %s to queue %s, which had none left",
                counted(rung, "notification"),
                name,
                extra={"event": "resent"},
            )
