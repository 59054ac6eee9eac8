"""Files of jobs and models. Each is named by this package, becomes visible atomically, and is checked when it is read.

They lie below one root, which is a local folder or a bucket (see `storage`). Readers open only files that the store
names, and only if the sha256 is still the one at the time of writing.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import InputError, ModelFileError, UnreachableError
from charrnn.jobs.faults import crash_point
from charrnn.jobs.files.layout import ASIDE, MARKER, aside_name
from charrnn.jobs.files.location import open_storage
from charrnn.jobs.files.storage import (
    Check,
    Storage,
    StoredFile,
    check_sha256,
    missing,
    never_interrupt,
    storage_errors,
)
from charrnn.jobs.job.file_ref import FileRef
from charrnn.model_files import check_file
from charrnn.regular_file import regular

CHUNK = 1 << 20  # bytes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AsideFile:
    """A file that was set aside."""

    name: str  # where it is now
    original: str  # where it was
    size: int  # bytes
    at_s: int  # when it was set aside, in seconds since 1970


class Files:
    """The files of one store.

    Attributes:
        storage: the local folder or bucket that holds them.

    Raises:
        UnreachableError: from every method, if the disk is full or read-only, or the bucket does not answer.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self.storage: Storage = open_storage(url, cache)

    @property
    def url(self) -> str:
        return self.storage.url

    @property
    def parallel_reads(self) -> int:
        """Number of files to read at once: some from a bucket, which answers slowly, and 0, none, from a folder."""
        return self.storage.parallel_reads

    @property
    def scratch(self) -> Path:
        """A local folder for large temporary files."""
        return self.storage.scratch

    def claim_for(self, store_id: str, known: str | None) -> bool:
        """Check that these are the files of a store, or bind them to it if they belong to none.

        Args:
            known: the URL of the files according to the store; None if none were written yet.

        Returns:
            Whether the store must record the URL, because it has none yet.

        Raises:
            InputError: the files belong to another store, or this store's files are elsewhere.
            UnreachableError: the store's files should be here and are not: the shared folder is not mounted.
        """
        owner = self.owner()
        if owner is None and known is None:
            self.put(MARKER, [store_id.encode()])
            return True
        if owner is None and known == self.url:
            raise UnreachableError(
                f"{self.url} has no {MARKER}, though the store keeps its files there. Is it mounted?"
            )
        if owner is None:
            raise InputError(
                f"The store keeps its files in {known}, but {self.url} has none of them. Set CHARRNN_FILES_URL to "
                f"their location, a folder that every host sees or an s3:// URL"
            )
        if owner != store_id:
            raise InputError(f"{self.url} holds the files of another store. Set CHARRNN_FILES_URL to another place")
        return known is None

    def owner(self) -> str | None:
        """Return the id of the store that owns these files, or None if they have no owner."""
        try:
            with self.storage.open(MARKER) as file:
                return file.read().decode(errors="replace")
        except ModelFileError:  # it is missing
            return None

    def put(self, name: str, chunks: Iterable[bytes]) -> FileRef:
        """Write a file. It replaces a file with the same name atomically."""
        return self._put(lambda _: name, name, chunks)

    def put_content(self, folder: str, suffix: str, chunks: Iterable[bytes]) -> FileRef:
        """Write a file that is named by its sha256, so that equal content is stored only once."""
        return self._put(lambda sha256: f"{folder}/{sha256}{suffix}", f"{folder}/content", chunks)

    def _put(self, name_for: Callable[[str], str], place: str, chunks: Iterable[bytes]) -> FileRef:
        with self.storage.stage(place) as path:
            sha256, size = _write(path, chunks)
            name = name_for(sha256)
            crash_point("arriving")
            self.storage.publish(path, name)
        return FileRef(name=name, size=size, sha256=sha256)

    def put_folder(self, name: str, source: Path) -> FileRef:
        """Copy a folder without subfolders. No reader sees it before the store names it."""
        references = [self.put(f"{name}/{path.name}", _chunks_of(path)) for path in sorted(source.iterdir())]
        return FileRef(name=name, size=sum(file.size for file in references), sha256=_folder_hash(references))

    def read(self, reference: FileRef) -> bytes:
        """Return the bytes of a file.

        Raises:
            ModelFileError: the file is missing or was changed.
        """
        with self.storage.open(reference.name) as file:
            data = file.read()
        check_sha256(self.url, reference, hashlib.sha256(data).hexdigest())
        return data

    @contextmanager
    def open(self, reference: FileRef) -> Iterator[BinaryIO]:
        """Open a file to read. All of it is checked before the first byte is returned.

        Raises:
            ModelFileError: the file is missing or was changed.
        """
        with self.storage.open(reference.name) as file:
            check_sha256(self.url, reference, hashlib.file_digest(file, "sha256").hexdigest())
            file.seek(0)
            yield file

    def local_path(self, reference: FileRef) -> Path:
        """Return the local path of a file or a folder, for a bucket that of this host's copy, without checking it.

        Raises:
            ModelFileError: the file or folder is missing.
        """
        return self.storage.local_path(reference)

    def verified_path(self, reference: FileRef, check: Check = never_interrupt) -> Path:
        """Return the local path of a file or a folder after checking its sha256, each time: size and time of a file
        stay the same when a bit of it flips. A damaged copy of a bucket's file is replaced.

        Args:
            check: called after each chunk that is copied or hashed. Its errors are passed on.

        Raises:
            ModelFileError: the file or folder is missing or was changed.
        """
        with storage_errors(self.url):
            path = self.storage.local_path(reference, check)
            if _hash(path, check) != reference.sha256:
                self.storage.forget(reference)
                path = self.storage.local_path(reference, check)
                check_sha256(self.url, reference, _hash(path, check))
        return path

    def verify(self, reference: FileRef) -> None:
        """Check that a file or folder exists and has its sha256, without keeping a copy of it on this host.

        Raises:
            ModelFileError: it is missing or was changed.
        """
        if self.stat(reference.name) is not None:
            with self.open(reference):
                return
        files = [
            FileRef(name=file.name, size=file.size, sha256=self._sha256(file.name))
            for file in self.list(reference.name)
        ]
        if not files:
            raise missing(self.url, reference.name)
        check_sha256(self.url, reference, _folder_hash(files))

    def _sha256(self, name: str) -> str:
        with self.storage.open(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def set_aside(self, name: str) -> None:
        """Move a file to the folder of files that are deleted after a while. It is not an error if there is none."""
        self.storage.move(name, aside_name(name, int(time.time())))

    def aside(self) -> Iterator[AsideFile]:
        """Yield the files that were set aside, the oldest first."""
        for file in self.list(ASIDE):
            at_s, _, original = file.name.removeprefix(f"{ASIDE}/").partition("/")
            if at_s.isdecimal():
                yield AsideFile(name=file.name, original=original, size=file.size, at_s=int(at_s))

    def delete(self, name: str) -> None:
        """Delete a file. It is not an error if there is none."""
        self.storage.delete(name)

    def delete_folder(self, name: str) -> None:
        """Delete a folder with all its files. It is not an error if there is none."""
        self.storage.delete_folder(name)

    def discard(self, name: str, *, folder: bool = False) -> None:
        """Delete a file or folder that no row names any more. Only warn of failures: `prune` deletes it later."""
        try:
            self.delete_folder(name) if folder else self.delete(name)
        except UnreachableError as error:
            logger.warning("%s could not be deleted; prune deletes it later: %s", name, error)

    def stat(self, name: str) -> StoredFile | None:
        """Return a file's size and age, or None if it does not exist."""
        return self.storage.stat(name)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield all files in a folder and its subfolders, without incomplete ones."""
        return self.storage.list(folder)

    def list_prefix(self, prefix: str) -> Iterator[StoredFile]:
        """Yield the files whose names begin with a prefix, such as those of one part among 100,000 of a job."""
        return self.storage.list_prefix(prefix)

    def sweep(self, older_than_s: float) -> None:
        """Delete incomplete files and empty folders that killed processes left more than `older_than_s` seconds ago."""
        self.storage.sweep(older_than_s)


def _write(path: Path, chunks: Iterable[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with open(path, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _chunks_of(path: Path) -> Iterator[bytes]:
    with open(path, "rb", opener=regular) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _hash(path: Path, check: Check) -> str:
    """Return the sha256 of a file or a folder."""
    if not path.is_dir():
        return _hash_file(path, check)
    files = sorted(path.iterdir())
    return _folder_hash(FileRef(name=file.name, size=0, sha256=_hash_file(file, check)) for file in files)


def _hash_file(path: Path, check: Check) -> str:
    check_file(path)  # a link would lead out of the root
    digest = hashlib.sha256()
    for chunk in _chunks_of(path):
        digest.update(chunk)
        check()
    return digest.hexdigest()


def _folder_hash(files: Iterable[FileRef]) -> str:
    """Return the sha256 of the files' names and hashes."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name.rpartition('/')[2]} {file.sha256}\n".encode())
    return digest.hexdigest()
