"""Search for what a text has copied from a training text: an index, built once, and the search for the longest copy.

The index has the places of some windows of WINDOW bytes, chosen by their hashes alone: of any SPAN neighbors, the one
with the least hash. Two texts that share SHORTEST bytes thus have a chosen window in common. This is winnowing
(Schleimer, Wilkerson and Aiken 2003, "Winnowing: local algorithms for document fingerprinting"). The places that it
finds are then compared byte by byte, so that no hash is relied on.

The index of a list also has the places of all lines.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import chain
from typing import NamedTuple

import numpy as np

from charrnn.text.comparison.overlap import CHUNK, ODD, window_hashes
from charrnn.text.lines import NEW_LINE

WINDOW = 16  # bytes
SPAN = 9  # windows; the index has one in five: 1.6 bytes for each byte of text, and 8 more for each line of a list
SHORTEST = WINDOW + SPAN - 1  # bytes: the shortest copy that is always found. Most texts share shorter ones by chance
MAX_PLACES = 32  # of one window in the index; further ones are not compared
TRIES = 200  # places that each text is compared with, and one more for each 4 bytes of it
AROUND = 64  # bytes that are compared first, to both sides of a window
MAX_SIZE = 1 << 27  # bytes of a training text with an index; both are in memory while a version is sampled
PLACE = np.uint64((1 << 32) - 1)  # an entry of the index is a hash of 32 bits, then a place of 32 bits
BITS = np.uint64(32)


@dataclass(frozen=True)
class Copy:
    """The overlap of a text with a training text.

    Attributes:
        novel: whether it is not, as a whole, in the training text. None for a text too short to tell, or empty.
        longest: the longest copied stretch; "" if none has SHORTEST bytes.
        place: where this stretch is, in bytes from the start of the training text.
    """

    novel: bool | None
    longest: str = ""
    place: int = 0


def build_index(text: bytes, more: bytes, *, lines: bool, check: Callable[[], object] = lambda: None) -> np.ndarray:
    """Return the index of a training text, (N,) uint64, sorted.

    Args:
        text: the training text.
        more: further text, such as the validation text. Its places follow those of the text. Both together have at most
            MAX_SIZE bytes.
        lines: whether the text is a list. A newline then stands before each line.
        check: called for each megabyte. Its errors are passed on.
    """
    parts = [np.empty(0, np.uint64)]
    for data, first in (text, 0), (more, len(text)):
        for places, hashes in chain(_windows(data), _lines(data) if lines else ()):
            parts.append(_limit((hashes << BITS) | (places + first).astype(np.uint64)))
            check()
    return _limit(np.concatenate(parts))


def _windows(text: bytes) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the places and hashes of the chosen windows."""
    for start in range(0, len(text), CHUNK):
        before = min(start, SPAN - 1)  # a window is chosen by its neighbors on both sides
        places, hashes = _choose(text[start - before : start + CHUNK + SHORTEST - 1])
        own = (places >= before) & (places < before + CHUNK)
        yield places[own] + (start - before), hashes[own]


def _choose(data: bytes, edges: Iterable[int] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the chosen windows, and their hashes of 32 bits.

    Args:
        data: one text after the other.
        edges: where one text ends and the next begins. Windows over an edge choose for no text: what is chosen of one
            must not depend on its neighbors.
    """
    hashes = (window_hashes(data, WINDOW) * ODD) >> BITS
    for edge in edges:
        hashes[max(0, edge - WINDOW + 1) : edge] = 0
    if len(hashes) < SPAN:
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    ends = np.zeros(SPAN - 1, np.uint64)
    least = _slide(np.minimum, hashes)
    places = np.flatnonzero((hashes == _slide(np.maximum, np.concatenate([ends, least, ends]))) & (hashes > 0))
    return places, hashes[places]


def _slide(function: Callable[..., np.ndarray], values: np.ndarray) -> np.ndarray:
    """Return the minimum or maximum of each SPAN neighbors, (N - SPAN + 1,)."""
    width = 1
    while width < SPAN:
        step = min(width, SPAN - width)
        values, width = function(values[:-step], values[step:]), width + step
    return values


def _lines(text: bytes) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the places of the newlines before lines, and the hashes of the lines."""
    start = 0
    while 0 <= start < len(text):
        end = text.find(b"\n", start + CHUNK)
        lines = text[start : end if end >= 0 else len(text)].split(b"\n")[1:]
        sizes = np.array([0, *(1 + len(line) for line in lines)], np.int64)
        yield start + np.cumsum(sizes)[:-1], _hash_lines(lines)
        start = end


def _hash_lines(lines: Sequence[bytes]) -> np.ndarray:
    return np.array([zlib.crc32(line) for line in lines], np.uint64)


def _limit(entries: np.ndarray) -> np.ndarray:
    """Return entries sorted, with the first MAX_PLACES of each hash."""
    entries.sort()
    if len(entries) <= MAX_PLACES:
        return entries
    further = (entries[MAX_PLACES:] >> BITS) == (entries[:-MAX_PLACES] >> BITS)
    limited: np.ndarray = entries[np.concatenate([np.ones(MAX_PLACES, bool), ~further])]
    return limited


class _Stretch(NamedTuple):
    """The longest copy in a text, and whether all chosen windows of the text are in the index."""

    text: str
    place: int
    complete: bool


class Copies:
    """A search for copies of a training text.

    Args:
        index: what `build_index` returned for the text.
        text: the training text.
        more: the further text of the index.
        lines: whether the text is a list.
    """

    def __init__(self, index: np.ndarray, text: bytes, more: bytes, *, lines: bool) -> None:
        self._index, self._text, self._more, self._by_line = index, text, more, lines

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self._index.nbytes + len(self._text) + len(self._more)

    def find(self, texts: Sequence[str]) -> list[Copy]:
        """Return what each text has copied. Many texts in one call take less time than one by one.

        A text of a list is novel unless each of its lines is a line of the list, or all of it is a piece of one.
        """
        encoded = [text.encode() for text in texts]
        known = self._known_lines(texts) if self._by_line else set()
        return [
            Copy(self._is_novel(text, data, stretch, known), stretch.text, stretch.place)
            for text, data, stretch in zip(texts, encoded, self._stretches(encoded), strict=True)
        ]

    def _is_novel(self, text: str, data: bytes, longest: _Stretch, known: set[str]) -> bool | None:
        lines = [line for line in text.split(NEW_LINE) if line] if self._by_line else []
        if lines and all(line in known for line in lines):
            return False
        if len(data) < SHORTEST:
            return True if lines else None
        if longest.text == text:
            return False
        # Windows with more than MAX_PLACES places can hide that all of it is a copy. This search takes milliseconds.
        return not (longest.complete and (data in self._text or data in self._more))

    def _known_lines(self, texts: Sequence[str]) -> set[str]:
        """Return the lines of the texts that are lines of the list."""
        lines = list({line for text in texts for line in text.split(NEW_LINE)})
        encoded = [line.encode() for line in lines]
        lows, highs = self._range(_hash_lines(encoded))
        return {
            line
            for line, data, low, high in zip(lines, encoded, lows.tolist(), highs.tolist(), strict=True)
            if low < high and any(self._has_line(data, place) for place in self.places(low, high))
        }

    def _has_line(self, line: bytes, place: int) -> bool:
        text, offset = self.at(place)
        found = text[offset : offset + len(line) + 2]
        return found.startswith(b"\n" + line) and found[len(line) + 1 :] in (b"", b"\n")

    def _stretches(self, texts: Sequence[bytes]) -> Iterator[_Stretch]:
        """Yield the longest stretch of each text that is in the training text."""
        edges = np.cumsum([0, *map(len, texts)])
        places, hashes = _choose(b"".join(texts), edges[1:-1].tolist())
        lows, highs = self._range(hashes)
        firsts = np.searchsorted(places, edges)
        hits = np.concatenate([[0], np.cumsum(highs > lows)])[firsts]
        for number in range(len(texts)):
            if hits[number] == hits[number + 1]:
                yield _Stretch("", 0, complete=False)
                continue
            own = slice(firsts[number], firsts[number + 1])
            search = _Search(self, texts[number], places[own] - edges[number], lows[own], highs[own])
            yield search.longest()

    def _range(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first entry of each hash in the index, and the one after its last."""
        first = hashes << BITS
        return np.searchsorted(self._index, first), np.searchsorted(self._index, first | PLACE, "right")

    def places(self, low: int, high: int) -> list[int]:
        """Return the places of some entries of the index."""
        places: list[int] = (self._index[low:high] & PLACE).tolist()
        return places

    def at(self, place: int) -> tuple[bytes, int]:
        """Return the text that has a place, and the place in it."""
        return (self._text, place) if place < len(self._text) else (self._more, place - len(self._text))


class _Search:
    """The search for the longest copy in one text, by its chosen windows.

    The places of the rarest window are compared first. All further copies lie on either side of it, or overlap it so
    little that none of the SPAN neighbors for which it was chosen are in them as a whole; their own chosen windows are
    on one side of it. The same is true of a window that the index lacks.
    """

    def __init__(self, copies: Copies, data: bytes, windows: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> None:
        self._copies, self._data, self._windows = copies, data, windows.tolist()
        self._lows, self._highs, self._counts = lows.tolist(), highs.tolist(), highs - lows
        self._tries = TRIES + len(data) // 4

    def longest(self) -> _Stretch:
        """Return the longest copy."""
        best, start, place = SHORTEST - 1, 0, 0
        pending = [*self._runs()]
        heapify(pending)
        while pending and -pending[0][0] > best and self._tries > 0:
            _, left, right, first, last = heappop(pending)
            rarest = first + int(self._counts[first:last].argmin())  # a run may have 200,000 windows
            window = self._windows[rarest]
            for other in self._copies.places(self._lows[rarest], self._highs[rarest]):
                self._tries -= 1
                ahead, size = self._compare(window, other, best)
                if size > best:
                    best, start, place = size, window - ahead, other - ahead
            before, after = _sides(window)
            for side in (left, min(right, before), first, rarest), (max(left, after), right, rarest + 1, last):
                if side[2] < side[3]:
                    heappush(pending, (side[0] - side[1], *side))
        complete = bool(self._counts.all())
        if best < SHORTEST:
            return _Stretch("", 0, complete)
        return _Stretch(self._data[start : start + best].decode(errors="ignore"), place, complete)

    def _runs(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield the runs of windows that are all in the index: how long a copy with them can be (negative, for a heap),
        its first and last byte, and the run."""
        left, first = 0, 0
        for number in [*np.flatnonzero(self._counts == 0).tolist(), len(self._windows)]:
            end = number == len(self._windows)
            right, after = (len(self._data), 0) if end else _sides(self._windows[number])
            if number > first:
                yield left - right, left, right, first, number
            left, first = max(0, after), number + 1

    def _compare(self, window: int, place: int, best: int) -> tuple[int, int]:
        """Return how many bytes before the window are equal to those before a place, and the size of the whole copy.

        Both are 0 if the copy cannot be longer than `best`: then half of what it needs must be on one side. Four of
        five places are no more than that.
        """
        text, offset = self._copies.at(place)
        data, after, step = self._data, 0, AROUND
        half = (best - WINDOW) // 2 + 1
        first = max(0, offset - half)
        near = text[first : offset + WINDOW + half]
        if near[offset - first + WINDOW :] != data[window + WINDOW : window + WINDOW + half] and (
            near[: offset - first] != data[max(0, window - half) : window]
        ):
            return 0, 0
        while step:
            equal = _equal(data[window + after : window + after + step], text[offset + after : offset + after + step])
            after, step = after + equal, 2 * step if equal == step else 0
        before, step = 0, AROUND
        while step:
            mine = data[max(0, window - before - step) : window - before]
            other = text[max(0, offset - before - step) : offset - before]
            equal = _equal(mine[::-1], other[::-1])
            before, step = before + equal, 2 * step if equal == step else 0
        return before, before + after


def _sides(window: int) -> tuple[int, int]:
    """Return where a copy before a window ends at the latest, and where one after it begins at the earliest."""
    return window + SHORTEST - 1, window - SPAN + 2


def _equal(first: bytes, second: bytes) -> int:
    """Return how many bytes at the start of two strings are equal."""
    size = min(len(first), len(second))
    different = int.from_bytes(first[:size], "little") ^ int.from_bytes(second[:size], "little")
    return ((different & -different).bit_length() - 1) // 8 if different else size
