"""Sorted arrays of keys, which count equal ones among millions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class SortedKeys:
    """Counts how often each key has occurred before, with 8 bytes of memory for each key.

    Keys are 64-bit hashes: the probability that any two of 10 million have the same one is 3e-6. They are kept in
    sorted arrays, each more than twice as long as the next, as in a log-structured merge tree (O'Neil et al. 1996). A
    Python dictionary takes 100 bytes for each.
    """

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def count(self, keys: Sequence[int]) -> list[int]:
        """Return for each key the number of equal ones before it, in this and in earlier calls."""
        found = np.array(keys, np.int64)
        order = np.argsort(found, kind="stable")
        run = found[order]
        counts = np.empty(len(run), np.int64)
        counts[order] = np.arange(len(run)) - np.searchsorted(run, run) + sum(_count(old, run) for old in self._runs)
        self._add(run)
        return counts.tolist()

    def _add(self, run: np.ndarray) -> None:
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.concatenate([self._runs.pop(), run])
            run.sort(kind="stable")  # in place; merges sorted stretches
        self._runs.append(run)


def _count(run: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return how often each key occurs in a sorted array."""
    return np.searchsorted(run, keys, "right") - np.searchsorted(run, keys, "left")
