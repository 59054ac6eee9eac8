"""One local copy, for all workers of a host, of what a bucket holds: versions, corpora, seeds, checkpoints."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from charrnn.errors import UnreachableError

MAX_BYTES = 20 << 30
ASIDE = ".aside"


class Cache:
    """Files and folders named by their sha256; those unused longest go when all take more than `max_bytes`."""

    def __init__(self, root: Path, max_bytes: int = MAX_BYTES) -> None:
        self.root, self.max_bytes = root, max_bytes

    def get(self, sha256: str, fetch: Callable[[Path], None]) -> Path:
        """Return the path of a copy.

        Args:
            fetch: makes a file or a folder at a path, where there is no copy yet; what it raises is raised.

        Raises:
            UnreachableError: the cache's disk is full or read-only.
        """
        path = self.root / sha256
        if not _touch(path):  # without the lock: another process may hold it while it fetches gigabytes
            with self._lock():
                if not _touch(path):
                    self._fetch(path, fetch)
        return path

    def forget(self, sha256: str) -> None:
        """Drop a copy, if there is one."""
        with self._lock():
            self._drop(self.root / sha256)

    def _fetch(self, path: Path, fetch: Callable[[Path], None]) -> None:
        with self._aside() as arriving:
            fetch(arriving)
            arriving.replace(path)
        self._make_room(path)

    def _drop(self, path: Path) -> None:
        """Out of sight first: a process that is killed meanwhile leaves no half of a folder under its name."""
        if path.exists():
            with self._aside() as leaving:
                path.replace(leaving)

    @contextmanager
    def _aside(self) -> Iterator[Path]:
        """Give a path for what is not whole; it goes with the block, or after a kill with the next."""
        folder = self.root / ASIDE
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder / "copy"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _make_room(self, kept: Path) -> None:
        copies = sorted(self.root.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime)
        sizes = {copy: _size(copy) for copy in copies}
        for copy in copies:
            if sum(sizes.values()) <= self.max_bytes:
                return
            if copy != kept:
                sizes.pop(copy)
                self._drop(copy)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One process of the host at a time: eight workers that start together fetch a version once."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(self.root / "lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise UnreachableError(f"The cache {self.root} cannot be written: {error.strerror or error}") from error


def _touch(path: Path) -> bool:
    """Count a copy as used now, if it is there; return whether it is."""
    try:
        os.utime(path)
    except OSError:  # what else is wrong is told when it is to be fetched
        return False
    return True


def _size(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
