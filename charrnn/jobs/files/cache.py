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
    """Folders named by the sha256 of what they hold; those unused longest go when all take more than `max_bytes`."""

    def __init__(self, root: Path, max_bytes: int = MAX_BYTES) -> None:
        self.root, self.max_bytes = root, max_bytes

    def get(self, sha256: str, fetch: Callable[[Path], bool]) -> Path | None:
        """The folder; fetched to a path that is given where it is not here.

        Args:
            fetch: makes a folder of that path -> False if there is nothing to be fetched.

        Raises:
            UnreachableError: the cache's disk is full or read-only.
        """
        path = self.root / sha256
        if not _touched(path):  # without the lock: another process may hold it while it fetches gigabytes
            with self._locked():
                if not _touched(path) and not self._fetched(path, fetch):
                    return None
        return path

    def forget(self, sha256: str) -> None:
        with self._locked():
            self._drop(self.root / sha256)

    def _fetched(self, path: Path, fetch: Callable[[Path], bool]) -> bool:
        arriving = self._aside()
        try:
            if not fetch(arriving):
                return False
            arriving.replace(path)
        finally:
            shutil.rmtree(arriving, ignore_errors=True)
        self._make_room(path)
        return True

    def _drop(self, path: Path) -> None:
        """Out of sight first: a process that is killed meanwhile leaves no half of a folder under its name."""
        if path.exists():
            path.replace(self._aside())
            self._aside()

    def _aside(self) -> Path:
        """The path of what is not whole; what a killed process left there goes."""
        path = self.root / ASIDE
        shutil.rmtree(path, ignore_errors=True)
        return path

    def _make_room(self, kept: Path) -> None:
        folders = sorted(self.root.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime)
        sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in folders}
        for folder in folders:
            if sum(sizes.values()) <= self.max_bytes:
                return
            if folder != kept:
                sizes.pop(folder)
                self._drop(folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process of the host at a time: eight workers that start together fetch a version once."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(self.root / "lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise UnreachableError(f"The cache {self.root} cannot be written: {error.strerror or error}") from error


def _touched(path: Path) -> bool:
    """Whether it is there; then it counts as used now."""
    try:
        os.utime(path)
    except OSError:  # what else is wrong is told when it is to be fetched
        return False
    return True
