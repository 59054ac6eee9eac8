"""A corpus in two: what to train on, and the held-out text that training never sees.

The held-out text is a few pieces: whole files where the corpus has several, else its tail. It is
chosen once; later on, what is copied from it is cut away wherever it stands in a corpus: long stretches, most
of a short piece, and of a document that has half of its text from it all that is WINDOW bytes and more. Shorter
stretches in other documents are what such documents have in common: a header, a licence, a phrase.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

from charrnn.checks import check_choice
from charrnn.errors import InputError
from charrnn.text.documents import ENCODINGS, MARK_BYTES, Document, expand
from charrnn.text.overlap import WINDOW, Fingerprint, Stretch
from charrnn.text.vocabulary import Vocabulary

HELD_OUT_SHARE = 0.05
MIN_HELD_OUT_SHARE = 0.02  # fewer whole files than this tell too little: the tail is better
MAX_HELD_OUT = 2_000_000  # bytes; more takes minutes to read after each epoch and tells no more
LARGEST_HELD_OUT = 10_000_000  # bytes, on request; to hash its windows takes 65 times that for a moment
REPEATING_SHARE = 0.1  # a text of which less is new, held-out text included, does nothing but repeat itself
PIECE_END = "\0"  # between the pieces of a held-out text; no document has it
LONG = 2_048  # bytes of a stretch that is no mere header
COPIED_SHARE = 0.5  # of a document that is a copy, edited or not
SEEN_SHARE = 0.1  # of a held-out text that a model may know; more than a licence
NOTED_SHARE = 0.01  # of a text, left out beside the held-out text itself
SHOWN = 40  # characters in an error
JOINT = "\n"  # between two documents, and where something was cut away

logger = logging.getLogger(__name__)


def documents(paths: str | Path | Iterable[str | Path], encoding: str) -> list[Document]:
    """The documents of files, folders and patterns, in sorted order.

    Raises:
        InputError: a path that names no file, or an encoding that is not known.
    """
    check_choice("encoding", encoding, ENCODINGS)
    given = [paths] if isinstance(paths, str | Path) else paths
    return [Document(path, encoding) for path in expand(given)]


def whole(texts: Sequence[Document]) -> str:
    """Documents as a held-out text.

    Raises:
        TextError: a document that cannot be read.
        InputError: more than LARGEST_HELD_OUT.
    """
    size = sum(document.size() for document in texts)
    if size > LARGEST_HELD_OUT:
        raise InputError(
            f"The held-out text has {size:,} bytes. Expected at most {LARGEST_HELD_OUT:,}, since all of it is read "
            f"after each epoch, which takes minutes for {MAX_HELD_OUT:,} already. Hold out fewer files"
        )
    return PIECE_END.join("".join(document.read()) for document in texts)


def choose_held_out(corpus: Sequence[Document]) -> str:
    """About 5 % of a corpus, 2 MB at most: whole files, or a tail if the files are too few or too large for that.

    Raises:
        TextError: a document that cannot be read.
    """
    sizes = {document: document.size() for document in corpus}
    total, taken, chosen = sum(sizes.values()), 0, list[Document]()
    wanted = min(HELD_OUT_SHARE * total, MAX_HELD_OUT)
    for document in _shuffled(corpus):
        if taken < wanted and taken + sizes[document] <= 2 * wanted:
            taken += sizes[document]
            chosen.append(document)
    if taken >= MIN_HELD_OUT_SHARE / HELD_OUT_SHARE * wanted:
        return whole(sorted(chosen, key=lambda document: document.path))
    # At least what is cut out of every later corpus.
    return _tail(max(corpus, key=lambda document: sizes[document]), max(WINDOW, round(wanted)))


def _shuffled(corpus: Sequence[Document]) -> list[Document]:
    """In an order that has nothing to do with what the names say: neighbours are often alike."""

    def key(place: int) -> bytes:
        # The place too, since the files of several folders may all have one name.
        return hashlib.sha256(f"{Path(str(corpus[place])).name}/{place}".encode("utf-8", "surrogateescape")).digest()

    return [corpus[place] for place in sorted(range(len(corpus)), key=key)]


def _tail(document: Document, size: int) -> str:
    with document.mapped() as data:
        start = document.boundary(data, max(0, len(data) - size))
    return "".join(document.read(start))


@dataclass
class TrainingText:
    """Documents without what is held out, joined by newlines; read in chunks, counted meanwhile.

    Attributes:
        characters: how many were read.
        seen: which.
    """

    corpus: Sequence[Document]
    held_out: str
    characters: int = 0
    seen: set[str] = field(default_factory=set)

    def __iter__(self) -> Iterator[str]:
        """Chunks of the text.

        Raises:
            TextError: a document that cannot be read.
        """
        self.characters, self.seen = 0, set()
        for number, stretch in enumerate(self._stretches()):
            for text in chain([JOINT] if number else [], stretch):
                self.characters += len(text)
                self.seen.update(text)
                yield text

    def scan(self) -> None:
        """Read it all, to count it."""
        for _ in self:
            pass

    def vocabulary(self) -> Vocabulary:
        """Of training and held-out text; after the text was read."""
        return Vocabulary.of("".join(self.seen | set(self.held_out) - {PIECE_END}))

    def _stretches(self) -> Iterator[Iterator[str]]:
        for document, cuts in zip(self.corpus, self._cuts, strict=True):
            place, end = 0, document.size()
            for start, stop in [*cuts, (end, end)]:
                if start > place:
                    yield document.read(place, start)
                place = stop

    @cached_property
    def _cuts(self) -> list[list[Stretch]]:
        """What to leave out of each document."""
        held_out = {encoding: HeldOut(self.held_out, encoding) for encoding in {one.encoding for one in self.corpus}}
        cuts = [held_out[document.encoding].found_in(document) for document in self.corpus]
        size = sum(document.size() for document in self.corpus)
        cut = sum(stop - start for stretches in cuts for start, stop in stretches)
        held_out_size = len(self.held_out.encode())
        if cut > 2 * held_out_size and size - cut + held_out_size <= max(REPEATING_SHARE * size, 2 * WINDOW):
            logger.warning(
                "The text repeats itself: what is held out stands in most of it, so all of it is trained on. "
                "The held-out loss says nothing about other text"
            )
            return [[] for _ in cuts]
        if cut - held_out_size > NOTED_SHARE * size:
            logger.warning("%s bytes of the text are left out, held-out text and copies of it", f"{cut:,}")
        return cuts


class HeldOut:
    """A held-out text, to be found in documents of one encoding."""

    def __init__(self, text: str, encoding: str) -> None:
        encoded = text.encode(encoding, "replace")
        self.pieces = set(encoded.split(PIECE_END.encode()))
        self.size = len(encoded)
        self.short = [piece for piece in self.pieces if WINDOW <= len(piece) < 2 * LONG]
        self.fingerprint = Fingerprint(encoded)

    def found_in(self, document: Document) -> list[Stretch]:
        """What is copied from it, sorted; of a document shorter than WINDOW all or nothing."""
        with document.mapped() as data:
            if len(data) < WINDOW:
                return [(0, len(data))] if data[:].removeprefix(MARK_BYTES) in self.pieces else []
            found = self.fingerprint.stretches(data)
            if sum(stop - start for start, stop in found) < COPIED_SHARE * len(data):
                found = [(start, stop) for start, stop in found if self._is_copy(data[start:stop])]
            return [(document.boundary(data, start), document.boundary(data, stop)) for start, stop in found]

    def _is_copy(self, stretch: bytes) -> bool:
        """Whether a stretch is long, or most of a piece."""
        return len(stretch) >= LONG or any(
            stretch in piece or piece in stretch for piece in self.short if len(piece) <= 2 * len(stretch)
        )


def stands_in(document: Document, text: str) -> bool:
    """Whether a document has more of a held-out text than many documents may have in common."""
    held_out = HeldOut(text, document.encoding)
    return sum(stop - start for start, stop in held_out.found_in(document)) >= SEEN_SHARE * held_out.size


def check_characters(training: TrainingText, vocabulary: Vocabulary, name: str) -> None:
    """See that a text, once read, and its held-out text can be written with a model's characters.

    Raises:
        InputError: a character to train on that the model lacks, or a held-out text that it knows nothing of.
    """
    if unknown := "".join(sorted(training.seen - set(vocabulary.characters))):
        raise InputError(
            f"The text has {len(unknown)} characters that {name} does not know: {unknown[:SHOWN]!r}. "
            f"A model's vocabulary cannot grow: remove them from the text, or train anew without --from"
        )
    if sum(character in vocabulary for character in training.held_out) < 2:
        raise InputError(f"The held-out text has fewer than 2 characters that {name} knows. Hold out more text")
