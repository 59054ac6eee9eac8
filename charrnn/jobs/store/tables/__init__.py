"""The store's tables. Times are integer milliseconds of the database's clock."""

from __future__ import annotations

from charrnn.jobs.store.tables.fleet import counters, rounds, workers
from charrnn.jobs.store.tables.jobs import (
    LEASED,
    LOST,
    QUEUED,
    READY,
    claimable,
    engines,
    in_state,
    jobs,
    metrics,
    parts,
    previews,
    ready,
    reports,
)
from charrnn.jobs.store.tables.models import aliases, models, speeds, versions
from charrnn.jobs.store.tables.people import events, submitters
from charrnn.jobs.store.tables.schedules import WITH_HOOK, schedules, slots
from charrnn.jobs.store.tables.schema import add_details, metadata, store

__all__ = [
    "LEASED",
    "LOST",
    "QUEUED",
    "READY",
    "WITH_HOOK",
    "add_details",
    "aliases",
    "claimable",
    "counters",
    "engines",
    "events",
    "in_state",
    "jobs",
    "metadata",
    "metrics",
    "models",
    "parts",
    "previews",
    "ready",
    "reports",
    "rounds",
    "schedules",
    "slots",
    "speeds",
    "store",
    "submitters",
    "versions",
    "workers",
]
