"""The deletion of versions and models, which refuses what is in use.

A model is locked before its versions, so that no alias moves to a version and no training begins meanwhile, and a
version before the jobs are looked at, so that no job that needs it is stored meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from sqlalchemy import Connection, delete, or_, select

from charrnn.errors import DamagedError, InputError, NotFoundError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import ENDED_JOBS
from charrnn.jobs.job.version import Version
from charrnn.jobs.store.registry import (
    aliases_of,
    champion,
    champion_before,
    is_version,
    lock_model,
    locked_version,
    no_model,
)
from charrnn.jobs.store.scheduled import slots
from charrnn.jobs.store.tables import aliases, jobs, speeds, versions

SHOWN = 5  # most jobs to name that need a model


def delete_version(connection: Connection, model: str, version: int) -> FileRef:
    """Delete a version permanently. Return its files, to be deleted afterwards.

    Raises:
        InputError: an alias means it, or a job that has not ended needs it.
        NotFoundError: there is no such version.
    """
    lock_model(connection, model)  # an alias may be moving to it
    found = locked_version(connection, model, version)
    if reason := _reason_to_keep(connection, model, version):
        raise InputError(reason)
    return _delete(connection, found)


def delete_older(connection: Connection, model: str, keep: int) -> dict[int, FileRef]:
    """Keep only the newest `keep` versions. Return the deleted numbers with their files, to be deleted afterwards.

    A version also stays if an alias means it, a job that has not ended needs it, or a rollback would return to it.
    """
    lock_model(connection, model)
    best = champion(connection, model)
    before = best and champion_before(connection, best)
    newest_first = select(versions.c.version).where(versions.c.model == model).order_by(versions.c.version.desc())
    deleted = {}
    for number in connection.execute(newest_first.offset(keep)).scalars().all():
        with suppress(DamagedError):  # its files are not known, so it stays
            found = locked_version(connection, model, number)  # locked first: a job may be about to use it
            if number != before and not _reason_to_keep(connection, model, number):
                deleted[number] = _delete(connection, found)
    return deleted


def _delete(connection: Connection, version: Version) -> FileRef:
    connection.execute(delete(versions).where(is_version(version.model, version.version)))
    return version.files


def _reason_to_keep(connection: Connection, model: str, version: int) -> str | None:
    """Return why a version cannot be deleted, or None if it can."""
    name = f"{model}@{version}"
    if names := aliases_of(connection, model, version):
        others = select(versions.c.version).where(versions.c.model == model, versions.c.version != version)
        if connection.execute(others.limit(1)).first() is None:
            return f"{name} is the only version of {model}. Delete the model: charrnn-jobs models delete {model} --all"
        return f"{name} is in use as {model}@{names[0]}. Promote another version first, with --alias {names[0]}"
    if (job := _job_that_needs(connection, model, version)) is not None:
        return f"{name} is needed by job {job}, which has not ended. Wait for it, or cancel it"
    return None


def _job_that_needs(connection: Connection, model: str, version: int) -> int | None:
    """Return a job that has not ended and samples from or fine-tunes the version, or None."""
    samples = (jobs.c.kind == GenerateSpec.QUEUE) & (jobs.c.model == model) & (jobs.c.version == version)
    goes_on = (jobs.c.kind == TrainSpec.QUEUE) & (jobs.c.spec["start"].as_string() == f"{model}@{version}")
    query = select(jobs.c.id).where(jobs.c.state.not_in(ENDED_JOBS), or_(samples, goes_on)).limit(1)
    return connection.execute(query).scalar()


def delete_model(connection: Connection, model: str) -> dict[int, FileRef | None]:
    """Delete all versions of a model and its aliases permanently.

    The name stays in the database, so that its version numbers, which stand in results, are not used again.

    Returns:
        The numbers of the versions with their files, to be deleted afterwards. Those of a damaged row are not known,
        and `prune` deletes them.

    Raises:
        InputError: a job that has not ended or a schedule needs the model.
        NotFoundError: there is no such model, or it has no version.
    """
    lock_model(connection, model)
    own = select(versions.c.version).where(versions.c.model == model).order_by(versions.c.version)
    numbers = connection.execute(own.with_for_update()).scalars().all()
    if not numbers:
        raise NotFoundError(no_model(connection, model))
    if users := [*_jobs_of(connection, model), *_schedules_of(connection, model)]:
        raise InputError(
            f"{model} is needed by {', '.join(users)}. Cancel jobs that have not ended, and remove or edit schedules"
        )
    files: dict[int, FileRef | None] = dict.fromkeys(numbers)
    for number in numbers:
        with suppress(DamagedError):
            files[number] = locked_version(connection, model, number).files
    for table in (aliases, versions, speeds):
        connection.execute(delete(table).where(table.c.model == model))
    return files


def _jobs_of(connection: Connection, model: str) -> Iterator[str]:
    """Yield the jobs that have not ended and train, fine-tune or sample any version of a model."""
    start = jobs.c.spec["start"].as_string()
    goes_on = (jobs.c.kind == TrainSpec.QUEUE) & start.startswith(f"{model}@", autoescape=True)
    query = select(jobs.c.id).where(jobs.c.state.not_in(ENDED_JOBS), or_(jobs.c.model == model, goes_on))
    for job in connection.execute(query.order_by(jobs.c.id).limit(SHOWN)).scalars():
        yield f"job {job}"


def _schedules_of(connection: Connection, model: str) -> Iterator[str]:
    """Yield the schedules that train, fine-tune or sample a model. One that cannot be read needs nothing."""
    for schedule in slots.all_schedules(connection):
        with suppress(DamagedError):
            request = schedule.request
            named = (request.model, getattr(request, "start", None))
            if model in {(name or "").partition("@")[0] for name in named}:
                yield f"the schedule {schedule.name}"
