"""What workers do to parts: claim, heartbeat, checkpoint, complete, release, fail.

A lease is a claim for a limited time, with a fencing token that rises with every claim. The clock
decides who may take a part away; the token alone decides who may commit. Locks are taken in the
order that `lifecycle` tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, exists, func, insert, or_, select, update

from charrnn.errors import LeaseLostError, NotFoundError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.report import added
from charrnn.jobs.job.specs import SPEC_VERSION, SPECS, GenerateSpec, TrainSpec
from charrnn.jobs.job.states import MAX_ATTEMPTS, PART_SOURCES, JobState, PartState
from charrnn.jobs.settings import LONGEST_S
from charrnn.jobs.store.database import NOW, upsert
from charrnn.jobs.store.lifecycle import LEASED, READY, end_parts, lock_job
from charrnn.jobs.store.registry import NewVersion, add_version
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import jobs, metrics, parts, previews, speeds

DIED, HUNG, OUT_OF_MEMORY = "process died", "hung", "out of memory"
"""Why an attempt ended, where no exception tells."""

CANDIDATES = 20  # jobs that a claim looks at: in PostgreSQL others may just be taking the first ones' last parts

WAITING = (parts.c.state == PartState.QUEUED) & (parts.c.spec_version <= SPEC_VERSION)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A claimed part: what to do, and the token to commit it with."""

    id: int
    job: int
    number: int
    token: int
    attempt: int  # from 1
    spec: TrainSpec | GenerateSpec
    first_row: int
    rows: int
    frame_offset: int  # where to begin to read the seeds
    frame_row: int  # the first row of the seed that stands there
    checkpoint: FileRef | None


class Leases:
    """The verbs of one store; `lease_s` is how long a claim lasts without a heartbeat."""

    def __init__(self, store: Store, lease_s: float) -> None:
        self.store = store
        self.lease_ms = round(lease_s * 1000)

    def claim(self, queue: str, owner: str) -> Part | None:
        """Take the best waiting part: by priority, of the job with the fewest parts leased, then the oldest."""
        with self.store.write() as connection:
            for job in connection.execute(_candidates(queue)).all():
                # Before the part, as locks are ordered; a running job is not locked at all.
                connection.execute(
                    update(jobs)
                    .where(jobs.c.id == job.id, jobs.c.state == JobState.QUEUED)
                    .values(state=JobState.RUNNING, started_at=NOW)
                )
                if row := self._take(connection, job.id, owner):
                    return _part(row, job.spec)
        return None

    def _take(self, connection: Connection, job: int, owner: str) -> Row[Any] | None:
        """Lease the job's first waiting part, None if others were quicker."""
        best = (
            select(parts.c.id)
            .where(parts.c.job == job, WAITING)
            .order_by(parts.c.number)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        values = {
            "state": PartState.LEASED,
            "attempts": parts.c.attempts + 1,
            "token": parts.c.token + 1,
            "owner": owner,
            "lease_until": NOW + self.lease_ms,
            "progress": None,
        }
        return connection.execute(update(parts).where(parts.c.id == best).values(values).returning(parts)).one_or_none()

    def heartbeat(self, part: Part, progress: dict[str, Any] | None) -> bool:
        """Extend the lease and show progress -> whether the job should be cancelled.

        Raises:
            LeaseLostError: the part is somebody else's now.
        """
        with self.store.write() as connection:
            self._change(connection, part, lease_until=NOW + self.lease_ms, progress=progress)
            cancel = select(jobs.c.cancel_requested).where(jobs.c.id == part.job)
            return bool(connection.execute(cancel).scalar_one())

    def checkpoint(self, part: Part, checkpoint: FileRef, history: Sequence[dict[str, Any]]) -> None:
        """Commit progress: what follows starts from here, and attempts are counted anew."""
        with self.store.write() as connection:
            self._change(connection, part, checkpoint=checkpoint.to_dict(), attempts=0, lease_until=NOW + self.lease_ms)
            _add_epochs(connection, part.job, history)

    def record(self, part: Part, history: Sequence[dict[str, Any]]) -> None:
        """Show the epochs that have ended, before a checkpoint holds them."""
        with self.store.write() as connection:
            self._change(connection, part, lease_until=NOW + self.lease_ms)
            _add_epochs(connection, part.job, history)

    def complete(
        self,
        part: Part,
        *,
        output: FileRef | None = None,
        report: dict[str, Any] | None = None,
        characters: int = 0,
        version: NewVersion | None = None,
        speed: tuple[str, float] | None = None,
    ) -> None:
        """Commit a part's result: a part file of sampled rows, or a model version.

        Args:
            speed: the kind of device and its characters a second, with a full batch.
        """
        with self.store.write() as connection:
            before = _lock(connection, part).report
            values = {"output": output.to_dict() if output else None, "error": None}
            self._change(connection, part, PartState.DONE, lease_until=None, **values)
            if version:
                add_version(connection, part.job, version)
            if speed:
                upsert(connection, speeds, model=part.spec.model, device=speed[0], characters_per_s=speed[1])
            counters = {"rows_done": part.rows, "characters": characters}
            end_parts(connection, part.job, 1, report=added(before, report) if report else None, **counters)

    def committed(self, part: Part) -> bool:
        """Whether this lease ended its part: of a commit whose answer was lost on the way."""
        own = (parts.c.id == part.id) & (parts.c.token == part.token) & (parts.c.state == PartState.DONE)
        with self.store.read() as connection:
            return connection.execute(select(parts.c.id).where(own)).first() is not None

    def release(self, part: Part) -> PartState:
        """Give a part back: to the queue, its attempt not counted, or to its end if cancelled."""
        with self.store.write() as connection:
            if _lock(connection, part).cancel_requested:
                self._change(connection, part, PartState.CANCELLED, lease_until=None)
                end_parts(connection, part.job, 1)
                return PartState.CANCELLED
            attempts = case((parts.c.attempts > 0, parts.c.attempts - 1), else_=0)
            self._change(connection, part, PartState.QUEUED, lease_until=None, attempts=attempts)
            return PartState.QUEUED

    def fail(self, part: Part, reason: str, *, permanent: bool = False) -> PartState:
        """End an attempt: back to the queue, or to quarantine after the third or a `permanent` one."""
        reason = _storable(reason)
        with self.store.write() as connection:
            if _lock(connection, part).cancel_requested:
                self._change(connection, part, PartState.CANCELLED, lease_until=None, error=reason)
                end_parts(connection, part.job, 1)
                return PartState.CANCELLED
            attempts = connection.execute(select(parts.c.attempts).where(parts.c.id == part.id)).scalar_one()
            if not permanent and attempts < MAX_ATTEMPTS:  # counted since the last checkpoint, not at the claim
                self._change(connection, part, PartState.QUEUED, lease_until=None, error=reason)
                return PartState.QUEUED
            self._change(connection, part, PartState.FAILED, lease_until=None, error=reason)
            _quarantine(connection, part.job, part.rows, reason)
            return PartState.FAILED

    def give_back(self, owner: str, reason: str = DIED) -> int:
        """Take away the parts of a process that died, so that they need not wait for their leases."""
        return self._take_away(LEASED & (parts.c.owner == owner), reason)

    def expire(self) -> int:
        """Take away the parts whose lease ran out, or ends later than any lease can: a clock stepped."""
        longest_ms = round(LONGEST_S * 1000)  # not this process's: another host's leases may be longer
        return self._take_away(or_(parts.c.lease_until < NOW, parts.c.lease_until > NOW + longest_ms), DIED)

    def waiting(self) -> dict[str, int]:
        """Queue → parts that wait in it for a worker."""
        query = select(parts.c.queue, func.count()).join(jobs, jobs.c.id == parts.c.job).where(WAITING, READY)
        with self.store.read() as connection:
            return dict(connection.execute(query.group_by(parts.c.queue)).all())

    def waits(self, queue: str) -> bool:
        """Whether a part waits in the queue for a worker; asked after each part, so nothing is counted."""
        query = select(parts.c.id).join(jobs, jobs.c.id == parts.c.job).where(parts.c.queue == queue, WAITING, READY)
        with self.store.read() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def _take_away(self, condition: ColumnElement[bool], reason: str) -> int:
        with self.store.write() as connection:
            found = select(parts.c.job).where(condition).distinct().order_by(parts.c.job)
            jobs_of = connection.execute(found).scalars().all()
            return sum(_take_from(connection, job, condition, reason) for job in jobs_of)

    def _change(self, connection: Connection, part: Part, state: PartState | None = None, **values: Any) -> None:
        """Update the part if the lease still holds; raising rolls the whole transaction back."""
        sources = PART_SOURCES[state] if state else (PartState.LEASED,)
        held = and_(parts.c.id == part.id, parts.c.token == part.token, parts.c.state.in_(sources))
        if state:
            values["state"] = state
        if connection.execute(update(parts).where(held).values(**values)).rowcount != 1:
            raise LeaseLostError(f"Part {part.number} of job {part.job} is no longer leased with token {part.token}")


def _part(row: Row[Any], spec: dict[str, Any]) -> Part:
    return Part(
        id=row.id,
        job=row.job,
        number=row.number,
        token=row.token,
        attempt=row.attempts,
        spec=SPECS[row.queue].from_dict(spec),
        first_row=row.first_row,
        rows=row.rows,
        frame_offset=row.frame_offset,
        frame_row=row.frame_row,
        checkpoint=FileRef(**row.checkpoint) if row.checkpoint else None,
    )


def _storable(text: str) -> str:
    """An exception's text may hold what no database takes: NUL, or half a character of a file's name."""
    return text.replace("\0", "�").encode(errors="replace").decode()


def _add_epochs(connection: Connection, job: int, history: Sequence[dict[str, Any]]) -> None:
    """Insert epochs, also for those that were done again and, by the clock or on another device, ended otherwise."""
    columns = (metrics.c.epoch, metrics.c.step, metrics.c.held_out_nats)
    known = {tuple(row) for row in connection.execute(select(*columns).where(metrics.c.job == job))}
    for epoch in history:
        if tuple(epoch[column.name] for column in columns) not in known:
            for table in (previews, metrics):
                connection.execute(delete(table).where(table.c.job == job, table.c.epoch == epoch["epoch"]))
            values = {name: value for name, value in epoch.items() if name != "previews"}
            connection.execute(insert(metrics).values(job=job, **values))
            for preview in epoch["previews"]:
                connection.execute(insert(previews).values(job=job, epoch=epoch["epoch"], **preview))


def _lock(connection: Connection, part: Part) -> Row[Any]:
    try:
        return lock_job(connection, part.job)
    except NotFoundError as error:
        raise LeaseLostError(f"Job {part.job} was deleted") from error


def _take_from(connection: Connection, job_id: int, condition: ColumnElement[bool], reason: str) -> int:
    """Take a job's parts that meet the condition once the job is locked: some may have ended meanwhile."""
    cancelled = lock_job(connection, job_id).cancel_requested
    query = select(parts).where(parts.c.job == job_id, condition).order_by(parts.c.id).with_for_update()
    taken = connection.execute(query).all()
    for part in taken:
        _take_one_away(connection, part, cancelled, reason)
    return len(taken)


def _take_one_away(connection: Connection, part: Row[Any], cancelled: bool, reason: str) -> None:
    """Take a dead worker's part: to the queue, or to its end if it was cancelled or tried too often."""
    state = PartState.QUEUED
    if cancelled:
        state = PartState.CANCELLED
    elif part.attempts >= MAX_ATTEMPTS:
        state = PartState.FAILED
    connection.execute(update(parts).where(parts.c.id == part.id).values(state=state, lease_until=None, error=reason))
    if state == PartState.CANCELLED:
        end_parts(connection, part.job, 1)
    elif state == PartState.FAILED:
        _quarantine(connection, part.job, part.rows, reason)


def _quarantine(connection: Connection, job_id: int, rows: int, reason: str) -> None:
    end_parts(connection, job_id, 1, rows_failed=rows)
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(error=reason))


def _candidates(queue: str) -> Any:
    """Jobs of which a part waits, the one whose turn it is first."""
    own = parts.c.job == jobs.c.id
    in_work = select(func.count()).where(own, parts.c.state == PartState.LEASED).scalar_subquery()
    # A training that gave its device back has a higher token than those that wait for their first turn.
    turns = select(func.max(parts.c.token)).where(own).scalar_subquery() if queue == TrainSpec.QUEUE else None
    order = (jobs.c.priority.desc(), in_work, *([turns] if turns is not None else []), jobs.c.id)
    unended = jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING))
    waits = exists().where(own, WAITING)
    query = select(jobs.c.id, jobs.c.spec).where(jobs.c.kind == queue, unended, READY, waits)
    return query.order_by(*order).limit(CANDIDATES)
