"""Turns: the job whose part a worker gets next, among those that it can read.

Of a queue and priority, the submitters with waiting parts take turns, and the jobs of each submitter take turns for
these: a person with a hundred jobs and one with a single job get about equal shares of the workers. The places are
numbers, `submitters.turn` and `jobs.turn`: the lowest is next. Who had a turn goes behind all others, as does who has
just arrived. A job therefore waits for one part of each job of its submitter before it, and of each other submitter in
between, whatever their sizes and however many workers there are. The numbers are counters and not times, since clocks
are set back.

A claim costs the update of one row of `jobs`, and of one of `submitters` if there are several. In PostgreSQL it skips a
row that another transaction has locked, so that claims never wait for each other or for the end of a part.

The statements of a claim are made once, with parameters: to make them anew took a process longer than the database
needs for them, 2.5 ms of 4.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    ScalarSelect,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    select,
    update,
)

from charrnn.errors import InputError
from charrnn.jobs.job.json_object import Since, needed_version
from charrnn.jobs.job.specs import SINCE, SPEC_VERSION, GenerateSpec, TrainSpec, read_spec
from charrnn.jobs.job.states import JobState
from charrnn.jobs.store.database import NOW, Database, upsert
from charrnn.jobs.store.opening import ANEW
from charrnn.jobs.store.tables import QUEUED, claimable, jobs, parts, submitters, versions
from charrnn.options import NetworkOptions

CANDIDATES = 5  # submitters or jobs to read at first: in PostgreSQL others may be taking the last parts of the first

OTHER_JOBS, OTHER_SUBMITTERS = jobs.alias(), submitters.alias()
"""The same tables, for queries inside of a query. They are made once, since the columns of one take 0.2 ms."""

BY_TURN = (jobs.c.turn, jobs.c.id)
"""The order of the jobs of one submitter, queue and priority."""

BY_SUBMITTER = (jobs.c.priority.desc(), jobs.c.submitted_by, *BY_TURN)
"""The order of the index of all jobs of a queue that have not ended."""


def needed(job: FromClause) -> ScalarSelect[int]:
    """Return the spec version that the waiting parts of a job need, or NULL if none waits.

    It is the same for all: only that of a training job can change, and it has one part. A join in place of this, or
    any other condition on parts, can make PostgreSQL read or sort all parts of the job.
    """
    first = select(parts.c.spec_version).where(parts.c.job == job.c.id, QUEUED).order_by(parts.c.number).limit(1)
    return first.scalar_subquery()


NEEDED = needed(jobs)


@dataclass(frozen=True, order=True)
class Submitter:
    """A person in the queue, with one of their priorities."""

    kind: str
    priority: int
    submitted_by: str

    @classmethod
    def of(cls, job: Row[Any]) -> Submitter:
        """Return the submitter of a row of `jobs`."""
        return cls(job.kind, job.priority, job.submitted_by)

    def owns(self, row: FromClause) -> ColumnElement[bool]:
        """Return the condition that a row of `jobs` or `submitters` is theirs."""
        return _equal(row, self.kind, self.priority, self.submitted_by)

    @property
    def parameters(self) -> dict[str, Any]:
        """The values of the parameters of ANYBODY."""
        return {f"their_{name}": value for name, value in vars(self).items()}


def _equal(row: FromClause, kind: Any, priority: Any, submitted_by: Any) -> ColumnElement[bool]:
    return and_(row.c.kind == kind, row.c.priority == priority, row.c.submitted_by == submitted_by)


def _parameter(name: str) -> Any:
    return bindparam(name)


ANYBODY = Submitter(*(_parameter(f"their_{name}") for name in ("kind", "priority", "submitted_by")))
"""A submitter for statements that are made once."""


def last_place(submitter: Submitter) -> ScalarSelect[int]:
    """Return the place behind all jobs of a submitter that have not ended."""
    behind = select(func.coalesce(func.max(OTHER_JOBS.c.turn), 0) + 1)
    return behind.where(submitter.owns(OTHER_JOBS), claimable(OTHER_JOBS)).scalar_subquery()


def _last_turn(submitter: Submitter) -> ScalarSelect[int]:
    """Return the place behind all submitters of a queue and priority."""
    others = OTHER_SUBMITTERS.c
    behind = select(func.coalesce(func.max(others.turn), 0) + 1)
    return behind.where(others.kind == submitter.kind, others.priority == submitter.priority).scalar_subquery()


def enter(connection: Connection, arrived: Iterable[Submitter]) -> None:
    """Give submitters a turn, behind all others, if they have none. Called for jobs that can be claimed from now on.

    Their rows are locked until the transaction ends, so that `forget_idle` leaves them, in one order everywhere.
    """
    for submitter in sorted(set(arrived)):
        upsert(connection, submitters, {"turn": submitters.c.turn}, **vars(submitter), turn=_last_turn(submitter))


def forget_idle(database: Database) -> None:
    """Remove the submitters without a job that can be claimed: a claim reads them before those whose turn it is."""
    theirs = _equal(jobs, submitters.c.kind, submitters.c.priority, submitters.c.submitted_by) & claimable(jobs)
    idle = select(jobs.c.id).where(theirs).limit(1).correlate(submitters).scalar_subquery().is_(None)
    query = select(submitters.c.kind, submitters.c.priority, submitters.c.submitted_by).where(idle)
    with database.write(durable=False) as connection:
        # Locked first and then looked at again: in between, somebody may have stored a job and left the row to us.
        for row in connection.execute(query.with_for_update(skip_locked=True)).all():
            connection.execute(delete(submitters).where(Submitter(*row).owns(submitters), idle))


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A job with a waiting part, whose turn it is."""

    id: int
    submitter: Submitter
    contested: bool  # whether another submitter waits, with the same priority
    begun: bool
    spec: TrainSpec | GenerateSpec


def in_turn(connection: Connection, queue: str) -> Iterator[Turn]:
    """Yield the jobs with a waiting part that this release can read, in the order of their turns.

    A job whose spec it cannot read stays as it is, for a worker that can.
    """
    for page in _pages(connection, _heads, queue=queue):
        for head in page:
            submitter = Submitter.of(head)
            contested = len(page) >= CANDIDATES or sum(row.priority == head.priority for row in page) > 1
            yield from _turns([head], submitter, contested)
            for rest in _pages(connection, _jobs_of_anybody, head=head.id, **submitter.parameters):
                yield from _turns(rest, submitter, contested)


def _columns() -> tuple[ColumnElement[Any], ...]:
    """Return what a turn is made of."""
    spec = cast(jobs.c.spec, Text).label("spec")  # as text: JSON that cannot be parsed must not end the query
    return (jobs.c.id, jobs.c.kind, jobs.c.priority, jobs.c.submitted_by, jobs.c.state, spec)


def _heads() -> Select[Any]:
    """Return a query of the first job of each submitter of a queue, in the order of the submitters' turns."""
    heads = select(*_columns()).join_from(submitters, jobs, jobs.c.id == _head())
    by_turn = (submitters.c.priority.desc(), submitters.c.turn, submitters.c.submitted_by)
    return heads.where(submitters.c.kind == bindparam("queue")).order_by(*by_turn)


def _jobs_of_anybody() -> Select[Any]:
    """Return a query of the jobs of a submitter without the first one, in the order of their turns."""
    readable = (claimable(jobs), NEEDED <= SPEC_VERSION)
    theirs = select(*_columns()).where(ANYBODY.owns(jobs), *readable, jobs.c.id != bindparam("head"))
    return theirs.order_by(*BY_TURN)


def _head() -> ScalarSelect[int]:
    """Return the id of the first job of a row of `submitters` with a part that this release can read, or NULL.

    It is no EXISTS, for which PostgreSQL would read the jobs of all submitters.
    """
    job = OTHER_JOBS
    own = _equal(job, submitters.c.kind, submitters.c.priority, submitters.c.submitted_by)
    first = select(job.c.id).where(own, claimable(job), needed(job) <= SPEC_VERSION)
    return first.order_by(job.c.turn, job.c.id).limit(1).correlate(submitters).scalar_subquery()


def waiting_submitters(but: Submitter) -> Select[str]:
    """Return a query of the other submitters of a queue and priority that have a waiting part."""
    same = (submitters.c.kind == but.kind) & (submitters.c.priority == but.priority)
    others = select(submitters.c.submitted_by).where(same, submitters.c.submitted_by != but.submitted_by)
    return others.where(_head().is_not(None))


def _pages(connection: Connection, query: Callable[[], Select[Any]], **parameters: Any) -> Iterator[list[Row[Any]]]:
    """Yield the rows of a query in pages of twice the size of the last: hardly ever more than one is needed."""
    first, page = 0, CANDIDATES
    while rows := connection.execute(_page(query, first, page), parameters).all():
        yield list(rows)
        if len(rows) < page:
            return
        first, page = first + len(rows), 2 * page


@cache
def _page(query: Callable[[], Select[Any]], first: int, number: int) -> Select[Any]:
    # Planned for each execution, which takes 0.3 ms: a plan that was kept from the time when the store was empty read
    # all parts for each job, 10 s among 100,000, until PostgreSQL renewed its statistics.
    return query().offset(first).limit(number).execution_options(**{ANEW: True})


def _turns(rows: Iterable[Row[Any]], submitter: Submitter, contested: bool) -> Iterator[Turn]:
    for row in rows:
        with suppress(InputError):
            parsed = read_spec(submitter.kind, parse(row.spec))
            begun = row.state == JobState.RUNNING
            yield Turn(id=row.id, submitter=submitter, contested=contested, begun=begun, spec=parsed)


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
    taken = connection.execute(_taking(job.begun or not wait), {"taken": job.id, **job.submitter.parameters})
    return taken.rowcount == 1 or job.begun


@cache
def _taking(skips: bool) -> Update:
    """Return the update of a job whose turn it is.

    Args:
        skips: whether it leaves a job alone whose row another transaction has locked.
    """
    found = select(OTHER_JOBS.c.id).where(OTHER_JOBS.c.id == bindparam("taken"))
    locked = found.with_for_update(key_share=True, skip_locked=skips).scalar_subquery()
    begins: ColumnElement[bool] = jobs.c.state == JobState.QUEUED
    values = {
        "turn": last_place(ANYBODY),
        "state": case((begins, JobState.RUNNING), else_=jobs.c.state),
        "started_at": case((begins, NOW), else_=jobs.c.started_at),
    }
    return update(jobs).where(jobs.c.id == locked).values(values)


def pass_turn(connection: Connection, job: Turn) -> None:
    """Move the submitter behind the others, after a part of their job was taken.

    One whose row another transaction has locked keeps the place, and may get one more turn.
    """
    if job.contested:
        connection.execute(_passing(), job.submitter.parameters)


@cache
def _passing() -> Update:
    """Return the update of a submitter who had a turn."""
    found = select(OTHER_SUBMITTERS.c.submitted_by).where(ANYBODY.owns(OTHER_SUBMITTERS))
    locked = found.with_for_update(key_share=True, skip_locked=True).scalar_subquery()
    theirs = _equal(submitters, ANYBODY.kind, ANYBODY.priority, locked)
    return update(submitters).where(theirs).values(turn=_last_turn(ANYBODY))


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
    found = [needed_version(spec, since), *(since.get(f"Seed.{name}", 1) for name in seed_options)]
    if isinstance(spec, GenerateSpec):
        network = _network(connection, spec, after)
        found += [needed_version(NetworkOptions.from_dict(network), since)] if network else []
    return max(found)


def _network(connection: Connection, spec: GenerateSpec, after: int | None) -> Any:
    query = select(jobs.c.spec["network"]).where(jobs.c.id == after)
    if spec.version is not None:
        own = (versions.c.model == spec.model) & (versions.c.version == spec.version)
        query = select(versions.c.network).where(own)
    return connection.execute(query).scalar_one_or_none()
