"""The destination of a command's output: standard output, or a file that appears once it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from errno import EISDIR, ELOOP
from os.path import realpath
from pathlib import Path
from stat import S_IMODE
from typing import BinaryIO

from charrnn.errors import InputError
from charrnn.jobs.files.temporary import temporary_file
from producer.output import console

STANDARD_OUTPUT = Path("-")


def opened(output: Path | None, *, live: bool) -> AbstractContextManager[BinaryIO]:
    """Open `output`, or standard output, which is flushed after each line if `live`."""
    if output is None or output == STANDARD_OUTPUT:
        return console.standard_output(live=live)
    return replace_atomically(output)


@contextmanager
def replace_atomically(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that replaces `path` if the block succeeds, with its mode. A link leads to the file to replace.

    Devices and pipes are written directly, as is whatever a link in /dev leads to, such as /dev/stdout.
    """
    with _errors(path):
        if _is_written_directly(path):
            with open(path, "wb") as file:
                yield file
            return
        target = _resolve(path)
        with temporary_file(target) as arriving:
            with open(arriving, "wb") as file:
                yield file
            if target.exists():
                arriving.chmod(S_IMODE(target.stat().st_mode))
            arriving.replace(target)


def check_writable(path: Path) -> None:
    """Check that `replace_atomically` could write there now, before work that may take hours.

    Raises:
        InputError: it could not.
    """
    with _errors(path):
        if path.is_dir():
            raise IsADirectoryError(EISDIR, "Is a directory")
        if not _is_written_directly(path):
            with temporary_file(_resolve(path)):
                pass


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _resolve(path: Path) -> Path:
    """Return the file that a path leads to through links."""
    target = Path(realpath(path))  # Path.resolve raises an error for a loop until Python 3.12, and none from 3.13 on
    if target.is_symlink():
        raise OSError(ELOOP, "a link that leads to itself")
    return target


def _is_written_directly(path: Path) -> bool:
    folders = path.absolute().parts[1:3]
    if path.is_symlink() and folders[0] in ("dev", "proc") and folders != ("dev", "shm"):  # a folder like any
        return True
    return path.exists() and not path.is_file()
