"""The state that a part's work and the heartbeat thread share: the two clocks of a lease, its phases, and how to stop.

The work calls `watch.check()` between two steps. Only the heartbeat thread asks the store whether the lease still holds
and whether the job was cancelled.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import RawValue
from typing import TypeVar

from charrnn.errors import LeaseLostError, UnreachableError
from charrnn.jobs.job.part import Part, PartProgress
from charrnn.jobs.job.states import HUNG
from charrnn.jobs.settings import Settings
from worker.logs import about
from worker.parts.trace import PartTrace

logger = logging.getLogger(__name__)

T = TypeVar("T")
LONGEST_PAUSE_S = 15.0
CHECK_S = 0.5
RESTART_PAUSE_S = 1.0  # before a process that cannot work ends and another one is tried

LOADING, COMPILING, WORKING, WRITING = "loading", "compiling", "working", "writing"
# Multiples of `stall_s` that each phase may take without progress; loading may read from a distant bucket.
PATIENCE = {LOADING: 5, COMPILING: 5, WORKING: 1, WRITING: 5}

_drained_at = RawValue("d", 0.0)  # deadline in seconds of the monotonic clock; 0: the worker is not draining
"""Shared by the parent and its forked children. All processes of a host share that clock."""


def start_draining(within_s: float) -> None:
    """Ask every child of this parent to finish or release its work within that time. Called in the parent."""
    _drained_at.value = time.monotonic() + within_s


def is_draining() -> bool:
    """Return whether the worker is shutting down."""
    return bool(_drained_at.value)


class Interrupted(Exception):
    """The work should stop at this step and be released: it was cancelled, the worker shuts down, or others wait."""


class Watch:
    """The lease of a part in work.

    A lease has two clocks: heartbeats of the thread show that the process is alive, checks of the work that it makes
    progress.

    Attributes:
        progress: the progress to show to users.
        remaining_s: estimated seconds until the part ends, or None if unknown.
        heartbeat_at: when the thread last reached the store.
        progress_at: when the work last called `check` or `enter`.
        trace: the phases that have passed.
    """

    def __init__(self, part: Part, settings: Settings) -> None:
        self.part, self.settings = part, settings
        self.progress = PartProgress(phase=LOADING)
        self.remaining_s: float | None = None
        self.cancelled = self.lost = False
        self.phase = LOADING
        self.heartbeat_at = self.progress_at = time.monotonic()
        self.trace = PartTrace()

    def enter(self, phase: str) -> None:
        """Enter a phase. PATIENCE limits the time until the next `enter` or `check`."""
        # First: if the thread reads in between, it sees the old phase as begun just now.
        self.progress_at = time.monotonic()
        self.phase = phase
        self.progress = replace(self.progress, phase=None if phase == WORKING else phase)

    def check(self) -> None:
        """Record progress, and raise if the work must stop.

        Raises:
            LeaseLostError: another worker owns the part, or may own it by now; commit nothing.
            Interrupted: release the part.
        """
        now = self.progress_at = time.monotonic()
        if self.lost or now - self.heartbeat_at > self.settings.lease_s:
            raise LeaseLostError(f"Part {self.part.number} of job {self.part.job}: the lease was lost")
        if self.cancelled or self._must_stop(now):
            raise Interrupted

    def _must_stop(self, now: float) -> bool:
        """Return whether the worker is shutting down and this part would not end in time."""
        ends = _drained_at.value
        return ends > 0.0 and (self.remaining_s is None or now + self.remaining_s > ends)

    @property
    def stalled(self) -> str | None:
        """The phase that takes too long, as the reason of a failed attempt, or None."""
        limit_s = self.settings.stall_s * PATIENCE[self.phase]
        if time.monotonic() - self.progress_at <= limit_s:
            return None
        return f"{HUNG}: no progress for {limit_s:g} s while {self.phase}"

    def retry(self, action: Callable[[], T]) -> T:
        """Run an action that needs the store or the files. While these do not answer, keep the part and try again.

        A full disk, or a bucket that is unavailable for an hour, costs no attempt and no work, as long as the store
        answers: without heartbeats the lease expires.

        Raises:
            LeaseLostError, Interrupted: raised by `check` during the wait.
        """
        pause_s = CHECK_S
        while True:
            try:
                done = action()
                self.progress = replace(self.progress, waits=None)
                return done
            except UnreachableError as error:
                waits = about(self.part, "waits")
                logger.warning("job %d part %d: waiting: %s", self.part.job, self.part.number, error, extra=waits)
                self.progress = replace(self.progress, waits=str(error))
            self._pause(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _pause(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.check()
            time.sleep(CHECK_S)
