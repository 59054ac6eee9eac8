"""What the store keeps of a file: where it is and what it must be."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from charrnn.jobs.job.json_object import JsonObject

S3 = "s3://"  # begins the URL of a bucket


@dataclass(frozen=True, kw_only=True)
class FileRef:
    """A file or a folder of the store."""

    name: str  # below the root, with forward slashes
    size: int  # bytes
    sha256: str  # of a folder: of its files' names and hashes

    def to_dict(self) -> JsonObject:
        return asdict(self)


def is_url(path: str | Path) -> bool:
    """Whether a path is one of a bucket."""
    return str(path).startswith(S3)
