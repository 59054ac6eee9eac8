"""Open the storage that a URL or a path names: CHARRNN_FILES_URL, and the roots of corpora."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import InputError
from charrnn.jobs.files.cache import Cache
from charrnn.jobs.files.local import LocalFolder
from charrnn.jobs.files.storage import Storage
from charrnn.jobs.job.file_ref import S3

if TYPE_CHECKING:
    from charrnn.jobs.files.bucket import Bucket

BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?")


def open_storage(url: str, cache: Path) -> Storage:
    """Return the storage that a URL or a path names.

    Args:
        cache: the folder for this host's copies of files in a bucket, in the home. Files in the home are private; a
            folder elsewhere may be shared, and gets the rights of the umask.

    Raises:
        InputError: the URL has another protocol or several of them, its bucket is not valid, or boto3 is not installed.
    """
    if "::" in url or ("://" in url and not url.startswith(S3)):
        raise InputError(f"CHARRNN_FILES_URL must be a folder or s3://bucket/folder. Received: {_mask_keys(url)!r}")
    if not url.startswith(S3):
        root = Path(url).expanduser().absolute()
        return LocalFolder(root, private=root.is_relative_to(cache.parent))
    if not BUCKET.fullmatch(url) or ".." in url:
        raise InputError(f"CHARRNN_FILES_URL must be s3://bucket or s3://bucket/folder. Received: {_mask_keys(url)!r}")
    _require_boto3()
    from charrnn.jobs.files.bucket import CachedBucket

    return CachedBucket(url, Cache(cache))


def open_bucket(url: str) -> Bucket:
    """Return a bucket, or a folder of a bucket, without a cache.

    Raises:
        InputError: boto3 is not installed.
    """
    _require_boto3()
    from charrnn.jobs.files.bucket import Bucket

    return Bucket(url)


def _require_boto3() -> None:
    if find_spec("boto3") is None:
        raise InputError("Files in a bucket require boto3. Install the extra: pip install '.[s3]' in the clone")


def _mask_keys(url: str) -> str:
    return re.sub("//[^/]*@", "//***@", url)
