"""The record of who did what: people's deeds, and attempts at parts that failed.

Each event is inserted in the transaction of the deed, so none is missing and none is about what did not happen. Rows
are never changed. They are deleted when they are older than the jobs that are kept, and of the failed attempts at the
parts of a job the newest KEPT_ATTEMPTS are kept: a job whose every part fails adds no more. A part that is done writes
no event.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, insert, select

from charrnn.errors import shorten
from charrnn.jobs.job.views import Action, Event
from charrnn.jobs.store.database import NOW, Database
from charrnn.jobs.store.tables import events

KEPT_ATTEMPTS = 100
CHUNK = 10_000  # events to delete in one transaction

COLUMNS = ("id", "at", "actor", "action", "job", "part", "model", "schedule", "detail")


def record(connection: Connection, actor: str, action: Action, *, detail: str | None = None, **about: Any) -> None:
    """Insert an event.

    Args:
        actor: a person, or the process of a worker.
        detail: is shortened.
        about: `job`, `part`, `model` (or a version's name) and `schedule`, as far as they are concerned.
    """
    text = None if detail is None else shorten(detail)
    connection.execute(insert(events).values(actor=actor, action=action, detail=text, **about))


def record_attempt(connection: Connection, actor: str, job: int, part: int, reason: str) -> None:
    """Insert the event of an attempt that failed. Of a job with many, which is locked, delete the oldest one."""
    record(connection, actor, Action.ATTEMPT_FAILED, job=job, part=part, detail=reason)
    own = (events.c.job == job) & (events.c.action == Action.ATTEMPT_FAILED)
    newest_first = select(events.c.id).where(own).order_by(events.c.id.desc())
    spare = newest_first.offset(KEPT_ATTEMPTS).limit(1).scalar_subquery()
    connection.execute(delete(events).where(own, events.c.id <= spare))


def read(connection: Connection, limit: int, before: int | None = None, job: int | None = None) -> list[Event]:
    """Return the newest events, newest first.

    Args:
        before: only events with a smaller id, for the next page.
        job: only events of this job.
    """
    query = select(*(events.c[name] for name in COLUMNS)).order_by(events.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(events.c.id < before)
    if job is not None:
        query = query.where(events.c.job == job)
    return [Event(**row._mapping) for row in connection.execute(query)]


def forget_old(database: Database, older_than_ms: int) -> None:
    """Delete the events that are older, from the oldest on, until one is met that is not."""
    full = True
    while full:
        oldest = select(events.c.id).order_by(events.c.id).limit(CHUNK)
        old = events.c.id.in_(oldest) & (events.c.at < NOW - older_than_ms)
        with database.write() as connection:
            full = connection.execute(delete(events).where(old)).rowcount == CHUNK
