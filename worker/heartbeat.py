"""The background of a pool child: signs of life, the lease of the part in work, maintenance, schedules."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from charrnn.errors import CharrnnError, LeaseLostError
from charrnn.jobs.job.part import Part
from charrnn.jobs.job.states import PartState
from charrnn.jobs.upkeep.maintenance import maintain
from worker.child import Child
from worker.logs import about
from worker.parts.watch import Watch

logger = logging.getLogger(__name__)


class Heartbeat(threading.Thread):
    """Beats for one child.

    Args:
        alive: tells the parent that the child moves.
    """

    def __init__(self, child: Child, alive: Callable[[], None]) -> None:
        from charrnn.jobs.schedules import Schedules  # here, in the child: it brings NumPy, and the parent stays small

        super().__init__(name="heartbeat", daemon=True)
        self.child, self.alive = child, alive
        self.schedules = Schedules(child.connections)
        self._watch: Watch | None = None

    def run(self) -> None:
        # Threads of their own: a broker that stands still holds maintenance up for 20 s, which no lease would survive,
        # and a schedule may have to read a large text. That a database stands still is no fault of this process.
        settings = self.child.settings
        for action in (self._live, self._maintain, self._tick):
            repeat = (action, settings.look_s)
            threading.Thread(target=self._repeat, args=repeat, name=action.__name__.strip("_"), daemon=True).start()
        self._repeat(self._beat, settings.heartbeat_s)

    def _repeat(self, action: Callable[[], None], pause_s: float) -> None:
        while True:
            self._guarded(action)
            time.sleep(pause_s)

    @contextmanager
    def watching(self, part: Part) -> Iterator[Watch]:
        """Beat for a part while the block runs."""
        self._watch = watch = Watch(part, self.child.settings)
        try:
            yield watch
        finally:
            self._watch = None

    def _beat(self) -> None:
        watch = self._watch
        if watch is not None and (reason := watch.stalled):
            self._give_up(watch, reason)
        self.child.show_life()
        if watch is None or watch.lost or watch is not self._watch:
            return
        begun = time.monotonic()  # an answer may be old when it comes, and the lease with it
        try:
            watch.cancelled = self.child.leases.heartbeat(watch.part, watch.progress)
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
            if self.child.leases.fail(part, reason) == PartState.QUEUED:
                self.child.ring(part.spec.QUEUE)
        finally:  # if the store is away, the child that replaces this one gives the part back
            if watch is self._watch:  # else it moved after all
                os.kill(os.getpid(), signal.SIGKILL)

    def _live(self) -> None:
        self.alive()

    def _maintain(self) -> None:
        child = self.child
        maintain(child.store, child.leases, child.queue, child.settings.maintain_s)

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
