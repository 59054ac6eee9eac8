"""The destination of a command's output: standard output, or a file that appears once it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import InputError
from charrnn.jobs.files.temporary import temporary_file
from producer.output import console

STANDARD_OUTPUT = Path("-")


def opened(output: Path | None, *, live: bool) -> AbstractContextManager[BinaryIO]:
    """Open `output`, or standard output, which is flushed after each line if `live`."""
    if output is None or output == STANDARD_OUTPUT:
        return console.standard_output(live=live)
    return replace_atomically(output)


@contextmanager
def replace_atomically(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that replaces `path` if the block succeeds. Devices and pipes are written directly."""
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, a named pipe
            with open(path, "wb") as file:
                yield file
            return
        with temporary_file(path) as arriving:
            with open(arriving, "wb") as file:
                yield file
            arriving.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
