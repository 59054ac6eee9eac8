"""Counters of what a fleet has done since its store was made. They only rise, as `rate` of Prometheus expects.

Processes of workers come and go, and none of them serves HTTP, so the counts are rows of the database. Each is added in
the transaction of what it counts: a killed process loses none, and work that was rejected counts nowhere. A counter is
the sum of its SHARDS rows. A transaction locks those of one shard, by its last statement: with one row for all, each
end of a part would wait for the commit of another one.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from sqlalchemy import Connection, func, select

from charrnn.jobs.job.part import Part
from charrnn.jobs.job.report import Report
from charrnn.jobs.job.states import DIED, HUNG, OUT_OF_MEMORY, PartState
from charrnn.jobs.store.database import add_up
from charrnn.jobs.store.tables import counters

SHARDS = 16  # 125 ends of parts per second, each of which holds its rows for a commit of 5 ms, meet in 4% of the cases
BOUNDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # seconds, of the histogram's buckets
BUCKETS = (*map(str, BOUNDS), "+Inf")

ATTEMPTS_FAILED, PARTS_FAILED, PARTS_DONE = "attempts_failed", "parts_failed", "parts_done"
ROWS, CHARACTERS = "rows", "characters"
PHASE_SECONDS, PHASES_BY_SECONDS = "phase_seconds", "phases_by_seconds"

EXPIRED, ERROR = "lease expired", "error"
REASONS = (EXPIRED, DIED, OUT_OF_MEMORY, HUNG, ERROR)  # the label of ATTEMPTS_FAILED and PARTS_FAILED


@dataclass(frozen=True, order=True)
class Series:
    """One counter: its name and the values of its labels, which are empty if it has none.

    Attributes:
        label: the reason, queue, model or phase.
        bucket: the bound of a bucket of a histogram, in seconds.
    """

    name: str
    label: str
    device: str = ""
    bucket: str = ""


def sampled(part: Part, report: Report, device_kind: str) -> Mapping[Series, float]:
    """Return the counts of a sampled part."""
    model = part.spec.model
    counts: dict[Series, float] = {
        Series(PARTS_DONE, part.spec.QUEUE): part.span,
        Series(ROWS, model, device_kind): part.rows,
        Series(CHARACTERS, model, device_kind): report.characters,
    }
    for phase, seconds in asdict(report.seconds).items():
        counts[Series(PHASE_SECONDS, phase, device_kind)] = max(0.0, seconds)
        counts[Series(PHASES_BY_SECONDS, phase, device_kind, BUCKETS[bisect_left(BOUNDS, seconds)])] = 1
    return counts


def trained(queue: str) -> Mapping[Series, float]:
    """Return the counts of a training part that made a version."""
    return {Series(PARTS_DONE, queue): 1}


def ended(reason: str, attempts: int, states: Sequence[PartState]) -> Mapping[Series, float]:
    """Return the counts of attempts that failed.

    Args:
        reason: begins with one of REASONS, or is the text of an error.
        states: those of their parts since then; more than attempts, if one of them left several pieces.
    """
    label = next((known for known in REASONS if reason.startswith(known)), ERROR)
    failed = states.count(PartState.FAILED)
    counts = {Series(ATTEMPTS_FAILED, label): attempts, Series(PARTS_FAILED, label): failed}
    return {series: count for series, count in counts.items() if count}


def add(connection: Connection, counts: Mapping[Series, float]) -> None:
    """Add counts. This must be the last statement of a transaction, since locks are ordered."""
    shard = secrets.randbelow(SHARDS)
    rows = [{**asdict(series), "shard": shard, "value": counts[series]} for series in sorted(counts)]
    if rows:
        add_up(connection, counters, "value", rows)


def totals(connection: Connection) -> Mapping[Series, float]:
    """Return all counters."""
    columns = [counters.c[field.name] for field in fields(Series)]
    rows = connection.execute(select(*columns, func.sum(counters.c.value)).group_by(*columns))
    return {Series(*labels): float(value) for *labels, value in rows}
