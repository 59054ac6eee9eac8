"""The files that rows of the store name. All others may be deleted."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection, case, select

from charrnn.errors import DamagedError
from charrnn.jobs.job.json_object import reading
from charrnn.jobs.job.specs import TrainSpec
from charrnn.jobs.job.states import ENDED_JOBS, PartState
from charrnn.jobs.store.tables import jobs, models, parts, versions

PAGE = 1000  # jobs


def shared_files(connection: Connection, gone: set[int]) -> set[str]:
    """Return the files and folders that rows name, except those in the folders of jobs.

    Args:
        gone: jobs that count as deleted already.

    Raises:
        DamagedError: a row cannot be read, so it is not known which files it names.
    """
    names: set[str] = set()
    for job, kind, spec in connection.execute(select(jobs.c.id, jobs.c.kind, jobs.c.spec)).yield_per(PAGE):
        texts = () if job in gone else ("corpus", "validation")
        with reading(f"job {job}"):
            names.update(spec[field]["name"] for field in (texts if kind == TrainSpec.QUEUE else ("seeds",)))
    for what, column in ((models.c.name, models.c.validation), (versions.c.model, versions.c.files)):
        for name, file in connection.execute(select(what, column)):
            with reading(f"the model {name}"):
                names.add(file["name"])
    return names


def files_of_job(connection: Connection, job: int) -> set[str] | None:
    """Return the needed results and checkpoints of a job. A job that does not exist has none.

    Return None if it is not known: for a job that has not ended, since a file is written before the row that names it,
    and for a job with a part that cannot be read.
    """
    state = connection.execute(select(jobs.c.state).where(jobs.c.id == job)).scalar_one_or_none()
    if state is not None and state not in ENDED_JOBS:
        return None
    needed = case((parts.c.state == PartState.DONE, parts.c.output), else_=parts.c.checkpoint)  # for a retry
    files = connection.execute(select(needed).where(parts.c.job == job)).scalars()
    with suppress(DamagedError), reading(f"job {job}"):
        return {file["name"] for file in files if file is not None}
    return None
