"""Files in a bucket that speaks S3; credentials and endpoint are AWS's own variables and files."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from charrnn.errors import ModelFileError
from charrnn.jobs.files.cache import Cache
from charrnn.jobs.files.storage import (
    File,
    HashPath,
    StoredFile,
    check_name,
    check_sha256,
    missing,
    storage_errors,
    unreachable,
)
from charrnn.jobs.job.file_ref import S3, FileRef

CHUNK = 1 << 20  # bytes
NOT_FOUND = ("NoSuchKey", "404")  # the answers to GET and HEAD
BROKEN_OFF = (BotoCoreError, HTTPError)  # while an answer is read; botocore leaves some of urllib3's errors as they are

# Three tries, and no connection that hangs. Who called waits and tries again as long as it likes.
TRIES = 3
CONNECTIONS = 10  # at once
CONFIG = Config(
    connect_timeout=5,
    read_timeout=15,
    max_pool_connections=CONNECTIONS,
    retries={"mode": "standard", "total_max_attempts": TRIES},
)


class Bucket:
    """Files in a bucket, or in a folder of one."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._bucket, _, folder = self.url.removeprefix(S3).partition("/")
        self._prefix = folder and f"{folder}/"
        self._process = 0
        self._opened: Any = None

    @property
    def _client(self) -> Any:
        """The client of this process: connections do not survive a fork."""
        if self._process != os.getpid():
            self._opened = boto3.session.Session().client("s3", config=CONFIG)
            self._process = os.getpid()
        return self._opened

    @contextmanager
    def stage(self, name: str) -> Iterator[Path]:
        with self._errors(name), tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
            check_name(name)
            yield Path(folder) / "file"

    def publish(self, path: Path, name: str) -> None:
        with self._errors(name), open(path, "rb") as file:
            self._client.upload_fileobj(file, self._bucket, self._key(name))

    @contextmanager
    def open(self, name: str) -> Iterator[File]:
        with self._errors(name), tempfile.TemporaryFile(prefix="charrnn-") as file:
            self._read(self._key(name), file)
            file.seek(0)
            yield file

    def download(self, copies: Mapping[str, Path]) -> None:
        """Copy files, by the names that they were listed with, to local paths; several at once.

        Raises:
            ModelFileError: One of them is not there.
        """
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(self._download, copies, copies.values()))

    def _download(self, name: str, path: Path) -> None:
        with self._errors(name), open(path, "wb") as file:
            self._read(self._prefix + name, file)

    def _read(self, key: str, target: BinaryIO) -> None:
        """Write a file's bytes to `target`.

        One request, where boto3's own downloads ask for the size first: an export reads 100,000 small files in turn.
        """
        for tries_left in reversed(range(TRIES)):
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            try:
                shutil.copyfileobj(body, target, CHUNK)
                return
            except BROKEN_OFF:  # botocore tries a request again, but not the reading of its answer
                if not tries_left:
                    raise
                target.seek(0)
                target.truncate()

    def list(self, folder: str) -> Iterator[StoredFile]:
        return self.list_prefix(f"{check_name(folder)}/")

    def list_prefix(self, prefix: str) -> Iterator[StoredFile]:
        """Yield the files whose names begin so, in sorted order.

        Not by `check_name`: a bucket may have a key "a//b", or "a/../b", beside others.
        """
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                for item in page.get("Contents", ()):
                    if not item["Key"].endswith("/"):  # as some tools mark a folder
                        name = item["Key"].removeprefix(self._prefix)
                        yield StoredFile(name, item["Size"], _age_s(item["LastModified"]))

    def stat(self, name: str) -> StoredFile | None:
        try:
            with self._errors(name):
                facts = self._client.head_object(Bucket=self._bucket, Key=self._key(name))
        except ModelFileError:
            return None
        return StoredFile(name, facts["ContentLength"], _age_s(facts["LastModified"]))

    def delete(self, name: str) -> None:
        with self._errors(name):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(name))

    def delete_folder(self, name: str) -> None:
        for file in self.list(name):
            self.delete(file.name)

    def sweep(self, older_than_s: float) -> None:
        """Nothing: an upload that was cut off is invisible, and the bucket's own rules delete it."""

    def _key(self, name: str) -> str:
        return f"{self._prefix}{check_name(name)}"

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """Raise ModelFileError in place of an answer that the file is not there, else UnreachableError."""
        with storage_errors(self.url, *BROKEN_OFF):
            try:
                yield
            except ClientError as error:
                answer = error.response["Error"]
                if answer.get("Code") in NOT_FOUND:
                    raise missing(self.url, name) from error
                # botocore's own words are twice as long, with the operation and the tries.
                raise unreachable(self.url, answer.get("Message") or str(error)) from error


class CachedBucket(Bucket):
    """A bucket of which a host keeps copies; see Storage."""

    def __init__(self, url: str, cache: Cache) -> None:
        super().__init__(url)
        self.cache, self.scratch = cache, cache.root

    def verified_path(self, reference: FileRef, hash_path: HashPath) -> Path:
        fetch = partial(self._fetch, str(check_name(reference.name)))
        with storage_errors(self.url):
            path = self.cache.get(reference.sha256, fetch)
            if hash_path(path) != reference.sha256:  # the copy is damaged, or what is in the bucket is
                self.cache.forget(reference.sha256)
                path = self.cache.get(reference.sha256, fetch)
            check_sha256(self.url, reference, hash_path(path))
        return path

    def _fetch(self, name: str, path: Path) -> None:
        """Copy a file, or a folder with the files in it."""
        try:
            self._download(name, path)
        except ModelFileError:
            files = [file.name for file in self.list(name)]
            if not files:
                raise
            path.unlink()
            path.mkdir()
            self.download({file: path / PurePosixPath(file).name for file in files})


def _age_s(written: datetime) -> float:
    return time.time() - written.timestamp()
