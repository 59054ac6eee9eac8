"""The versions that a child holds ready to sample: parts of several models need not load them anew each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charrnn.jobs.files.files import Files
from charrnn.jobs.job.file_ref import FileRef

if TYPE_CHECKING:
    from charrnn.model import Model

MAX_BYTES = 1 << 30  # of weights: 80 versions of 2 x LSTM(512)


class ModelCache:
    """Versions by their sha256; those unused longest go when all take more than `max_bytes`."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.models: dict[str, Model] = {}  # the one used last stands last

    def get(self, files: Files, reference: FileRef) -> Model:
        """The version in that folder; read, and checked against its sha256, where it is not held.

        Raises:
            ModelFileError: missing, changed, or not what its configuration says.
        """
        from charrnn.model import load

        model = self.models.pop(reference.sha256, None) or load(files.verified_path(reference))
        self.models[reference.sha256] = model
        while len(self.models) > 1 and sum(model.size for model in self.models.values()) > self.max_bytes:
            del self.models[next(iter(self.models))]
        return model
