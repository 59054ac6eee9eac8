"""Files in an S3 bucket. Credentials and endpoint come from the usual AWS variables and files."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from charrnn.errors import ModelFileError
from charrnn.jobs.files.cache import Cache
from charrnn.jobs.files.storage import (
    Check,
    File,
    StoredFile,
    check_name,
    missing,
    never_interrupt,
    storage_errors,
    unreachable,
)
from charrnn.jobs.files.temporary import temporary_folder
from charrnn.jobs.job.file_ref import S3, FileRef

CHUNK = 1 << 20  # bytes
PAGE = 1000  # files to list before they are deleted
NOT_FOUND = ("NoSuchKey", "404")  # error codes of GET and HEAD
BROKEN_OFF = (BotoCoreError, HTTPError)  # errors while a response is read; botocore passes on some of urllib3's

# Three attempts with short timeouts, so that no connection hangs. Callers wait and try again as long as they like.
TRIES = 3
CONNECTIONS = 10  # parallel connections
CONFIG = Config(
    connect_timeout=5,
    read_timeout=15,
    max_pool_connections=CONNECTIONS,
    retries={"mode": "standard", "total_max_attempts": TRIES},
)


class Bucket:
    """Files in a bucket, or in a folder of a bucket."""

    parallel_reads = CONNECTIONS - 2  # two are left for others

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._bucket, _, folder = self.url.removeprefix(S3).partition("/")
        self._prefix = folder and f"{folder}/"
        self._process = 0
        self._opened: Any = None

    @property
    def _client(self) -> Any:
        """The S3 client of this process. Each process has its own, since connections do not survive a fork."""
        if self._process != os.getpid():
            self._opened = boto3.session.Session().client("s3", config=CONFIG)
            self._process = os.getpid()
        return self._opened

    @contextmanager
    def stage(self, name: str) -> Iterator[Path]:
        with self._errors(name), temporary_folder() as folder:
            check_name(name)
            yield folder / "file"

    def publish(self, path: Path, name: str) -> None:
        with self._errors(name), open(path, "rb") as file:
            self._client.upload_fileobj(file, self._bucket, self._key(name))

    @contextmanager
    def open(self, name: str) -> Iterator[File]:
        with self._errors(name), tempfile.TemporaryFile(prefix="charrnn-") as file:
            self._read(self._key(name), file)
            file.seek(0)
            yield file

    def download(self, copies: Mapping[str, Path], check: Check = never_interrupt) -> None:
        """Copy files to local paths, several at once. The keys of `copies` are names as `list_prefix` yields them.

        Raises:
            ModelFileError: a file is missing.
        """
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(partial(self._download, check=check), copies, copies.values()))

    def _download(self, name: str, path: Path, check: Check) -> None:
        with self._errors(name), open(path, "wb") as file:
            self._read(self._prefix + name, file, check)

    def _read(self, key: str, target: BinaryIO, check: Check = never_interrupt) -> None:
        """Write a file's bytes to `target`.

        This takes one request, while boto3's own downloads ask for the size first. An export reads 100,000 small files
        in turn.
        """
        for tries_left in reversed(range(TRIES)):
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            try:
                for chunk in iter(lambda: body.read(CHUNK), b""):  # noqa: B023
                    target.write(chunk)
                    check()
                return
            except BROKEN_OFF:  # botocore retries a request, but not the reading of its response
                if not tries_left:
                    raise
                target.seek(0)
                target.truncate()

    def list(self, folder: str) -> Iterator[StoredFile]:
        return self.list_prefix(f"{check_name(folder)}/")

    def list_prefix(self, prefix: str) -> Iterator[StoredFile]:
        """Yield the files whose names begin with `prefix`, in sorted order.

        Names are not checked with `check_name`, since a bucket may also contain keys such as "a//b" or "a/../b".
        """
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                for item in page.get("Contents", ()):
                    if not item["Key"].endswith("/"):  # some tools mark folders with such keys
                        name = item["Key"].removeprefix(self._prefix)
                        yield StoredFile(name, item["Size"], _age_s(item["LastModified"]))

    def stat(self, name: str) -> StoredFile | None:
        try:
            with self._errors(name):
                facts = self._client.head_object(Bucket=self._bucket, Key=self._key(name))
        except ModelFileError:
            return None
        return StoredFile(name, facts["ContentLength"], _age_s(facts["LastModified"]))

    def move(self, name: str, target: str) -> None:
        with suppress(ModelFileError), self._errors(name):
            source = {"Bucket": self._bucket, "Key": self._key(name)}
            self._client.copy(source, self._bucket, self._key(target))
            self._client.delete_object(**source)

    def delete(self, name: str) -> None:
        with self._errors(name):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(name))

    def delete_folder(self, name: str) -> None:
        # One request each, since not every S3 server has one for many: 100,000 files of a job take some minutes.
        names = (file.name for file in self.list(name))
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            while page := list(islice(names, PAGE)):
                for _ in pool.map(self.delete, page):
                    pass

    def sweep(self, older_than_s: float) -> None:
        """Do nothing: an incomplete upload is invisible, and the bucket's lifecycle rules delete it."""

    def _key(self, name: str) -> str:
        return f"{self._prefix}{check_name(name)}"

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """Raise ModelFileError if the response says that the file is missing, and UnreachableError for other errors."""
        with storage_errors(self.url, *BROKEN_OFF):
            try:
                yield
            except ClientError as error:
                answer = error.response["Error"]
                if answer.get("Code") in NOT_FOUND:
                    raise missing(self.url, name) from error
                # botocore's own message is twice as long, with the operation and the number of attempts.
                raise unreachable(self.url, answer.get("Message") or str(error)) from error


class CachedBucket(Bucket):
    """A bucket with a cache of copies on this host; see Storage."""

    def __init__(self, url: str, cache: Cache) -> None:
        super().__init__(url)
        self.cache, self.scratch = cache, cache.root

    def local_path(self, reference: FileRef, check: Check = never_interrupt) -> Path:
        fetch = partial(self._fetch, str(check_name(reference.name)), check)
        with storage_errors(self.url):
            return self.cache.get(reference.sha256, fetch)

    def forget(self, reference: FileRef) -> None:
        self.cache.forget(reference.sha256)

    def _fetch(self, name: str, check: Check, path: Path) -> None:
        """Copy a file, or a folder with its files, from the bucket to a local path."""
        try:
            self._download(name, path, check)
        except ModelFileError:
            files = [file.name for file in self.list(name)]
            if not files:
                raise
            path.unlink()
            path.mkdir()
            self.download({file: path / PurePosixPath(file).name for file in files}, check)


def _age_s(written: datetime) -> float:
    return time.time() - written.timestamp()
