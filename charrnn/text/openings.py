"""Random snippets of a text to use as seeds. Depends only on NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charrnn.text.documents import Document, FileBytes
from charrnn.text.validation import PIECE_END

LENGTH = 20  # characters, as in the notebook
LINE = 4_096  # bytes of a line that are read before and after a place
NEW_LINE, END = b"\n", PIECE_END.encode()
BYTES = 4 * LENGTH + 4  # enough for LENGTH characters of UTF-8, at whichever byte of a character they begin


def draw_openings(text: Document, count: int, rng_seed: int, *, lines: bool = False) -> Iterator[str]:
    """Yield `count` snippets of LENGTH characters from places drawn with `rng_seed`. Snippets are shorter where a piece
    of a validation text ends.

    Args:
        text: the text.
        count: number of snippets.
        rng_seed: random seed of the places.
        lines: yield the beginnings of lines instead, see `line_opening`.
    """
    rng = np.random.default_rng(rng_seed)
    with text.open() as data:
        if lines:
            for place in rng.integers(len(data), size=count):
                yield line_opening(_line_at(data, int(place)), LENGTH)
            return
        for place in rng.integers(max(1, len(data) - BYTES), size=count):
            start = text.boundary(data, int(place))
            stop = text.boundary(data, min(start + BYTES, len(data)))
            opening = data[start:stop].decode()[:LENGTH]
            yield max(opening.split(PIECE_END), key=len)  # a validation text may have pieces from several files


def _line_at(data: FileBytes, place: int) -> str:
    """Return the line that the byte at `place` belongs to, or LINE bytes of it. A newline belongs to the next line."""
    place += data[place : place + 1] in (NEW_LINE, END)
    before = data[max(0, place - LINE) : place].replace(END, NEW_LINE).rpartition(NEW_LINE)[2]
    after = data[place : place + LINE].replace(END, NEW_LINE).partition(NEW_LINE)[0]
    return (before + after).decode(errors="ignore")


def line_opening(line: str, length: int) -> str:
    """Return the beginning of a line: half of it, at most `length` characters, so that there is something to add."""
    return line[: min(length, -(-len(line) // 2))]
