"""Turns: the job whose part a worker gets next, among those that it can read.

The jobs of a queue and priority take turns. The place of a job is a number, `jobs.turn`: the lowest is next. The job
that had its turn goes behind all others, as does a job that has just been submitted. A job therefore waits for one part
of each job before it, whatever their sizes and however many workers there are. The number is a counter and not a time,
since clocks are set back.

A claim costs the update of one row of `jobs` and of one index entry. In PostgreSQL it skips the row if another
transaction has it locked, so that claims never wait for each other or for the end of a part.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, Text, case, cast, func, select, update

from charrnn.errors import InputError
from charrnn.jobs.job.json_object import Since, needed_version
from charrnn.jobs.job.specs import SINCE, SPEC_VERSION, GenerateSpec, TrainSpec, read_spec
from charrnn.jobs.job.states import JobState
from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.tables import QUEUED, claimable, jobs, parts, versions
from charrnn.options import NetworkOptions

CANDIDATES = 20  # jobs to read at first: in PostgreSQL others may be taking the last parts of the first ones

BY_TURN = (jobs.c.priority.desc(), jobs.c.turn, jobs.c.id)

_FIRST = select(parts.c.spec_version).where(parts.c.job == jobs.c.id, QUEUED).order_by(parts.c.number).limit(1)
NEEDED = _FIRST.scalar_subquery()
"""The spec version that the waiting parts of a job need, or NULL if none waits. It is the same for all: only that of a
training job can change, and it has one part. A join in place of this, or any other condition on parts, can make
PostgreSQL read or sort all parts of the job."""


def last_place(kind: str, priority: Any) -> ScalarSelect[int]:
    """Return the place behind all jobs of a queue and priority that have not ended."""
    others = jobs.alias()
    own = (others.c.kind == kind) & (others.c.priority == priority) & claimable(others)
    return select(func.coalesce(func.max(others.c.turn), 0) + 1).where(own).scalar_subquery()


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A job with a waiting part, whose turn it is."""

    id: int
    queue: str
    priority: int
    begun: bool
    spec: TrainSpec | GenerateSpec


def in_turn(connection: Connection, queue: str) -> Iterator[Turn]:
    """Yield the jobs with a waiting part that this release can read, in the order of their turns.

    A job whose spec it cannot read stays as it is, for a worker that can. Jobs are read in pages of twice the size of
    the last, since hardly ever more than one is needed.
    """
    spec = cast(jobs.c.spec, Text).label("spec")  # as text: JSON that cannot be parsed must not end the query
    own = (jobs.c.kind == queue, claimable(jobs), NEEDED <= SPEC_VERSION)
    query = select(jobs.c.id, jobs.c.priority, jobs.c.state, spec).where(*own)
    ordered = query.order_by(*BY_TURN)
    first, page = 0, CANDIDATES
    while rows := connection.execute(ordered.offset(first).limit(page)).all():
        for row in rows:
            with suppress(InputError):
                parsed = read_spec(queue, parse(row.spec))
                begun = row.state == JobState.RUNNING
                yield Turn(id=row.id, queue=queue, priority=row.priority, begun=begun, spec=parsed)
        first, page = first + len(rows), 2 * page


def parse(document: str) -> Any:
    """Return the value of a JSON document of the database.

    Raises:
        InputError: it is damaged.
    """
    try:
        return json.loads(document)
    except (ValueError, RecursionError) as error:  # the latter for brackets nested thousands deep
        raise InputError(f"not JSON: {error}") from error


def take_turn(connection: Connection, job: Turn, *, wait: bool = False) -> bool:
    """Start the job if it has not begun, and move it behind the others. Return whether a part of it may be taken.

    A job that has begun keeps its place if another transaction has locked its row: it may get one more turn. One that
    another claim begins just now is left alone: many claims would wait, each for the commit of the one before.

    Args:
        wait: wait for that claim.
    """
    own = jobs.alias()
    found = select(own.c.id).where(own.c.id == job.id)
    skips = job.begun or not wait
    locked = found.with_for_update(key_share=True, skip_locked=skips).scalar_subquery()
    begins: ColumnElement[bool] = jobs.c.state == JobState.QUEUED
    values = {
        "turn": last_place(job.queue, job.priority),
        "state": case((begins, JobState.RUNNING), else_=jobs.c.state),
        "started_at": case((begins, NOW), else_=jobs.c.started_at),
    }
    return connection.execute(update(jobs).where(jobs.c.id == locked).values(values)).rowcount == 1 or job.begun


def needed_by(
    connection: Connection,
    spec: TrainSpec | GenerateSpec,
    after: int | None,
    seed_options: Collection[str],
    since: Since = SINCE,
) -> int:
    """Return the spec version that a job needs: by its spec, its seeds, and the network that it samples from.

    Args:
        after: the training job that will make its version.
        seed_options: the options that its seeds have of their own.
    """
    needed = [needed_version(spec, since), *(since.get(f"Seed.{name}", 1) for name in seed_options)]
    if isinstance(spec, GenerateSpec):
        network = _network(connection, spec, after)
        needed += [needed_version(NetworkOptions.from_dict(network), since)] if network else []
    return max(needed)


def _network(connection: Connection, spec: GenerateSpec, after: int | None) -> Any:
    query = select(jobs.c.spec["network"]).where(jobs.c.id == after)
    if spec.version is not None:
        own = (versions.c.model == spec.model) & (versions.c.version == spec.version)
        query = select(versions.c.network).where(own)
    return connection.execute(query).scalar_one_or_none()
