"""The validation text: how it is chosen, and how copies of it are found in documents.

The validation text consists of pieces: whole files if the corpus has many, otherwise passages that are spread over it.
It is chosen once. Later, copies of it are removed from every corpus. These are copies:

- whole pieces, whatever they say;
- stretches of LONG bytes or more that say something: see `overlap.MIN_CONTENT`;
- most of a short piece;
- stretches of WINDOW bytes or more in a document that has half of its text from the validation text.

Shorter stretches in other documents are common to documents of a kind: a header, a license, a phrase. Text that says
nothing is common to all: a run of dashes, the empty part of a game level or of a record.
"""

from __future__ import annotations

import hashlib
import logging
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from charrnn.errors import InputError, counted
from charrnn.text.comparison.overlap import WINDOW, Fingerprint, Stretch, WholePieces, merge, size_of
from charrnn.text.documents import Document, FileBytes
from charrnn.text.listing import shorten_names

VALIDATION_SHARE = 0.05
SMALL_SHARE, SMALL_VALIDATION = 0.1, 10_000  # of a small text, up to so many bytes: fewer would tell too little
LARGEST_SHARE = 0.5  # of the validation text; a larger file would have to stand for all
SMALL_FILES_SHARE = 0.5  # of the corpus in smaller files; otherwise the validation text is no whole files
PASSAGES = 16  # of a validation text; more of them would cut the training text into pieces
SHORTEST = 512  # bytes of a passage, if the text is large enough
MAX_VALIDATION = 2_000_000  # bytes; more takes minutes to evaluate after each epoch and tells no more
LARGEST_VALIDATION = 10_000_000  # bytes, on request; hashing its windows takes 10 times as much memory
SEEN = 100_000  # characters of a validation text that is trained on; enough to tell
PIECE_END = "\0"  # separates the pieces of a validation text; no document contains it
LONG = 2_048  # bytes; a longer stretch is more than a common header
COPIED_SHARE = 0.5  # of a document; with more from the validation text it is a copy, edited or not
SEEN_SHARE = 0.1  # of the validation text; a model that was trained on less may still use it. More than a license
logger = logging.getLogger(__name__)

JOINT = "\n"  # joins two documents, and the text before and after a removed stretch


def join_documents(texts: Sequence[Document]) -> str:
    """Return a validation text made of whole documents.

    Raises:
        TextError: a document cannot be read.
        InputError: the documents have more than LARGEST_VALIDATION bytes.
    """
    check_size(texts)
    return PIECE_END.join("".join(document.read()) for document in texts)


def check_size(texts: Iterable[Document]) -> None:
    """Check that documents are small enough for a validation text, before any of them is read.

    Raises:
        InputError: they have more than LARGEST_VALIDATION bytes.
    """
    size = sum(document.size() for document in texts)
    if size > LARGEST_VALIDATION:
        raise InputError(
            f"The validation text has {size:,} bytes. Expected at most {LARGEST_VALIDATION:,}, since all of it is read "
            f"after each epoch, which takes minutes for {MAX_VALIDATION:,} already. Reserve fewer files for validation"
        )


def target_size(size: int) -> int:
    """Return the number of bytes to reserve for validation in a corpus of `size` bytes."""
    return min(round(max(VALIDATION_SHARE * size, min(SMALL_SHARE * size, SMALL_VALIDATION))), MAX_VALIDATION)


class Chosen(NamedTuple):
    """A validation text, and what it was made of, for people."""

    text: str
    source: str


def choose_validation(corpus: Sequence[Document]) -> Chosen:
    """Return a validation text that is like the rest: whole files if most of the text is in many small ones, otherwise
    passages that are spread evenly over the corpus. It has about 5% of the corpus, at most 2 MB.

    Raises:
        TextError: a document cannot be read.
    """
    sizes = [document.size() for document in corpus]
    target = target_size(sum(sizes))
    small = [place for place in _shuffle(corpus) if sizes[place] <= LARGEST_SHARE * target]
    if sum(sizes[place] for place in small) < SMALL_FILES_SHARE * sum(sizes):
        pieces = list(_passages(corpus, sizes, target))
        spread = " spread over the text" if len(pieces) > 1 else " in the middle of the text"
        return Chosen(PIECE_END.join(pieces), f"{counted(len(pieces), 'passage')}{spread}")
    size, chosen = 0, set[int]()
    for place in small:
        if size < target:
            size += sizes[place]
            chosen.add(place)
    files = [corpus[place] for place in sorted(chosen)]
    names = shorten_names(list(map(str, files)))
    return Chosen(join_documents(files), f"{len(files):,} of {counted(len(corpus), 'file')}: {names}")


def choose_seen(chunks: Iterator[str]) -> Chosen:
    """Return the beginning of a text as a validation text that is trained on too, and warn of what that means.

    Raises:
        TextError: a document cannot be read.
    """
    logger.warning(
        "No text is reserved for validation: training uses all of it. The validation loss, which is measured on that "
        "text, tells how well the text is memorized, and not how well the model writes other text"
    )
    text = ""
    while len(text) < SEEN and (chunk := next(chunks, None)) is not None:
        text += chunk
    return Chosen(text[:SEEN], "the beginning of the training text itself")


def _shuffle(corpus: Sequence[Document]) -> list[int]:
    """Return the numbers of documents in an order that does not depend on what their names say, since neighbors are
    often alike."""

    def key(place: int) -> bytes:
        # Includes the place, since files in several folders may all have the same name.
        return hashlib.sha256(f"{Path(str(corpus[place])).name}/{place}".encode("utf-8", "surrogateescape")).digest()

    return sorted(range(len(corpus)), key=key)


def _passages(corpus: Sequence[Document], sizes: Sequence[int], target: int) -> Iterator[str]:
    """Yield passages in the middle of equal sections of a corpus. They begin and end with lines if these are short.

    Each has at least WINDOW bytes, whichever character its end cuts, if its file has: shorter ones are not removed from
    later corpora.
    """
    count = max(1, min(PASSAGES, target // SHORTEST))
    length, ends = max(WINDOW + 3, target // count), list(accumulate(sizes))
    for number in range(count):
        place = round((number + 0.5) / count * ends[-1])
        within = bisect_right(ends, place)
        document, size = corpus[within], sizes[within]
        start = min(max(0, place - (ends[within] - size)), max(0, size - length))
        with document.open() as data:
            start = _line_start(document, data, start, min(start + length // 4, size - length))
            stop = _line_start(document, data, min(size, start + length), min(size, start + length + length // 4))
        if passage := "".join(document.read(start, stop)):
            yield passage


def _line_start(document: Document, data: FileBytes, place: int, last: int) -> int:
    """Return where the first line begins after a place and before another, or the place itself."""
    line_end = data[max(0, place - 1) : last].find(b"\n")
    return document.boundary(data, place) if place == 0 or line_end < 0 else place + line_end


class Validation:
    """A search for copies of a validation text in documents."""

    def __init__(self, text: str) -> None:
        encoded = text.encode()
        self.pieces = set(encoded.split(PIECE_END.encode()))
        self.size = len(encoded)
        self.short = [piece for piece in self.pieces if WINDOW <= len(piece) < 2 * LONG]
        self.whole, self.fingerprint = WholePieces(self.pieces), Fingerprint(encoded)

    def find_copies(self, document: Document) -> list[Stretch]:
        """Return the stretches of a document that are copies, sorted.

        A document shorter than WINDOW is a copy as a whole or not at all.
        """
        with document.open() as data:
            if len(data) < WINDOW:
                return [(0, len(data))] if data[:] in self.pieces else []
            copies = self.fingerprint.stretches(data)
            if size_of(copies) < COPIED_SHARE * len(data):
                copies = [
                    (start, stop) for start, stop in copies if stop - start >= LONG or self._is_most(data[start:stop])
                ]
            copies = merge(sorted([*copies, *self.whole.stretches(data)]))
            return [(document.boundary(data, start), document.boundary(data, stop)) for start, stop in copies]

    def _is_most(self, stretch: bytes) -> bool:
        """Return whether a stretch is most of a short piece."""
        return any(stretch in piece or piece in stretch for piece in self.short if len(piece) <= 2 * len(stretch))


def overlaps_validation(document: Document, text: str) -> bool:
    """Return whether a document has at least SEEN_SHARE of a validation text, more than documents have in common."""
    validation = Validation(text)
    return size_of(validation.find_copies(document)) >= SEEN_SHARE * validation.size
