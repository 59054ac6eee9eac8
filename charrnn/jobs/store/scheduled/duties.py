"""Duties that are due in a store: rounds of tasks that one of many processes does, and schedules.

A host with workers looks once a second, and one of many up to every 15 seconds. A look is one statement without a
transaction.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from sqlalchemy import ColumnElement, Select, distinct, exists, func, or_, select, update

from charrnn.jobs.store.database import NOW, Database, insert_missing
from charrnn.jobs.store.scheduled import events, slots
from charrnn.jobs.store.tables import rounds, workers

MAINTAIN, TIDY = "maintain", "tidy"  # tasks that have rounds
TIDY_MS = 24 * 60 * 60 * 1000  # also the age of what is deleted: a submit must take less time than this
LOOKS = 10  # of all hosts, in the time in which one that is alone looks once
LONGEST = 10  # as many times as long a host waits at most, so that what is due is soon found after most hosts have left
SEEN_MS = 60_000  # ago, at most, by what counts as a host with workers
COUNTED = 1000  # workers at most: to read them takes 0.3 ms


@dataclass(frozen=True)
class Due:
    """The tasks that are due, unless another process is quicker, and the number of hosts with workers that look."""

    maintenance: bool
    tidying: bool
    schedules: bool
    hosts: int

    def pause(self, look_s: float) -> float:
        """Return the seconds until this host looks again.

        The looks of 200 workers, one a second each, took two thirds of what the fleet costs PostgreSQL.

        Args:
            look_s: seconds between two looks of a host that is alone.
        """
        more = max(0.0, min(LONGEST, self.hosts / LOOKS) - 1)
        # At random, since hosts that started together would look together, and nobody in between.
        return look_s * (1 + more * random.uniform(0.5, 1.5))  # noqa: S311


def look(database: Database, maintain_ms: int) -> Due:
    """Return what is due.

    Args:
        maintain_ms: milliseconds between two rounds of maintenance.
    """
    maintenance, tidying, schedules, hosts = tuple(database.read_row(_looking(maintain_ms)))
    return Due(bool(maintenance), bool(tidying), bool(schedules), hosts)


@cache
def _looking(maintain_ms: int) -> Select[bool, bool, bool, int]:
    """Return the query of a look. It is made once: to make it takes a process as long as to execute it."""
    now = select(NOW).scalar_subquery()  # read once: PostgreSQL compares no index with a clock that runs on
    undecided = exists().where(slots.undecided(now))
    scheduled = or_(undecided, exists().where(slots.unclaimed(now)), events.any_ended(now))
    alive = select(workers.c.host).where(workers.c.seen_at > now - SEEN_MS).limit(COUNTED).subquery()
    hosts = select(func.count(distinct(alive.c.host))).scalar_subquery()
    return select(_due(MAINTAIN, maintain_ms, now), _due(TIDY, TIDY_MS, now), scheduled, hosts)


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
