"""The loaded versions of a child, so that parts of several models need not load them again each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charrnn.jobs.files.files import Files
from charrnn.jobs.job.file_ref import FileRef

if TYPE_CHECKING:
    from charrnn.model import Model

MAX_BYTES = 1 << 30  # bytes of weights: 80 versions of 2 x LSTM(512)


class ModelCache:
    """Loaded versions by their sha256. The least recently used ones are dropped above `max_bytes` in total."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.models: dict[str, Model] = {}  # the most recently used model is the last

    def get(self, files: Files, reference: FileRef) -> Model:
        """Return the version in that folder. If it is not loaded yet, check it against its sha256 and load it.

        Raises:
            ModelFileError: its files are missing or changed, or do not match its configuration.
        """
        from charrnn.model import load

        model = self.models.pop(reference.sha256, None) or load(files.verified_path(reference))
        self.models[reference.sha256] = model
        while len(self.models) > 1 and sum(model.size for model in self.models.values()) > self.max_bytes:
            del self.models[next(iter(self.models))]
        return model
