"""Whether a validation text is like its training text. If it is not, its loss says little."""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from charrnn.text.comparison.ngrams import NGrams
from charrnn.text.validation import JOINT, PIECE_END

SAMPLE = 500_000  # characters of the training text that are counted; it takes half a second
HELD_OUT = 10  # one block in so many is left out of the counts, to be compared with
BLOCK = 2_000  # characters; shorter than a tenth of a small text
MAX_RATIO, MAX_GAP = 1.15, 0.1  # by which, in nats per character, the losses of two texts of a kind may differ
COMMON, RARE = 0.01, 0.001  # shares of a text
MIN_COUNT = 20  # of a common character; fewer are chance
SHOWN = 20  # characters in a warning

logger = logging.getLogger(__name__)


def baseline(chunks: Iterable[str], num_characters: int, validation: str, *, lines: bool = False) -> float:
    """Return the cross-entropy of a validation text under an n-gram model of the training text, in nats per character.

    A warning is logged if the validation text is unlike the training text: its loss is far from that of parts of the
    training text, or characters are common in one of them and rare in the other.

    Args:
        chunks: the training text.
        num_characters: its length, at least 1.
        validation: the validation text as `charrnn.text.validation` makes it; at least one character.
        lines: whether the text is a list. Lines that occur twice then count once, as in the validation text.
    """
    size = max(1, min(BLOCK, num_characters // HELD_OUT**2))
    blocks = _blocks(chunks, num_characters, size)
    held_out = blocks[HELD_OUT // 2 :: HELD_OUT]
    del blocks[HELD_OUT // 2 :: HELD_OUT]
    counted, pieces = "".join(blocks), validation.split(PIECE_END)
    text = JOINT.join(pieces)[:SAMPLE]
    model = NGrams(counted or "".join(held_out))
    nats = model.cross_entropy(text)
    if lines:
        known = set(counted.split(JOINT))
        held_out = list(filter(None, (_new_lines(block, known) for block in held_out)))
    if len(held_out) > 1:
        _warn([model.cross_entropy(block) for block in held_out], nats, max(len(pieces), len(text) // size))
    _warn_of_characters(Counter(counted), Counter(text))
    return nats


def _blocks(chunks: Iterable[str], num_characters: int, size: int) -> list[str]:
    """Return blocks of up to `size` characters at equal distances, SAMPLE characters in all. They may cross chunks."""
    distance = max(size, size * num_characters // SAMPLE)
    blocks, place = defaultdict[int, str](str), 0  # of the next chunk
    for chunk in chunks:
        for number in range(place // distance, (place + len(chunk) - 1) // distance + 1):
            start = number * distance - place
            blocks[number] += chunk[max(0, start) : max(0, start + size)]
        place += len(chunk)
    return list(blocks.values())


def _new_lines(block: str, known: set[str]) -> str:
    """Return the whole lines of a block that are not among the known ones."""
    return "".join(f"{JOINT}{line}" for line in block.split(JOINT)[1:-1] if line not in known)


def _warn(losses: Sequence[float], outside: float, pieces: int) -> None:
    inside, chance = fmean(losses), 3 * stdev(losses) / math.sqrt(pieces)  # three standard errors
    low, high = sorted((inside, outside))
    if high > MAX_RATIO * low + MAX_GAP + chance:
        logger.warning(
            "The validation text is unlike the training text: a simple n-gram model reaches %.2f nats per character on "
            "it, and %.2f on parts of the training text. Training may end too %s. A model keeps its validation text; "
            "to choose another, train a new model with `validation`",
            outside,
            inside,
            "early" if outside > inside else "late",
        )


def _warn_of_characters(training: Counter[str], validation: Counter[str]) -> None:
    shares = [{c: count / texts.total() for c, count in texts.items()} for texts in (training, validation)]
    for (name, common), (other, rare) in (
        (("training", shares[0]), ("validation", shares[1])),
        (("validation", shares[1]), ("training", shares[0])),
    ):
        found = sorted(c for c, share in common.items() if share >= COMMON and rare.get(c, 0.0) < RARE)
        if found and validation.total() * COMMON >= MIN_COUNT:
            logger.warning("Common in the %s text and rare in the %s text: %r", name, other, "".join(found)[:SHOWN])
