"""The plan of a call: the row that each slot works on at each step, and the inputs of the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from charrnn.sampling.limits import ALL, Limits
from charrnn.sampling.tasks import Tasks

SAMPLED = -1  # in the feed of a plan: the input is the character sampled at the step before


@dataclass(frozen=True)
class Spans:
    """Rows and the times from which and before which each works in its slot in one call. Every array is (N,)."""

    tasks: Tasks
    slots: np.ndarray
    starts: np.ndarray
    stops: np.ndarray


class Plan:
    """The inputs of one call. Every array but `times` is (K, B).

    Attributes:
        now: time of its first step.
        times: of its steps, (K, 1).
        feed: ids of seeds, and SAMPLED.
        keep_mask: float32; 0 where a row starts, otherwise 1.
        limited: whether any row excludes characters.
    """

    def __init__(self, now: int, steps: int, rows: Tasks) -> None:
        """Begin a plan in which no slot has work yet.

        Args:
            now: time of its first step.
            steps: K.
            rows: the rows that are in the slots, (B,).
        """
        self.now, self.limited = now, False
        self.times = now + np.arange(steps)[:, None]
        self.feed = np.full((steps, len(rows)), SAMPLED, np.int32)
        self.keep_mask = np.ones((steps, len(rows)), np.float32)
        self._spans: list[Spans] = []
        self._before = rows
        self._started: list[Spans] = []

    def add(self, spans: Spans) -> None:
        """Add the work of some slots."""
        self._spans.append(spans)
        self.limited |= bool((spans.tasks.top_k < ALL).any() or (spans.tasks.top_p < 1.0).any())

    def start(self, spans: Spans) -> None:
        """Add the work of slots in which rows start, in the order of their times. None starts before those of the last
        call."""
        self.add(spans)
        self.keep_mask[spans.starts - self.now, spans.slots] = 0.0
        self._started.append(spans)

    def _each(self, field: str) -> np.ndarray:
        """Return a field of the row that each slot works on at each step."""
        row: np.ndarray = getattr(self._before, field)
        if not self._started:
            return np.broadcast_to(row, self.feed.shape)
        # Each step's values are those of the step before, with some replaced: a fifth of the time of `np.where`.
        slots, counts = self._starts
        new = np.concatenate([getattr(spans.tasks, field) for spans in self._started])
        values, row = np.empty(self.feed.shape, row.dtype), row.copy()
        for k, (first, last) in enumerate(pairwise(counts)):
            row[slots[first:last]] = new[first:last]
            values[k] = row
        return values

    @cached_property
    def _starts(self) -> tuple[np.ndarray, list[int]]:
        """The slots in which rows start, in the order of their times, and how many before each step and the end."""
        starts, slots = (
            np.concatenate([getattr(each, name) for each in self._started]) for name in ("starts", "slots")
        )
        return slots, np.searchsorted(starts, self.now + np.arange(len(self.feed) + 1)).tolist()

    @property
    def key(self) -> np.ndarray:
        """The keys of the rows' random streams, whose positions are the times of the steps, uint64."""
        return self._each("key")

    @property
    def temperature(self) -> np.ndarray:
        """The rows' temperatures, float32."""
        return self._each("temperature")

    def limits(self, vocabulary_size: int) -> Limits | None:
        """Return the limits, or None if no row excludes any character."""
        if not self.limited:
            return None
        return Limits(np.minimum(self._each("top_k"), vocabulary_size), self._each("top_p"))

    @property
    def is_empty(self) -> bool:
        """Whether no slot has work."""
        return not any(len(spans.slots) for spans in self._spans)

    @property
    def spans(self) -> Spans:
        """The work of all slots."""
        if len(self._spans) == 1:
            return self._spans[0]
        slots, starts, stops = (
            np.concatenate([getattr(spans, name) for spans in self._spans]) for name in ("slots", "starts", "stops")
        )
        return Spans(Tasks.join([spans.tasks for spans in self._spans]), slots, starts, stops)
