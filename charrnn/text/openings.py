"""Random openings of a text, for a model to go on from. NumPy alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charrnn.text.documents import Document
from charrnn.text.validation import PIECE_END

LENGTH = 20  # characters, as the notebook's
BYTES = 4 * LENGTH + 4  # that hold as many characters of UTF-8, whichever byte they begin in


def draw_openings(text: Document, count: int, rng_seed: int) -> Iterator[str]:
    """Yield `count` stretches of LENGTH characters, fewer where a piece ends, from places that `rng_seed` draws."""
    with text.mapped() as data:
        for place in np.random.default_rng(rng_seed).integers(max(1, len(data) - BYTES), size=count):
            start = text.boundary(data, int(place))
            stop = text.boundary(data, min(start + BYTES, len(data)))
            opening = data[start:stop].decode(text.encoding)[:LENGTH]
            yield max(opening.split(PIECE_END), key=len)  # a validation text has pieces of several files
