"""The interface of file storage. There are two implementations: a local folder and an S3 bucket.

A file becomes visible atomically: locally by a rename after its bytes are on the disk, in a bucket at the end of an
upload. Both raise the same exceptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BufferedRandom, BufferedReader
from pathlib import Path, PurePosixPath
from typing import Protocol

from charrnn.errors import InputError, ModelFileError, UnreachableError
from charrnn.jobs.job.file_ref import FileRef

File = BufferedReader | BufferedRandom  # a file to read


@dataclass(frozen=True)
class StoredFile:
    """A file in storage."""

    name: str
    size: int  # bytes
    age_s: float  # seconds since it was last written


Check = Callable[[], None]
"""Called between two chunks of a long operation. It may raise an error to interrupt it."""


def never_interrupt() -> None:
    pass


class Storage(Protocol):
    """The operations that `Files` needs. Names are relative to a root, with forward slashes.

    Every method raises UnreachableError if the storage does not answer, and InputError for a name that leads out of the
    root.
    """

    url: str
    scratch: Path  # a local folder for large temporary files
    parallel_reads: int  # files that are worth reading at once, before they are needed

    def stage(self, name: str) -> AbstractContextManager[Path]:
        """Yield a local path to write a file to. If it is not published, it is deleted with the block."""

    def publish(self, path: Path, name: str) -> None:
        """Make a staged file visible. It replaces a file with the same name."""

    def open(self, name: str) -> AbstractContextManager[File]:
        """Open a file to read. Raise ModelFileError if it is missing."""

    def local_path(self, reference: FileRef, check: Check = never_interrupt) -> Path:
        """Return a permanent local path of a file or folder, unverified. Raise ModelFileError if it is missing."""

    def forget(self, reference: FileRef) -> None:
        """Delete this host's copy, if it is one, so that the next `local_path` makes another."""

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield all files in a folder and its subfolders, in sorted order, without incomplete ones."""

    def list_prefix(self, prefix: str) -> Iterator[StoredFile]:
        """Yield the files whose names begin with a prefix, which names the files of one folder."""

    def stat(self, name: str) -> StoredFile | None:
        """Return a file's size and age, or None if it does not exist."""

    def move(self, name: str, target: str) -> None:
        """Rename a file if it exists. A reader finds it under one name or the other, or under both for a moment."""

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""

    def delete_folder(self, name: str) -> None:
        """Delete a folder with all its files."""

    def sweep(self, older_than_s: float) -> None:
        """Delete incomplete files and empty folders that killed processes left more than `older_than_s` seconds ago."""


def check_name(name: str) -> PurePosixPath:
    """Return a name as a path relative to the root.

    Raises:
        InputError: the name leads out of the root, or names the root itself.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise InputError(f"{name!r} is not the name of a file below the root")
    return path


def check_sha256(url: str, reference: FileRef, sha256: str) -> None:
    """Check that a file or folder still has the sha256 that was recorded when it was written.

    Raises:
        ModelFileError: the sha256 differs.
    """
    if sha256 != reference.sha256:
        raise ModelFileError(
            f"{url}/{reference.name} is not what was written: its sha256 is {sha256[:12]}…, expected "
            f"{reference.sha256[:12]}…"
        )


def missing(url: str, name: str) -> ModelFileError:
    return ModelFileError(f"{url}/{name} is missing. Restore it from a backup")


def unreachable(url: str, reason: str) -> UnreachableError:
    return UnreachableError(f"The files in {url} cannot be read or written: {reason}")


@contextmanager
def storage_errors(url: str, *others: type[Exception]) -> Iterator[None]:
    """Convert an OSError, or one of `others`, raised in the block into an UnreachableError."""
    kinds: tuple[type[Exception], ...] = (OSError, *others)
    try:
        yield
    except kinds as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__  # a timeout has no message
        raise unreachable(url, reason) from error
