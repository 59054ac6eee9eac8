"""Whether the workers of this host move: one file each, held by a lock, whose time is that of the process that moved
longest ago.

Celery's ping sees a parent that answers, and no child that hangs.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import RawArray
from pathlib import Path
from typing import TextIO

from charrnn.errors import CharrnnError, InputError
from charrnn.jobs.settings import Settings

FOLDER = "health"  # in the home
TOUCH_S = 5.0
SLOWEST_S = 90.0  # between two touches: a broker that stands still holds a parent for 60 s, timeouts and a pause of 30


class Pulse:
    """The file of one worker. Made in the parent before its children, which share its memory."""

    def __init__(self, settings: Settings, children: int) -> None:
        self._parent = os.getpid()
        self._beats = RawArray("d", children)  # seconds of the monotonic clock, which processes of a host share
        for child in range(children):
            self.beat(child)
        self._file = _hold(settings.home, stale_s(settings))

    def beat(self, child: int) -> None:
        """Tell that this child moves. Called in the child."""
        self._beats[child] = time.monotonic()

    def touch(self, ahead_s: float = 0.0) -> None:
        """Tell when the last child moved, as the parent does now; `ahead_s`: and that it may not for so long."""
        if os.getpid() == self._parent:
            moved = time.time() - (time.monotonic() - min(self._beats)) + ahead_s
            os.utime(self._file.fileno(), (moved, moved))


def stale_s(settings: Settings) -> float:
    """Without a sign for so long, a worker hangs."""
    return max(SLOWEST_S, 3 * settings.lease_s)


def check(settings: Settings) -> None:
    """See that the workers of this host and home move, and that there is one.

    Raises:
        CharrnnError: one hangs, or none runs.
    """
    running = {path.name: age for path, age in _ages(settings.home, f"{socket.gethostname()}-*") if _is_held(path)}
    if not running:
        raise CharrnnError(f"No worker of this host runs with {settings.home} as its home")
    name, age = max(running.items(), key=lambda item: item[1])
    if age > stale_s(settings):
        raise CharrnnError(f"Worker {name} hangs: no sign of all its processes for {age:.0f} s. Start it again")


def _hold(home: Path, old_s: float) -> TextIO:
    """Make this process' file and lock it until it ends; delete those that dead workers left."""
    try:
        (home / FOLDER).mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, age in _ages(home, "*"):  # of other hosts too: each new container has another name
            if age > old_s and not _is_held(path):
                path.unlink(missing_ok=True)
        file = open(home / FOLDER / f"{socket.gethostname()}-{os.getpid()}", "w")  # noqa: SIM115
        fcntl.lockf(file, fcntl.LOCK_EX)  # a POSIX lock: a forked child does not hold it too
    except OSError as error:
        raise InputError(f"A worker must be able to write into its home. Set CHARRNN_HOME: {error}") from error
    return file


def _ages(home: Path, pattern: str) -> Iterator[tuple[Path, float]]:
    """Files and the seconds since they were touched; workers that start together delete what others look at."""
    for path in (home / FOLDER).glob(pattern):
        with suppress(FileNotFoundError):
            yield path, time.time() - path.stat().st_mtime


def _is_held(path: Path) -> bool:
    """Whether a living process has it."""
    try:
        with open(path) as file:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
