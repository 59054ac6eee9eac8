"""The validation (validation) text: how it is chosen, and how copies of it are found in documents.

The validation text is a few pieces: whole files where the corpus has several, else its tail. It is
chosen once; later on, what is copied from it is cut away wherever it stands in a corpus: long stretches, most
of a short piece, and of a document that has half of its text from it all that is WINDOW bytes and more. Shorter
stretches in other documents are what such documents have in common: a header, a licence, a phrase.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from charrnn.errors import InputError
from charrnn.text.documents import MARK_BYTES, Document
from charrnn.text.overlap import WINDOW, Fingerprint, Stretch

VALIDATION_SHARE = 0.05
MIN_VALIDATION_SHARE = 0.02  # fewer whole files than this tell too little: the tail is better
MAX_VALIDATION = 2_000_000  # bytes; more takes minutes to read after each epoch and tells no more
LARGEST_VALIDATION = 10_000_000  # bytes, on request; to hash its windows takes 65 times that for a moment
PIECE_END = "\0"  # between the pieces of a validation text; no document has it
LONG = 2_048  # bytes of a stretch that is no mere header
COPIED_SHARE = 0.5  # of a document that is a copy, edited or not
SEEN_SHARE = 0.1  # of a validation text that a model may know; more than a licence
JOINT = "\n"  # between two documents, and where something was cut away


def whole(texts: Sequence[Document]) -> str:
    """Join documents to a validation text.

    Raises:
        TextError: a document that cannot be read.
        InputError: more than LARGEST_VALIDATION.
    """
    size = sum(document.size() for document in texts)
    if size > LARGEST_VALIDATION:
        raise InputError(
            f"The validation text has {size:,} bytes. Expected at most {LARGEST_VALIDATION:,}, since all of it is read "
            f"after each epoch, which takes minutes for {MAX_VALIDATION:,} already. Hold out fewer files"
        )
    return PIECE_END.join("".join(document.read()) for document in texts)


def choose_validation(corpus: Sequence[Document]) -> str:
    """Return about 5 % of a corpus, 2 MB at most: whole files, or a tail if the files are too few or too large.

    Raises:
        TextError: a document that cannot be read.
    """
    sizes = {document: document.size() for document in corpus}
    total, taken, chosen = sum(sizes.values()), 0, list[Document]()
    wanted = min(VALIDATION_SHARE * total, MAX_VALIDATION)
    for document in _shuffled(corpus):
        if taken < wanted and taken + sizes[document] <= 2 * wanted:
            taken += sizes[document]
            chosen.append(document)
    if taken >= MIN_VALIDATION_SHARE / VALIDATION_SHARE * wanted:
        return whole(sorted(chosen, key=lambda document: document.path))
    # At least what is cut out of every later corpus.
    return _tail(max(corpus, key=lambda document: sizes[document]), max(WINDOW, round(wanted)))


def _shuffled(corpus: Sequence[Document]) -> list[Document]:
    """Return documents in an order that has nothing to do with what the names say: neighbours are often alike."""

    def key(place: int) -> bytes:
        # The place too, since the files of several folders may all have one name.
        return hashlib.sha256(f"{Path(str(corpus[place])).name}/{place}".encode("utf-8", "surrogateescape")).digest()

    return [corpus[place] for place in sorted(range(len(corpus)), key=key)]


def _tail(document: Document, size: int) -> str:
    with document.mapped() as data:
        start = document.boundary(data, max(0, len(data) - size))
    return "".join(document.read(start))


class Validation:
    """A validation text, to be found in documents of one encoding."""

    def __init__(self, text: str, encoding: str) -> None:
        encoded = text.encode(encoding, "replace")
        self.pieces = set(encoded.split(PIECE_END.encode()))
        self.size = len(encoded)
        self.short = [piece for piece in self.pieces if WINDOW <= len(piece) < 2 * LONG]
        self.fingerprint = Fingerprint(encoded)

    def found_in(self, document: Document) -> list[Stretch]:
        """Return the stretches that are copied from it, sorted; of a document shorter than WINDOW all or nothing."""
        with document.mapped() as data:
            if len(data) < WINDOW:
                return [(0, len(data))] if data[:].removeprefix(MARK_BYTES) in self.pieces else []
            found = self.fingerprint.stretches(data)
            if sum(stop - start for start, stop in found) < COPIED_SHARE * len(data):
                found = [(start, stop) for start, stop in found if self._is_copy(data[start:stop])]
            return [(document.boundary(data, start), document.boundary(data, stop)) for start, stop in found]

    def _is_copy(self, stretch: bytes) -> bool:
        """Return whether a stretch is long, or most of a piece."""
        return len(stretch) >= LONG or any(
            stretch in piece or piece in stretch for piece in self.short if len(piece) <= 2 * len(stretch)
        )


def stands_in(document: Document, text: str) -> bool:
    """Return whether a document has more of a validation text than many documents may have in common."""
    validation = Validation(text, document.encoding)
    return sum(stop - start for start, stop in validation.found_in(document)) >= SEEN_SHARE * validation.size
