"""The operations of workers on parts: claim, heartbeat, checkpoint, complete, release, fail.

A lease is a claim for a limited time, with a fencing token that rises with every claim. The clock decides when a part
may be taken away; the token alone decides who may commit. Locks are taken in the order that `lifecycle` describes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from charrnn.errors import DamagedError, LeaseLostError, NotFoundError, UnreachableError, storable
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import reading
from charrnn.jobs.job.part import BadRows, Part, PartProgress
from charrnn.jobs.job.report import Report
from charrnn.jobs.job.sizing import MAX_PART_ROWS, device_kind
from charrnn.jobs.job.specs import QUEUES, SINCE, SPEC_VERSION, GenerateSpec
from charrnn.jobs.job.states import DIED, PART_SOURCES, PartState
from charrnn.jobs.job.version import NewVersion, Version
from charrnn.jobs.job.views import SignOfLife
from charrnn.jobs.settings import LONGEST_S
from charrnn.jobs.store import counters
from charrnn.jobs.store.attempts import end_attempt, end_bad_rows, end_lease, end_leases, join
from charrnn.jobs.store.database import NOW, count_rows, limited
from charrnn.jobs.store.events import UNKNOWN
from charrnn.jobs.store.lifecycle import end_parts, lock_job
from charrnn.jobs.store.registry import add_version
from charrnn.jobs.store.reports import MERGED, add_epochs, add_report, count_engine, merge_reports
from charrnn.jobs.store.store import Store, show_life
from charrnn.jobs.store.tables import (
    LEASED,
    QUEUED,
    claimable,
    jobs,
    parts,
    workers,
)
from charrnn.jobs.store.turns import BY_SUBMITTER, Turn, in_turn, parse, pass_turn, take_turn
from charrnn.sampling.defaults import GPU
from charrnn.training.progress import EpochMetrics

logger = logging.getLogger(__name__)

PART_COLUMNS = {"id", "job", "number", "span", "token", "attempts", "first_row", "rows", "frame_offset", "frame_row"}
"""The columns of a part that a worker gets as they are."""

CHECKPOINT_VERSION = SINCE.get("Checkpoint", 1)


class Leases:
    """The lease operations of one store. A lease expires `lease_s` seconds after its last heartbeat."""

    def __init__(self, store: Store, lease_s: float) -> None:
        self.store = store
        self.lease_ms = round(lease_s * 1000)

    def claim(self, queue: str, owner: str, kind: str) -> Part | None:
        """Lease the first waiting part of the job whose turn it is, of the submitter whose turn it is, among those of
        the highest priority. A GPU gets the parts after it too, as one: see `join`.

        Args:
            kind: of the device, "cpu" or "gpu".
        """
        with self.store.write() as connection:
            begins = False
            for job in in_turn(connection, queue):
                if not take_turn(connection, job):  # the job before the part, as locks are ordered
                    begins = True
                elif part := self._take(connection, job, owner, kind):
                    return part
            # Only jobs are left that other claims begin just now: it waits for these claims.
            for job in in_turn(connection, queue) if begins else ():
                take_turn(connection, job, wait=True)
                if part := self._take(connection, job, owner, kind):
                    return part
        return None

    def _take(self, connection: Connection, job: Turn, owner: str, kind: str) -> Part | None:
        """Lease and return the job's first waiting part, or None if others were quicker."""
        values = {"of_job": job.id, "by_owner": owner, "lease_ms": self.lease_ms}
        row = connection.execute(_leasing(), values).one_or_none()
        if row is None:
            return None
        part = _part(row, job)
        if kind == GPU and isinstance(part.spec, GenerateSpec):
            part = join(connection, part, min(part.spec.gpu_rows, MAX_PART_ROWS))
        pass_turn(connection, job)
        return part

    def heartbeat(self, part: Part, progress: PartProgress, life: SignOfLife | None = None) -> bool:
        """Extend the lease and store the progress. Return whether the job should be cancelled.

        Args:
            life: the sign of life of the part's process, to be stored with it, also if the lease is lost.

        Raises:
            LeaseLostError: another worker owns the part now.
        """
        cancel = select(jobs.c.cancel_requested).where(jobs.c.id == part.job).scalar_subquery()
        values = {"lease_until": NOW + self.lease_ms, "progress": progress.to_dict() or None}
        beat = update(parts).where(_held(part, PartState.LEASED)).values(values).returning(cancel)
        with self.store.write(durable=False) as connection:  # one that is lost shortens the lease by its interval
            if life is not None:
                show_life(connection, life)
            cancelled = connection.execute(beat).scalar_one_or_none()
        if cancelled is None:
            raise _lost(part)
        return bool(cancelled)

    def checkpoint(
        self, part: Part, checkpoint: FileRef, history: Sequence[EpochMetrics], device: str, precision: str
    ) -> None:
        """Commit progress: later attempts start from here, and the count of attempts starts again.

        Args:
            device: what trained since the checkpoint before, in this precision: see `Engine`.
        """
        with self.store.write() as connection:
            # From here on only workers that can read such a checkpoint can do the part.
            needed = case((parts.c.spec_version < CHECKPOINT_VERSION, CHECKPOINT_VERSION), else_=parts.c.spec_version)
            saved: dict[str, Any] = {"checkpoint": checkpoint.to_dict(), "attempts": 0, "spec_version": needed}
            self._change(connection, part, lease_until=NOW + self.lease_ms, **saved)
            count_engine(connection, part.job, device, precision)
            add_epochs(connection, part.job, history)

    def record(self, part: Part, history: Sequence[EpochMetrics]) -> None:
        """Store the epochs that have ended, before a checkpoint includes them."""
        with self.store.write() as connection:
            self._change(connection, part, lease_until=NOW + self.lease_ms)
            add_epochs(connection, part.job, history)

    def complete_rows(self, part: Part, output: FileRef, report: Report, device: str) -> None:
        """Commit the part file of sampled rows.

        Args:
            report: the part's report, to be added to the job's.
            device: what sampled it: see `Engine`.
        """
        with self.store.write() as connection:
            _lock(connection, part)
            self._change(connection, part, PartState.DONE, lease_until=None, output=output.to_dict(), error=None)
            add_report(connection, part.job, report)
            count_engine(connection, part.job, device, report.precision, part.span)
            added = {"rows_done": part.rows, "characters": report.characters}
            ended = end_parts(connection, part.job, part.span, **added)
            done = counters.sampled(part, report, device_kind(device))
            counters.add(connection, done)
        if ended or part.number // MERGED != (part.number + part.span) // MERGED:
            with suppress(UnreachableError), self.store.write(durable=False) as connection:  # the part is committed
                merge_reports(connection, part.job)

    def complete_training(self, part: Part, version: NewVersion) -> Version | None:
        """Commit a trained version and return None.

        If the version must be compared with the champion first, commit nothing and return the champion.
        """
        with self.store.write() as connection:
            _lock(connection, part)
            actor = self._lock_part(connection, part).owner or UNKNOWN
            if (champion := add_version(connection, part.job, version, actor)) is not None:
                return champion
            self._change(connection, part, PartState.DONE, lease_until=None, error=None)
            end_parts(connection, part.job, 1)
            counters.add(connection, counters.trained(part.spec.QUEUE))
            return None

    def committed(self, part: Part) -> bool:
        """Return whether this lease completed its part. Asked after a commit whose answer was lost."""
        with self.store.read() as connection:
            return connection.execute(select(parts.c.id).where(_held(part, PartState.DONE))).first() is not None

    def release(self, part: Part) -> PartState:
        """Release a part: requeue it without counting the attempt, or end it if its job was cancelled."""
        with self.store.write() as connection:
            cancelled = _lock(connection, part).cancel_requested
            row = self._lock_part(connection, part)
            again = {} if cancelled else {"attempts": max(row.attempts - 1, 0)}
            return end_lease(connection, row, cancelled, failed=False, **again)

    def fail(self, part: Part, reason: str, *, permanent: bool = False) -> PartState:
        """End an attempt. The part is queued again, split, or failed: see `end_attempt`."""
        with self.store.write() as connection:
            cancelled = _lock(connection, part).cancel_requested
            row = self._lock_part(connection, part)
            state = end_attempt(connection, row, cancelled, storable(reason), permanent=permanent)
            counters.add(connection, counters.ended(reason, 1, [state]))
            return state

    def fail_rows(self, part: Part, bad: Sequence[BadRows]) -> list[PartState]:
        """End an attempt that met rows which no attempt can sample. They fail, and the others are queued again.

        Args:
            bad: at least one, in order. Others may be found by the next attempt.

        Returns:
            The states of the pieces of the part, in order.
        """
        with self.store.write() as connection:
            cancelled = _lock(connection, part).cancel_requested
            states = end_bad_rows(connection, self._lock_part(connection, part), cancelled, bad)
            counters.add(connection, counters.ended(bad[0].reason, 1, states))
            return states

    def requeue(self, owner: str, reason: str = DIED) -> int:
        """Requeue the parts of a process that died, so that they need not wait for their leases to expire.

        As after any failed attempt, some may end instead. Return the number of parts.
        """
        return self._end_leases(LEASED & (parts.c.owner == owner), reason)

    def expire(self) -> int:
        """Requeue the parts with an expired lease, or with one that ends later than any can: a clock was changed.

        As after any failed attempt, some may end instead. Return the number of parts.
        """
        longest_ms = round(LONGEST_S * 1000)  # not this process's own limit: another host's leases may be longer
        now = select(NOW).scalar_subquery()  # read once, and not twice for each leased part
        late = or_(parts.c.lease_until < now, parts.c.lease_until > now + longest_ms)
        return self._end_leases(LEASED & late, DIED, counters.EXPIRED)

    def waiting(self, at_most: int) -> dict[str, int]:
        """Return the number of parts of each queue that wait and that a live worker, or this process, can read.

        Any release rings for all others: in a fleet of two releases each does the rounds of maintenance.

        Args:
            at_most: the largest number to count up to, since millions of parts may wait.
        """
        newest = select(func.max(workers.c.spec_version)).scalar_subquery()
        readable = or_(parts.c.spec_version <= SPEC_VERSION, parts.c.spec_version <= newest)
        waits = select(parts.c.id).join(jobs, jobs.c.id == parts.c.job).where(claimable(jobs), QUEUED, readable)
        first = limited(waits.order_by(*BY_SUBMITTER), at_most)
        with self.store.read() as connection:
            counted = {queue: count_rows(connection, first.where(jobs.c.kind == queue)) for queue in QUEUES}
        return {queue: number for queue, number in counted.items() if number}

    def waits(self, queue: str) -> bool:
        """Return whether a part in the queue waits that this release can read. Called after each part."""
        with self.store.read() as connection:
            return next(in_turn(connection, queue), None) is not None

    def _end_leases(self, condition: ColumnElement[bool], reason: str, counted_as: str | None = None) -> int:
        with self.store.write() as connection:
            found = select(parts.c.job).where(condition).distinct().order_by(parts.c.job)
            jobs_of = connection.execute(found).scalars().all()
            why = counted_as or reason
            states = [state for job in jobs_of for state in end_leases(connection, job, condition, reason, why)]
            counters.add(connection, counters.ended(why, len(states), states))
            return len(states)

    def _change(self, connection: Connection, part: Part, state: PartState | None = None, **values: Any) -> None:
        """Update the part if the lease still holds. If not, the error rolls the whole transaction back."""
        sources = PART_SOURCES[state] if state else (PartState.LEASED,)
        if state:
            values["state"] = state
        if connection.execute(update(parts).where(_held(part, *sources)).values(**values)).rowcount != 1:
            raise _lost(part)

    def _lock_part(self, connection: Connection, part: Part) -> Row[Any]:
        """Return the part's row, locked until the transaction ends, if the lease still holds."""
        held = select(parts).where(_held(part, PartState.LEASED))
        row = connection.execute(held.with_for_update()).one_or_none()
        if row is None:
            raise _lost(part)
        return row


@cache
def _leasing() -> ReturningUpdate[Any]:
    """Return the update that leases the first waiting part of a job. It is made once, as those of `turns` are."""
    # Without a further condition, which makes PostgreSQL expect so few parts that it sorts them all.
    first = limited(select(parts.c.id).where(parts.c.job == bindparam("of_job"), QUEUED).order_by(parts.c.number), 1)
    locked = first.with_for_update(skip_locked=True).correlate(None).scalar_subquery()
    values = {
        "state": PartState.LEASED,
        "attempts": parts.c.attempts + 1,
        "token": parts.c.token + 1,
        "owner": bindparam("by_owner"),
        "lease_until": NOW + bindparam("lease_ms"),
        "progress": None,
    }
    leased = update(parts).where(parts.c.id == locked, parts.c.spec_version <= SPEC_VERSION).values(values)
    own = [column for column in parts.c if column.name in PART_COLUMNS]
    return leased.returning(*own, cast(parts.c.checkpoint, Text).label("checkpoint"))


def _held(part: Part, *states: PartState) -> ColumnElement[bool]:
    """Return the condition that this lease is the last one of its part, which is in one of some states."""
    return and_(parts.c.id == part.id, parts.c.token == part.token, parts.c.state.in_(states))


def _lost(part: Part) -> LeaseLostError:
    return LeaseLostError(f"Part {part.number} of job {part.job} is no longer leased with token {part.token}")


def _part(row: Row[Any], job: Turn) -> Part:
    facts = {name: row._mapping[name] for name in PART_COLUMNS - {"attempts"}}
    return Part(**facts, attempt=row.attempts, spec=job.spec, checkpoint=_checkpoint(row))


def _checkpoint(row: Row[Any]) -> FileRef | None:
    """Return a part's last checkpoint. Without a readable one it starts over, with the same weights at its end."""
    try:
        with reading(f"the checkpoint of job {row.job}"):
            return FileRef.from_dict(parse(row.checkpoint)) if row.checkpoint else None
    except DamagedError as error:
        logger.warning("%s", error)
        return None


def _lock(connection: Connection, part: Part) -> Row[Any]:
    try:
        return lock_job(connection, part.job)
    except NotFoundError as error:
        raise LeaseLostError(f"Job {part.job} was deleted") from error
