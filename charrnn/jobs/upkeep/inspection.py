"""Compare the database with the files: every file that a row names exists unchanged, and every file has a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn.errors import DamagedError, ModelFileError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.store.deletion.named_files import files_of_parts, jobs_without_parts, shared_files
from charrnn.jobs.store.store import Store
from charrnn.jobs.upkeep.pruning import unnamed

if TYPE_CHECKING:
    from charrnn.jobs.files.files import Files  # a list of jobs needs no files


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong with a file or a row.

    Attributes:
        loss: whether something is lost. A file without a row is not: it may be newer than the database.
    """

    problem: str
    loss: bool


def inspect(store: Store, files: Files) -> Iterator[Finding]:
    """Yield what is wrong with the store. Reads every file completely, except those that no row names.

    Raises:
        UnreachableError: database or files do not answer.
    """
    problems: dict[str, str] = {}  # by file
    for file in _shared(store):
        problems |= _problem(files, file)
    named = {str(file) if isinstance(file, DamagedError) else file.name for file in _shared(store)} if problems else ()
    yield from (Finding(problem=problem, loss=True) for name, problem in problems.items() if name in named)
    with store.read() as connection:
        incomplete = jobs_without_parts(connection)
    for job in incomplete:
        yield Finding(problem=f"job {job}: its parts do not have each of its rows once", loss=True)
    yield from _inspect_parts(store, files)
    for stored in unnamed(store, files, older_than_s=0.0):
        yield Finding(problem=f"{files.url}/{stored.name} has no row in the database", loss=False)


def _shared(store: Store) -> list[FileRef | DamagedError]:
    with store.read() as connection:
        return list(shared_files(connection))


def _inspect_parts(store: Store, files: Files) -> Iterator[Finding]:
    """Check the files of parts, page by page: hashing them takes longer than a transaction may."""
    after = 0
    while page := _parts(store, after):
        for part, file in page:
            problem = _problem(files, file)
            if problem and (isinstance(file, DamagedError) or dict(_parts(store, part - 1)[:1]).get(part) == file):
                yield from (Finding(problem=text, loss=True) for text in problem.values())
        after = page[-1][0]


def _parts(store: Store, after: int) -> list[tuple[int, FileRef | DamagedError]]:
    with store.read() as connection:
        return files_of_parts(connection, after)


def _problem(files: Files, file: FileRef | DamagedError) -> dict[str, str]:
    """Return what is wrong with a file, by its name. A file may also have been deleted since its row was read."""
    if isinstance(file, DamagedError):
        return {str(file): str(file)}
    try:
        files.verify(file)
    except ModelFileError as error:
        return {file.name: str(error)}
    return {}
