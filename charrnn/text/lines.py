"""Lists: texts of one line each, such as names, molecules, tweets or log lines. Depends only on NumPy.

The text of a list begins each line with a newline and ends none with one, so that a model sees the same character
before every line. Empty lines are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain, pairwise
from statistics import fmean, median

import numpy as np

from charrnn.errors import TextError, counted
from charrnn.text.documents import CHUNK, Document
from charrnn.text.validation import PIECE_END, SEEN_SHARE, Chosen, target_size

NEW_LINE = "\n"

MAX_LINE = 1_000_000  # characters
MIN_LINES = 20  # a shorter text may be anything
LONGEST = 200  # characters of a mean line; longer ones are more often the paragraphs of a text
PLACES = 16  # that are looked at, spread over the documents
SAMPLED = 4_096  # bytes of each place
INDENTED_SHARE = 0.02  # of lines, as in code and plays; also of empty ones, as between paragraphs
EQUAL_SHARE = 0.9  # of lines as long as the longest one: wrapped records, or the rows of a map
WRAPPED_WORDS = 5  # in most lines; fewer are names or titles
WRAPPED_SHARE = 0.8  # of lines that have no room for the first word of the next one
SORTED_SHARE = 0.95  # of lines that stand in the order of the alphabet, or of time
NAME_WORDS, NAMES_SHARE = 3, 0.95  # most words of a name; share of lines that are names, and all different
FAR = 12  # lines; those closer to each other belong together in most texts
ALIKE = 1.25  # times as many common trigrams in lines that belong together as in others
GRAM = 3  # characters
WORD = r"[^\W\d_]+(?:[-'’.][^\W\d_]*)*"
NAME = re.compile(rf"{WORD}(?: {WORD}){{0,{NAME_WORDS - 1}}}")


@dataclass(frozen=True)
class Lines:
    """The lines of documents without some of them.

    Attributes:
        documents: files of plain text.
        left_out: lines that are left out wherever they stand.
    """

    documents: Sequence[Document]
    left_out: frozenset[str] = frozenset()

    def read(self) -> Iterator[str]:
        """Yield the text in chunks.

        Raises:
            TextError: a document cannot be read.
        """
        for lines in _chunks(self.documents):
            yield "".join(f"{NEW_LINE}{line}" for line in lines if line not in self.left_out)


def lines_of(text: str) -> list[str]:
    """Return the lines of a validation text, whichever form it has."""
    return [line for line in text.replace(PIECE_END, NEW_LINE).split(NEW_LINE) if line]


def join_lines(documents: Sequence[Document]) -> str:
    """Return a validation text made of all lines of documents.

    Raises:
        TextError: a document cannot be read.
    """
    return "".join(Lines(documents).read())


def choose_lines(documents: Sequence[Document]) -> Chosen:
    """Return a validation text: random lines of a list, with all their copies, since these must not be trained on.

    The choice depends on the lines alone and not on their order. A line with many copies stays in the training text.

    Raises:
        TextError: a document cannot be read.
    """
    size = sum(document.size() for document in documents)
    target = target_size(size)
    # Twice the target is enough to choose from. In a large list it is a small share, so that few lines are in memory.
    limit = round(2**64 * min(1.0, 2 * target / size)) if size > CHUNK else 2**64
    found = _count(documents, limit) or _count(documents, 2**64)  # all of a list with few different lines
    if not found:
        raise TextError(f"{documents[0]}: all lines are empty. Expected a list with one text a line")
    if len(found) == 1 and limit == 2**64:
        raise TextError(
            f"{documents[0]}: the list has one line, or equal ones, so none can be reserved for validation. Expected "
            f"different lines, or `validation` none"
        )
    chosen, taken = list[str](), 0
    for line in sorted(found, key=_order):
        cost = found[line] * len(f"{NEW_LINE}{line}".encode())
        if taken < target and taken + cost <= 2 * target:
            chosen += [line] * found[line]
            taken += cost
    if not chosen:  # each line alone is larger: the one with the fewest copies is better than none
        line = min(found, key=lambda line: (found[line], _order(line)))
        chosen = [line] * found[line]
    text = "".join(f"{NEW_LINE}{line}" for line in chosen)
    return Chosen(text, f"{counted(len(chosen), 'random line')} of the list")


def _count(documents: Sequence[Document], limit: int) -> Counter[str]:
    return Counter(line for line in chain.from_iterable(_chunks(documents)) if _order(line) < limit)


def count_copies(documents: Sequence[Document], validation: str) -> int:
    """Return the number of characters in those lines of a list that repeat the validation text and are not it."""
    originals, count = Counter(lines_of(validation)), 0
    for line in chain.from_iterable(_chunks(documents)):
        if line in originals:
            originals[line] -= 1
            count += (originals[line] < 0) * len(f"{NEW_LINE}{line}")
    return count


def overlaps_lines(document: Document, text: str) -> bool:
    """Return whether a document has at least SEEN_SHARE of the lines of a validation text."""
    wanted = set(lines_of(text))
    seen = wanted.intersection(line for lines in _chunks([document]) for line in lines)
    return len(seen) >= SEEN_SHARE * len(wanted)


def _order(line: str) -> int:
    """Return a number that stands for a random place of the line among all lines."""
    return int.from_bytes(blake2b(line.encode(), digest_size=8).digest())


def _chunks(documents: Iterable[Document]) -> Iterator[list[str]]:
    """Yield the lines of documents that are not empty, in lists of about 1 MB.

    Raises:
        TextError: a document cannot be read, or has a line of more than MAX_LINE characters.
    """
    for document in documents:
        rest = ""
        for chunk in document.read():
            *lines, rest = f"{rest}{chunk}".split(NEW_LINE)
            if len(rest) > MAX_LINE:
                raise TextError(
                    f"{document}: a line has more than {MAX_LINE:,} characters. Expected a list with one text a line: "
                    f"leave out `lines`"
                )
            if any(lines):
                yield [line for line in lines if line]
        if rest:
            yield [rest]


def is_list(documents: Sequence[Document]) -> bool:
    """Return whether documents are lists, whose lines could stand in any order.

    In doubt they are not: a text that is read as a list loses what its lines have to do with each other, and a list
    that is read as a text loses little. The lines of a list are short, neither indented nor parted by empty lines, not
    wrapped at one width, and names, or sorted, or no more alike than lines that stand far apart.

    Raises:
        TextError: a document cannot be read.
    """
    spread = documents[:: -(-len(documents) // PLACES)]
    stretches = [lines for document in spread for lines in _sample(document, PLACES // len(spread))]
    lines = [line for stretch in stretches for line in stretch]
    filled = [line for line in lines if line]
    if len(filled) < MIN_LINES or fmean(map(len, filled)) > LONGEST:
        return False
    if sum(not line or line[0].isspace() for line in lines) > INDENTED_SHARE * len(lines):
        return False
    longest = max(map(len, filled))
    if sum(len(line) == longest for line in filled) > EQUAL_SHARE * len(filled):
        return False
    pairs = [pair for stretch in stretches for pair in pairwise(stretch)]
    if _is_wrapped(pairs, longest):
        return False
    return _are_names(filled) or _is_sorted(pairs) or not _neighbors_are_alike(stretches)


def _sample(document: Document, places: int) -> Iterator[list[str]]:
    """Yield the lines at some places of a document: all of them if it is small."""
    with document.open() as data:
        step = max(SAMPLED, -(-len(data) // places))
        for place in range(0, len(data), step):
            start = document.boundary(data, place)
            stop = document.boundary(data, min(len(data), place + SAMPLED))
            text = "".join(document.read(start, stop))
            lines = text.split(NEW_LINE)
            # The first and the last one may be pieces of lines.
            yield lines[start > 0 : len(lines) - (stop < len(data) or not lines[-1])]


def _is_wrapped(pairs: Sequence[tuple[str, str]], longest: int) -> bool:
    """Return whether lines of several words end where the next word had no room."""
    pairs = [pair for pair in pairs if all(pair)]
    if not pairs or median(line.count(" ") for line, _ in pairs) < WRAPPED_WORDS:
        return False
    full = sum(len(line) + 1 + len(following.split(" ", 1)[0]) > 0.9 * longest for line, following in pairs)
    return full > WRAPPED_SHARE * len(pairs)


def _are_names(lines: Sequence[str]) -> bool:
    """Return whether nearly all lines are different and have few words of letters, however they are grouped."""
    names = sum(NAME.fullmatch(line) is not None for line in lines)
    return min(names, len(set(lines))) >= NAMES_SHARE * len(lines)


def _is_sorted(pairs: Sequence[tuple[str, str]]) -> bool:
    rising = sum(before.casefold() <= after.casefold() for before, after in pairs)
    return rising >= SORTED_SHARE * len(pairs)


def _neighbors_are_alike(stretches: Sequence[Sequence[str]]) -> bool:
    """Return whether lines at some distance of up to FAR have more trigrams in common than those that stand farther
    apart: neighbors, or every sixth line where a record has six."""
    found: list[list[float]] = [[] for _ in range(2 * FAR)]
    for stretch in stretches:
        grams = [{line[place : place + GRAM] for place in range(len(line) - GRAM + 1)} for line in stretch]
        for distance, shares in enumerate(found, 1):
            shares += map(_common, grams, grams[distance:])
    far = np.concatenate(found[FAR:])
    if not len(far):
        return False
    mean, square = far.mean(), far.var() / len(far)
    higher = (  # by ALIKE, and by five standard errors
        np.mean(near) > max(ALIKE * mean, mean + 5 * (np.var(near) / len(near) + square) ** 0.5)
        for near in found[:FAR]
        if near
    )
    return any(higher)


def _common(first: set[str], second: set[str]) -> float:
    return len(first & second) / max(1, len(first | second))
