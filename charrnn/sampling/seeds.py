"""The seeds that are being fed, one after the other in one array."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

SPARE = 1 << 12  # ids that are kept without need before any are moved


class Seeds:
    """The ids of seeds. The place of one is a place in `ids`, and stays until `keep` is called."""

    def __init__(self) -> None:
        self.ids = np.empty(0, np.int32)
        self._used, self._limit = 0, SPARE

    @property
    def is_full(self) -> bool:
        """Whether there are more than twice as many ids as were needed at the last call of `keep`."""
        return self._used > self._limit

    def add(self, seeds: Sequence[Sequence[int]], lengths: np.ndarray) -> np.ndarray:
        """Add seeds of these lengths, (N,), and return their places, (N,)."""
        ends = self._used + np.cumsum(lengths)
        first, self._used = self._used, int(ends[-1])
        if self._used > len(self.ids):
            self.ids = np.concatenate([self.ids[:first], np.empty(2 * self._used - first, np.int32)])
        self.ids[first : self._used] = np.fromiter(chain.from_iterable(seeds), np.int32, self._used - first)
        return np.asarray(ends - lengths)

    def keep(self, places: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Forget all ids but some, and return the new places of these.

        Args:
            places: of the first id of each seed that is still needed, (N,).
            counts: number of ids of each, (N,).
        """
        self.ids = self.ids[ranges(places, counts)]
        self._used, self._limit = len(self.ids), 2 * len(self.ids) + SPARE
        return np.asarray(np.cumsum(counts) - counts)

    def feed(
        self, feed: np.ndarray, slots: np.ndarray, starts: np.ndarray, places: np.ndarray, counts: np.ndarray
    ) -> None:
        """Write the next ids of some seeds into the inputs of a call.

        Args:
            feed: (K, B).
            slots: (N,).
            starts: the steps of the first ids, (N,).
            places: of the first ids, (N,).
            counts: number of ids, (N,).
        """
        feed[ranges(starts, counts), np.repeat(slots, counts)] = self.ids[ranges(places, counts)]


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return `counts` integers from each start on, one range after the other. (N,), (N,) -> (sum of counts,)"""
    before = np.cumsum(counts) - counts
    return np.asarray(np.arange(counts.sum()) + np.repeat(starts - before, counts))
