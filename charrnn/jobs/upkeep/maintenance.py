"""Repair: parts of dead workers go back to the queue, lost doorbells are rung again.

Runs in the background of every worker's child and alone as `charrnn-jobs scheduler`; in any number
of processes, since one conditional update decides who does a round. It reads the store and never
travels through the queue that it repairs.
"""

from __future__ import annotations

import logging

from sqlalchemy import select, update

from charrnn.jobs.queue import Queue
from charrnn.jobs.store.database import NOW, insert_missing
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import rounds, workers

logger = logging.getLogger(__name__)

ROUND = "maintain"
FORGET_WORKERS_MS = 10 * 60 * 1000


def maintain(store: Store, leases: Leases, queue: Queue, every_s: float) -> bool:
    """Do a round unless somebody did one within `every_s` seconds -> whether it was done."""
    if not _win(store, round(every_s * 1000)):
        return False
    if expired := leases.expire():
        logger.warning("took %d parts back whose leases ran out", expired, extra={"event": "expired"})
    ring_missing(leases, queue)
    with store.write() as connection:
        connection.execute(workers.delete().where(workers.c.seen_at < NOW - FORGET_WORKERS_MS))
    return True


def ring_missing(leases: Leases, queue: Queue) -> None:
    """Ring where parts wait and no doorbell does, as submit did: one that is left is passed on from child to child."""
    silent = [name for name, length in queue.lengths().items() if length == 0]
    waiting = leases.waiting() if silent else {}  # which counts all that waits
    for name in silent:
        if name in waiting:
            rung = queue.ring(name, waiting[name])
            logger.info("rang %d lost doorbells of queue %s", rung, name, extra={"event": "rang"})


def _win(store: Store, every_ms: int) -> bool:
    due = (rounds.c.at <= NOW - every_ms) | (rounds.c.at > NOW)  # later than now: the clock was set back
    with store.read() as connection:  # most looks come too early, and need no lock
        if connection.execute(select(rounds.c.name).where(rounds.c.name == ROUND, ~due)).first():
            return False
    with store.write() as connection:
        insert_missing(connection, rounds, name=ROUND, at=0)
        won = connection.execute(update(rounds).where(rounds.c.name == ROUND, due).values(at=NOW))
        return won.rowcount == 1
