"""The interface of a file store. There are two: a local folder, and a bucket that speaks S3.

A file becomes visible at once: locally by one rename after its bytes are on the disk, in a bucket by
the end of one upload. Errors of both become one.
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

File = BufferedReader | BufferedRandom  # that is read
HashPath = Callable[[Path], str]  # the sha256 of a file or a folder


@dataclass(frozen=True)
class StoredFile:
    """A file that is there."""

    name: str
    size: int  # bytes
    age_s: float  # since it was last written


class Storage(Protocol):
    """The operations that `Files` needs; names are relative, with forward slashes.

    Every method raises UnreachableError if the place does not answer, and InputError for a name that leads out of it.
    """

    url: str
    scratch: Path  # a local folder for what is large and needed for a while

    def stage(self, name: str) -> AbstractContextManager[Path]:
        """Give a local path to write that file to; what is not published goes with the block."""

    def publish(self, path: Path, name: str) -> None:
        """Make a staged file visible, in the place of one of that name."""

    def open(self, name: str) -> AbstractContextManager[File]:
        """Open a file to read; ModelFileError if it is not there."""

    def verified_path(self, reference: FileRef, hash_path: HashPath) -> Path:
        """Return a local path that stays, of a file or a folder; ModelFileError if it is missing or changed."""

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield all files below a folder, in sorted order, without unfinished ones."""

    def stat(self, name: str) -> StoredFile | None:
        """Describe a file, None if it is not there."""

    def delete(self, name: str) -> None:
        """Delete a file if it is there."""

    def delete_folder(self, name: str) -> None:
        """Delete a folder with all its files."""

    def sweep(self, older_than_s: float) -> None:
        """Delete what killed processes left unfinished."""


def check_name(name: str) -> PurePosixPath:
    """Return a name as a path below the root.

    Raises:
        InputError: It leads out of the root, or names the root itself.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise InputError(f"{name!r} is not the name of a file below the root")
    return path


def check_sha256(url: str, reference: FileRef, sha256: str) -> None:
    """Compare what is there with what was written.

    Raises:
        ModelFileError: They differ.
    """
    if sha256 != reference.sha256:
        raise ModelFileError(
            f"{url}/{reference.name} is not what was written: its sha256 is {sha256[:12]}…, expected "
            f"{reference.sha256[:12]}…"
        )


def missing(url: str, name: str) -> ModelFileError:
    return ModelFileError(f"{url}/{name} is missing. Was it deleted by hand?")


def unreachable(url: str, reason: str) -> UnreachableError:
    return UnreachableError(f"The files in {url} cannot be read or written: {reason}")


@contextmanager
def storage_errors(url: str, *others: type[Exception]) -> Iterator[None]:
    """Raise UnreachableError in place of an OSError, or one of `others`, of the block."""
    kinds: tuple[type[Exception], ...] = (OSError, *others)
    try:
        yield
    except kinds as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__  # a time-out has no words
        raise unreachable(url, reason) from error
