"""The training text: documents without the validation text and copies of it, counted and checked."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from charrnn.errors import InputError, counted
from charrnn.options import DROP, ERROR, GROW
from charrnn.text.comparison.overlap import WINDOW, Stretch, size_of
from charrnn.text.documents import Document
from charrnn.text.lines import Lines, count_copies, lines_of
from charrnn.text.listing import shorten_names
from charrnn.text.validation import JOINT, PIECE_END, Validation
from charrnn.text.vocabulary import NEW_LINE, Vocabulary

REPEATING_SHARE = 0.2  # a text with a smaller share of new text, validation text included, only repeats itself
NOTED_SHARE = 0.01  # of the text; leaving out more than this beside the validation text itself is logged
REFUSED_SHARE = 0.2  # of the text; leaving out more is refused, if the validation text can still be chosen
SHOWN = 40  # characters quoted in an error message

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a document. Start and stop are byte offsets."""

    document: Document
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self) -> Iterator[str]:
        """Yield the text in chunks."""
        return self.document.read(self.start, self.stop)


@dataclass(frozen=True)
class TrainingText:
    """Excerpts of documents, joined by newlines, or lines of a list, whose characters are all in the vocabulary.

    Attributes:
        read: yields the text to train on, in chunks.
        validation: the validation text; none of it is in the text.
        vocabulary: covers the text, and also the validation text unless the vocabulary was given and cannot grow.
        num_characters: number of characters in the text.
        num_left_out: number of characters that are left out: copies of the validation text, and characters dropped.
        unknown: policy for characters outside the vocabulary, one of `options.UNKNOWN_IN_TEXT`.
        num_lines: number of lines in the text of a list; 0 of other texts.
    """

    read: Callable[[], Iterator[str]]
    validation: str
    vocabulary: Vocabulary
    num_characters: int
    num_left_out: int = 0
    unknown: str = GROW
    num_lines: int = 0

    def chunks(self) -> Iterator[str]:
        """Yield the text in chunks of about 1 MB.

        Raises:
            TextError: a document can no longer be read.
        """
        for chunk in self.read():
            yield self.vocabulary.handle_unknown(chunk, self.unknown)


def prepare(
    corpus: Sequence[Document],
    validation: str,
    vocabulary: Vocabulary | None = None,
    name: str = "the model",
    *,
    unknown: str = GROW,
    strict: bool = False,
    lines: bool = False,
    reserved: bool = True,
) -> TrainingText:
    """Read a corpus, choose its vocabulary, and check that both fit together.

    Args:
        corpus: the documents to train on.
        validation: the validation text as `charrnn.text.validation` makes it. Copies of it are left out of the training
            text. "" reserves nothing.
        vocabulary: the vocabulary of a model to fine-tune; None makes one of all characters.
        name: that model's name in messages.
        unknown: policy for characters outside that vocabulary, one of `options.UNKNOWN_IN_TEXT`. "grow" adds them
            to it, also those of the validation text. See `Vocabulary.prepare_seed` for the others. A warning
            says what was done.
        strict: refuse to leave out more than REFUSED_SHARE of the text.
        lines: whether the corpus is a list, whose lines are texts of their own.
        reserved: whether the validation text is left out. If not, its loss tells how well the text is memorized.

    Raises:
        TextError: a document cannot be read.
        InputError: the text has fewer than 2 distinct characters or, with "error", one outside the vocabulary; the
            validation text has fewer than 2 characters in the vocabulary; or too much of the text is copies of the
            validation text.
    """
    text: Callable[[], Iterator[str]]
    excluded = validation if reserved else ""
    if lines:
        text, num_left_out = Lines(corpus, frozenset(lines_of(excluded))).read, count_copies(corpus, excluded)
        _check_copies(num_left_out, sum(document.size() for document in corpus), strict=strict)
    else:
        excerpts, copies = exclude_validation(corpus, excluded, strict=strict)
        text, num_left_out = partial(read, excerpts), sum(map(len, chain.from_iterable(c.read() for c in copies)))
    num_read, num_characters, num_lines, seen = 0, 0, 0, set[str]()
    for chunk in text():
        known = vocabulary.handle_unknown(chunk, unknown) if vocabulary else chunk
        num_read, num_characters = num_read + len(chunk), num_characters + len(known)
        num_lines += chunk.count(NEW_LINE) if lines else 0
        seen.update(chunk)
    validation_characters = set(validation) - {PIECE_END}
    if vocabulary is None:
        vocabulary = Vocabulary.of("".join(seen | validation_characters))
    elif unknown == GROW:
        vocabulary = _grow(vocabulary, seen | validation_characters, name)
    elif new := vocabulary.unknown("".join(seen)):
        _report_unknown(new, unknown, name)
    if validation or not reserved:
        _check_validation(validation, vocabulary, name)
    if unknown == DROP:
        num_left_out += num_read - num_characters
    return TrainingText(text, validation, vocabulary, num_characters, num_left_out, unknown, num_lines)


def _grow(vocabulary: Vocabulary, characters: set[str], name: str) -> Vocabulary:
    new = vocabulary.unknown("".join(characters))
    if not new:
        return vocabulary
    logger.warning("The vocabulary of %s grows by %s: %r", name, counted(len(new), "character"), new[:SHOWN])
    return Vocabulary.of(vocabulary.characters + new)


def _report_unknown(new: str, unknown: str, name: str) -> None:
    """Log that characters outside the vocabulary are dropped or replaced, or refuse them."""
    said = f"{counted(len(new), 'character')} outside the vocabulary of {name}: {new[:SHOWN]!r}"
    if unknown == ERROR:
        raise InputError(f"The text has {said}. Remove them from the text, or use `unknown` grow")
    logger.warning("The text has %s. They are %s", said, "left out" if unknown == DROP else "replaced")


def _check_copies(copied: int, size: int, *, strict: bool) -> None:
    """Warn if lines of a list are left out as copies of the validation text, or refuse a list that loses too much."""
    if copied > NOTED_SHARE * size:
        said = f"{copied / size:.0%} of the text repeats lines of the validation text"
        if strict and copied > REFUSED_SHARE * size:
            raise InputError(f"{said}. Name another validation text with `validation`, or remove what is repeated")
        logger.warning("%s. Training leaves them out", said)


def _check_validation(validation: str, vocabulary: Vocabulary, name: str) -> None:
    if sum(character in vocabulary for character in validation) < 2:
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
        yield from excerpt.read()


def exclude_validation(
    corpus: Sequence[Document], validation: str, *, strict: bool = False
) -> tuple[tuple[Excerpt, ...], list[Excerpt]]:
    """Return the excerpts of documents that are neither the validation text nor copies of it, and the copies.

    A text that only repeats itself remains whole, because nothing of it would be left. A warning is logged then, and
    also if more than NOTED_SHARE of the text is left out beside the validation text itself.

    Raises:
        TextError: a document cannot be read.
        InputError: `strict`, and more than REFUSED_SHARE would be left out.
    """
    finder = Validation(validation)
    found = [finder.find_copies(document) for document in corpus]
    size, total = sum(document.size() for document in corpus), sum(map(size_of, found))
    copied = total - len(validation.encode())
    if copied > total / 2 and size - copied <= max(REPEATING_SHARE * size, 2 * WINDOW):
        logger.warning(
            "The text repeats itself: most of it is a copy of the validation text, so training uses all of it. "
            "The validation loss does not apply to other text"
        )
        return tuple(chain.from_iterable(_without(document, []) for document in corpus)), []
    copies = list(_copies(corpus, found, validation))
    if copied > NOTED_SHARE * size:
        said = f"{copied / size:.0%} of the text repeats the validation text: {copied:,} bytes {_example(copies)}"
        if strict and copied > REFUSED_SHARE * size:
            raise InputError(f"{said}. Name another validation text with `validation`, or remove what is repeated")
        logger.warning("%s. Training leaves them out", said)
    return tuple(chain.from_iterable(map(_without, corpus, found))), copies


def _copies(corpus: Sequence[Document], found: Sequence[Sequence[Stretch]], validation: str) -> Iterator[Excerpt]:
    """Yield the stretches that are not the validation text itself: the first of each that is a whole piece."""
    originals = Counter(len(piece.encode()) for piece in validation.split(PIECE_END))
    for document, stretches in zip(corpus, found, strict=True):
        for start, stop in stretches:
            if originals[stop - start]:
                originals[stop - start] -= 1
            else:
                yield Excerpt(document, start, stop)


def _example(copies: Sequence[Excerpt]) -> str:
    """Return the files with the most copies, and the beginning of the longest."""
    sizes = Counter[str]()
    for copy in copies:
        sizes[str(copy.document)] += len(copy)
    names = shorten_names([name for name, _ in sizes.most_common()])
    sample = " ".join(next(max(copies, key=len).read())[: 10 * SHOWN].split())
    return f"in {names}, such as {sample[:SHOWN]!r}"


def _without(document: Document, copies: Sequence[Stretch]) -> Iterator[Excerpt]:
    """Yield the excerpts of a document that lie outside of all copies."""
    place, end = 0, document.size()
    for start, stop in [*copies, (end, end)]:
        if start > place:
            yield Excerpt(document, place, start)
        place = stop
