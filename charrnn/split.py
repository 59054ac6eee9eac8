"""A corpus in two: what to train on, and the held-out text that training never sees.

The held-out text is a few pieces: whole files where the corpus has several, else its tail. It is
chosen once; later on, wherever a piece stands in a corpus, it is cut away. Pure Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from charrnn.errors import InputError
from charrnn.options import check_choice
from charrnn.text import ENCODINGS, Document, expand
from charrnn.vocabulary import Vocabulary

HELD_OUT_SHARE = 0.05
MAX_HELD_OUT_SHARE = 0.10
MIN_HELD_OUT_SHARE = 0.02  # fewer whole files than this tell too little: the tail is better
MIN_CUT = 64  # characters; shorter pieces are cut only as whole files, since they may stand anywhere by chance
PIECE_END = "\0"  # between the pieces of a held-out text; no document has it
BYTE_ORDER_MARK_SIZE = 3
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
    """About 5 % of a corpus: whole files, or the tail if the files are too few or too large for that."""
    sizes = {document: document.size() for document in corpus}
    total, taken, chosen = sum(sizes.values()), 0, list[Document]()
    for document in sorted(corpus, key=_shuffled):
        if taken < HELD_OUT_SHARE * total and taken + sizes[document] <= MAX_HELD_OUT_SHARE * total:
            taken += sizes[document]
            chosen.append(document)
    if taken >= MIN_HELD_OUT_SHARE * total:
        return whole(sorted(chosen, key=lambda document: document.path))
    return _tail(corpus[-1], max(1, round(HELD_OUT_SHARE * total)))


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
        for document in self.corpus:
            place = 0
            for start, stop in [*_found(document, pieces), (document.size(),) * 2]:
                if start > place:
                    yield document.read(place, start)
                place = max(place, stop)


def _found(document: Document, pieces: Iterable[str]) -> list[tuple[int, int]]:
    """Where pieces stand in a document: (start, stop) in bytes, sorted."""
    found = list[tuple[int, int]]()
    with document.mapped() as data:
        for piece in pieces:
            wanted = piece.encode(document.encoding, "ignore")
            if len(piece) < MIN_CUT and len(wanted) < len(data) - BYTE_ORDER_MARK_SIZE:
                continue
            place = data.find(wanted) if wanted else -1
            while place >= 0:
                found.append((place, place + len(wanted)))
                place = data.find(wanted, place + len(wanted))
    return sorted(found)


def check_covered(training: TrainingText, vocabulary: Vocabulary, name: str) -> None:
    """Refuse a text with characters that the model it continues does not know."""
    if unknown := "".join(sorted(training.seen - set(vocabulary.characters))):
        raise InputError(
            f"The text has {len(unknown)} characters that {name} does not know: {unknown!r}. "
            f"A model's vocabulary cannot grow: remove them from the text, or train anew without --from"
        )
