"""Search for stretches of one text that occur in another, by hashes of all windows of WINDOW bytes.

Lee et al. (2022, "Deduplicating training data makes language models better") do this with a suffix array.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

import numpy as np

from charrnn.text.documents import FileBytes

WINDOW = 128  # bytes, a power of two, about two lines. Many texts share shorter stretches by chance or custom
GRAM = 4  # bytes
# New grams that a window has at least, of 125: those that did not occur in the 124 bytes before them. 99.9% of all
# windows of prose have more, as have 99% of random DNA; a game level has 40 at most, a padded record 32, dashes 1.
MIN_CONTENT = 64
CHUNK = 1 << 20  # windows hashed at once
TABLE_BITS = 24  # a table of 16 MB; with 2 MB of text, one unrelated window in eight passes it
MAX_TRIES = 10_000  # places of a document at which a piece may turn out to be another text after all
FIRST = 4_096  # bytes that are compared first
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio, as in Fibonacci hashing

Stretch = tuple[int, int]
"""Start and stop as byte offsets."""


class Fingerprint:
    """The hashes of those windows of a text that say something: a run of one character, or of a few in turn, is in
    many texts, and no copy."""

    def __init__(self, text: bytes) -> None:
        self._hashes = _HashSet(np.concatenate([np.empty(0, np.uint64), *_telling_hashes(text)]))

    def stretches(self, data: bytes | FileBytes) -> list[Stretch]:
        """Return the stretches of `data` that consist of windows which occur in the text, sorted and disjoint.

        Stretches that touch are merged into one.
        """
        return merge(stretch for start in range(0, len(data), CHUNK) for stretch in self._chunk(data, start))

    def _chunk(self, data: bytes | FileBytes, start: int) -> Iterator[Stretch]:
        places = start + self._hashes.find(window_hashes(data[start : start + CHUNK + WINDOW - 1]))
        for run in np.split(places, np.flatnonzero(np.diff(places) > WINDOW) + 1):
            if len(run):
                yield int(run[0]), int(run[-1]) + WINDOW


class WholePieces:
    """A search for whole pieces of text, whatever they say, by the hash of one window of each."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces: defaultdict[int, list[tuple[int, bytes]]] = defaultdict(list)
        for piece in pieces:
            if len(piece) >= WINDOW:
                place = int(np.argmax(_content(piece[:CHUNK])))  # the rarest window: it is seldom found elsewhere
                self._pieces[int(window_hashes(piece[place : place + WINDOW])[0])].append((place, piece))
        self._hashes = _HashSet(np.array(list(self._pieces), np.uint64), bits=16)

    def stretches(self, data: bytes | FileBytes) -> list[Stretch]:
        """Return the stretches of `data` that are whole pieces, sorted and disjoint."""
        found, ends, tries = list[Stretch](), dict[bytes, int](), 0
        for place, hashed in self._places(data):
            for offset, piece in self._pieces[hashed]:
                start, stop = place - offset, place - offset + len(piece)
                if start < ends.get(piece, 0) or stop > len(data):
                    continue
                first = min(start + FIRST, stop)
                if data[start:first] == piece[:FIRST] and data[first:stop] == piece[FIRST:]:
                    found.append((start, stop))
                    ends[piece] = stop
                elif (tries := tries + 1) == MAX_TRIES:
                    return merge(sorted(found))
        return merge(sorted(found))

    def _places(self, data: bytes | FileBytes) -> Iterator[tuple[int, int]]:
        for start in range(0, len(data), CHUNK):
            hashes = window_hashes(data[start : start + CHUNK + WINDOW - 1])
            for place in self._hashes.find(hashes):
                yield start + int(place), int(hashes[place])


class _HashSet:
    """A set of hashes, with a table that most others do not pass."""

    def __init__(self, hashes: np.ndarray, bits: int = TABLE_BITS) -> None:
        self._hashes, self._shift = hashes, np.uint64(64 - bits)
        self._hashes.sort()  # equal ones stay: np.unique would take three times the memory
        self._table = np.zeros(1 << bits, bool)
        for start in range(0, len(hashes), CHUNK):  # what is computed meanwhile takes 16 bytes for each hash
            self._table[self._slots(self._hashes[start : start + CHUNK])] = True

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """Return the places in `hashes` of those that are in the set."""
        places = np.flatnonzero(self._table[self._slots(hashes)])
        if not len(places):
            return places
        wanted = hashes[places]
        found = np.minimum(np.searchsorted(self._hashes, wanted), len(self._hashes) - 1)
        within: np.ndarray = places[self._hashes[found] == wanted]
        return within

    def _slots(self, hashes: np.ndarray) -> np.ndarray:
        slots: np.ndarray = (hashes * ODD) >> self._shift
        return slots


def _telling_hashes(text: bytes) -> Iterator[np.ndarray]:
    for start in range(0, len(text) - WINDOW + 1, CHUNK):  # what is computed meanwhile takes 60 bytes for each window
        chunk = text[start : start + CHUNK + WINDOW - 1]
        yield window_hashes(chunk)[_content(chunk) >= MIN_CONTENT]


def window_hashes(data: bytes, window: int = WINDOW) -> np.ndarray:
    """Return the hash of each window of `window` bytes, (len(data) - window + 1,) uint64. Empty if `data` is shorter.

    The hash of 8 bytes is these bytes themselves. The hash of 16 bytes combines those of its two halves, and so on: a
    window has 8 bytes times a power of two.
    """
    if len(data) < window:
        return np.empty(0, np.uint64)
    hashes, size = np.ndarray(len(data) - 7, "<u8", data, strides=(1,)), 8
    while size < window:
        first, second = hashes[:-size], hashes[size:]
        hashes = (first ^ (first >> np.uint64(31))) * ODD + second
        size *= 2
    return hashes


def _content(data: bytes) -> np.ndarray:
    """Return the number of new grams in each window, (len(data) - WINDOW + 1,) int64."""
    grams = np.ndarray(len(data) - GRAM + 1, "<u4", data, strides=(1,))
    order = np.argsort(grams, kind="stable")
    again = grams[order[1:]] == grams[order[:-1]]
    close = again & (order[1:] - order[:-1] <= WINDOW - GRAM)
    new = np.ones(len(grams) + 1, np.int64)
    new[1 + order[1:][close]] = 0
    new[0] = 0
    counts = np.cumsum(new)
    span = WINDOW - GRAM + 1
    found: np.ndarray = counts[span:] - counts[:-span]
    return found


def merge(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Return stretches, which must come sorted by start, with those that touch merged into one."""
    merged: list[Stretch] = []
    for start, stop in stretches:
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged


def size_of(stretches: Collection[Stretch]) -> int:
    """Return the bytes of disjoint stretches."""
    return sum(stop - start for start, stop in stretches)
