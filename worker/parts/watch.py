"""What a part's work and the heartbeat's thread share: the two clocks of a lease, its phases, and the way out.

The work calls `watch.check()` between two steps; the heartbeat's thread is the only one that asks the store
whether the lease still holds and whether the job was cancelled.
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
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.leases import HUNG
from worker.logs import about

logger = logging.getLogger(__name__)

T = TypeVar("T")
LONGEST_PAUSE_S = 15.0
CHECK_S = 0.5
RESTART_PAUSE_S = 1.0  # of a process that can do nothing, before it ends and another one is tried

LOADING, COMPILING, WORKING, WRITING = "loading", "compiling", "working", "writing"
PATIENCE = {LOADING: 5, COMPILING: 5, WORKING: 1, WRITING: 5}  # times `stall_s`; a version may come from a far bucket

_drained_at = RawValue("d", 0.0)  # seconds of the monotonic clock; 0: not asked for
"""Shared by the parent and its children, which are of one fork; processes of a host share that clock."""


def start_draining(within_s: float) -> None:
    """Ask every child of this parent to end its work or give it back within so long. Called in the parent."""
    _drained_at.value = time.monotonic() + within_s


def is_draining() -> bool:
    """Whether the worker was asked to end."""
    return bool(_drained_at.value)


class Interrupted(Exception):
    """The work should stop at this step and be given back: cancelled, or the worker stops."""


class Watch:
    """The lease of a part in work.

    A lease has two clocks: the thread's beats say that the process lives, the work's checks that it moves.

    Attributes:
        progress: for people.
        remaining_s: until the part ends, about; None where nobody knows.
        beaten, moved: when the thread last reached the store, and the work last came by.
    """

    def __init__(self, part: Part, settings: Settings) -> None:
        self.part, self.settings = part, settings
        self.progress = PartProgress()
        self.remaining_s: float | None = None
        self.cancelled = self.lost = False
        self.phase = LOADING
        self.beaten = self.moved = time.monotonic()

    def enter(self, phase: str) -> None:
        """Tell what begins now: it may take as long as PATIENCE has it, until the next `enter` or `check`."""
        self.moved = time.monotonic()  # first: the thread may look in between, at the old phase as begun now
        self.phase = phase

    def check(self) -> None:
        """Go on?

        Raises:
            LeaseLostError: the part is somebody else's, or may be by now; commit nothing.
            Interrupted: give the part back.
        """
        now = self.moved = time.monotonic()
        if self.lost or now - self.beaten > self.settings.lease_s:
            raise LeaseLostError(f"Part {self.part.number} of job {self.part.job}: the lease was lost")
        if self.cancelled or self._must_stop(now):
            raise Interrupted

    def _must_stop(self, now: float) -> bool:
        """The worker ends, and this part would not before it."""
        ends = _drained_at.value
        return ends > 0.0 and (self.remaining_s is None or now + self.remaining_s > ends)

    @property
    def stalled(self) -> str | None:
        """What takes too long, if anything does."""
        limit_s = self.settings.stall_s * PATIENCE[self.phase]
        return f"{HUNG}: {limit_s:g} s of {self.phase}" if time.monotonic() - self.moved > limit_s else None

    def insist(self, action: Callable[[], T]) -> T:
        """Do what needs store or files; while these do not answer, keep the work in hand and try again.

        A full disk or a bucket that is away for an hour costs no attempt and no work.

        Raises:
            LeaseLostError, Interrupted: from `check`, while it waits.
        """
        pause_s = CHECK_S
        while True:
            try:
                done = action()
                self.progress = replace(self.progress, waits=None)
                return done
            except UnreachableError as error:
                waits = about(self.part, "waits")
                logger.warning("job %d part %d waits: %s", self.part.job, self.part.number, error, extra=waits)
                self.progress = replace(self.progress, waits=str(error))
            self._pause(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _pause(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.check()
            time.sleep(CHECK_S)
