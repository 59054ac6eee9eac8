"""Files of jobs and models: named by us, written whole or not at all, checked when read.

A file becomes visible by one rename, after its bytes are on the disk; readers open only what the
store names, and only if its sha256 is still that of the day it was written.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from charrnn.errors import InputError, ModelFileError


@dataclass(frozen=True, kw_only=True)
class FileRef:
    """What the store keeps of a file or a folder: where it is and what it must be."""

    name: str  # below the root, with forward slashes
    size: int  # bytes
    sha256: str  # of a folder: of its files' names and hashes

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Files:
    """A folder of files.

    Attributes:
        root: where it is.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def put(self, name: str, chunks: Iterable[bytes]) -> FileRef:
        """Write a file; one of that name is replaced at once."""
        digest, size = hashlib.sha256(), 0
        with self._arriving(name) as path, open(path, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        return FileRef(name=name, size=size, sha256=digest.hexdigest())

    def put_content(self, folder: str, suffix: str, chunks: Iterable[bytes]) -> FileRef:
        """Write a file named by its content: equal content is stored once."""
        arrived = self.put(f"{folder}/.{secrets.token_hex(8)}", chunks)
        named = replace(arrived, name=f"{folder}/{arrived.sha256}{suffix}")
        self.path(arrived.name).replace(self.path(named.name))
        _sync(self.path(folder))
        return named

    def put_folder(self, name: str, source: Path) -> FileRef:
        """Copy a flat folder; one of that name is replaced."""
        with self._arriving(name) as path:
            shutil.copytree(source, path)
            for file in path.iterdir():
                _sync(file)
            _sync(path)
            sha256, size = _hash_folder(path)
            shutil.rmtree(self.path(name), ignore_errors=True)
        return FileRef(name=name, size=size, sha256=sha256)

    def read(self, reference: FileRef) -> bytes:
        """The bytes of a file.

        Raises:
            ModelFileError: missing, or not the bytes that were written.
        """
        try:
            data = self.path(reference.name).read_bytes()
        except OSError as error:
            raise ModelFileError(f"{self.path(reference.name)} cannot be read: {error.strerror}") from error
        _check(reference, hashlib.sha256(data).hexdigest(), self.path(reference.name))
        return data

    def checked(self, reference: FileRef) -> Path:
        """The path of a file or folder that is still what was written.

        Raises:
            ModelFileError: missing or changed.
        """
        path = self.path(reference.name)
        if not path.exists():
            raise ModelFileError(f"{path} is missing. Was it deleted by hand?")
        _check(reference, _hash_folder(path)[0] if path.is_dir() else _hash_file(path), path)
        return path

    def delete(self, reference: FileRef) -> None:
        self.path(reference.name).unlink(missing_ok=True)

    def delete_folder(self, name: str) -> None:
        shutil.rmtree(self.path(name), ignore_errors=True)

    def path(self, name: str) -> Path:
        """Where the file of that name is; a name cannot lead out of the root."""
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts:
            raise InputError(f"{name!r} is not a name of a file below {self.root}")
        return self.root / relative

    @contextmanager
    def _arriving(self, name: str) -> Iterator[Path]:
        """A path in the same folder, renamed to `name` when the block ends well."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        arriving = path.parent / f".arriving-{secrets.token_hex(8)}"
        try:
            yield arriving
            arriving.replace(path)
            _sync(path.parent)
        except BaseException:
            shutil.rmtree(arriving, ignore_errors=True) if arriving.is_dir() else arriving.unlink(missing_ok=True)
            raise


def _hash_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_folder(path: Path) -> tuple[str, int]:
    """sha256 over the files' names and hashes, and their size together."""
    digest, size = hashlib.sha256(), 0
    for file in sorted(path.iterdir()):
        digest.update(f"{file.name} {_hash_file(file)}\n".encode())
        size += file.stat().st_size
    return digest.hexdigest(), size


def _check(reference: FileRef, sha256: str, path: Path) -> None:
    if sha256 != reference.sha256:
        raise ModelFileError(
            f"{path} is not what was written: its sha256 is {sha256[:12]}…, expected {reference.sha256[:12]}…"
        )


def _sync(path: Path) -> None:
    """Make what is written reach the disk; for a folder, its names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
