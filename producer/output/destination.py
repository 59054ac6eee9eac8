"""Where a command writes what it was asked for: a file that appears when it is whole, or standard output."""

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
    """The file at `output`, or standard output; `live`: each line of that at once."""
    if output is None or output == STANDARD_OUTPUT:
        return console.standard_output(live=live)
    return whole_or_not(output)


@contextmanager
def whole_or_not(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well; what is not a regular file is written to."""
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
