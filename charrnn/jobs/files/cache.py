"""A cache of files from a bucket, shared by all workers of a host: versions, corpora, seeds, checkpoints."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from charrnn.errors import UnreachableError
from charrnn.jobs.private import FOLDER_MODE, close_tree, opener

MAX_BYTES = 20 << 30
ASIDE = ".aside"


class Cache:
    """Copies of files and folders, named by their sha256.

    If they take more than `max_bytes` together, the least recently used ones are deleted.
    """

    def __init__(self, root: Path, max_bytes: int = MAX_BYTES) -> None:
        self.root, self.max_bytes = root, max_bytes

    def get(self, sha256: str, fetch: Callable[[Path], None]) -> Path:
        """Return the path of a copy.

        Args:
            sha256: the name of the copy.
            fetch: a function that creates the file or folder at a path. It is called only if there is no copy yet, and
                its exceptions are passed on.

        Raises:
            UnreachableError: the cache's disk is full or read-only.
        """
        path = self.root / sha256
        if not _touch(path):  # without the lock: another process may hold it for a download of gigabytes
            with self._lock():
                if not _touch(path):
                    self._fetch(path, fetch)
        return path

    def forget(self, sha256: str) -> None:
        """Delete a copy, if there is one."""
        with self._lock():
            self._drop(self.root / sha256)

    def _fetch(self, path: Path, fetch: Callable[[Path], None]) -> None:
        with self._temporary_path() as arriving:
            fetch(arriving)
            close_tree(arriving)
            arriving.replace(path)
        self._make_room(path)

    def _drop(self, path: Path) -> None:
        """Delete a copy. It is moved aside first, so that a killed process leaves no partial folder under its name."""
        if path.exists():
            with self._temporary_path() as leaving:
                path.replace(leaving)

    @contextmanager
    def _temporary_path(self) -> Iterator[Path]:
        """Yield a path for an incomplete copy. It is deleted with the block, or by the next block after a kill."""
        folder = self.root / ASIDE
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=FOLDER_MODE)
        try:
            yield folder / "copy"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _make_room(self, newest: Path) -> None:
        """Delete the least recently used copies, but not the newest, until the rest fits."""
        copies = sorted(self.root.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime)
        sizes = {copy: _size(copy) for copy in copies}
        for copy in copies:
            if sum(sizes.values()) <= self.max_bytes:
                return
            if copy != newest:
                sizes.pop(copy)
                self._drop(copy)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Admit one process of the host at a time, so that eight workers that start together fetch a version once."""
        try:
            self.root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            with open(self.root / "lock", "w", opener=opener) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise UnreachableError(f"The cache {self.root} cannot be written: {error.strerror or error}") from error


def _touch(path: Path) -> bool:
    """Mark a copy as used now, and return whether it exists."""
    try:
        os.utime(path)
    except OSError:  # any other problem is reported when the copy is fetched
        return False
    return True


def _size(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
