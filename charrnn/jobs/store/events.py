"""The record of who did what: people's deeds, attempts at parts that failed, promotions by the gate, and workers that
were drained or brought a release.

Each event is inserted in the transaction of the deed, so none is missing and none is about what did not happen. Rows
are never changed. They are deleted when they are older than the jobs that are kept. Of the failed attempts at the parts
of a job, and of the failed runs of a schedule, the newest KEPT are kept. A part that is done writes no event.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, select, update

from charrnn.errors import storable
from charrnn.jobs.job.views import Action, Event, check_id, check_page
from charrnn.jobs.store.database import NOW, Database, insert_missing
from charrnn.jobs.store.tables import events, rounds, workers
from charrnn.release import release

UNKNOWN = "unknown"  # an actor
KEPT = 100
CHUNK = 10_000  # events to delete in one transaction
RELEASE = "release "

COLUMNS = ("id", "at", "actor", "action", "job", "part", "model", "schedule", "detail")


def record(connection: Connection, actor: str, action: Action, *, detail: str | None = None, **about: Any) -> None:
    """Insert an event.

    Args:
        actor: a person, a worker, or one of its processes.
        detail: is shortened, and stored without characters that a database does not accept.
        about: `job`, `part`, `model` (or a version's name) and `schedule`, as far as they are concerned.
    """
    text = None if detail is None else storable(detail)
    connection.execute(insert(events).values(actor=actor, action=action, detail=text, **about))


def record_attempt(connection: Connection, actor: str, job: int, part: int, reason: str) -> None:
    """Insert the event of an attempt that failed. Of a job with many, which is locked, delete the oldest one."""
    record(connection, actor, Action.ATTEMPT_FAILED, job=job, part=part, detail=reason)
    _keep_newest(connection, (events.c.job == job) & (events.c.action == Action.ATTEMPT_FAILED))


def record_run(connection: Connection, actor: str, schedule: str, reason: str | None) -> None:
    """Insert the event of a schedule's run that failed. Of a schedule with many, delete the oldest one."""
    record(connection, actor, Action.RUN_FAILED, schedule=schedule, detail=reason)
    _keep_newest(connection, (events.c.schedule == schedule) & (events.c.action == Action.RUN_FAILED))


def _keep_newest(connection: Connection, own: ColumnElement[bool]) -> None:
    newest_first = select(events.c.id).where(own).order_by(events.c.id.desc())
    spare = newest_first.offset(KEPT).limit(1).scalar_subquery()
    connection.execute(delete(events).where(own, events.c.id <= spare))


def record_release(connection: Connection, actor: str) -> None:
    """Insert an event if this release joins the fleet: no worker has it, and it is not the one that joined last.

    A row of `rounds` for each release has when it joined. An update that has a condition lets one of the processes tell
    which begin at the same time.
    """
    own, others = f"{RELEASE}{release()}", rounds.alias()
    insert_missing(connection, rounds, name=own, at=0)
    later = exists().where(others.c.name.startswith(RELEASE), others.c.at > rounds.c.at)
    present = exists().where(workers.c.release == release())
    joins = (rounds.c.name == own) & ((rounds.c.at == 0) | (later & ~present))
    if connection.execute(update(rounds).where(joins).values(at=NOW)).rowcount:
        record(connection, actor, Action.JOINED, detail=own)


def read(connection: Connection, limit: int, before: int | None = None, job: int | None = None) -> list[Event]:
    """Return the newest events, newest first.

    Args:
        before: only events with a smaller id, for the next page.
        job: only events of this job.

    Raises:
        InputError: one of them is no such number.
    """
    check_page(limit, before)
    query = select(*(events.c[name] for name in COLUMNS)).order_by(events.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(events.c.id < before)
    if job is not None:
        check_id("job", job)
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
