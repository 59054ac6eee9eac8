"""Opening of files that others named or wrote, without waiting: opening a pipe would block until somebody writes."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


class NotRegularError(OSError):
    """A path names a folder, a pipe, a socket or a device."""


def regular(path: str | Path, _flags: int = 0) -> int:
    """Open a regular file to read, and return its descriptor. Links are followed.

    Pass it as the opener: `open(path, "rb", opener=regular)`.

    Raises:
        NotRegularError: the path names something else, which was not waited for.
        OSError: the file is missing or cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device that is not there
            raise _not_regular(path) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _not_regular(path)
    return handle


def _not_regular(path: str | Path) -> NotRegularError:
    return NotRegularError(errno.EINVAL, "not a regular file. Save the output of a pipe to a file first", str(path))
