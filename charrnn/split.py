"""A corpus in two: what to train on, and the held-out text that training never sees.

The held-out text is a few pieces: whole files where the corpus has several, else its tail. It is
chosen once; later on, wherever a piece stands in a corpus, it is cut away. Pure Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from charrnn.errors import InputError
from charrnn.options import check_choice
from charrnn.text import ENCODINGS, Document, expand
from charrnn.vocabulary import Vocabulary

HELD_OUT_SHARE = 0.05
MIN_HELD_OUT_SHARE = 0.02  # fewer whole files than this tell too little: the tail is better
MAX_HELD_OUT = 2_000_000  # bytes; more takes minutes to read after each epoch and tells no more
MIN_CUT = 64  # bytes; shorter pieces are cut only as whole files, since they may stand anywhere by chance
PIECE_END = "\0"  # between the pieces of a held-out text; no document has it
SHOWN = 40  # characters in an error
JOINT = "\n"  # between two documents, and where a piece was cut away


def documents(paths: str | Path | Iterable[str | Path], encoding: str) -> list[Document]:
    """The documents of files, folders and patterns, in sorted order.

    Raises:
        InputError: a path that names no file, or an encoding that is not known.
    """
    check_choice("encoding", encoding, ENCODINGS)
    given = [paths] if isinstance(paths, str | Path) else paths
    return [Document(path, encoding) for path in expand(given)]


def whole(texts: Iterable[Document]) -> str:
    """Documents as a held-out text."""
    return PIECE_END.join("".join(document.read()) for document in texts)


def choose_held_out(corpus: Sequence[Document]) -> str:
    """About 5 % of a corpus, 2 MB at most: whole files, or a tail if the files are too few or too large for that.

    Raises:
        TextError: a document that cannot be read.
    """
    sizes = {document: document.size() for document in corpus}
    total, taken, chosen = sum(sizes.values()), 0, list[Document]()
    wanted = min(HELD_OUT_SHARE * total, MAX_HELD_OUT)
    for document in sorted(corpus, key=_shuffled):
        if taken < wanted and taken + sizes[document] <= 2 * wanted:
            taken += sizes[document]
            chosen.append(document)
    if taken >= MIN_HELD_OUT_SHARE / HELD_OUT_SHARE * wanted:
        return whole(sorted(chosen, key=lambda document: document.path))
    # At least what is cut out of every later corpus.
    return _tail(max(corpus, key=lambda document: sizes[document]), max(MIN_CUT, round(wanted)))


def _shuffled(document: Document) -> str:
    """A key that has nothing to do with what the name says: neighbours are often alike."""
    return hashlib.sha256(document.path.name.encode("utf-8", "surrogateescape")).hexdigest()


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
        pieces = [piece for piece in self.held_out.split(PIECE_END) if piece]
        encoded = {document.encoding: _encoded(pieces, document.encoding) for document in self.corpus}
        for document in self.corpus:
            place = 0
            for start, stop in [*_found(document, encoded[document.encoding]), (document.size(),) * 2]:
                if start > place:
                    yield document.read(place, start)
                place = max(place, stop)


def _encoded(pieces: Iterable[str], encoding: str) -> list[bytes]:
    """Those of the pieces that a document of that encoding can have."""
    found = list[bytes]()
    for piece in pieces:
        with suppress(UnicodeEncodeError):
            found.append(piece.encode(encoding))
    return found


def _found(document: Document, pieces: Iterable[bytes]) -> list[tuple[int, int]]:
    """Where pieces stand in a document: (start, stop) in bytes, sorted."""
    found = list[tuple[int, int]]()
    with document.mapped() as data:
        for piece in pieces:
            if len(piece) < MIN_CUT and not document.is_whole(data, piece):
                continue
            place = data.find(piece)
            while place >= 0:
                found.append((place, place + len(piece)))
                place = data.find(piece, place + len(piece))
    return sorted(found)


def stands_in(document: Document, held_out: str) -> bool:
    """Whether a document has any piece of a held-out text."""
    return bool(_found(document, _encoded(held_out.split(PIECE_END), document.encoding)))


def check_covered(training: TrainingText, vocabulary: Vocabulary, name: str) -> None:
    """Refuse a text with characters that the model it continues does not know."""
    if unknown := "".join(sorted(training.seen - set(vocabulary.characters))):
        raise InputError(
            f"The text has {len(unknown)} characters that {name} does not know: {unknown[:SHOWN]!r}. "
            f"A model's vocabulary cannot grow: remove them from the text, or train anew without --from"
        )
