"""The people who submit jobs: their turns, and the record of who did what."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.tables.schema import index_where, metadata

submitters = Table(
    "submitters",  # those with a job that can be claimed, and some without one: see store.turns
    metadata,
    Column("kind", String, primary_key=True),
    Column("priority", Integer, primary_key=True),
    Column("submitted_by", String, primary_key=True),
    Column("turn", BigInteger, nullable=False),  # place among the submitters of this kind and priority
)
Index(
    "submitters_by_turn",
    submitters.c.kind,
    submitters.c.priority.desc(),
    submitters.c.turn,
    submitters.c.submitted_by,
)

events = Table(
    "events",  # see store.events
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False, default=NOW),
    Column("actor", String, nullable=False),  # a person, or the process of a worker
    Column("action", String, nullable=False),
    Column("job", Integer),  # it may have been deleted since, as may the others
    Column("part", Integer),
    Column("model", String),  # a model or version
    Column("schedule", String),
    Column("detail", Text),
    sqlite_autoincrement=True,  # ids rise, also after the newest one was deleted
)
index_where("events_by_job", events.c.job.is_not(None), events.c.job, events.c.id)
index_where("events_by_schedule", events.c.schedule.is_not(None), events.c.schedule, events.c.id)
