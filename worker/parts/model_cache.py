"""The loaded versions of a child, so that parts of several models need not load them again each time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from charrnn.jobs.files.files import Files
from charrnn.jobs.job.file_ref import FileRef
from charrnn.model_files import COPIES

if TYPE_CHECKING:
    from charrnn.model import Model

MAX_BYTES = 1 << 30  # bytes of weights and indexes: 60 versions of 2 x LSTM(512), of 3 MB of text


@dataclass(frozen=True)
class LoadedVersion:
    """A version that is ready to sample.

    Attributes:
        index: of its training text, see `charrnn.text.comparison.copies`; None if it was trained elsewhere.
    """

    model: Model
    index: np.ndarray | None

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.model.size + (0 if self.index is None else self.index.nbytes)


class ModelCache:
    """Loaded versions by their sha256. The least recently used ones are dropped above `max_bytes` in total."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.versions: dict[str, LoadedVersion] = {}  # the most recently used one is the last

    def get(self, files: Files, reference: FileRef) -> LoadedVersion:
        """Return the version in that folder. If it is not loaded yet, check it against its sha256 and load it.

        Raises:
            ModelFileError: its files are missing or changed, or do not match its configuration.
        """
        version = self.versions.pop(reference.sha256, None) or _load(files.verified_path(reference))
        self.versions[reference.sha256] = version
        while len(self.versions) > 1 and sum(version.size for version in self.versions.values()) > self.max_bytes:
            del self.versions[next(iter(self.versions))]
        return version


def _load(folder: Path) -> LoadedVersion:
    from charrnn.model import load

    index = folder / COPIES
    return LoadedVersion(load(folder), np.fromfile(index, "<u8") if index.exists() else None)
