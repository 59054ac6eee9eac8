"""Generated texts in a page. They are untrusted: of any length, in any script, with any character."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import groupby
from operator import itemgetter

from markupsafe import Markup, escape

from charrnn.errors import counted
from producer.output.console import printable

SHADES = (0.5, 0.2, 0.05, 0.01)  # probabilities: a character below the n-th has shade n + 1
THRESHOLDS = tuple(-math.log(probability) for probability in SHADES)


class Lengths(IntEnum):
    """Most characters of a text that a page shows, by what it is: a line of 100 kB would hide everything else."""

    WORD = 40  # such as the kind of a job, or a release
    LABEL = 80  # also the id of a row
    PERSON = 100  # also a worker, a host or a device
    HEADING = 120  # a seed as a heading
    NAME = 200  # of a model, a schedule or a key; also a seed or a verdict where there is little room
    EXCERPT = 400  # a seed before its text, and a text in a report
    MESSAGE = 500
    CELL = 600  # a text in a grid, and a preview among others
    PREFILLED = 1000  # a seed in an address, for the form of a new job
    TEXT = 2000


def shown(text: str, limit: int = Lengths.TEXT) -> Markup:
    """Return a text as HTML, without invisible characters and without what is beyond `limit` characters."""
    return escape(_printable_lines(text[:limit])) + _rest(text, limit)


def shaded(text: str, logprobs: Sequence[float], limit: int = Lengths.TEXT) -> Markup:
    """Return a text as HTML whose unlikely characters are shaded, the less likely the darker, up to `limit` characters.

    Args:
        logprobs: natural log probability of each character.
    """
    shades = (bisect_left(THRESHOLDS, -logprob) for logprob in logprobs)
    runs = groupby(zip(text[:limit], shades, strict=False), itemgetter(1))
    parts = (_run(shade, "".join(character for character, _ in run)) for shade, run in runs)
    return Markup("").join(parts) + _rest(text, limit)


def _run(shade: int, text: str) -> Markup:
    lines = escape(_printable_lines(text))
    return Markup('<span class="shade-{}">{}</span>').format(shade, lines) if shade else lines


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.replace("\r\n", "\n").split("\n")))


def _rest(text: str, limit: int) -> Markup:
    more = len(text) - limit
    return Markup(' <span class="rest">… {} more</span>').format(counted(more, "character")) if more > 0 else Markup("")


def legend() -> Iterator[tuple[int, str]]:
    """Yield each shade with what it means."""
    for shade, probability in enumerate(SHADES, start=1):
        yield shade, f"below {probability:.0%}"
