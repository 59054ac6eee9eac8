"""Pruning: delete jobs with their files, and set files aside that no row names.

Rows are deleted first. If the process dies before the files are deleted, a later prune finds them. Only the row of a
job with many parts is deleted after its files, so that the next deletion goes on where a killed one stopped. A file
that no row names is only set aside, and deleted a week later: the database may have been restored from a backup that is
older.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from charrnn.checks import check_number
from charrnn.errors import DamagedError, InputError, NotFoundError, UnreachableError, counted
from charrnn.jobs.faults import crash_point
from charrnn.jobs.files.layout import FOLDERS, JOBS, job_folder
from charrnn.jobs.files.storage import StoredFile
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.views import Action, Job
from charrnn.jobs.store.deletion.jobs import Deletion, begin_deletion, delete_parts, end_deletion, prunable
from charrnn.jobs.store.deletion.named_files import files_of_job, newest_row, shared_files
from charrnn.jobs.store.events import forget_old, record
from charrnn.jobs.store.lifecycle import lock_job
from charrnn.jobs.store.store import Store

if TYPE_CHECKING:
    from charrnn.jobs.files.files import Files  # a list of jobs needs no files

logger = logging.getLogger(__name__)

ASIDE_S = 7 * 24 * 3600.0  # time after which a file that was set aside is deleted
GRACE_S = 24 * 3600.0  # a file is written before the row that names it; a submit must take less time than this

Progress = Callable[[int], None]


def ignore(_: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """Counts of what was deleted, or would be in a dry run.

    Attributes:
        files: number of deleted files, and `bytes` their size.
        aside: number of files that no row names, which were set aside.
    """

    jobs: int = 0
    files: int = 0
    bytes: int = 0
    aside: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(
            jobs=self.jobs + other.jobs,
            files=self.files + other.files,
            bytes=self.bytes + other.bytes,
            aside=self.aside + other.aside,
        )


def delete(store: Store, files: Files, job_id: int, person: str, progress: Progress = ignore) -> None:
    """Delete an ended job with its results and seeds, or go on with a deletion that was broken off.

    A later prune deletes the corpus of a training job, and files that cannot be deleted now.

    Args:
        progress: called with the number of deleted parts of a job that has many.

    Raises:
        InputError: the job has not ended, or the version that it made exists or was fine-tuned.
        NotFoundError: there is no such job.
    """
    with store.write() as connection:
        deletion = begin_deletion(connection, job_id)
        if not deletion.goes_on:
            record(connection, person, Action.DELETED, job=job_id)
    _go_on(store, files, deletion, progress)


def _go_on(store: Store, files: Files, deletion: Deletion, progress: Progress) -> Pruned:
    """Delete what is left of a job in the database, and its files."""
    job, deleted = deletion.job, 0
    first_row = None if deletion.ended else 0
    while first_row is not None:
        with store.write() as connection:
            count, first_row = delete_parts(connection, job.id, first_row)
        deleted += count
        progress(deleted)
        crash_point("deleting")
    freed = _delete_files(files, job)
    if not deletion.ended:
        with store.write() as connection:
            end_deletion(connection, job.id)
    return freed


def prune(
    store: Store, files: Files, older_than_s: float, person: str, *, dry_run: bool = False, accept_newer: bool = False
) -> Pruned:
    """Delete jobs that ended more than `older_than_s` seconds ago, set files aside that no row names, and delete those
    that were set aside a week ago.

    Training jobs that a version came from are kept.

    Args:
        accept_newer: set files aside too that are newer than the newest row.

    Raises:
        InputError: `older_than_s` is not a number of at least 0, or there are such files. Nothing was deleted or set
            aside.
    """
    check_number("older_than_s", older_than_s)
    if not accept_newer:
        _refuse_newer(store, files)
    old, total = set(_old_jobs(store, older_than_s) if dry_run else ()), Pruned()
    for job in old:
        with suppress(NotFoundError):  # another prune at the same time was quicker
            total += _size(files, store.job(job))
    if not dry_run:
        total += delete_old(store, files, older_than_s, person)
        files.sweep(GRACE_S)
    for file in unnamed(store, files, gone=old):
        if dry_run or _set_aside(files, file):
            total += Pruned(aside=1)
    for gone in files.aside():
        if time.time() - gone.at_s > ASIDE_S:
            total += Pruned(files=1, bytes=gone.size)
            if not dry_run:
                files.delete(gone.name)
    return total


def delete_old(store: Store, files: Files, older_than_s: float | None, actor: str) -> Pruned:
    """Delete jobs that ended more than `older_than_s` seconds ago, each in transactions of its own, and the events of
    that time, and go on with deletions that were broken off; None: with these alone."""
    total = Pruned()
    if older_than_s is not None:
        forget_old(store, round(older_than_s * 1000))
    for job in _old_jobs(store, older_than_s):
        with suppress(NotFoundError):  # another process was quicker
            total += _delete_old(store, files, job, older_than_s, actor)
    return total


def _old_jobs(store: Store, older_than_s: float | None) -> Iterator[int]:
    """Yield the jobs to delete, read in pages: there may be a million."""
    last = 0
    while page := _prunable(store, older_than_s, last):
        yield from page
        last = page[-1]


def _prunable(store: Store, older_than_s: float | None, after: int) -> Sequence[int]:
    with store.read() as connection:
        return prunable(connection, _milliseconds(older_than_s), after=after)


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _refuse_newer(store: Store, files: Files) -> None:
    """Refuse to prune if a file that no row names is newer than all rows.

    A database that was restored from a backup does not know the versions that were made since.
    """
    with store.read() as connection:
        newest = newest_row(connection)
    now = store.now()
    newer = [file.name for file in unnamed(store, files) if now - file.age_s * 1000 > newest]
    if newer:
        raise InputError(
            f"Found {counted(len(newer), 'file')} newer than everything that the database knows, such as {newer[0]}. "
            f"Was the database restored from a backup? Nothing was deleted. Check it with charrnn-jobs store check; "
            f"pass --newer to set them aside too"
        )


def _delete_old(store: Store, files: Files, job_id: int, older_than_s: float | None, actor: str) -> Pruned:
    """Delete a job unless it was retried since it was selected."""
    with store.write() as connection:
        lock_job(connection, job_id, deleting=True)
        if not prunable(connection, _milliseconds(older_than_s), job_id=job_id):
            return Pruned()
        deletion = begin_deletion(connection, job_id)
        if not deletion.goes_on:
            record(connection, actor, Action.DELETED, job=job_id)
    return _go_on(store, files, deletion, ignore)


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
    seeds = _seeds(job)
    count, size = (1, seeds.size) if seeds else (0, 0)
    for file in files.list(job_folder(job.id)):
        count, size = count + 1, size + file.size
    return Pruned(jobs=1, files=count, bytes=size)


def _seeds(job: Job) -> FileRef | None:
    """Return the seeds of a job, or None if it has none or they are not known: a later prune deletes them then."""
    return None if job.unreadable or job.generate_spec is None else job.generate_spec.seeds


def unnamed(
    store: Store, files: Files, gone: Set[int] = frozenset(), older_than_s: float = GRACE_S
) -> Iterator[StoredFile]:
    """Yield old files that no row names. Rows are read after the listing, which thus holds no file written since.

    Args:
        gone: jobs that a dry run would have deleted, with the files that only they have.
    """
    old = [file for folder in FOLDERS if folder != JOBS for file in _old(files, folder, older_than_s)]
    named = _shared(store, gone) if old else None
    if named is not None:
        yield from (file for file in old if file.name not in named and _folder(file.name) not in named)
    gone_folders = set(map(job_folder, gone))  # of a million jobs, perhaps
    for folder, stored in groupby(_old(files, JOBS, older_than_s), key=lambda file: _folder(file.name)):
        found = list(stored)
        needed = None if folder in gone_folders else _needed(store, folder)
        yield from (file for file in found if needed is not None and file.name not in needed)


def _shared(store: Store, gone: Set[int]) -> set[str] | None:
    """Return the files that rows name outside the folders of jobs, or None if a damaged row may name any of them."""
    names = set()
    with store.read() as connection:
        for file in shared_files(connection, gone):
            if isinstance(file, DamagedError):
                logger.warning(
                    "files without a row in the database are kept, because a damaged row may name them: %s", file
                )
                return None
            names.add(file.name)
    return names


def _needed(store: Store, folder: str) -> set[str] | None:
    """Return the files of a job's folder that are needed, or None if all of them are."""
    number = folder.removeprefix(f"{JOBS}/")
    if not re.fullmatch("[0-9]{1,9}", number):  # no job's folder; the database has no longer numbers
        return set()
    with store.read() as connection:
        return files_of_job(connection, int(number))


def _old(files: Files, folder: str, older_than_s: float) -> Iterator[StoredFile]:
    return (file for file in files.list(folder) if file.age_s > older_than_s)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _set_aside(files: Files, file: StoredFile) -> bool:
    """Set a file aside if it is still old: one named by its content may have been written again since the listing."""
    now = files.stat(file.name)
    if now is None or now.age_s < GRACE_S:
        return False
    files.set_aside(file.name)
    return True
