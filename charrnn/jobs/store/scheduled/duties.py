"""Duties that are due in a store: rounds of tasks that one of many processes does, and schedules.

A worker looks once a second, and one of many every 15 seconds at the latest. A look is one statement without a
transaction.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, update

from charrnn.jobs.store.database import NOW, Database, insert_missing
from charrnn.jobs.store.scheduled import events, slots
from charrnn.jobs.store.tables import rounds, workers

MAINTAIN, TIDY = "maintain", "tidy"  # tasks that have rounds
TIDY_MS = 24 * 60 * 60 * 1000  # also the age of what is deleted: a submit must take less time than this
LOOKS = 10  # of all workers, in the time in which one that is alone looks once
LONGEST = 10  # mean pause of one of very many workers, in the same time: if most leave at once, the others look soon
SEEN_MS = 60_000  # since the last sign of life of a worker that counts


@dataclass(frozen=True)
class Due:
    """The tasks that are due, unless another process is quicker.

    Attributes:
        workers: the number of live workers, each of which looks. Counted up to LOOKS * LONGEST.
    """

    maintenance: bool
    tidying: bool
    schedules: bool
    workers: int

    def pause(self, look_s: float) -> float:
        """Return the seconds until this worker looks again.

        Without longer pauses, the looks of 200 workers are 200 of the fleet's 327 transactions/s (docs/fleet.md).

        Args:
            look_s: seconds between two looks of a worker that is alone.
        """
        more = max(0.0, min(LONGEST, self.workers / LOOKS) - 1)
        # At random, since workers that started together would look together, and nobody in between.
        return look_s * (1 + more * random.uniform(0.5, 1.5))  # noqa: S311


def look(database: Database, maintain_ms: int) -> Due:
    """Return what is due.

    Args:
        maintain_ms: milliseconds between two rounds of maintenance.
    """
    maintenance, tidying, schedules, count = tuple(database.read_row(_looking(maintain_ms)))
    return Due(bool(maintenance), bool(tidying), bool(schedules), count)


@cache
def _looking(maintain_ms: int) -> Select[bool, bool, bool, int]:
    """Return the query of a look. It is made once: to make it takes a process as long as to execute it."""
    now = select(NOW).scalar_subquery()  # read once: PostgreSQL compares no index with a clock that runs on
    undecided = exists().where(slots.undecided(now))
    scheduled = or_(undecided, exists().where(slots.unclaimed(now)), events.any_ended(now))
    first = workers.c.owner.endswith("/0")  # of the children of each worker, which look by turns
    # A sign of life later than now was given before the clock was set back.
    seen = (workers.c.seen_at > now - SEEN_MS) & (workers.c.seen_at <= now)
    alive = select(workers.c.owner).where(first, seen).limit(LOOKS * LONGEST).subquery()
    count = select(func.count()).select_from(alive).scalar_subquery()
    return select(_due(MAINTAIN, maintain_ms, now), _due(TIDY, TIDY_MS, now), scheduled, count)


def claim_round(database: Database, name: str, every_ms: int) -> bool:
    """Take the next round of a task. Return False if it is not due yet, or another process was quicker."""
    with database.write() as connection:
        insert_missing(connection, rounds, name=name, at=0)
        mine = update(rounds).where(rounds.c.name == name, ~_recent(every_ms, NOW)).values(at=NOW)
        return connection.execute(mine).rowcount == 1


def _due(name: str, every_ms: int, now: ColumnElement[int]) -> ColumnElement[bool]:
    return ~exists().where(rounds.c.name == name, _recent(every_ms, now))


def _recent(every_ms: int, now: ColumnElement[int]) -> ColumnElement[bool]:
    # A round later than now was done before the clock was set back.
    return (rounds.c.at > now - every_ms) & (rounds.c.at <= now)
