"""The training text: documents without the validation text and copies of it, counted and checked in one pass."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from charrnn.errors import InputError, counted
from charrnn.text.documents import Document
from charrnn.text.overlap import WINDOW, Stretch
from charrnn.text.validation import JOINT, PIECE_END, Validation
from charrnn.text.vocabulary import Vocabulary

REPEATING_SHARE = 0.1  # a text with a smaller share of new text, validation text included, only repeats itself
NOTED_SHARE = 0.01  # of the text; leaving out more than this beside the validation text itself is logged
SHOWN = 40  # characters quoted in an error message

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a document. Start and stop are byte offsets."""

    document: Document
    start: int
    stop: int


@dataclass(frozen=True)
class TrainingText:
    """Excerpts of documents, joined by newlines, whose characters are all in the vocabulary.

    Attributes:
        excerpts: the text to train on.
        validation: the validation text; none of it is in the excerpts.
        vocabulary: covers the excerpts, and also the validation text unless the vocabulary was given.
        num_characters: number of characters in the excerpts and the newlines between them.
    """

    excerpts: tuple[Excerpt, ...]
    validation: str
    vocabulary: Vocabulary
    num_characters: int

    def chunks(self) -> Iterator[str]:
        """Yield the text in chunks of about 1 MB.

        Raises:
            TextError: a document can no longer be read.
        """
        return read(self.excerpts)


def prepare(
    corpus: Sequence[Document], validation: str, vocabulary: Vocabulary | None = None, name: str = "the model"
) -> TrainingText:
    """Read a corpus, choose its vocabulary, and check that both fit together.

    Args:
        corpus: the documents to train on.
        validation: the validation text as `charrnn.text.validation` makes it. Copies of it are left out of the training
            text. "" reserves nothing.
        vocabulary: the vocabulary of a model to fine-tune; None makes one of all characters.
        name: that model's name in error messages.

    Raises:
        TextError: a document cannot be read.
        InputError: the text has fewer than 2 distinct characters or one outside the vocabulary, or the validation text
            has fewer than 2 characters in the vocabulary.
    """
    excerpts = exclude_validation(corpus, validation)
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
            f"The text has {counted(len(unknown), 'character')} outside the vocabulary of {name}: {unknown[:SHOWN]!r}. "
            f"A vocabulary cannot grow: remove them from the text, or train a new model instead of fine-tuning"
        )
    if validation and sum(character in vocabulary for character in validation) < 2:
        raise InputError(
            f"The validation text has fewer than 2 characters in the vocabulary of {name}. "
            f"Reserve more text for validation"
        )


def read(excerpts: Iterable[Excerpt]) -> Iterator[str]:
    """Yield the text of excerpts in chunks, with a newline between two excerpts.

    Raises:
        TextError: a document cannot be read.
    """
    for number, excerpt in enumerate(excerpts):
        if number:
            yield JOINT
        yield from excerpt.document.read(excerpt.start, excerpt.stop)


def exclude_validation(corpus: Sequence[Document], validation: str) -> tuple[Excerpt, ...]:
    """Return the excerpts of documents that are not copies of a validation text.

    A text that only repeats itself remains whole, because nothing of it would be left. A warning is logged then, and
    also if more than NOTED_SHARE of the text is left out beside the validation text itself.

    Raises:
        TextError: a document cannot be read.
    """
    finders = {encoding: Validation(validation, encoding) for encoding in {document.encoding for document in corpus}}
    copies = [finders[document.encoding].find_copies(document) for document in corpus]
    size = sum(document.size() for document in corpus)
    copied = sum(stop - start for stretches in copies for start, stop in stretches)
    validation_size = len(validation.encode())
    if copied > 2 * validation_size and size - copied + validation_size <= max(REPEATING_SHARE * size, 2 * WINDOW):
        logger.warning(
            "The text repeats itself: most of it is a copy of the validation text, so training uses all of it. "
            "The validation loss does not apply to other text"
        )
        copies = [[] for _ in corpus]
    elif copied - validation_size > NOTED_SHARE * size:
        logger.warning("Training leaves out %s bytes of the text: the validation text and copies of it", f"{copied:,}")
    return tuple(chain.from_iterable(map(_without, corpus, copies)))


def _without(document: Document, copies: Sequence[Stretch]) -> Iterator[Excerpt]:
    """Yield the excerpts of a document that lie outside of all copies."""
    place, end = 0, document.size()
    for start, stop in [*copies, (end, end)]:
        if start > place:
            yield Excerpt(document, place, start)
        place = stop
