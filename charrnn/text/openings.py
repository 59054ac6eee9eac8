"""Random snippets of a text to use as seeds. Depends only on NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charrnn.text.documents import Document
from charrnn.text.validation import PIECE_END

LENGTH = 20  # characters, as in the notebook
LINE = 4_096  # bytes of a line that are read before and after a place
NEW_LINE = b"\n"
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
    with text.open() as data:
        for place in np.random.default_rng(rng_seed).integers(max(1, len(data) - BYTES), size=count):
            if lines:
                before = data[max(0, place - LINE) : place].rpartition(NEW_LINE)[2]
                line = before + data[place : place + LINE].partition(NEW_LINE)[0]
                yield line_opening(line.decode(errors="ignore"), LENGTH)
                continue
            start = text.boundary(data, int(place))
            stop = text.boundary(data, min(start + BYTES, len(data)))
            opening = data[start:stop].decode()[:LENGTH]
            yield max(opening.split(PIECE_END), key=len)  # a validation text may have pieces from several files


def line_opening(line: str, length: int) -> str:
    """Return the beginning of a line: half of it, at most `length` characters, so that there is something to add."""
    return line[: min(length, -(-len(line) // 2))]
