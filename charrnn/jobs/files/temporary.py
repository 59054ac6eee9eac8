"""Temporary folders and files that are deleted even if their process is killed: by the next one that looks.

A process holds a lock on each of its own. The lock ends with the process, so what is not locked is litter.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from glob import escape
from pathlib import Path

PREFIX = "charrnn-tmp-"
DIGITS = 8  # hexadecimal digits in the name of a temporary file


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder in the temporary folder (TMPDIR), which is deleted with the block.

    Raises:
        OSError: it cannot be created.
    """
    _sweep_once()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        if (lock := _lock(folder)) is not None:
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def temporary_file(target: Path) -> Iterator[Path]:
    """Yield a new hidden file beside `target`, to be renamed to it. It is deleted with the block if it was not.

    Files that killed processes left there for the same target are deleted first.

    Raises:
        OSError: it cannot be created.
    """
    _sweep(target.parent.glob(f".{escape(target.name)}.{'[0-9a-f]' * DIGITS}"))
    while True:
        path = target.with_name(f".{target.name}.{secrets.token_hex(DIGITS // 2)}")
        path.touch(exist_ok=False)
        if (lock := _lock(path)) is not None:
            break
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def sweep_temporary_folders() -> None:
    """Delete the folders of `temporary_folder` that killed processes of this user left."""
    _sweep(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


@cache
def _sweep_once() -> None:
    sweep_temporary_folders()


def _sweep(paths: Iterable[Path]) -> None:
    """Delete the files and folders that no process has locked."""
    with suppress(OSError):  # the folder cannot be read: what follows will say so
        for path in paths:
            lock = _lock(path, sweeping=True)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
                os.close(lock)


def _lock(path: Path, *, sweeping: bool = False) -> int | None:
    """Lock a file or folder of this user. Return the lock's file descriptor, or None if another process has locked it.

    A new one may have been locked and deleted by a sweep just before. Where locks are not supported, a new one is used
    without, and nothing is swept.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if sweeping or isinstance(error, FileNotFoundError):
            return None
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        opened = os.fstat(descriptor)
        if os.path.samestat(opened, path.lstat()) and (not sweeping or opened.st_uid == os.getuid()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:  # the file system has no locks
        if not sweeping:
            return descriptor
    os.close(descriptor)
    return None
