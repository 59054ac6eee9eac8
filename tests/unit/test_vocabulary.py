"""Vocabularies: the order of characters and ids, their bounds and their file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import InputError, ModelFileError
from charrnn.text.plain import plain
from charrnn.text.vocabulary import MAX_CHARACTERS, Vocabulary

TEXTS = st.text(min_size=2).filter(lambda text: len(set(text)) > 1)


def test_an_id_is_the_place_among_the_sorted_characters() -> None:
    # Catches: ids in the order of appearance, or of a set
    assert Vocabulary.of("banana!").encode("!abn") == [0, 1, 2, 3]


def test_its_length_is_the_number_of_distinct_characters() -> None:
    assert len(Vocabulary.of("banana")) == 3


@given(TEXTS)
def test_decoding_takes_encoding_back(text: str) -> None:
    vocabulary = Vocabulary.of(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(TEXTS)
def test_a_saved_vocabulary_is_loaded_unchanged(text: str) -> None:
    vocabulary = Vocabulary.of(text)
    assert Vocabulary.from_json(vocabulary.to_json()).characters == vocabulary.characters


def test_the_file_shows_characters_as_they_are() -> None:
    assert Vocabulary.of("éa").to_json() == '{"characters": "aé"}'


@pytest.mark.parametrize("characters", ["ba", "aab"])
def test_characters_out_of_order_or_twice_are_a_damaged_file(characters: str) -> None:
    # Catches: a sorted() that would fix the order and make the weights meaningless
    with pytest.raises(ModelFileError, match="must be distinct and in sorted order"):
        Vocabulary(characters)


@pytest.mark.parametrize("text", ["", "aaa"])
def test_a_text_of_fewer_than_two_characters_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=rf"A text with {len(set(text))} distinct characters? cannot train"):
        Vocabulary.of(text)


def test_as_many_characters_as_uint16_holds_are_accepted() -> None:
    assert len(Vocabulary("".join(map(chr, range(MAX_CHARACTERS))))) == 65_536


def test_more_characters_than_uint16_holds_are_refused() -> None:
    # Catches: ids that wrap around in the corpus file
    with pytest.raises(InputError, match="Expected 2 to 65,536"):
        Vocabulary("".join(map(chr, range(MAX_CHARACTERS + 1))))


def test_a_character_is_in_it_or_not() -> None:
    vocabulary = Vocabulary.of("ab")
    assert "a" in vocabulary
    assert "c" not in vocabulary


def test_unknown_characters_are_sorted_and_distinct() -> None:
    assert Vocabulary.of("ab").unknown("zazyb") == "yz"


def test_an_unknown_character_is_named_by_the_error() -> None:
    with pytest.raises(InputError, match="'abz' has characters outside the vocabulary: 'z'"):
        Vocabulary.of("ab").encode("abz")


@pytest.mark.parametrize("document", ["", "[]", "{}", "7", '{"characters": ["a", "b"]}', '{"characters": 7}'])
def test_a_file_of_another_form_is_damaged(document: str) -> None:
    with pytest.raises(ModelFileError, match=r"vocabulary\.json is damaged"):
        Vocabulary.from_json(document)


@pytest.mark.parametrize(
    ("text", "dropped", "replaced"),
    [
        ("cafe", "cafe", "cafe"),
        ("café", "caf", "cafe"),
        ("‘ca’", "ca", "'ca'"),
        ("c–a", "ca", "c-a"),
        ("a…", "a", "a..."),
        ("ca\u3042f", "caf", "ca f"),
        ("É", "", " "),
        ("cafe\u0301", "caf", "cafe"),
        ("ca\u200bf", "caf", "caf"),
    ],
)
def test_unknown_characters_are_dropped_or_written_plainly(text: str, dropped: str, replaced: str) -> None:
    vocabulary = Vocabulary.of("acef .-'")
    assert vocabulary.prepare_seed(text, "drop") == (dropped or "\n")
    assert vocabulary.prepare_seed(text, "replace") == replaced
    assert vocabulary.prepare_seed(text, "error") == plain(text)


def test_a_replacement_outside_the_vocabulary_is_dropped() -> None:
    assert Vocabulary.of("caf").prepare_seed("caf\u00e9 …", "replace") == "caf"


@pytest.mark.parametrize("policy", ["error", "drop", "replace"])
def test_an_empty_seed_is_read_as_a_newline(policy: str) -> None:
    assert Vocabulary.of("ab\n").prepare_seed("", policy) == "\n"
