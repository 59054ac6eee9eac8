"""Files in a folder of this host, or in a folder that several hosts share."""

from __future__ import annotations

import glob
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from charrnn.errors import ModelFileError, UnreachableError
from charrnn.jobs.files.layout import MARKER
from charrnn.jobs.files.storage import Check, File, StoredFile, check_name, missing, never_interrupt, storage_errors
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.private import FILE_MODE, FOLDER_MODE
from charrnn.regular_file import NotRegularError, regular

ARRIVING = ".arriving-"  # prefix of an incomplete file


class LocalFolder:
    """Files in a folder; see Storage.

    A shared folder that is not mounted looks like an empty one. Then no file counts as missing, and none may be
    written. Every access to a name therefore looks for the marker first.

    Args:
        private: create folders with mode 0700 and files with 0600, whatever the umask.
    """

    parallel_reads = 0

    def __init__(self, root: Path, *, private: bool = False) -> None:
        self.private = private
        self.root = self.scratch = root.resolve()
        self.url = str(self.root)

    @contextmanager
    def stage(self, name: str) -> Iterator[Path]:
        with self._errors():
            path = self._path(name).parent / f"{ARRIVING}{secrets.token_hex(8)}"
            self._make_folder(path.parent)
            try:
                yield path
            finally:
                path.unlink(missing_ok=True)

    def publish(self, path: Path, name: str) -> None:
        with self._errors():
            target = self._path(name)
            self._make_folder(target.parent)
            if self.private:
                path.chmod(FILE_MODE)
            _sync(path)
            path.replace(target)
            _sync(target.parent)

    @contextmanager
    def open(self, name: str) -> Iterator[File]:
        with self._errors():
            path = self._existing_path(name)
            try:
                file = open(path, "rb", opener=regular)  # noqa: SIM115
            except NotRegularError as error:  # no retry changes it, and a worker must not wait for it
                raise ModelFileError(f"{self.url}/{name} is not a regular file. Restore the original") from error
            with file:
                yield file

    def local_path(self, reference: FileRef, check: Check = never_interrupt) -> Path:
        with self._errors():
            return self._existing_path(reference.name)

    def forget(self, reference: FileRef) -> None:
        """Do nothing: the files lie here."""

    def list(self, folder: str) -> Iterator[StoredFile]:
        with self._errors():
            yield from self._walk(self._path(folder))

    def _walk(self, folder: Path) -> Iterator[StoredFile]:
        """Yield the files of a folder in sorted order. It holds the names of one folder at a time: a million of them
        take 90 MB, and as paths, five times as much."""
        with suppress(FileNotFoundError, NotADirectoryError):
            for name in sorted(os.listdir(folder)):  # noqa: PTH208
                path = folder / name
                if path.is_dir() and not path.is_symlink():
                    yield from self._walk(path)
                elif not name.startswith(ARRIVING) and (file := self._describe(path)):
                    yield file

    def list_prefix(self, prefix: str) -> Iterator[StoredFile]:
        folder, _, beginning = prefix.rpartition("/")
        with self._errors():
            for path in sorted(self._path(folder).glob(f"{glob.escape(beginning)}*")):
                if file := self._describe(path):
                    yield file

    def stat(self, name: str) -> StoredFile | None:
        with self._errors():
            return self._describe(self._path(name))

    def move(self, name: str, target: str) -> None:
        with self._errors(), suppress(FileNotFoundError):
            path, to = self._path(name), self._path(target)
            to.parent.mkdir(parents=True, exist_ok=True)
            path.replace(to)

    def delete(self, name: str) -> None:
        with self._errors():
            self._path(name).unlink(missing_ok=True)

    def delete_folder(self, name: str) -> None:
        for file in self.list(name):
            self.delete(file.name)
        with self._errors():
            path = self._path(name)
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def sweep(self, older_than_s: float) -> None:
        with self._errors():
            for path in self.root.rglob(f"{ARRIVING}*"):
                file = self._describe(path)
                if file and file.age_s > older_than_s:
                    path.unlink(missing_ok=True)
            for name, _, _ in os.walk(self.root, topdown=False):
                folder = Path(name)
                with suppress(OSError):  # it is not empty, or gone
                    if folder != self.root and time.time() - folder.stat().st_mtime > older_than_s:
                        folder.rmdir()

    def _make_folder(self, folder: Path) -> None:
        if self.private:
            missing_folders = [path for path in (folder, *folder.parents) if not path.exists()]
            for path in reversed(missing_folders):  # `parents=True` would create them with the rights of the umask
                path.mkdir(mode=FOLDER_MODE, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, name: str) -> Path:
        path = self.root / check_name(name)
        if name != MARKER and not (self.root / MARKER).exists():
            raise UnreachableError(
                f"{self.url} has no {MARKER}, so it does not hold the files of a store. Is it mounted?"
            )
        return path

    def _existing_path(self, name: str) -> Path:
        path = self._path(name)
        if not path.exists():
            raise missing(self.url, name)
        return path

    def _describe(self, path: Path) -> StoredFile | None:
        """Return a file's name, size and age, or None if it is not a regular file.

        It may also have disappeared since it was listed, because workers write and delete files at any time.
        """
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        if not S_ISREG(status.st_mode):
            return None
        return StoredFile(path.relative_to(self.root).as_posix(), status.st_size, time.time() - status.st_mtime)

    def _errors(self) -> AbstractContextManager[None]:
        return storage_errors(self.url)


def _sync(path: Path) -> None:
    """Flush a file's contents, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
