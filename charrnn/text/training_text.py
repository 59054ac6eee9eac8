"""The text of a training: documents without what is held out, read once to be counted and checked."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from charrnn.errors import InputError
from charrnn.text.documents import Document
from charrnn.text.overlap import WINDOW, Stretch
from charrnn.text.validation import JOINT, PIECE_END, Validation
from charrnn.text.vocabulary import Vocabulary

REPEATING_SHARE = 0.1  # a text of which less is new, validation text included, does nothing but repeat itself
NOTED_SHARE = 0.01  # of a text, left out beside the validation text itself
SHOWN = 40  # characters in an error

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a document, in bytes."""

    document: Document
    start: int
    stop: int


@dataclass(frozen=True)
class TrainingText:
    """Excerpts of documents, joined by newlines, that were read and found to fit a vocabulary.

    Attributes:
        validation: the text that the loss is measured on; none of it is in the excerpts.
        vocabulary: covers the excerpts; and the validation text, unless the vocabulary was given.
        num_characters: of the excerpts with their joints.
    """

    excerpts: tuple[Excerpt, ...]
    validation: str
    vocabulary: Vocabulary
    num_characters: int

    def chunks(self) -> Iterator[str]:
        """Read the text, about 1 MB at once.

        Raises:
            TextError: a document that cannot be read any more.
        """
        return read(self.excerpts)


def prepare(
    corpus: Sequence[Document], validation: str, vocabulary: Vocabulary | None = None, name: str = "the model"
) -> TrainingText:
    """Read the documents of a training, choose its vocabulary, and check that both fit.

    Args:
        validation: as `charrnn.text.validation` makes it; what is copied from it is left out. "" holds nothing out.
        vocabulary: of a model that is trained further; None makes one of all characters.
        name: what an error calls that model.

    Raises:
        TextError: a document that cannot be read.
        InputError: fewer than 2 distinct characters, a character that the vocabulary lacks, or a validation text with
            fewer than 2 characters that it has.
    """
    excerpts = leave_out(corpus, validation)
    num_characters, seen = 0, set[str]()
    for chunk in read(excerpts):
        num_characters += len(chunk)
        seen.update(chunk)
    if vocabulary is None:
        vocabulary = Vocabulary.of("".join(seen | set(validation) - {PIECE_END}))
    _check_characters(seen, validation, vocabulary, name)
    return TrainingText(excerpts, validation, vocabulary, num_characters)


def _check_characters(seen: set[str], validation: str, vocabulary: Vocabulary, name: str) -> None:
    if unknown := "".join(sorted(seen - set(vocabulary.characters))):
        raise InputError(
            f"The text has {len(unknown)} characters that {name} does not know: {unknown[:SHOWN]!r}. "
            f"A model's vocabulary cannot grow: remove them from the text, or train anew without --from"
        )
    if validation and sum(character in vocabulary for character in validation) < 2:
        raise InputError(f"The validation text has fewer than 2 characters that {name} knows. Hold out more text")


def read(excerpts: Iterable[Excerpt]) -> Iterator[str]:
    """Read excerpts chunk by chunk, with a newline between two of them.

    Raises:
        TextError: a document that cannot be read.
    """
    for number, excerpt in enumerate(excerpts):
        if number:
            yield JOINT
        yield from excerpt.document.read(excerpt.start, excerpt.stop)


def leave_out(corpus: Sequence[Document], validation: str) -> tuple[Excerpt, ...]:
    """Return what remains of documents without copies of a validation text.

    A text that only repeats itself remains whole: a validation text would leave nothing of it.

    Raises:
        TextError: a document that cannot be read.
    """
    finders = {encoding: Validation(validation, encoding) for encoding in {document.encoding for document in corpus}}
    copies = [finders[document.encoding].found_in(document) for document in corpus]
    size = sum(document.size() for document in corpus)
    copied = sum(stop - start for stretches in copies for start, stop in stretches)
    validation_size = len(validation.encode())
    if copied > 2 * validation_size and size - copied + validation_size <= max(REPEATING_SHARE * size, 2 * WINDOW):
        logger.warning(
            "The text repeats itself: what is held out stands in most of it, so all of it is trained on. "
            "The validation loss says nothing about other text"
        )
        copies = [[] for _ in corpus]
    elif copied - validation_size > NOTED_SHARE * size:
        logger.warning("%s bytes of the text are left out, validation text and copies of it", f"{copied:,}")
    return tuple(chain.from_iterable(map(_without, corpus, copies)))


def _without(document: Document, copies: Sequence[Stretch]) -> Iterator[Excerpt]:
    """Yield what of a document is in none of the copies."""
    place, end = 0, document.size()
    for start, stop in [*copies, (end, end)]:
        if start > place:
            yield Excerpt(document, place, start)
        place = stop
