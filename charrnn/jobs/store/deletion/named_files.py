"""The files that rows of the store name. All others may be deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from sqlalchemy import Connection, case, exists, func, select

from charrnn.errors import DamagedError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import reading
from charrnn.jobs.job.specs import TrainSpec
from charrnn.jobs.job.states import ENDED_JOBS, PartState
from charrnn.jobs.store.deletion.jobs import DELETED
from charrnn.jobs.store.tables import jobs, metrics, models, parts, rounds, schedules, versions

PAGE = 1000  # rows

NEEDED = case((parts.c.state == PartState.DONE, parts.c.output), else_=parts.c.checkpoint)
"""The file of a part that is needed: its results, or the checkpoint to retry from."""


def shared_files(connection: Connection, gone: Set[int] = frozenset()) -> Iterator[FileRef | DamagedError]:
    """Yield the files and folders that rows name, except those in the folders of jobs; for a damaged row, its error.

    Args:
        gone: jobs that count as deleted already.
    """
    for job, kind, spec in connection.execute(select(jobs.c.id, jobs.c.kind, jobs.c.spec)).yield_per(PAGE):
        # Also whatever else looks like a file: the spec of a newer release may have files in fields of other names.
        items = spec.items() if isinstance(spec, dict) else ()
        others = {field for field, value in items if isinstance(value, dict) and "sha256" in value}
        fields = others | ({"corpus", "validation"} if kind == TrainSpec.QUEUE else {"seeds"})
        yield from _references(f"job {job}", spec, tuple(sorted(fields & {"seeds"} if job in gone else fields)))
    # A model without a version gets a new validation text; that of a job in work is in its spec.
    kept = select(models.c.name, models.c.validation).where(exists().where(versions.c.model == models.c.name))
    for name, validation in connection.execute(kept):
        yield from _references(f"the model {name}", {"validation": validation}, ("validation",))
    for name, number, files in connection.execute(select(versions.c.model, versions.c.version, versions.c.files)):
        yield from _references(f"{name}@{number}", {"files": files}, ("files",))


def files_of_parts(connection: Connection, after: int) -> list[tuple[int, FileRef | DamagedError]]:
    """Return the needed files of the next PAGE parts with an id above `after`, each with the part's id."""
    query = select(parts.c.id, parts.c.job, parts.c.number, NEEDED.label("file")).order_by(parts.c.id)
    rows = connection.execute(query.where(parts.c.id > after, NEEDED.is_not(None)).limit(PAGE)).all()
    return [(row.id, *_references(f"job {row.job}, part {row.number}", {"file": row.file}, ("file",))) for row in rows]


def files_of_job(connection: Connection, job: int) -> set[str] | None:
    """Return the needed results and checkpoints of a job. A job that does not exist has none.

    Return None if they are not known: for a job that has not ended, since a file is written before the row that names
    it, for one that is being deleted, and for a job with a part that cannot be read.
    """
    row = connection.execute(select(jobs.c.state, jobs.c.deleting).where(jobs.c.id == job)).one_or_none()
    if row is not None and (row.deleting or row.state not in ENDED_JOBS):
        return None
    names = set()
    for file in connection.execute(select(NEEDED).where(parts.c.job == job, NEEDED.is_not(None))).scalars():
        for reference in _references(f"job {job}", {"file": file}, ("file",)):
            if isinstance(reference, DamagedError):
                return None
            names.add(reference.name)
    return names


def jobs_without_parts(connection: Connection) -> Sequence[int]:
    """Return the jobs whose parts are too few, too many, or do not have all rows. Reads every part."""
    counted = [func.coalesce(func.sum(column), 0) for column in (parts.c.span, parts.c.rows)]
    complete = (counted[0] == jobs.c.parts_total) & (counted[1] == jobs.c.rows_total)
    grouped = select(jobs.c.id).outerjoin(parts, parts.c.job == jobs.c.id).group_by(jobs.c.id).having(~complete)
    whole = grouped.where(jobs.c.deleting.is_(False))
    return connection.execute(whole.order_by(jobs.c.id)).scalars().all()


def newest_row(connection: Connection) -> int:
    """Return the time of the last change of which the database knows, in its milliseconds; 0 if there is none.

    A file that no row names and that is newer was written after the backup that the database was restored from, or by
    a process that was killed.
    """
    times = (jobs.c.created_at, jobs.c.started_at, jobs.c.finished_at, versions.c.created_at, metrics.c.at)
    newest = [connection.execute(select(func.max(time))).scalar() for time in (*times, schedules.c.created_at)]
    newest.append(connection.execute(select(rounds.c.at).where(rounds.c.name == DELETED)).scalar())
    return max(time or 0 for time in newest)


def _references(what: str, document: object, fields: tuple[str, ...]) -> list[FileRef | DamagedError]:
    try:
        with reading(what):
            return [FileRef.from_dict(document[field]) for field in fields]  # type: ignore[index]
    except DamagedError as error:
        return [error]
