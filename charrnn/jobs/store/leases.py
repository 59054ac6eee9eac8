"""The operations of workers on parts: claim, heartbeat, checkpoint, complete, release, fail.

A lease is a claim for a limited time, with a fencing token that rises with every claim. The clock decides when a part
may be taken away; the token alone decides who may commit. Locks are taken in the order that `lifecycle` describes.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, insert, or_, select, update

from charrnn.errors import DamagedError, LeaseLostError, NotFoundError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import reading
from charrnn.jobs.job.part import Part, PartProgress
from charrnn.jobs.job.report import Report
from charrnn.jobs.job.specs import SPEC_VERSION, SPECS, GenerateSpec, TrainSpec
from charrnn.jobs.job.states import MAX_ATTEMPTS, PART_SOURCES, JobState, PartState
from charrnn.jobs.job.version import NewVersion, Version
from charrnn.jobs.settings import LONGEST_S
from charrnn.jobs.store.database import NOW, upsert
from charrnn.jobs.store.lifecycle import LEASED, READY, end_parts, lock_job
from charrnn.jobs.store.registry import add_version
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import jobs, metrics, parts, previews, speeds
from charrnn.training.progress import EpochMetrics

logger = logging.getLogger(__name__)

DIED, HUNG, OUT_OF_MEMORY = "process died", "hung", "out of memory"
"""Reasons why an attempt ended, if there is no exception."""

CANDIDATES = 20  # jobs that a claim tries: in PostgreSQL others may be taking the last parts of the first ones

WAITING = (parts.c.state == PartState.QUEUED) & (parts.c.spec_version <= SPEC_VERSION)


class Leases:
    """The lease operations of one store. A lease expires `lease_s` seconds after its last heartbeat."""

    def __init__(self, store: Store, lease_s: float) -> None:
        self.store = store
        self.lease_ms = round(lease_s * 1000)
        self._logged: set[int] = set()  # jobs whose spec this process cannot read

    def claim(self, queue: str, owner: str) -> Part | None:
        """Lease the best waiting part: by priority, then from the job with the fewest leased parts, then the oldest."""
        with self.store.write() as connection:
            for job, spec in self._readable(connection, queue):
                # The job before the part, as locks are ordered. A running job is not locked at all.
                connection.execute(
                    update(jobs)
                    .where(jobs.c.id == job.id, jobs.c.state == JobState.QUEUED)
                    .values(state=JobState.RUNNING, started_at=NOW)
                )
                if row := self._take(connection, job.id, owner):
                    return _part(row, spec)
        return None

    def _readable(self, connection: Connection, queue: str) -> Iterator[tuple[Row[Any], TrainSpec | GenerateSpec]]:
        """Yield the jobs to try, with their specs. Jobs whose spec cannot be read do not hold the others up."""
        unreadable: set[int] = set()
        while True:
            candidates, before = connection.execute(_candidates(queue, unreadable)).all(), len(unreadable)
            for job in candidates:
                try:
                    with reading(f"job {job.id}"):
                        spec = SPECS[queue].from_dict(job.spec)
                except DamagedError as error:
                    unreadable.add(job.id)
                    if job.id not in self._logged:  # once, not at each claim
                        self._logged.add(job.id)
                        logger.warning("left to others: %s", error)
                    continue
                yield job, spec
            if len(unreadable) == before:
                return

    def _take(self, connection: Connection, job: int, owner: str) -> Row[Any] | None:
        """Lease and return the job's first waiting part, or None if others were quicker."""
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

    def heartbeat(self, part: Part, progress: PartProgress) -> bool:
        """Extend the lease and store the progress. Return whether the job should be cancelled.

        Raises:
            LeaseLostError: another worker owns the part now.
        """
        with self.store.write() as connection:
            self._change(
                connection,
                part,
                lease_until=NOW + self.lease_ms,
                progress=progress.to_dict() or None,
            )
            cancel = select(jobs.c.cancel_requested).where(jobs.c.id == part.job)
            return bool(connection.execute(cancel).scalar_one())

    def checkpoint(self, part: Part, checkpoint: FileRef, history: Sequence[EpochMetrics]) -> None:
        """Commit progress: later attempts start from here, and the count of attempts starts again."""
        with self.store.write() as connection:
            self._change(connection, part, checkpoint=checkpoint.to_dict(), attempts=0, lease_until=NOW + self.lease_ms)
            _add_epochs(connection, part.job, history)

    def record(self, part: Part, history: Sequence[EpochMetrics]) -> None:
        """Store the epochs that have ended, before a checkpoint includes them."""
        with self.store.write() as connection:
            self._change(connection, part, lease_until=NOW + self.lease_ms)
            _add_epochs(connection, part.job, history)

    def complete_rows(self, part: Part, output: FileRef, report: Report, device_kind: str) -> None:
        """Commit the part file of sampled rows.

        Args:
            report: the part's report, to be added to the job's.
            device_kind: the kind of device that sampled it. The speed is stored if the report has one.
        """
        with self.store.write() as connection:
            before = _lock(connection, part).report
            self._change(connection, part, PartState.DONE, lease_until=None, output=output.to_dict(), error=None)
            if (speed := report.measured_speed()) is not None:
                upsert(connection, speeds, model=part.spec.model, device=device_kind, characters_per_s=speed)
            total = _total(part.job, before, report)
            counters = {"rows_done": part.rows, "characters": report.characters}
            end_parts(connection, part.job, 1, report=total.to_dict(), **counters)

    def complete_training(self, part: Part, version: NewVersion) -> Version | None:
        """Commit a trained version and return None.

        If the version must be compared with the champion first, commit nothing and return the champion.
        """
        with self.store.write() as connection:
            _lock(connection, part)
            self._lock_part(connection, part)
            if (champion := add_version(connection, part.job, version)) is not None:
                return champion
            self._change(connection, part, PartState.DONE, lease_until=None, error=None)
            end_parts(connection, part.job, 1)
            return None

    def committed(self, part: Part) -> bool:
        """Return whether this lease completed its part. Asked after a commit whose answer was lost."""
        own = (parts.c.id == part.id) & (parts.c.token == part.token) & (parts.c.state == PartState.DONE)
        with self.store.read() as connection:
            return connection.execute(select(parts.c.id).where(own)).first() is not None

    def release(self, part: Part) -> PartState:
        """Release a part: requeue it without counting the attempt, or end it if its job was cancelled."""
        with self.store.write() as connection:
            cancelled = _lock(connection, part).cancel_requested
            attempts = max(self._lock_part(connection, part).attempts - 1, 0)
            again = {} if cancelled else {"attempts": attempts}
            return _end_lease(connection, part, cancelled, failed=False, **again)

    def fail(self, part: Part, reason: str, *, permanent: bool = False) -> PartState:
        """End an attempt: requeue the part, or mark it failed after the third or a `permanent` failure."""
        with self.store.write() as connection:
            cancelled = _lock(connection, part).cancel_requested
            attempts = self._lock_part(connection, part).attempts  # since the last checkpoint, not at the claim
            failed = permanent or attempts >= MAX_ATTEMPTS
            return _end_lease(connection, part, cancelled, failed=failed, error=_storable(reason))

    def give_back(self, owner: str, reason: str = DIED) -> int:
        """Requeue the parts of a process that died, so that they need not wait for their leases to expire.

        As after any failed attempt, some may end instead. Return the number of parts.
        """
        return self._end_leases(LEASED & (parts.c.owner == owner), reason)

    def expire(self) -> int:
        """Requeue the parts with an expired lease, or with one that ends later than any can: a clock was changed.

        As after any failed attempt, some may end instead. Return the number of parts.
        """
        longest_ms = round(LONGEST_S * 1000)  # not this process's own limit: another host's leases may be longer
        return self._end_leases(or_(parts.c.lease_until < NOW, parts.c.lease_until > NOW + longest_ms), DIED)

    def waiting(self) -> dict[str, int]:
        """Return the number of parts of each queue that wait for a worker."""
        query = select(parts.c.queue, func.count()).join(jobs, jobs.c.id == parts.c.job).where(WAITING, READY)
        with self.store.read() as connection:
            return dict(connection.execute(query.group_by(parts.c.queue)).all())

    def waits(self, queue: str) -> bool:
        """Return whether a part in the queue waits for a worker. Called after each part, so it does not count them."""
        query = select(parts.c.id).join(jobs, jobs.c.id == parts.c.job).where(parts.c.queue == queue, WAITING, READY)
        with self.store.read() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def _end_leases(self, condition: ColumnElement[bool], reason: str) -> int:
        with self.store.write() as connection:
            found = select(parts.c.job).where(condition).distinct().order_by(parts.c.job)
            jobs_of = connection.execute(found).scalars().all()
            return sum(_end_leases_of(connection, job, condition, reason) for job in jobs_of)

    def _change(self, connection: Connection, part: Part, state: PartState | None = None, **values: Any) -> None:
        """Update the part if the lease still holds. If not, the error rolls the whole transaction back."""
        sources = PART_SOURCES[state] if state else (PartState.LEASED,)
        held = and_(parts.c.id == part.id, parts.c.token == part.token, parts.c.state.in_(sources))
        if state:
            values["state"] = state
        if connection.execute(update(parts).where(held).values(**values)).rowcount != 1:
            raise _lost(part)

    def _lock_part(self, connection: Connection, part: Part) -> Row[Any]:
        """Return the part's row, locked until the transaction ends, if the lease still holds."""
        held = (parts.c.id == part.id) & (parts.c.token == part.token) & (parts.c.state == PartState.LEASED)
        row = connection.execute(select(parts).where(held).with_for_update()).one_or_none()
        if row is None:
            raise _lost(part)
        return row


def _lost(part: Part) -> LeaseLostError:
    return LeaseLostError(f"Part {part.number} of job {part.job} is no longer leased with token {part.token}")


def _part(row: Row[Any], spec: TrainSpec | GenerateSpec) -> Part:
    return Part(
        id=row.id,
        job=row.job,
        number=row.number,
        token=row.token,
        attempt=row.attempts,
        spec=spec,
        first_row=row.first_row,
        rows=row.rows,
        frame_offset=row.frame_offset,
        frame_row=row.frame_row,
        checkpoint=_checkpoint(row),
    )


def _checkpoint(row: Row[Any]) -> FileRef | None:
    """Return a part's last checkpoint. Without a readable one it starts anew, which ends in the same weights."""
    try:
        with reading(f"the checkpoint of job {row.job}"):
            return None if row.checkpoint is None else FileRef(**row.checkpoint)
    except DamagedError as error:
        logger.warning("%s", error)
        return None


def _total(job: int, before: Any, report: Report) -> Report:
    """Return a job's report with that of one more part. A damaged one starts anew: it must not stop the rows."""
    try:
        with reading(f"the report of job {job}"):
            return report if before is None else Report.from_dict(before) + report
    except DamagedError as error:
        logger.warning("%s", error)
        return report


def _storable(text: str) -> str:
    """Return a text that any database accepts. An exception's text may hold NUL, or half a character of a file name."""
    return text.replace("\0", "�").encode(errors="replace").decode()


def _add_epochs(connection: Connection, job: int, history: Sequence[EpochMetrics]) -> None:
    """Insert epochs. Replace those that ran again with another result, because of a time limit or another device."""
    columns = (metrics.c.epoch, metrics.c.step, metrics.c.val_loss)
    known = {tuple(row) for row in connection.execute(select(*columns).where(metrics.c.job == job))}
    for epoch in history:
        if (epoch.epoch, epoch.step, epoch.val_loss) not in known:
            for table in (previews, metrics):
                connection.execute(delete(table).where(table.c.job == job, table.c.epoch == epoch.epoch))
            values = asdict(epoch)
            texts = values.pop("previews")
            connection.execute(insert(metrics).values(job=job, **values))
            for preview in texts:
                connection.execute(insert(previews).values(job=job, epoch=epoch.epoch, **preview))


def _lock(connection: Connection, part: Part) -> Row[Any]:
    try:
        return lock_job(connection, part.job)
    except NotFoundError as error:
        raise LeaseLostError(f"Job {part.job} was deleted") from error


def _end_leases_of(connection: Connection, job_id: int, condition: ColumnElement[bool], reason: str) -> int:
    """End the leases of a job's parts that meet the condition. The job is locked first: some may have ended by then."""
    cancelled = lock_job(connection, job_id).cancel_requested
    query = select(parts).where(parts.c.job == job_id, condition).order_by(parts.c.id).with_for_update()
    taken = connection.execute(query).all()
    for part in taken:
        _end_lease(connection, part, cancelled, failed=part.attempts >= MAX_ATTEMPTS, error=reason)
    return len(taken)


def _end_lease(
    connection: Connection, part: Part | Row[Any], cancelled: bool, *, failed: bool, **values: Any
) -> PartState:
    """Take a locked part from its owner, who did not complete it. Return its new state, which is stored with `values`.

    The part is cancelled if its job was, fails if this was the last attempt, and otherwise goes back to the queue.
    """
    state = PartState.CANCELLED if cancelled else PartState.FAILED if failed else PartState.QUEUED
    connection.execute(update(parts).where(parts.c.id == part.id).values(state=state, lease_until=None, **values))
    if state == PartState.CANCELLED:
        end_parts(connection, part.job, 1)
    elif state == PartState.FAILED:
        end_parts(connection, part.job, 1, rows_failed=part.rows)
        connection.execute(update(jobs).where(jobs.c.id == part.job).values(error=values["error"]))
    return state


def _candidates(queue: str, without: Collection[int]) -> Any:
    """Return the query for jobs with a waiting part, except some, in the order of their turns."""
    own = parts.c.job == jobs.c.id
    in_work = select(func.count()).where(own, parts.c.state == PartState.LEASED).scalar_subquery()
    # A training job that yielded its device has a higher token than those that wait for their first turn.
    turns = select(func.max(parts.c.token)).where(own).scalar_subquery() if queue == TrainSpec.QUEUE else None
    order = (jobs.c.priority.desc(), in_work, *([turns] if turns is not None else []), jobs.c.id)
    unended = jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING))
    waits = exists().where(own, WAITING)
    query = select(jobs.c.id, jobs.c.spec).where(jobs.c.kind == queue, unended, READY, waits)
    query = query.where(jobs.c.id.not_in(without)) if without else query
    return query.order_by(*order).limit(CANDIDATES)
