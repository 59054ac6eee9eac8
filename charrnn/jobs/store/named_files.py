"""Which files the rows of the store name: all others may be deleted."""

from __future__ import annotations

from sqlalchemy import Connection, case, select

from charrnn.jobs.job.states import ENDED_JOBS, PartState
from charrnn.jobs.store.tables import jobs, models, parts, versions

PAGE = 1000  # jobs


def shared_files(connection: Connection, gone: set[int]) -> set[str]:
    """Return the files and folders that rows name, but for those of jobs alone.

    Args:
        gone: jobs that count as deleted already.
    """
    names: set[str] = set()
    for job, spec in connection.execute(select(jobs.c.id, jobs.c.spec)).yield_per(PAGE):
        fields = ("seeds",) if job in gone else ("seeds", "corpus", "validation")
        names.update(spec[field]["name"] for field in fields if field in spec)
    for column in (models.c.validation, versions.c.files):
        names.update(file["name"] for file in connection.execute(select(column)).scalars())
    return names


def files_of_job(connection: Connection, job: int) -> set[str] | None:
    """Return the results and checkpoints of a job, none of one that is not there; None of one in work: a file comes
    before the row that names it."""
    state = connection.execute(select(jobs.c.state).where(jobs.c.id == job)).scalar_one_or_none()
    if state is not None and state not in ENDED_JOBS:
        return None
    needed = case((parts.c.state == PartState.DONE, parts.c.output), else_=parts.c.checkpoint)  # to retry from
    files = connection.execute(select(needed).where(parts.c.job == job)).scalars()
    return {file["name"] for file in files if file}
