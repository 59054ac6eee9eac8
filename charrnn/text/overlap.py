"""Search for stretches of one text that occur in another, by hashes of all windows of WINDOW bytes.

Lee et al. (2022, "Deduplicating training data makes language models better") do this with a suffix array.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from charrnn.text.documents import FileBytes

WINDOW = 128  # bytes, a power of two, about two lines. Many texts share shorter stretches by chance or custom
CHUNK = 1 << 20  # windows hashed at once
TABLE_BITS = 24  # a table of 16 MB; with 2 MB of text, one unrelated window in eight passes it
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio, as in Fibonacci hashing

Stretch = tuple[int, int]
"""Start and stop as byte offsets."""


class Fingerprint:
    """The hashes of all windows of a text."""

    def __init__(self, text: bytes) -> None:
        self._hashes = np.empty(max(0, len(text) - WINDOW + 1), np.uint64)
        for start in range(0, len(self._hashes), CHUNK):  # what is computed meanwhile takes 40 bytes for each window
            self._hashes[start : start + CHUNK] = _hashes(text[start : start + CHUNK + WINDOW - 1])
        self._hashes.sort()  # equal ones stay: np.unique would take three times the memory
        self._table = np.zeros(1 << TABLE_BITS, bool)
        for start in range(0, len(self._hashes), CHUNK):
            self._table[_slots(self._hashes[start : start + CHUNK])] = True

    def stretches(self, data: bytes | FileBytes) -> list[Stretch]:
        """Return the stretches of `data` that have WINDOW bytes or more in common with the text, sorted and disjoint.

        Stretches that touch are merged into one.
        """
        return list(_merge(stretch for start in range(0, len(data), CHUNK) for stretch in self._chunk(data, start)))

    def _chunk(self, data: bytes | FileBytes, start: int) -> Iterator[Stretch]:
        hashes = _hashes(data[start : start + CHUNK + WINDOW - 1])
        places = np.flatnonzero(self._table[_slots(hashes)])
        places = start + places[self._has(hashes[places])]
        for run in np.split(places, np.flatnonzero(np.diff(places) > WINDOW) + 1):
            if len(run):
                yield int(run[0]), int(run[-1]) + WINDOW

    def _has(self, hashes: np.ndarray) -> np.ndarray:
        places = np.searchsorted(self._hashes, hashes)
        same: np.ndarray = self._hashes[np.minimum(places, len(self._hashes) - 1)] == hashes
        return same


def _hashes(data: bytes) -> np.ndarray:
    """Return the hash of each window, (len(data) - WINDOW + 1,) uint64. Empty if `data` is shorter than a window.

    The hash of 8 bytes is these bytes themselves. The hash of 16 bytes combines those of its two halves, and so on.
    """
    if len(data) < WINDOW:
        return np.empty(0, np.uint64)
    hashes, size = np.ndarray(len(data) - 7, "<u8", data, strides=(1,)), 8
    while size < WINDOW:
        first, second = hashes[:-size], hashes[size:]
        hashes = (first ^ (first >> np.uint64(31))) * ODD + second
        size *= 2
    return hashes


def _slots(hashes: np.ndarray) -> np.ndarray:
    return (hashes * ODD) >> np.uint64(64 - TABLE_BITS)


def _merge(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    """Yield stretches, which must come sorted by start, with those that touch merged into one."""
    start = stop = -1
    for next_start, next_stop in stretches:
        if start >= 0 and next_start > stop:
            yield start, stop
        if next_start > stop:
            start = next_start
        stop = next_stop
    if start >= 0:
        yield start, stop
