"""Deleting jobs with their files, and files that no row names.

Rows go first: what is left over if a process dies in between is found by the sweep.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from charrnn.jobs.files import Files
from charrnn.jobs.lifecycle import delete_job, prunable
from charrnn.jobs.specs import GenerateSpec
from charrnn.jobs.store import Store
from charrnn.jobs.tables import jobs, models, versions

FOLDERS = ("jobs", "seeds", "corpora", "held-out", "models")
GRACE_S = 24 * 3600.0  # a file may be older than the row that will name it, by the time that a submit takes
PAGE = 1000  # jobs


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was deleted, or would be."""

    jobs: int
    files: int
    bytes: int


def delete(store: Store, files: Files, job_id: int) -> None:
    """Delete an ended job, its results and seeds; a training's corpus goes with the next prune.

    Raises:
        InputError: it has not ended, or a version came from it.
        NotFoundError: no such job.
    """
    with store.write() as connection:
        job = delete_job(connection, job_id)
    files.delete_folder(f"jobs/{job_id}")
    if job["kind"] == GenerateSpec.QUEUE:
        files.delete(GenerateSpec.from_dict(job["spec"]).seeds.name)


def prune(store: Store, files: Files, older_than_s: float, *, dry_run: bool = False) -> Pruned:
    """Delete jobs that ended so long ago, but for trainings that a version came from, and files that no row names."""
    with store.read() as connection:
        old = prunable(connection, round(older_than_s * 1000))
    if dry_run:
        stored = [file for job in old for file in files.list(f"jobs/{job}")]
        return Pruned(jobs=len(old), files=len(stored), bytes=sum(file.size for file in stored))
    freed = [_freed(store, files, job) for job in old] + [_sweep(store, files)]
    return Pruned(jobs=len(old), files=sum(count for count, _ in freed), bytes=sum(size for _, size in freed))


def _freed(store: Store, files: Files, job_id: int) -> tuple[int, int]:
    stored = list(files.list(f"jobs/{job_id}"))
    delete(store, files, job_id)
    return len(stored), sum(file.size for file in stored)


def _sweep(store: Store, files: Files) -> tuple[int, int]:
    """Delete old files that no row names -> how many, and their bytes."""
    files.storage.sweep(GRACE_S)
    old = [file for folder in FOLDERS for file in files.list(folder) if file.age_s > GRACE_S]
    named = _named(store) if old else set()  # after the listing: what was written since is not in it
    unnamed = [file for file in old if file.name not in named and _folder(file.name) not in named]
    for file in unnamed:
        files.delete(file.name)
    return len(unnamed), sum(file.size for file in unnamed)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _named(store: Store) -> set[str]:
    """Files and folders that rows name."""
    names: set[str] = set()
    with store.read() as connection:
        for job, spec in connection.execute(select(jobs.c.id, jobs.c.spec)).yield_per(PAGE):
            names.add(f"jobs/{job}")
            names.update(spec[field]["name"] for field in ("seeds", "corpus", "held_out") if field in spec)
        for column in (models.c.held_out, versions.c.files):
            names.update(file["name"] for file in connection.execute(select(column)).scalars())
    return names
