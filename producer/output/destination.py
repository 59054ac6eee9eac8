"""The destination of a command's output: standard output, or a file that appears once it is complete."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import InputError
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
        arriving = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with open(arriving, "wb") as file:
                yield file
            arriving.replace(path)
        finally:
            arriving.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
