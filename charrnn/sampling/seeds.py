"""The seeds that are being fed, one after the other in one array."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

SPARE = 1 << 12  # ids; unused ones are moved together only if there are more


class Seeds:
    """The ids of seeds. A place is one in `ids`, and stays until `forget` is called."""

    def __init__(self) -> None:
        self.ids = np.empty(0, np.int32)
        self.used = 0

    def add(self, seeds: Sequence[Sequence[int]], lengths: np.ndarray) -> np.ndarray:
        """Add seeds of these lengths, (N,), and return their places, (N,)."""
        ends = self.used + np.cumsum(lengths)
        if ends[-1] > len(self.ids):
            self.ids = np.concatenate([self.ids[: self.used], np.empty(2 * ends[-1] - self.used, np.int32)])
        self.ids[self.used : ends[-1]] = np.fromiter(chain.from_iterable(seeds), np.int32, int(ends[-1]) - self.used)
        self.used = int(ends[-1])
        return np.asarray(ends - lengths)

    def forget(self, places: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Forget all ids but some, if most of the array is unused. Return the new places of what is kept.

        Args:
            places: of the ids to keep, (N,).
            counts: number of ids to keep from each place on, (N,).
        """
        if self.used <= 2 * counts.sum() + SPARE:
            return places
        self.ids = self.ids[ranges(places, counts)]
        self.used = len(self.ids)
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
