"""Duties that are due in a store: rounds of tasks that one of many processes does, and schedules.

Each worker looks once a second, so a look is one statement without a transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from sqlalchemy import ColumnElement, Select, exists, or_, select, update

from charrnn.jobs.store.database import NOW, Database, insert_missing
from charrnn.jobs.store.scheduled import events, slots
from charrnn.jobs.store.tables import rounds

MAINTAIN, TIDY = "maintain", "tidy"  # tasks that have rounds
TIDY_MS = 24 * 60 * 60 * 1000  # also the age of what is deleted: a submit must take less time than this


@dataclass(frozen=True)
class Due:
    """The tasks that are due, unless another process is quicker."""

    maintenance: bool
    tidying: bool
    schedules: bool


def look(database: Database, maintain_ms: int) -> Due:
    """Return what is due.

    Args:
        maintain_ms: milliseconds between two rounds of maintenance.
    """
    return Due(*map(bool, database.read_row(_looking(maintain_ms))))


@cache
def _looking(maintain_ms: int) -> Select[bool, bool, bool]:
    """Return the query of a look. It is made once: to make it takes a process as long as to execute it."""
    now = select(NOW).scalar_subquery()  # read once: PostgreSQL compares no index with a clock that runs on
    undecided = exists().where(slots.undecided(now))
    scheduled = or_(undecided, exists().where(slots.unclaimed(now)), events.any_ended(now))
    return select(_due(MAINTAIN, maintain_ms, now), _due(TIDY, TIDY_MS, now), scheduled)


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
