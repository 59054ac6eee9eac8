"""References to files, as rows of the store hold them: where a file is and what its content must be."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from charrnn.jobs.job.json_object import JsonObject, known_fields

S3 = "s3://"  # start of a bucket's URL


@dataclass(frozen=True, kw_only=True)
class FileRef:
    """A reference to a file or folder of the store.

    Raises:
        TypeError: a field of a damaged cell has another type.
    """

    name: str  # path below the root, with forward slashes
    size: int  # bytes
    sha256: str  # for a folder, the hash of its files' names and hashes

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and isinstance(self.size, int) and isinstance(self.sha256, str)):
            raise TypeError("a file's name, size or sha256 has another type")

    def to_dict(self) -> JsonObject:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonObject) -> FileRef:
        """Return the reference that `to_dict` made JSON of. A newer release may have stored more fields."""
        return cls(**known_fields(cls, values))


def is_url(path: str | Path) -> bool:
    """Return whether a path is the URL of something in a bucket."""
    return str(path).startswith(S3)
