"""Stop strings, and the search for them in the texts of all slots at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from charrnn.sampling.history import History

SEPARATOR = np.uint32(1 << 16)  # a character that no text has: ids are below it
MANY = 64  # lines from which NumPy finds a single character faster than `str.find`
NOWHERE = np.empty(0, np.int64)


def to_string(ids: Iterable[int]) -> str:
    """Return ids as a string with one character per id, because `str.find` is the fastest search for a sequence."""
    return "".join(map(chr, ids))


class Stops:
    """The stop strings of all rows. A number stands for those of a row, and 0 for none."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, ...], int] = {(): 0}
        self._strings: list[tuple[str, ...]] = [()]

    def numbers(self, rows: Sequence[tuple[str, ...]]) -> np.ndarray:
        """Return the number of the stop strings of each row, (N,). Most rows of a job have the same ones."""
        for strings in set(rows) - self._numbers.keys():
            self._numbers[strings] = len(self._strings)
            self._strings.append(strings)
        return np.fromiter(map(self._numbers.__getitem__, rows), np.int64, len(rows))

    def find(
        self, history: History, now: int, numbers: np.ndarray, slots: np.ndarray, begins: np.ndarray, ends: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the first stop string of each text that ends in the newest call.

        With the stop strings "END" and "D", and a call that continues "the E" with "ND of":

            text    t h e   E N D   o f
            place   0 1 2 3 4 5 6 7 8 9
            matches         E N D           start 4, end 7
                                D           start 6, end 7

        Both end at the same place, so the longer one is taken, and the text is "the ".

        The recent characters of all texts are the lines of one string. A text without a match then costs no Python, and
        many long stop strings cost what `str.find` does. A string is searched in the lines of the texts that have it.

        Args:
            history: the characters, with those of the call.
            now: time of the first step of the call.
            numbers: of the stop strings of each text, (N,); at least one, and none is 0.
            slots: of the texts, (N,).
            begins: times of their first characters, (N,).
            ends: times after their last characters, (N,).

        Returns:
            The places of the texts that have one in these arrays, and the times of its first character and after its
            last one, each (M,).
        """
        order = np.argsort(numbers, kind="stable")  # texts with the same stop strings are neighbors
        groups, firsts = np.unique(numbers[order], return_index=True)
        strings = [self._strings[number] for number in groups.tolist()]
        first = now + 1 - max(len(string) for some in strings for string in some)
        lines = _lines(history, slots[order], first, begins[order], ends[order])
        size, width = lines.shape
        single = len(groups) == 1 and all(len(string) == 1 for string in strings[0])
        whole = "" if single else str(lines.reshape(-1).view(f"U{lines.size}")[0])
        found = np.full(size, width * width)  # end x width + start, so that the least one is first, and then longest
        borders = [*firsts.tolist(), size]
        for some, begin, end in zip(strings, borders[:-1], borders[1:], strict=True):
            for string in some:
                if len(string) == 1 and (single or end - begin > MANY):
                    places = np.flatnonzero(lines[begin:end] == ord(string)) + begin * width
                else:
                    places = _places(whole, width, string, begin * width, end * width)
                if len(places):
                    texts, starts = np.divmod(places[::-1], width)
                    found[texts] = np.minimum(found[texts], (starts + len(string)) * width + starts)  # the first one
        texts = np.flatnonzero(found < width * width)
        stops, starts = np.divmod(found[texts], width)
        return order[texts], first + starts, first + stops


def _lines(history: History, slots: np.ndarray, first: int, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the ids of texts from a time on, (N, T) uint32, with separators where a text is not and at each end."""
    times = np.arange(first, int(ends.max()) + 1)
    lines = np.full((len(slots), len(times)), SEPARATOR)
    own = (times >= begins[:, None]) & (times < ends[:, None])
    np.copyto(lines[:, :-1], history.recent(slots, first, int(times[-1])), where=own[:, :-1])
    return lines


def _places(whole: str, width: int, string: str, begin: int, end: int) -> np.ndarray:
    """Return the first place of a string in each line of `width` characters that has it, from `begin` to `end`."""
    places = []
    place = whole.find(string, begin, end)
    while place >= 0:
        places.append(place)
        place = whole.find(string, place - place % width + width, end)
    return np.array(places, np.int64) if places else NOWHERE
