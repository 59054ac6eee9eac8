"""The training text as character ids."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.errors import InputError
from charrnn.text.corpus import Corpus
from charrnn.text.validation import PIECE_END
from charrnn.text.vocabulary import Vocabulary


def test_ids_are_places_in_the_vocabulary_across_chunks() -> None:
    vocabulary = Vocabulary("\nabcé😀")
    corpus = Corpus.of(vocabulary, ["ab", "é😀", "\n"], "cab")
    assert vocabulary.decode(corpus.training) == "abé😀\n"
    assert vocabulary.decode(corpus.validation) == "cab"
    assert corpus.skipped == 0


def test_validation_characters_that_the_vocabulary_lacks_are_skipped_and_counted() -> None:
    corpus = Corpus.of(Vocabulary("ab"), ["ab"], "abxaby")
    assert corpus.vocabulary.decode(corpus.validation) == "abab"
    assert corpus.skipped == 2


def test_pieces_are_joined_by_a_newline() -> None:
    corpus = Corpus.of(Vocabulary("\nab"), ["ab"], f"a{PIECE_END}b")
    assert corpus.vocabulary.decode(corpus.validation) == "a\nb"


@pytest.mark.parametrize(("size", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_ids_take_a_byte_where_they_fit(size: int, dtype: type) -> None:
    characters = "".join(map(chr, range(1000, 1000 + size)))
    corpus = Corpus.of(Vocabulary(characters), [characters], characters[-2:])
    assert corpus.training.dtype == dtype
    assert list(corpus.training) == list(range(size))  # Catches: ids that wrap around at 256


def test_the_training_text_stays_on_the_disk() -> None:
    # Catches: a text of 10 GB that is held in memory
    assert isinstance(Corpus.of(Vocabulary("ab"), ["ab"] * 99, "ab").training, np.memmap)


@pytest.mark.parametrize(
    ("training", "validation", "error"),
    [
        (["abc"], "ab", "outside the vocabulary: 'c'"),
        ([], "ab", "No text is left to train on"),
    ],
)
def test_text_that_cannot_be_trained_on_or_evaluated_is_refused(
    training: list[str], validation: str, error: str
) -> None:
    with pytest.raises(InputError, match=error):
        Corpus.of(Vocabulary("ab"), training, validation)
