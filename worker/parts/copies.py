"""The index of a version's training text, and the search for what a job's texts have copied from it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import DamagedError, ModelFileError
from charrnn.jobs.job.specs import TrainSpec
from charrnn.jobs.job.version import Version
from charrnn.jobs.store import registry
from charrnn.model_files import COPIES
from charrnn.regular_file import regular
from charrnn.text.documents import Document, FileBytes
from charrnn.text.lines import NEW_LINE, lines_of
from charrnn.text.validation import JOINT, PIECE_END
from worker.child import Child
from worker.parts.watch import Watch

if TYPE_CHECKING:
    import numpy as np

    from charrnn.text.comparison.copies import Copies

IN_MEMORY = 1 << 26  # bytes of a training text; to compare places of a larger one, they are read from its file

logger = logging.getLogger(__name__)


def write_index(folder: Path, spec: TrainSpec, corpus: Path, validation: str, check: Callable[[], object]) -> None:
    """Write the index of a training text, with its validation text, into a version's folder."""
    from charrnn.text.comparison.copies import MAX_SIZE, build_index

    more = _further_text(spec, validation)
    with Document(corpus).open() as text:
        if len(text) + len(more) < MAX_SIZE:
            build_index(text, more, lines=spec.network.lines, check=check).tofile(folder / COPIES)


@contextmanager
def open_copies(child: Child, version: Version, index: np.ndarray | None, watch: Watch) -> Iterator[Copies | None]:
    """Yield a search for copies of a version's training text; None if this store does not have that text, or no more.

    Raises:
        Interrupted, LeaseLostError: raised by `watch`.
    """
    from charrnn.text.comparison.copies import Copies

    found = None if index is None else watch.retry(lambda: _texts(child, version, watch))
    if index is None or found is None:
        yield None
        return
    spec, corpus, validation = found
    with open(corpus, "rb", opener=regular) as file:
        stored = FileBytes(file.fileno())
        text = stored[:] if len(stored) <= IN_MEMORY else stored
        yield Copies(index, text, _further_text(spec, validation), lines=spec.network.lines)


def _further_text(spec: TrainSpec, validation: str) -> bytes:
    """Return the validation text in the form of the training text. What is in it is not new to those who brought it."""
    if spec.network.lines:
        return "".join(f"{NEW_LINE}{line}" for line in lines_of(validation)).encode()
    return validation.replace(PIECE_END, JOINT).encode()


def _texts(child: Child, version: Version, watch: Watch) -> tuple[TrainSpec, Path, str] | None:
    """Return how a version was trained, its training text and its validation text, or None if they are lost."""
    try:
        with child.store.read() as connection:
            spec = registry.training_of(connection, version.model, version.version)
        if spec is None:
            return None
        corpus = child.files.verified_path(spec.corpus, watch.check)
        return spec, corpus, child.files.read(spec.validation).decode()
    except (DamagedError, ModelFileError) as error:
        logger.warning("job %d: it is not known which texts are new: %s", watch.part.job, error)
        return None
