"""The index of a version's training text, and the search for what a job's texts have copied from it.

Both serve reports alone: what goes wrong with them is logged, and fails neither a training nor a part.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import DamagedError, ModelFileError
from charrnn.jobs.files.files import Files
from charrnn.jobs.files.storage import Check
from charrnn.jobs.job.specs import TrainSpec
from charrnn.jobs.job.version import Version
from charrnn.jobs.store import registry
from charrnn.model_files import COPIES
from charrnn.text.lines import NEW_LINE, lines_of
from charrnn.text.validation import JOINT, PIECE_END

if TYPE_CHECKING:
    from charrnn.text.comparison.copies import Copies
    from worker.child import Child

logger = logging.getLogger(__name__)


def write_index(files: Files, spec: TrainSpec, folder: Path, check: Check) -> None:
    """Write the index of a training text, with its validation text, into the folder of a new version.

    Args:
        check: called for each megabyte. Its errors are passed on.

    Raises:
        UnreachableError: the files do not answer.
    """
    from charrnn.text.comparison.copies import MAX_SIZE, build_index

    if spec.corpus.size + spec.validation.size > MAX_SIZE:
        logger.info("%s: the text is too large for an index of copies", spec.model)
        return
    index = folder / COPIES
    try:
        text, more = _texts(files, spec, check)
        build_index(text, more, lines=spec.network.lines, check=check).tofile(index)
    except (ModelFileError, OSError) as error:
        logger.warning("%s: it will not be known which texts are new: %s", spec.model, error)
        index.unlink(missing_ok=True)


def load_copies(child: Child, version: Version, folder: Path, check: Check) -> Copies | None:
    """Return a search for copies of a version's training text; None if this store does not have its text or index.

    Args:
        folder: that of the version.
        check: called for each megabyte. Its errors are passed on.

    Raises:
        UnreachableError: store or files do not answer.
    """
    import numpy as np

    from charrnn.text.comparison.copies import Copies

    index = folder / COPIES
    try:
        with child.store.read() as connection:
            spec = registry.training_of(connection, version.model, version.version)
        if spec is None or not index.exists():
            return None
        text, more = _texts(child.files, spec, check)
        return Copies(np.fromfile(index, "<u8"), text, more, lines=spec.network.lines)
    except (DamagedError, ModelFileError, OSError) as error:
        logger.warning("%s: it is not known which of its texts are new: %s", version.name, error)
        return None


def _texts(files: Files, spec: TrainSpec, check: Check) -> tuple[bytes, bytes]:
    """Return the training text, and the validation text in its form: what is in it is not new to whoever brought it."""
    text, validation = files.verified_path(spec.corpus, check).read_bytes(), files.read(spec.validation).decode()
    if spec.network.lines:
        return text, "".join(f"{NEW_LINE}{line}" for line in lines_of(validation)).encode()
    return text, validation.replace(PIECE_END, JOINT).encode()
