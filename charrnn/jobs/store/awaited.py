"""The version that a job samples from once the training job that it waited for has made one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from charrnn.errors import NotFoundError
from charrnn.jobs.job.json_object import JsonObject
from charrnn.jobs.store.registry import champion
from charrnn.jobs.store.tables import versions
from charrnn.sampling.defaults import choose_precision


def version_after(connection: Connection, job: Row[Any], made: int) -> int:
    """Return the version that a job samples from after its training job made one.

    It is that version; but a job that follows the training of a schedule takes the champion, since nobody looks at a
    version that lost before texts are written with it.
    """
    best = champion(connection, job.model) if job.schedule is not None else None
    return made if best is None else best.version


def with_version(connection: Connection, spec: JsonObject, version: int) -> JsonObject:
    """Return the stored spec of a generate job with its version, and with the precision to sample that in.

    Raises:
        NotFoundError: the version was deleted.
    """
    query = select(versions.c.precision).where(versions.c.model == spec["model"], versions.c.version == version)
    # The lock keeps the version from being deleted until the job is stored.
    best = connection.execute(query.with_for_update(read=True, key_share=True)).scalar_one_or_none()
    if best is None:
        raise NotFoundError(f"{spec['model']}@{version} was deleted. List versions with: charrnn-jobs models")
    sampling = spec["sampling"]
    precision = choose_precision(sampling["precision"], best, spec["batch"])
    return {**spec, "version": version, "sampling": {**sampling, "precision": precision}}
