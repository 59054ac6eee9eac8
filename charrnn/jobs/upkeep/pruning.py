"""Pruning: delete jobs with their files, and files that no row names.

Rows are deleted first. If the process dies before the files are deleted, a later sweep finds them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

from charrnn.errors import DamagedError, NotFoundError, UnreachableError
from charrnn.jobs.files.files import Files
from charrnn.jobs.files.layout import FOLDERS, JOBS, job_folder
from charrnn.jobs.files.storage import StoredFile
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.views import Job
from charrnn.jobs.store.lifecycle import delete_job, lock_job, prunable
from charrnn.jobs.store.named_files import files_of_job, shared_files
from charrnn.jobs.store.store import Store

logger = logging.getLogger(__name__)

GRACE_S = 24 * 3600.0  # a file is written before the row that names it; a submit must take less time than this


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """Counts of what was deleted, or would be in a dry run."""

    jobs: int = 0
    files: int = 0
    bytes: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(jobs=self.jobs + other.jobs, files=self.files + other.files, bytes=self.bytes + other.bytes)


def delete(store: Store, files: Files, job_id: int) -> None:
    """Delete an ended job with its results and seeds.

    A later prune deletes the corpus of a training job, and files that cannot be deleted now.

    Raises:
        InputError: the job has not ended, or a version came from it.
        NotFoundError: there is no such job.
    """
    with store.write() as connection:
        job = delete_job(connection, job_id)
    _delete_files(files, job)


def prune(store: Store, files: Files, older_than_s: float, *, dry_run: bool = False) -> Pruned:
    """Delete jobs that ended more than `older_than_s` seconds ago, and files that no row names.

    Training jobs that a version came from are kept.
    """
    older_than_ms = round(older_than_s * 1000)
    with store.read() as connection:
        old = prunable(connection, older_than_ms)
    total = Pruned()
    for job in old:
        with suppress(NotFoundError):  # another prune at the same time was quicker
            total += _size(files, store.job(job)) if dry_run else _delete_old(store, files, job, older_than_ms)
    if not dry_run:
        files.sweep(GRACE_S)
    for file in _unnamed(store, files, gone=set(old) if dry_run else set()):
        if dry_run or _deleted(files, file):
            total += Pruned(files=1, bytes=file.size)
    return total


def _delete_old(store: Store, files: Files, job_id: int, older_than_ms: int) -> Pruned:
    """Delete a job unless it was retried since it was selected."""
    with store.write() as connection:
        lock_job(connection, job_id)
        if not prunable(connection, older_than_ms, job_id):
            return Pruned()
        job = delete_job(connection, job_id)
    return _delete_files(files, job)


def _delete_files(files: Files, job: Job) -> Pruned:
    try:
        freed = _size(files, job)
        files.delete_folder(job_folder(job.id))
        if (seeds := _seeds(job)) is not None:
            files.delete(seeds.name)
        return freed
    except UnreachableError as error:
        logger.warning("job %d was deleted, but its files are left for a later prune: %s", job.id, error)
        return Pruned(jobs=1)


def _size(files: Files, job: Job) -> Pruned:
    sizes = [file.size for file in files.list(job_folder(job.id))]
    if (seeds := _seeds(job)) is not None:
        sizes.append(seeds.size)
    return Pruned(jobs=1, files=len(sizes), bytes=sum(sizes))


def _seeds(job: Job) -> FileRef | None:
    """Return the seeds of a job, or None if it has none or they are not known: a later prune deletes them then."""
    return None if job.unreadable or job.generate_spec is None else job.generate_spec.seeds


def _unnamed(store: Store, files: Files, gone: set[int]) -> Iterator[StoredFile]:
    """Yield old files that no row names. Rows are read after the listing, which thus holds no file written since.

    Args:
        gone: jobs that a dry run would have deleted, with the files that only they have.
    """
    old = [file for folder in FOLDERS if folder != JOBS for file in _old(files, folder)]
    named = _shared(store, gone) if old else None
    if named is not None:
        yield from (file for file in old if file.name not in named and _folder(file.name) not in named)
    for folder, stored in groupby(_old(files, JOBS), key=lambda file: _folder(file.name)):
        found = list(stored)
        needed = None if folder in map(job_folder, gone) else _needed(store, folder)
        yield from (file for file in found if needed is not None and file.name not in needed)


def _shared(store: Store, gone: set[int]) -> set[str] | None:
    """Return the files that rows name outside the folders of jobs, or None if a damaged row may name any of them."""
    try:
        with store.read() as connection:
            return shared_files(connection, gone)
    except DamagedError as error:
        logger.warning("files that no job or version names are kept, since it is not known which they are: %s", error)
        return None


def _needed(store: Store, folder: str) -> set[str] | None:
    """Return the files of a job's folder that are needed, or None if all of them are."""
    number = folder.removeprefix(f"{JOBS}/")
    if not re.fullmatch("[0-9]{1,9}", number):  # no job's folder; the database has no longer numbers
        return set()
    with store.read() as connection:
        return files_of_job(connection, int(number))


def _old(files: Files, folder: str) -> Iterator[StoredFile]:
    return (file for file in files.list(folder) if file.age_s > GRACE_S)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _deleted(files: Files, file: StoredFile) -> bool:
    """Delete a file if it is still old: files named by their content may have been written again since the listing."""
    now = files.stat(file.name)
    if now is None or now.age_s < GRACE_S:
        return False
    files.delete(file.name)
    return True
