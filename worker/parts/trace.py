"""The trace of a part: its phases, and the span that is made of them when it has ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from charrnn.jobs import tracing
from charrnn.jobs.job.part import Part
from charrnn.jobs.tracing import Phase

if TYPE_CHECKING:
    from worker.child import Child

logger = logging.getLogger(__name__)


class PartTrace:
    """The phases of a claimed part, one after the other.

    Attributes:
        ended: done, released, lost or failed.
        error: the type of the error that ended it, or None.
    """

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.ended = "done"
        self.error: str | None = None
        self._last = time.time_ns()

    def claimed(self, began: int) -> None:
        """Record the claim.

        Args:
            began: when it began, in nanoseconds since 1970.
        """
        self._last = began
        self.passed("claim")

    def passed(self, name: str, seconds: float | None = None) -> None:
        """Record a phase: all the time since the last one, or so many seconds of it."""
        begin, now = self._last, time.time_ns()
        self._last = now if seconds is None else min(now, begin + round(seconds * 1e9))
        self.phases.append(Phase(name, begin, self._last))

    def end(self, ended: str, error: Exception | None = None) -> None:
        """Record that the part ended in the middle of a phase."""
        self.ended, self.error = ended, type(error).__name__ if error else None
        self.passed(ended)

    @contextmanager
    def recorded(self, child: Child, part: Part) -> Iterator[None]:
        """Record the span of the part after the block, in the trace of its job. Whatever fails here fails no part."""
        try:
            yield
        finally:
            if tracing.is_on():
                try:
                    self._record(child, part)
                except Exception as error:
                    logger.warning("job %d part %d: no trace: %s", part.job, part.number, error)

    def _record(self, child: Child, part: Part) -> None:
        numbers = {"job": part.job, "part": part.number, "attempt": part.attempt, "rows": part.rows}
        words = {"queue": part.spec.QUEUE, "model": part.spec.model, "device": child.device, "ended": self.ended}
        parent = child.store.traceparent(part.job)
        tracing.record("part", parent, self.phases, {**numbers, **words}, self.error)
