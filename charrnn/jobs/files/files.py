"""Files of jobs and models: named by us, visible at once or not at all, checked when read.

They lie below one root, a local folder or a bucket (see storage). Readers open only what the store
names, and only if its sha256 is still that of the day it was written.
"""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import InputError, ModelFileError, UnreachableError
from charrnn.jobs.faults import crash_point
from charrnn.jobs.files.storage import MARKER, Storage, StoredFile, open_storage
from charrnn.jobs.job.file_ref import FileRef
from charrnn.model_files import check_file

CHUNK = 1 << 20  # bytes

Local = Callable[[str, str], Path | None]  # of a storage: name and sha256 to a path


class Files:
    """The files of one store.

    Attributes:
        storage: where they are.

    Raises:
        UnreachableError: from every verb: the disk is full or read-only, the bucket does not answer.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self.storage: Storage = open_storage(url, cache)
        self._checked: dict[Path, tuple[str, int, int]] = {}  # sha256, size and time when it was last checked

    @property
    def url(self) -> str:
        return self.storage.url

    @property
    def scratch(self) -> Path:
        """A local folder for what is large and needed for a while."""
        return self.storage.scratch

    def claim_for(self, store_id: str, known: str | None) -> bool:
        """See that these are the files of that store -> whether they had no owner and have one now.

        Args:
            known: where the store says that they are, None if nobody wrote any yet.

        Raises:
            InputError: they belong to another store, or are not where they were.
            UnreachableError: nothing is where they were: the shared folder is not mounted.
        """
        owner = self.storage.read(MARKER)
        if owner is None and known is None:
            self.put(MARKER, [store_id.encode()])
            return True
        if owner is None and known == self.url:
            raise UnreachableError(
                f"{self.url} has no {MARKER}, though the store keeps its files there. Is it mounted?"
            )
        if owner is None:
            raise InputError(
                f"The store keeps its files in {known}; {self.url} has none of them. Set CHARRNN_FILES_URL to where "
                f"they are, a folder that every host sees or an s3:// URL"
            )
        if owner.decode(errors="replace") != store_id:
            raise InputError(f"{self.url} holds the files of another store. Set CHARRNN_FILES_URL to another place")
        return known is None

    def put(self, name: str, chunks: Iterable[bytes]) -> FileRef:
        """Write a file; one of that name is replaced at once."""
        return self._put(lambda _: name, name, chunks)

    def put_content(self, folder: str, suffix: str, chunks: Iterable[bytes]) -> FileRef:
        """Write a file named by its content: equal content is stored once."""
        return self._put(lambda sha256: f"{folder}/{sha256}{suffix}", f"{folder}/content", chunks)

    def _put(self, named: Callable[[str], str], place: str, chunks: Iterable[bytes]) -> FileRef:
        with self.storage.staged(place) as path:
            sha256, size = _write(path, chunks)
            name = named(sha256)
            crash_point("arriving")
            self.storage.publish(path, name)
        return FileRef(name=name, size=size, sha256=sha256)

    def put_folder(self, name: str, source: Path) -> FileRef:
        """Copy a flat folder; it is nobody's before the store names it."""
        references = [self.put(f"{name}/{path.name}", _chunks_of(path)) for path in sorted(source.iterdir())]
        return FileRef(name=name, size=sum(file.size for file in references), sha256=_folder_hash(references))

    def read(self, reference: FileRef) -> bytes:
        """The bytes of a file.

        Raises:
            ModelFileError: missing, or not the bytes that were written.
        """
        data = self.storage.read(reference.name)
        if data is None:
            raise self._missing(reference)
        self._compare(reference, hashlib.sha256(data).hexdigest())
        return data

    @contextmanager
    def open(self, reference: FileRef) -> Iterator[BinaryIO]:
        """A file to read, checked before its first byte is given out.

        Raises:
            ModelFileError: missing or changed.
        """
        with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
            path = self.storage.fetched(reference.name, Path(folder))
            if path is None:
                raise self._missing(reference)
            with self.storage.translated(), open(path, "rb") as file:
                self._compare(reference, hashlib.file_digest(file, "sha256").hexdigest())
                file.seek(0)
                yield file

    def checked(self, reference: FileRef) -> Path:
        """The local path of a file that is still what was written; of a bucket's file, this host's one copy.

        Raises:
            ModelFileError: missing or changed.
        """
        return self._local(reference, self.storage.local, self._hash_once)

    def checked_folder(self, reference: FileRef) -> Path:
        """As `checked`, of what `put_folder` wrote."""
        return self._local(reference, self.storage.local_folder, _hash_folder)

    def _local(self, reference: FileRef, local: Local, hashed: Callable[[Path], str]) -> Path:
        """A local path of what is unchanged; where this host's copy is damaged, a new one is fetched."""
        path, sha256 = self._found(reference, local, hashed)
        if sha256 != reference.sha256 and self.storage.forget(reference.sha256):
            path, sha256 = self._found(reference, local, hashed)
        self._compare(reference, sha256)
        return path

    def _found(self, reference: FileRef, local: Local, hashed: Callable[[Path], str]) -> tuple[Path, str]:
        path = local(reference.name, reference.sha256)
        if path is None:
            raise self._missing(reference)
        with self.storage.translated():
            return path, hashed(path)

    def _hash_once(self, path: Path) -> str:
        """A part of many reads the same seeds, and hashing 100 MB takes 0.1 s."""
        status = path.stat()
        size, time_ns = status.st_size, status.st_mtime_ns
        if self._checked.get(path, ())[1:] != (size, time_ns):
            self._checked[path] = _hash_file(path), size, time_ns
        return self._checked[path][0]

    def delete(self, name: str) -> None:
        """Delete a file; one that is not there is no error."""
        self.storage.delete(name)

    def age_s(self, name: str) -> float | None:
        """Seconds since a file was last written, None if it is not there."""
        return self.storage.age_s(name)

    def delete_folder(self, name: str) -> None:
        for file in list(self.storage.files(name)):
            self.storage.delete(file.name)
        self.storage.delete_empty(name)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Every file below a folder, deeply, without unfinished ones."""
        return self.storage.files(folder)

    def _missing(self, reference: FileRef) -> ModelFileError:
        return ModelFileError(f"{self.url}/{reference.name} is missing. Was it deleted by hand?")

    def _compare(self, reference: FileRef, sha256: str) -> None:
        if sha256 != reference.sha256:
            raise ModelFileError(
                f"{self.url}/{reference.name} is not what was written: its sha256 is {sha256[:12]}…, expected "
                f"{reference.sha256[:12]}…"
            )


def unique_name(folder: str, suffix: str) -> str:
    """A name that no other file has."""
    return f"{folder}/{secrets.token_hex(16)}{suffix}"


def _write(path: Path, chunks: Iterable[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with open(path, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _chunks_of(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _hash_file(path: Path) -> str:
    check_file(path)  # a link would lead out of the root
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_folder(path: Path) -> str:
    return _folder_hash(FileRef(name=file.name, size=0, sha256=_hash_file(file)) for file in sorted(path.iterdir()))


def _folder_hash(files: Iterable[FileRef]) -> str:
    """sha256 over the files' names and hashes."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name.rpartition('/')[2]} {file.sha256}\n".encode())
    return digest.hexdigest()
