"""Health checks of this host's workers.

Each worker has one locked file. Its modification time is the last sign of life of its stalest process. Celery's ping
would show only that the parent answers, and not that a child hangs.
"""

from __future__ import annotations

import fcntl
import math
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import RawArray
from pathlib import Path
from typing import TextIO

from charrnn.errors import CharrnnError, InputError
from charrnn.jobs import private
from charrnn.jobs.settings import Settings
from charrnn.regular_file import NotRegularError, regular

FOLDER = "health"  # in CHARRNN_HOME
TOUCH_S = 5.0
SLOWEST_S = 90.0  # between two touches: a hanging broker blocks a parent for 60 s of timeouts, 30 s of pause


class Pulse:
    """The health file of one worker. Created in the parent before its children, which share its memory."""

    def __init__(self, settings: Settings, children: int) -> None:
        self._parent = os.getpid()
        self._beats = RawArray("d", children)  # seconds of the monotonic clock, which processes of a host share
        self._pids = RawArray("l", children)  # 0: not started yet
        self._stale_s = stale_s(settings)
        self._file = _hold(settings.home, stale_s(settings))
        self.expect(children)

    def beat(self, child: int) -> None:
        """Record that this child makes progress. Called in the child."""
        self._beats[child], self._pids[child] = time.monotonic(), os.getpid()

    def expect(self, children: int) -> None:
        """Expect signs of life of the first children from now on, and of no others.

        Called before they start, also while the worker waits for what they need.
        """
        for child in range(len(self._beats)):
            self._beats[child] = time.monotonic() if child < children else math.inf
        self.touch()

    def end_hanging(self) -> list[int]:
        """End the children that hang as a whole, so that others take their places. Return their process ids.

        Their own threads cannot do it: a process that was stopped, or a library that never gives back Python's lock,
        stops those too.
        """
        ended = []
        for child, pid in enumerate(self._pids):
            if pid and time.monotonic() - self._beats[child] > self._stale_s:
                self._beats[child], self._pids[child] = time.monotonic(), 0  # the next child sets its own
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                ended.append(pid)
        return ended

    def touch(self, ahead_s: float = 0.0) -> None:
        """Set the file's time to the last beat of the stalest child. Has no effect outside the parent.

        Args:
            ahead_s: seconds to add, since the parent may not call again for so long.
        """
        if os.getpid() == self._parent:
            moved = time.time() - (time.monotonic() - min(self._beats)) + ahead_s
            os.utime(self._file.fileno(), (moved, moved))


def stale_s(settings: Settings) -> float:
    """Return the seconds without a sign of life after which a worker counts as hanging."""
    return max(SLOWEST_S, 3 * settings.lease_s)


def check(settings: Settings) -> None:
    """Check that at least one worker of this host and home runs, and that none hangs.

    Raises:
        CharrnnError: a worker hangs, or none runs.
    """
    running = {path.name: age for path, age in _ages(settings.home, f"{socket.gethostname()}-*") if _is_held(path)}
    if not running:
        raise CharrnnError(
            f"No worker runs on this host with CHARRNN_HOME={settings.home}. Start one: charrnn-jobs worker"
        )
    name, age = max(running.items(), key=lambda item: item[1])
    if age > stale_s(settings):
        raise CharrnnError(f"Worker {name} hangs: one of its processes showed no activity for {age:.0f} s. Restart it")


def _hold(home: Path, old_s: float) -> TextIO:
    """Create this process's file and lock it until the process ends. Delete the files of dead workers."""
    try:
        (home / FOLDER).mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, age in _ages(home, "*"):  # including other hosts: each new container has another name
            if age > old_s and not _is_held(path):
                path.unlink(missing_ok=True)
        file = open(home / FOLDER / f"{socket.gethostname()}-{os.getpid()}", "w", opener=private.opener)  # noqa: SIM115
        fcntl.lockf(file, fcntl.LOCK_EX)  # a POSIX lock: a forked child does not hold it too
    except OSError as error:
        raise InputError(
            f"The worker cannot write to its home: {error}. Set CHARRNN_HOME to a writable folder"
        ) from error
    return file


def _ages(home: Path, pattern: str) -> Iterator[tuple[Path, float]]:
    """Yield files and the seconds since they were touched. Workers that start at once may delete them meanwhile."""
    for path in (home / FOLDER).glob(pattern):
        with suppress(FileNotFoundError):
            yield path, time.time() - path.stat().st_mtime


def _is_held(path: Path) -> bool:
    """Return whether a live process has locked the file."""
    try:
        with open(path, opener=regular) as file:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotRegularError):
        return False
    except OSError:
        return True
    return False
