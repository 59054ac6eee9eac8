"""Where files lie: a local folder, or a bucket that speaks S3. Only these two, and nothing checked here.

A file becomes visible at once: locally by one rename after its bytes are on the disk (fsspec's own
local writer does neither), in a bucket by the end of one upload. Errors of both become one.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import Any, Protocol

from charrnn.errors import InputError, UnreachableError
from charrnn.jobs.files.cache import Cache

MARKER = "store-id"  # a file that tells whose files these are
S3 = "s3://"
ARRIVING = ".arriving-"  # begins the name of a local file that is not complete
BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?")

# Three tries, and no connection that hangs: s3fs and botocore together would try 25 times, for a minute. Who called
# waits and tries again as long as it likes.
S3_TRIES = 3
S3_CONFIG = {"connect_timeout": 5, "read_timeout": 15, "retries": {"total_max_attempts": 1}}


@dataclass(frozen=True)
class StoredFile:
    """A file that is there."""

    name: str
    size: int  # bytes
    age_s: float  # since it was last written


class Storage(Protocol):
    """What `Files` needs of a place; names are relative, with forward slashes."""

    url: str
    scratch: Path  # a local folder for what is large and needed for a while

    def staged(self, name: str) -> AbstractContextManager[Path]:
        """A local path to write a file of that folder to; what is not published goes with the block."""

    def publish(self, path: Path, name: str) -> None:
        """Make a staged file visible, in the place of one of that name."""

    def read(self, name: str) -> bytes | None:
        """All of a file, None if it is not there."""

    def fetched(self, name: str, folder: Path) -> Path | None:
        """A local path of a file, perhaps a copy in `folder`."""

    def local(self, name: str, sha256: str) -> Path | None:
        """A local path that stays."""

    def local_folder(self, name: str, sha256: str) -> Path | None:
        """As `local`, of a folder."""

    def forget(self, sha256: str) -> bool:
        """Drop the local copy of what turned out to be damaged -> whether it was a copy."""

    def files(self, folder: str) -> Iterator[StoredFile]:
        """All files below a folder."""

    def delete(self, name: str) -> None:
        """Delete a file if it is there."""

    def age_s(self, name: str) -> float | None:
        """Seconds since a file was last written, None if it is not there."""

    def delete_empty(self, folder: str) -> None:
        """Delete a folder in which nothing is left."""

    def sweep(self, older_than_s: float) -> None:
        """Delete what killed processes left unfinished."""

    def translated(self) -> AbstractContextManager[None]:
        """Errors of the block become UnreachableError."""


def open_storage(url: str, cache: Path) -> Storage:
    """The place that an URL or a path names.

    Raises:
        InputError: another protocol, a chain of them, or no bucket.
    """
    if "::" in url or ("://" in url and not url.startswith(S3)):
        raise InputError(f"CHARRNN_FILES_URL must be a folder or s3://bucket/folder. Received: {_shown(url)!r}")
    if not url.startswith(S3):
        return LocalFolder(Path(url).expanduser().absolute())
    if not BUCKET.fullmatch(url) or ".." in url:
        raise InputError(f"CHARRNN_FILES_URL must be s3://bucket or s3://bucket/folder. Received: {_shown(url)!r}")
    return open_bucket(url, cache)


def open_bucket(url: str, cache: Path) -> Bucket:
    """A place in a bucket.

    Raises:
        InputError: s3fs is not installed.
    """
    if find_spec("s3fs") is None:
        raise InputError("Files in a bucket need s3fs. Install it: pip install 'charrnn-jobs[s3]'")
    return Bucket(url.rstrip("/"), Cache(cache))


def _shown(url: str) -> str:
    """Without what may be keys."""
    return re.sub("//[^/]*@", "//***@", url)


def _checked_name(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise InputError(f"{name!r} is not a name of a file below the root")
    return path


class LocalFolder:
    """Files in a folder.

    A shared folder that is not mounted is an empty one. There nothing is missing and nothing may be written, so
    whatever asks for a name looks for the marker first.
    """

    def __init__(self, root: Path) -> None:
        self.root = self.scratch = root.resolve()
        self.url = str(self.root)

    @contextmanager
    def staged(self, name: str) -> Iterator[Path]:
        with self.translated():
            path = self._path(name).parent / f"{ARRIVING}{secrets.token_hex(8)}"
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                yield path
            finally:
                path.unlink(missing_ok=True)

    def publish(self, path: Path, name: str) -> None:
        with self.translated():
            target = self._path(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            _sync(path)
            path.replace(target)
            _sync(target.parent)

    def read(self, name: str) -> bytes | None:
        with self.translated():
            path = self._path(name)
            return path.read_bytes() if path.exists() else None

    def fetched(self, name: str, _folder: Path) -> Path | None:
        return self.local(name, "")

    def local(self, name: str, _sha256: str) -> Path | None:
        with self.translated():
            path = self._path(name)
            return path if path.exists() else None

    local_folder = local

    def forget(self, _sha256: str) -> bool:
        """What is there is the file itself."""
        return False

    def files(self, folder: str) -> Iterator[StoredFile]:
        with self.translated():
            for path in sorted(self._path(folder).rglob("*")):
                status = _status(path)
                if status and S_ISREG(status.st_mode) and not path.name.startswith(ARRIVING):
                    name = path.relative_to(self.root).as_posix()
                    yield StoredFile(name, status.st_size, time.time() - status.st_mtime)

    def delete(self, name: str) -> None:
        with self.translated():
            self._path(name).unlink(missing_ok=True)

    def age_s(self, name: str) -> float | None:
        with self.translated():
            status = _status(self._path(name))
            return None if status is None else time.time() - status.st_mtime

    def delete_empty(self, folder: str) -> None:
        with self.translated():
            path = self._path(folder)
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def sweep(self, older_than_s: float) -> None:
        with self.translated():
            for path in self.root.rglob(f"{ARRIVING}*"):
                status = _status(path)
                if status and time.time() - status.st_mtime > older_than_s:
                    path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        path = self.root / _checked_name(name)
        if name != MARKER and not (self.root / MARKER).exists():
            raise UnreachableError(f"{self.url} has no {MARKER}, so no store's files are there. Is it mounted?")
        return path

    @contextmanager
    def translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UnreachableError(f"The files in {self.url} cannot be read or written: {_reason(error)}") from error


class Bucket:
    """Files in a bucket, through fsspec; credentials and endpoint are AWS's own variables and files."""

    def __init__(self, url: str, cache: Cache) -> None:
        self.url, self.cache, self.scratch = url, cache, cache.root
        self._root = url.removeprefix(S3)
        self._process = 0
        self._opened: Any = None

    @property
    def _system(self) -> Any:
        """The file system; of this process, since its connections do not survive a fork."""
        if self._process != os.getpid():
            import fsspec

            # fsspec's own caches tell instances apart by their arguments, not by AWS's variables, and miss what others
            # write.
            options = {"skip_instance_cache": True, "use_listings_cache": False}
            self._opened = fsspec.filesystem("s3", config_kwargs=S3_CONFIG, **options)
            self._opened.retries = S3_TRIES
            self._process = os.getpid()
        return self._opened

    @contextmanager
    def staged(self, name: str) -> Iterator[Path]:
        _checked_name(name)
        with self.translated(), tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
            yield Path(folder) / "file"

    def publish(self, path: Path, name: str) -> None:
        with self.translated():
            self._system.put_file(str(path), self._key(name))

    def read(self, name: str) -> bytes | None:
        with self.translated():
            try:
                return bytes(self._system.cat_file(self._key(name)))
            except FileNotFoundError:
                return None

    def fetched(self, name: str, folder: Path) -> Path | None:
        path = folder / "file"
        with self.translated():
            try:
                self._system.get_file(self._key(name), str(path))
            except FileNotFoundError:
                return None
        return path

    def copy(self, copies: Mapping[str, Path]) -> None:
        """Copy files, by the names that they were listed with, to local paths; many at once."""
        # Not by `_key`: a bucket may have a key "a//b", or "a/../b", beside others.
        keys, paths = [f"{self._root}/{name}" for name in copies], list(map(str, copies.values()))
        with self.translated():
            self._system.get(keys, paths)

    def local(self, name: str, sha256: str) -> Path | None:
        def fetch(path: Path) -> bool:
            path.mkdir()
            return self.fetched(name, path) is not None

        kept = self.cache.get(sha256, fetch)
        return kept / "file" if kept else None

    def local_folder(self, name: str, sha256: str) -> Path | None:
        def fetch(path: Path) -> bool:
            path.mkdir()
            files = list(self.files(name))
            with self.translated():
                for file in files:
                    self._system.get_file(self._key(file.name), str(path / file.name.rpartition("/")[2]))
            return bool(files)

        return self.cache.get(sha256, fetch)

    def forget(self, sha256: str) -> bool:
        self.cache.forget(sha256)
        return True

    def files(self, folder: str) -> Iterator[StoredFile]:
        return self._found(self._key(folder))

    def all_files(self) -> Iterator[StoredFile]:
        """Every file of the place."""
        return self._found(self._root)

    def _found(self, key: str) -> Iterator[StoredFile]:
        with self.translated():
            found = self._system.find(key, detail=True)
        for key, facts in sorted(found.items()):
            age_s = time.time() - facts["LastModified"].timestamp()
            yield StoredFile(key.removeprefix(f"{self._root}/"), facts["size"], age_s)

    def delete(self, name: str) -> None:
        with self.translated():
            try:
                self._system.rm_file(self._key(name))
            except FileNotFoundError:
                return

    def age_s(self, name: str) -> float | None:
        with self.translated():
            try:
                facts = self._system.info(self._key(name))
            except FileNotFoundError:
                return None
        return time.time() - float(facts["LastModified"].timestamp())

    def delete_empty(self, folder: str) -> None:
        """A bucket has no folders."""

    def sweep(self, older_than_s: float) -> None:
        """An upload that was cut off is invisible; the bucket's own rules delete it."""

    def _key(self, name: str) -> str:
        return f"{self._root}/{_checked_name(name)}"

    @contextmanager
    def translated(self) -> Iterator[None]:
        from aiohttp import ClientError as HttpError
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (OSError, BotoCoreError, ClientError, HttpError) as error:
            raise UnreachableError(f"The files in {self.url} cannot be read or written: {_reason(error)}") from error


def _status(path: Path) -> os.stat_result | None:
    """None of what has gone since it was listed: workers write and delete meanwhile."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _reason(error: Exception) -> str:
    """An error in words; a time-out has none."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _sync(path: Path) -> None:
    """Make what is written reach the disk; for a folder, its names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
