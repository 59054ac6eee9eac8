"""The background thread of a pool child: signs of life, the way out of work, maintenance.

The work calls `watch.check()` between two steps; the thread is the only one that asks the store
whether the lease still holds and whether the job was cancelled.
"""

from __future__ import annotations

import logging
import mmap
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from charrnn.errors import CharrnnError, LeaseLostError, UnreachableError
from charrnn.jobs.databases import NOW, upsert
from charrnn.jobs.files import Files
from charrnn.jobs.leases import Leases, Part
from charrnn.jobs.maintenance import maintain, ring_missing
from charrnn.jobs.queue import Queue
from charrnn.jobs.settings import Settings
from charrnn.jobs.store import Store
from charrnn.jobs.tables import workers

logger = logging.getLogger(__name__)

T = TypeVar("T")
LONGEST_PAUSE_S = 15.0
CHECK_S = 0.5

_draining = mmap.mmap(-1, 1)  # one byte shared with the parent, since both are of one fork


def start_draining() -> None:
    """Ask every child of this parent to give back its work. Called in the parent."""
    _draining[0] = 1


class Interrupted(Exception):
    """The work should stop at this step and be given back: cancelled, or the worker stops."""


class Watch:
    """What a part's work and the thread share."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.progress: dict[str, Any] = {}
        self.cancelled = False
        self.lost = False

    def check(self) -> None:
        """Go on?

        Raises:
            LeaseLostError: the part is somebody else's; commit nothing.
            Interrupted: give the part back.
        """
        if self.lost:
            raise LeaseLostError(f"Part {self.part.number} of job {self.part.job} was taken over")
        if self.cancelled or _draining[0]:
            raise Interrupted

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
                self.progress = {name: value for name, value in self.progress.items() if name != "waits"}
                return done
            except UnreachableError as error:
                logger.warning("job %d part %d waits: %s", self.part.job, self.part.number, error)
                self.progress = {**self.progress, "waits": str(error)}
            self._pause(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _pause(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.check()
            time.sleep(CHECK_S)


class Heartbeat(threading.Thread):
    """Beats for one child. `owner` names the child's place in the pool, not its process."""

    def __init__(self, settings: Settings, owner: str, device: str, queues: list[str]) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.settings, self.owner, self.device, self.queues = settings, owner, device, queues
        self.store = Store.open(settings)
        self.leases = Leases(self.store, settings.lease_s)
        self.queue = Queue(settings)
        self.files = Files(settings.files_location, settings.cache)
        self._watch: Watch | None = None
        self._beaten = time.monotonic()

    def run(self) -> None:
        while True:
            self._guarded(self._beat)
            self._guarded(self._maintain)
            time.sleep(self.settings.heartbeat_s)

    @contextmanager
    def watching(self, part: Part) -> Iterator[Watch]:
        """Beat for a part while the block runs."""
        self._beaten = time.monotonic()
        self._watch = watch = Watch(part)
        try:
            yield watch
        finally:
            self._watch = None

    def take_over(self) -> None:
        """Give back what this child's predecessor held when it died; before the first claim."""
        if self.leases.give_back(self.owner):
            ring_missing(self.leases, self.queue)

    def _beat(self) -> None:
        self._sign_of_life()
        if (watch := self._watch) is None or watch.lost:
            return
        try:
            watch.cancelled = self.leases.heartbeat(watch.part, watch.progress or None)
            self._beaten = time.monotonic()
        except LeaseLostError:
            # The work may have ended and committed between the two lines above.
            watch.lost = watch is self._watch

    def _sign_of_life(self) -> None:
        seen = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": self.device,
            "queues": self.queues,
            "seen_at": NOW,
        }
        with self.store.write() as connection:
            upsert(connection, workers, owner=self.owner, **seen)

    def _maintain(self) -> None:
        maintain(self.store, self.leases, self.queue, self.settings.maintain_s)

    def _guarded(self, action: Any) -> None:
        """Outlive a store or broker that does not answer; past a lease's length, drop the work."""
        try:
            action()
        except CharrnnError as error:
            logger.warning("%s", error)
        except Exception:
            logger.exception("heartbeat: %s failed", action.__name__)
        watch = self._watch
        if watch is not None and time.monotonic() - self._beaten > self.settings.lease_s:
            watch.lost = True
