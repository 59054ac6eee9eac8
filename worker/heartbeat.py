"""Background threads of a pool child: signs of life, the lease of the part in work, maintenance and schedules."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import RawValue

from charrnn.errors import CharrnnError, LeaseLostError
from charrnn.jobs.job.part import Part
from charrnn.jobs.job.states import PartState
from charrnn.jobs.store.scheduled.duties import look
from charrnn.jobs.upkeep.maintenance import maintain, tidy
from worker.child import Child
from worker.logs import about
from worker.parts.watch import Watch

logger = logging.getLogger(__name__)

_next_look = RawValue("d", 0.0)
"""Shared by the forked children of a parent: when one of them looks for what is due, in seconds of the monotonic clock,
which all processes of a host share."""


class Heartbeat(threading.Thread):
    """The heartbeat thread of one child.

    Args:
        alive: called to tell the parent that the child makes progress.
    """

    def __init__(self, child: Child, alive: Callable[[], None]) -> None:
        # Imported in the child: it imports NumPy, and the parent stays small.
        from charrnn.jobs.schedules import Schedules

        super().__init__(name="heartbeat", daemon=True)
        self.child, self.alive = child, alive
        self.schedules = Schedules(child.connections)
        self._watch: Watch | None = None
        self._threads: dict[str, threading.Thread] = {}

    def run(self) -> None:
        # Each action has its own thread: a broker that hangs delays maintenance by 20 s, which no lease would survive,
        # and a schedule may have to read a large text. A database that hangs is not a fault of this process.
        settings = self.child.settings
        for action in (self._live, self._look):
            self._start(partial(self._repeat, action, settings.look_s), action.__name__)
        self._repeat(self._beat, settings.heartbeat_s)

    def _start(self, action: Callable[[], None], name: str) -> None:
        """Start a thread for an action, unless the last one of that name still runs."""
        if name not in self._threads or not self._threads[name].is_alive():
            self._threads[name] = threading.Thread(target=action, name=name.strip("_"), daemon=True)
            self._threads[name].start()

    def _repeat(self, action: Callable[[], None], pause_s: float) -> None:
        while True:
            self._guarded(action)
            time.sleep(pause_s)

    @contextmanager
    def watching(self, part: Part) -> Iterator[Watch]:
        """Send heartbeats for a part while the block runs."""
        self._watch = watch = Watch(part, self.child.settings)
        try:
            yield watch
        finally:
            self._watch = None

    def _beat(self) -> None:
        watch = self._watch
        if watch is not None and (reason := watch.stalled):
            self._give_up(watch, reason)
        if watch is None or watch.lost or watch is not self._watch:
            self.child.store.record_heartbeat(self.child.life)
            return
        begun = time.monotonic()  # before the call: the answer, and with it the lease, may be old when it arrives
        try:
            watch.cancelled = self.child.leases.heartbeat(watch.part, watch.progress, self.child.life)
            watch.heartbeat_at = begun
        except LeaseLostError:
            # The work may have ended and been committed since `watch` was read.
            watch.lost = watch is self._watch

    def _give_up(self, watch: Watch, reason: str) -> None:
        """End the attempt and this process: there is no other way to stop its work."""
        part = watch.part
        hung = about(part, "hung")
        logger.error("job %d part %d: %s; ending this process", part.job, part.number, reason, extra=hung)
        try:
            if self.child.leases.fail(part, reason) == PartState.QUEUED:
                self.child.ring(part.spec.QUEUE)
        finally:  # if the store does not answer, the child that replaces this one requeues the part
            if watch is self._watch:  # otherwise the part has ended after all
                os.kill(os.getpid(), signal.SIGKILL)

    def _live(self) -> None:
        self.alive()

    def _look(self) -> None:
        """Start what is due, unless it is too early, or another child of this parent has just looked."""
        self.schedules.give_up_late()
        settings, now = self.child.settings, time.monotonic()
        if now < _next_look.value:
            return
        _next_look.value = now + settings.look_s  # no lock, which a killed child could keep: two looks do no harm
        due = look(self.child.store, round(settings.maintain_s * 1000))
        _next_look.value = now + due.pause(settings.look_s)
        for is_due, action in (
            (due.maintenance, self._maintain),
            (due.tidying, self._tidy),
            (due.schedules, self.schedules.tick),
        ):
            if is_due:
                self._start(partial(self._guarded, action), action.__name__)

    def _maintain(self) -> None:
        child = self.child
        maintain(child.store, child.leases, child.queue, child.settings.maintain_s)

    def _tidy(self) -> None:
        tidy(self.child.store, self.child.files, self.child.settings.retention_days)

    def _guarded(self, action: Callable[[], None]) -> None:
        """Run an action and log its errors, so that the thread survives a store or broker that does not answer."""
        try:
            action()
        except CharrnnError as error:
            logger.warning("%s", error)
        except Exception:
            logger.exception("heartbeat: %s failed", action.__name__)
