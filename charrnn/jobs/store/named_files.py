"""The files that rows of the store name. All others may be deleted."""

from __future__ import annotations

from sqlalchemy import Connection, case, select

from charrnn.jobs.job.states import ENDED_JOBS, PartState
from charrnn.jobs.store.tables import jobs, models, parts, versions

PAGE = 1000  # jobs


def shared_files(connection: Connection, gone: set[int]) -> set[str]:
    """Return the files and folders that rows name, except those in the folders of jobs.

    Args:
        gone: jobs that count as deleted already.
    """
    names: set[str] = set()
    for job, spec in connection.execute(select(jobs.c.id, jobs.c.spec)).yield_per(PAGE):
        # Whatever looks like a file, since the spec of a newer release may have files in fields of other names.
        files = {field: value for field, value in spec.items() if isinstance(value, dict) and "sha256" in value}
        names.update(file["name"] for field, file in files.items() if field == "seeds" or job not in gone)
    for column in (models.c.validation, versions.c.files):
        names.update(file["name"] for file in connection.execute(select(column)).scalars())
    return names


def files_of_job(connection: Connection, job: int) -> set[str] | None:
    """Return the needed results and checkpoints of a job. A job that does not exist has none.

    Return None for a job that has not ended: a file is written before the row that names it.
    """
    state = connection.execute(select(jobs.c.state).where(jobs.c.id == job)).scalar_one_or_none()
    if state is not None and state not in ENDED_JOBS:
        return None
    needed = case((parts.c.state == PartState.DONE, parts.c.output), else_=parts.c.checkpoint)  # for a retry
    files = connection.execute(select(needed).where(parts.c.job == job)).scalars()
    return {file["name"] for file in files if file}
