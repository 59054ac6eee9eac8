"""TensorFlow's start-up notices. No log level silences them: TensorFlow writes them before it reads its log level."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

STDERR = 2
LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # 0 shows everything, 1 hides information, 2 hides warnings as well
ALL, ERRORS = "0", "2"
NOTICES = ("All log messages before absl::InitializeLog() is called", "oneDNN custom operations are on")


@contextmanager
def without_notices() -> Iterator[None]:
    """Leave TensorFlow's notices out of what the block writes to stderr, unless the user's log level asks for them.

    All other lines pass, through a process of its own: on a processor without AVX, TensorFlow ends this one, and its
    reason must reach the user.
    """
    os.environ.setdefault(LEVEL, ERRORS)
    if os.environ[LEVEL] == ALL or not _is_open(STDERR) or not shutil.which("grep"):
        yield
        return
    stderr = os.dup(STDERR)
    words = ["grep", "-Fv", *(word for notice in NOTICES for word in ("-e", notice))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=stderr) as grep:
        os.dup2(cast(IO[bytes], grep.stdin).fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(stderr, STDERR)
            os.close(stderr)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
