"""The loaded versions of a child, so that parts of several models need not load them again each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.jobs.files.files import Files
from charrnn.jobs.job.file_ref import FileRef

if TYPE_CHECKING:
    from charrnn.model import Model
    from charrnn.text.comparison.copies import Copies

MAX_BYTES = 1 << 30  # bytes of weights, training texts and their indexes: 50 versions of 2 x LSTM(512), of 3 MB of text


@dataclass(frozen=True)
class LoadedVersion:
    """A version that is ready to sample.

    Attributes:
        copies: a search for copies of its training text; None if this store does not have that text.
    """

    model: Model
    copies: Copies | None

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.model.size + (self.copies.size if self.copies else 0)


class ModelCache:
    """Loaded versions by their sha256. The least recently used ones are dropped above `max_bytes` in total."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.versions: dict[str, LoadedVersion] = {}  # the most recently used one is the last

    def get(
        self, files: Files, reference: FileRef, load_copies: Callable[[Path], Copies | None] = lambda folder: None
    ) -> LoadedVersion:
        """Return the version in that folder. If it is not loaded yet, check it against its sha256 and load it.

        Args:
            load_copies: returns the search for copies of its training text, from its folder.

        Raises:
            ModelFileError: its files are missing or changed, or do not match its configuration.
        """
        if (version := self.versions.pop(reference.sha256, None)) is None:
            from charrnn.model import load

            folder = files.verified_path(reference)
            version = LoadedVersion(load(folder), load_copies(folder))
        self.versions[reference.sha256] = version
        while len(self.versions) > 1 and sum(version.size for version in self.versions.values()) > self.max_bytes:
            del self.versions[next(iter(self.versions))]
        return version
