"""Random snippets of a text to use as seeds. Depends only on NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charrnn.text.documents import Document
from charrnn.text.validation import PIECE_END

LENGTH = 20  # characters, as in the notebook
BYTES = 4 * LENGTH + 4  # enough for LENGTH characters of UTF-8, at whichever byte of a character they begin


def draw_openings(text: Document, count: int, rng_seed: int) -> Iterator[str]:
    """Yield `count` snippets of LENGTH characters from places drawn with `rng_seed`. Snippets are shorter where a piece
    of a validation text ends."""
    with text.open() as data:
        for place in np.random.default_rng(rng_seed).integers(max(1, len(data) - BYTES), size=count):
            start = text.boundary(data, int(place))
            stop = text.boundary(data, min(start + BYTES, len(data)))
            opening = data[start:stop].decode()[:LENGTH]
            yield max(opening.split(PIECE_END), key=len)  # a validation text may have pieces from several files
