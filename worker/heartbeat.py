"""The background of a pool child: signs of life, the way out of work, maintenance, schedules.

The work calls `watch.check()` between two steps; the heartbeat's thread is the only one that asks the store
whether the lease still holds and whether the job was cancelled.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from charrnn.errors import CharrnnError, LeaseLostError, UnreachableError
from charrnn.jobs.job.part import Part, PartProgress
from charrnn.jobs.job.states import PartState
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.leases import HUNG, Leases
from charrnn.jobs.upkeep.maintenance import maintain, ring_missing
from worker.logs import about

logger = logging.getLogger(__name__)

T = TypeVar("T")
LONGEST_PAUSE_S = 15.0
CHECK_S = 0.5
RESTART_PAUSE_S = 1.0  # of a process that can do nothing, before it ends and another one is tried

LOADING, COMPILING, WORKING, WRITING = "loading", "compiling", "working", "writing"
PATIENCE = {LOADING: 5, COMPILING: 5, WORKING: 1, WRITING: 5}  # times `stall_s`; a version may come from a far bucket

_drained_at = struct.Struct("d")  # seconds of the monotonic clock, which processes of a host share; 0: not asked for
_draining = mmap.mmap(-1, _drained_at.size)  # shared with the parent, since both are of one fork


def start_draining(within_s: float) -> None:
    """Ask every child of this parent to end its work or give it back within so long. Called in the parent."""
    _drained_at.pack_into(_draining, 0, time.monotonic() + within_s)


def is_draining() -> bool:
    """Whether the worker was asked to end."""
    return bool(_drained_at.unpack_from(_draining)[0])


class Interrupted(Exception):
    """The work should stop at this step and be given back: cancelled, or the worker stops."""


class Watch:
    """What a part's work and the thread share.

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
        (ends,) = _drained_at.unpack_from(_draining)
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


class Heartbeat(threading.Thread):
    """Beats for one child. `owner` names the child's place in the pool, not its process; `alive` tells its parent."""

    def __init__(
        self, settings: Settings, owner: str, device: str, queues: list[str], alive: Callable[[], None]
    ) -> None:
        # Here, in the child: they bring NumPy, and the parent stays small.
        from charrnn.jobs.connections import Connections
        from charrnn.jobs.schedules import Schedules

        super().__init__(name="heartbeat", daemon=True)
        self.settings, self.owner, self.device, self.queues, self.alive = settings, owner, device, queues, alive
        self.connections = Connections(settings)
        self.schedules = Schedules(self.connections)
        self.store, self.queue, self.files = self.connections.store, self.connections.queue, self.connections.files
        self.leases = Leases(self.store, settings.lease_s)
        self._watch: Watch | None = None

    def run(self) -> None:
        # Threads of their own: a broker that stands still holds maintenance up for 20 s, which no lease would survive,
        # and a schedule may have to read a large text. That a database stands still is no fault of this process.
        for action in (self._live, self._maintain, self._tick):
            repeat = (action, self.settings.look_s)
            threading.Thread(target=self._repeat, args=repeat, name=action.__name__.strip("_"), daemon=True).start()
        self._repeat(self._beat, self.settings.heartbeat_s)

    def _repeat(self, action: Callable[[], None], pause_s: float) -> None:
        while True:
            self._guarded(action)
            time.sleep(pause_s)

    @contextmanager
    def watching(self, part: Part) -> Iterator[Watch]:
        """Beat for a part while the block runs."""
        self._watch = watch = Watch(part, self.settings)
        try:
            yield watch
        finally:
            self._watch = None

    def take_over(self, reason: str) -> None:
        """Give back what this child's predecessor held when it died of that; before the first claim."""
        if self.leases.give_back(self.owner, reason):
            logger.warning("gave back what the process before held: %s", reason, extra={"event": "given back"})
            ring_missing(self.leases, self.queue)

    def _beat(self) -> None:
        watch = self._watch
        if watch is not None and (reason := watch.stalled):
            self._give_up(watch, reason)
        self._sign_of_life()
        if watch is None or watch.lost or watch is not self._watch:
            return
        begun = time.monotonic()  # an answer may be old when it comes, and the lease with it
        try:
            watch.cancelled = self.leases.heartbeat(watch.part, watch.progress)
            watch.beaten = begun
        except LeaseLostError:
            # The work may have ended and committed since it was looked at.
            watch.lost = watch is self._watch

    def _give_up(self, watch: Watch, reason: str) -> None:
        """End the attempt and this process, whose work nobody can end otherwise."""
        part = watch.part
        hung = about(part, "hung")
        logger.error("job %d part %d: %s; this process ends", part.job, part.number, reason, extra=hung)
        try:
            if self.leases.fail(part, reason) == PartState.QUEUED:
                self.queue.ring(part.spec.QUEUE, 1)
        finally:  # if the store is away, the child that replaces this one gives the part back
            if watch is self._watch:  # else it moved after all
                os.kill(os.getpid(), signal.SIGKILL)

    def _sign_of_life(self) -> None:
        self.store.sign_of_life(self.owner, socket.gethostname(), os.getpid(), self.device, self.queues)

    def _live(self) -> None:
        self.alive()

    def _maintain(self) -> None:
        maintain(self.store, self.leases, self.queue, self.settings.maintain_s)

    def _tick(self) -> None:
        self.schedules.tick()

    def _guarded(self, action: Callable[[], None]) -> None:
        """Outlive a store or broker that does not answer."""
        try:
            action()
        except CharrnnError as error:
            logger.warning("%s", error)
        except Exception:
            logger.exception("heartbeat: %s failed", action.__name__)
