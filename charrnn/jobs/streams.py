"""The three standard streams of a program, as it finds them at its start."""

from __future__ import annotations

import io
import os
import sys

ENCODING = "utf-8"


def prepare() -> None:
    """Open those standard streams that the caller has closed, and read and write UTF-8 whatever the locale.

    Otherwise the next file that is opened, such as the database, becomes standard output. A closed standard output or
    input stays one that cannot be used: each use is an error, as in the GNU tools. Output to a closed standard error
    is lost.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # open returns the lowest free number
    # Python has no stream for a descriptor that was closed when it started.
    sys.stdin = sys.stdin or open(0, encoding=ENCODING, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding=ENCODING, closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding=ENCODING, errors="backslashreplace", closefd=False)  # noqa: SIM115
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != ENCODING:
            stream.reconfigure(encoding=ENCODING, errors=stream.errors)


def discard_output() -> None:
    """Send standard output nowhere from now on, so that the rest of its buffer is no second error at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
