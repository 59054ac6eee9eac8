"""The validation text: how it is chosen, and how copies of it are found in documents.

The validation text consists of pieces: whole files if the corpus has several, otherwise its tail. It is chosen once.
Later, copies of it are removed from every corpus. These are copies:

- whole pieces, whatever they say;
- stretches of LONG bytes or more that say something: see `overlap.MIN_CONTENT`;
- most of a short piece;
- stretches of WINDOW bytes or more in a document that has half of its text from the validation text.

Shorter stretches in other documents are common to documents of a kind: a header, a license, a phrase. What says nothing
is common to all: a run of dashes, the empty part of a game level or of a record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from charrnn.errors import InputError
from charrnn.text.documents import Document
from charrnn.text.overlap import WINDOW, Fingerprint, Stretch, WholePieces, merge, size_of

VALIDATION_SHARE = 0.05
MIN_VALIDATION_SHARE = 0.02  # whole files with a smaller share tell too little, so the tail is better
MAX_VALIDATION = 2_000_000  # bytes; more takes minutes to evaluate after each epoch and tells no more
LARGEST_VALIDATION = 10_000_000  # bytes, on request; hashing its windows takes 10 times as much memory
PIECE_END = "\0"  # separates the pieces of a validation text; no document contains it
LONG = 2_048  # bytes; a longer stretch is more than a common header
COPIED_SHARE = 0.5  # of a document; with more from the validation text it is a copy, edited or not
SEEN_SHARE = 0.1  # of the validation text; a model that was trained on less may still use it. More than a license
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


def choose_validation(corpus: Sequence[Document]) -> str:
    """Return about 5% of a corpus, at most 2 MB: whole files, or a tail if the files are too few or too large.

    Raises:
        TextError: a document cannot be read.
    """
    sizes = {document: document.size() for document in corpus}
    total, size, chosen = sum(sizes.values()), 0, set[Document]()
    target = min(VALIDATION_SHARE * total, MAX_VALIDATION)
    for document in _shuffle(corpus):
        if size < target and size + sizes[document] <= 2 * target:
            size += sizes[document]
            chosen.add(document)
    if size >= MIN_VALIDATION_SHARE / VALIDATION_SHARE * target:
        return join_documents([document for document in corpus if document in chosen])
    # At least WINDOW bytes: shorter stretches are not removed from later corpora.
    return _tail(max(corpus, key=lambda document: sizes[document]), max(WINDOW, round(target)))


def _shuffle(corpus: Sequence[Document]) -> list[Document]:
    """Return documents in an order that does not depend on what their names say, since neighbors are often alike."""

    def key(place: int) -> bytes:
        # Includes the place, since files in several folders may all have the same name.
        return hashlib.sha256(f"{Path(str(corpus[place])).name}/{place}".encode("utf-8", "surrogateescape")).digest()

    return [corpus[place] for place in sorted(range(len(corpus)), key=key)]


def _tail(document: Document, size: int) -> str:
    with document.open() as data:
        start = document.boundary(data, max(0, len(data) - size))
    return "".join(document.read(start))


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
