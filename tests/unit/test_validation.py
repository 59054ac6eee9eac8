"""The choice of the validation text, which training never sees."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.errors import InputError
from charrnn.text import validation as split
from charrnn.text.comparison.overlap import WINDOW
from charrnn.text.documents import Document, list_documents
from charrnn.text.training_text import exclude_validation, prepare, read
from charrnn.text.validation import PIECE_END, choose_validation, join_documents, overlaps_validation
from charrnn.text.vocabulary import Vocabulary


def files(folder: Path, *texts: str) -> list[Document]:
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        (folder / f"{number:03}.txt").write_text(text)
    return list_documents(folder)


def training(corpus: list[Document], validation: str) -> str:
    return "".join(read(exclude_validation(corpus, validation)[0]))


def prose(number: int, size: int) -> str:
    """Return text that has nothing in common with that of another number."""
    return "".join(random.Random(number).choices("etaoin shrdlu\n", k=size))  # not cryptographic


def test_whole_files_of_several_are_reserved_for_validation(tmp_path: Path) -> None:
    texts = [f"This is document number {number}.\n" * 20 for number in range(100)]
    corpus = files(tmp_path, *texts)
    validation = choose_validation(corpus).text
    pieces = validation.split(PIECE_END)
    assert set(pieces) < set(texts)
    assert 0.1 <= len(validation) / sum(map(len, texts)) <= 0.12
    seen = training(corpus, validation)
    assert all(piece not in seen for piece in pieces)
    assert len(seen) == sum(map(len, texts)) - sum(map(len, pieces)) + 99 - len(pieces)


@pytest.mark.parametrize("sizes", [(1000,), (20_000, 20_000), (60_000, 1, 1), (300_000, 90, 90)])
def test_passages_over_the_whole_corpus_are_validation_if_files_are_large(
    tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    corpus = files(tmp_path, *(prose(number, size) for number, size in enumerate(sizes)))
    text = "".join("".join(document.read()) for document in corpus)
    pieces = choose_validation(corpus).text.split(PIECE_END)
    places = [text.index(piece) for piece in pieces]
    # Catches: the tail of a text, whose end may be unlike the rest
    assert places == sorted(places)
    assert np.diff([0, *places, len(text)]).max() <= 2.5 * len(text) / (len(pieces) + 1)
    assert len(pieces) == max(1, min(16, round(max(0.05 * len(text), min(0.1 * len(text), 10_000))) // 512))
    assert all(piece not in training(corpus, PIECE_END.join(pieces)) for piece in pieces)
    assert 0.04 * len(text) <= sum(map(len, pieces)) <= max(WINDOW + 50, 0.14 * len(text))


def test_passages_begin_and_end_with_lines(tmp_path: Path) -> None:
    corpus = files(tmp_path, "".join(f"line {number} of it\n" for number in range(4000)))
    for piece in choose_validation(corpus).text.split(PIECE_END):
        assert piece.startswith("line ")
        assert piece.endswith("of it\n")


def test_the_choice_depends_on_names_and_sizes_alone(tmp_path: Path) -> None:
    here, there = (files(tmp_path / sign, *(sign * (90 + number) for number in range(60))) for sign in "ab")
    chosen = [[len(piece) for piece in choose_validation(corpus).text.split(PIECE_END)] for corpus in (here, there)]
    assert chosen[0] == chosen[1]


def test_files_of_one_name_are_shuffled_too(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number:02}").mkdir()
        (tmp_path / f"{number:02}" / "text.txt").write_text(f"{number:02}" * 50)
    chosen = [int(piece[:2]) for piece in choose_validation(list_documents(tmp_path)).text.split(PIECE_END)]
    assert chosen != list(range(len(chosen)))  # Catches: a choice of the first files of the sorted corpus


def test_a_validation_text_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "LARGEST_VALIDATION", 8)
    with pytest.raises(InputError, match="The validation text has 9 bytes. Expected at most 8"):
        join_documents(files(tmp_path, "12345", "6789"))


def test_little_more_than_the_share_is_validation(tmp_path: Path) -> None:
    # Catches: a large file chosen because the share was not yet reached
    sizes = [300] * 20 + [900] * 4
    corpus = files(tmp_path, *("x" * size for size in sizes))
    assert 0.1 * sum(sizes) <= len(choose_validation(corpus).text) <= 0.15 * sum(sizes)


def test_one_large_file_among_many_small_ones_does_not_make_passages(tmp_path: Path) -> None:
    # Catches: passages that are as short as the files in which they lie
    corpus = files(tmp_path, *(prose(number, 1000) for number in range(200)), prose(200, 50_000))
    chosen = choose_validation(corpus)
    assert chosen.source.startswith("13 of 201 files: ")
    assert 0.05 * 250_000 <= len(chosen.text) < 0.06 * 250_000


@pytest.mark.parametrize("size", [135, 200, 260, 400])
def test_the_passage_of_a_tiny_text_is_not_trained_on(tmp_path: Path, size: int) -> None:
    # Catches: a passage that becomes shorter than a window because it begins with a line
    text = "".join(f"{prose(number, 9).strip()}\n" for number in range(90))[:size]
    corpus = files(tmp_path, text)
    validation = choose_validation(corpus).text
    assert validation not in training(corpus, validation)


def test_passages_are_cut_out_of_a_text_that_has_grown(tmp_path: Path) -> None:
    text = prose(0, 4000)
    corpus = files(tmp_path, text)
    validation = choose_validation(corpus).text
    grown = "before\n" + text + "after\n"
    for piece in validation.split(PIECE_END):
        grown = grown.replace(piece, "\n")
    assert training(files(tmp_path, "before\n" + text + "after\n"), validation) == grown


def test_a_copy_of_a_validation_file_is_removed_at_any_position(tmp_path: Path) -> None:
    piece, other = prose(0, 300), prose(1, 3000)
    corpus = files(tmp_path, other, piece, "a" + piece + "b" + piece + "c")
    assert training(corpus, piece) == other + "\na\nb\nc"


def test_an_edited_copy_of_a_validation_file_is_removed(tmp_path: Path) -> None:
    # Catches: a validation file that is trained on as a whole because one edit made it a different file
    validation, other = prose(0, 2000), prose(1, 9000)
    edited = validation[:1000] + "EDITED" + validation[1001:]
    assert training(files(tmp_path, other, edited), validation) == other + "\nEDITED"
    assert training(files(tmp_path, other, validation[200:900]), validation) == other


def test_text_common_to_many_documents_is_not_removed(tmp_path: Path) -> None:
    greeting = "Mr. Speaker, Mr. Vice President, members of Congress, distinguished guests: "
    validation, other = greeting + prose(0, 2000), greeting + prose(1, 2000)
    assert training(files(tmp_path, other, validation), validation) == other


def test_a_long_header_that_documents_share_is_not_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Catches: a third of a folder of manual pages left out because a validation page contains the same license
    licence = prose(0, 900)
    validation, other = licence + prose(1, 5000), licence + prose(2, 5000)
    assert training(files(tmp_path, other, validation), validation) == other
    assert not caplog.text


def test_a_long_stretch_is_cut_out_of_any_document(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    validation, other = prose(1, 9000), prose(2, 9000)
    quoting = other[:5000] + validation[2000:5000] + other[5000:]
    assert training(files(tmp_path, quoting), validation) == other[:5000] + "\n" + other[5000:]


def test_short_validation_files_are_cut_out_of_a_document_that_joins_all(tmp_path: Path) -> None:
    # Catches: validation files that are trained on because each is shorter than a long stretch
    pieces = [prose(number, 300 + 100 * number) for number in range(5)]
    others = [prose(10 + number, 3000) for number in range(5)]
    joined = "".join(other + piece for other, piece in zip(others, pieces, strict=True))
    assert training(files(tmp_path, joined), PIECE_END.join(pieces)) == "\n".join(others)


def test_a_shared_license_does_not_count_as_training_on_the_validation_text(tmp_path: Path) -> None:
    licence, validation = prose(0, 3000), prose(1, 60_000)
    (document,) = files(tmp_path, prose(2, 50_000) + licence)
    assert not overlaps_validation(document, validation + licence)
    (document,) = files(tmp_path, prose(2, 50_000) + validation[:9000])
    assert overlaps_validation(document, validation + licence)


def test_text_removed_beside_the_validation_text_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    validation = prose(1, 3000)
    corpus = files(tmp_path, prose(2, 90_000), validation, validation)
    assert prepare(corpus, validation, strict=True).num_left_out == 3000
    sample = " ".join(validation[:400].split())[:40]
    assert (
        f"3% of the text repeats the validation text: 3,000 bytes in {tmp_path}/002.txt, such as {sample!r}. "
        f"Training leaves them out" in caplog.text
    )


def test_leaving_out_a_fifth_of_the_text_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    validation = prose(1, 3000)
    corpus = files(tmp_path, prose(2, 9000), validation, validation, validation)
    with pytest.raises(
        InputError, match=r"33% of the text .* 6,000 bytes in .*002\.txt, .*003\.txt, such as .*`validation`"
    ):
        prepare(corpus, validation, strict=True)
    # Catches: a retraining that stops, though its validation text can no longer be chosen
    assert prepare(corpus, validation).num_characters == 9000
    assert "33% of the text" in caplog.text


def game_level(number: int) -> str:
    """Return a level of a platform game: mostly empty, with some things in it."""
    draw = random.Random(number)
    rows = [["-"] * 180 for _ in range(14)]
    for _ in range(70):
        rows[draw.randrange(11)][draw.randrange(180)] = draw.choice("S?QoE")
    rows[12:] = [draw.choices("X-", (19, 1), k=180) for _ in range(2)]
    return "".join("".join(row) + "\n" for row in rows)


TEXTS_OF_LITTLE_CONTENT = {
    "levels": [game_level(number) for number in range(40)],
    "one file of levels": ["".join(map(game_level, range(40)))],
    "padded records": ["".join(f"{number * 7919:<90}{'SMITH':>60}{'':<70}\n" for number in range(150))],
    "separators": [f"{'#' * 150}\n# {number * 7919}\n{'#' * 150}\n" * 9 for number in range(60)],
    "patterns": [f"{'=-' * 90}\n{number}\n" * 20 for number in range(60)],
}


@pytest.mark.parametrize("kind", TEXTS_OF_LITTLE_CONTENT)
def test_what_says_little_is_no_copy(tmp_path: Path, kind: str) -> None:
    # Catches: any 128 equal bytes that count as a copy, which cut such texts to pieces
    corpus = files(tmp_path, *TEXTS_OF_LITTLE_CONTENT[kind])
    validation = choose_validation(corpus).text
    text = prepare(corpus, validation, strict=True)
    assert text.num_left_out == 0
    # Catches: a validation text that is trained on because it says little itself
    assert all(piece not in "".join(text.chunks()) for piece in validation.split(PIECE_END))


@pytest.mark.parametrize("times", [15, 25, 1000])
def test_a_text_that_repeats_itself_is_trained_on(tmp_path: Path, caplog: pytest.LogCaptureFixture, times: int) -> None:
    # Catches: an error at a first try with one repeated sentence, all of which is in the validation tail
    corpus = files(tmp_path, "The quick brown fox jumps over the lazy dog.\n" * times)
    assert prepare(corpus, choose_validation(corpus).text).num_characters == 45 * times
    assert "repeats itself" in caplog.text


def test_copies_of_a_validation_text_are_not_trained_on(tmp_path: Path) -> None:
    # Catches: a text that is classified as repetitive because most of it is validation text
    validation, other = prose(0, 2000), prose(1, 900)
    assert training(files(tmp_path, validation, validation, validation, other), validation) == other


def test_a_text_of_validation_files_only_leaves_nothing_to_train_on(tmp_path: Path) -> None:
    validation = prose(0, 2000)
    assert training(files(tmp_path, validation), validation) == ""


def test_a_short_piece_is_cut_as_a_whole_file_only(tmp_path: Path) -> None:
    # Catches: a validation file "a" that takes every a out of the text
    assert training(files(tmp_path, "a", "banana"), "a") == "banana"


def test_pieces_that_overlap_are_cut_once(tmp_path: Path) -> None:
    text = prose(0, 1000)
    first, second = text[10 : 10 + WINDOW], text[40 : 40 + WINDOW]
    assert training(files(tmp_path, text), PIECE_END.join((first, second))) == text[:10] + "\n" + text[40 + WINDOW :]


@pytest.mark.parametrize("before", ["", "a", "ab"])
def test_passages_cut_no_character(tmp_path: Path, before: str) -> None:
    text = before + "".join(chr(0x4E00 + k) for k in range(400))
    corpus = files(tmp_path, text)
    validation = choose_validation(corpus).text
    assert training(corpus, validation) == text.replace(validation, "\n")
    assert len(validation.encode()) >= WINDOW


def test_the_validation_text_of_a_huge_text_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "MAX_VALIDATION", 200)
    assert len(choose_validation(files(tmp_path, "x" * 9000)).text) == 200


def test_a_short_piece_is_not_removed_from_a_slightly_longer_file(tmp_path: Path) -> None:
    assert training(files(tmp_path, "aXYZ"), "a") == "aXYZ"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.sampled_from("ab\né€"), min_size=1), min_size=1, max_size=4))
def test_without_a_validation_text_training_reads_everything(tmp_path: Path, texts: list[str]) -> None:
    for path in tmp_path.glob("*.txt"):
        path.unlink()
    text = prepare(files(tmp_path, "ab", *texts), "")
    joined = "\n".join(("ab", *texts))
    assert "".join(text.chunks()) == joined
    assert (text.num_characters, text.vocabulary.characters) == (len(joined), "".join(sorted(set(joined))))


def test_a_text_can_be_read_again(tmp_path: Path) -> None:
    text = prepare(files(tmp_path, "abc", "def"), "xy")
    (tmp_path / "001.txt").write_text("def and what was added since")
    # Catches: more characters than were counted, some of them outside the vocabulary
    assert ["".join(text.chunks()) for _ in range(2)] == ["abc\ndef"] * 2
    assert text.num_characters == 7


def test_the_vocabulary_covers_training_and_validation_text(tmp_path: Path) -> None:
    text = prepare(files(tmp_path, "abc"), PIECE_END.join(("xy", "z")))
    assert text.vocabulary.characters == "abcxyz"


def test_characters_that_a_model_lacks_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 characters outside the vocabulary of speeches@1: 'é€'"):
        prepare(files(tmp_path, "abcé€"), "ab", Vocabulary("abcd"), "speeches@1", unknown="error")


def test_a_vocabulary_grows_by_the_characters_of_both_texts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = prepare(files(tmp_path, "abcé€"), PIECE_END.join(("ab", "z")), Vocabulary("abcd"), "speeches@1")
    assert text.vocabulary.characters == "abcdzé€"
    assert ("".join(text.chunks()), text.num_characters, text.num_left_out) == ("abcé€", 5, 0)
    assert caplog.messages == ["The vocabulary of speeches@1 grows by 3 characters: 'zé€'"]


@pytest.mark.parametrize(
    ("unknown", "expected", "left_out", "said"),
    [("drop", "abc.", 2, "They are left out"), ("replace", "abce....", 0, "They are replaced")],
)
def test_unknown_characters_of_a_text_are_dropped_or_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, unknown: str, expected: str, left_out: int, said: str
) -> None:
    text = prepare(
        files(
            tmp_path,
            "abcé….",
        ),
        "",
        Vocabulary(".abce"),
        unknown=unknown,
    )
    # Catches: characters counted that are not trained on
    assert ("".join(text.chunks()), text.num_characters, text.num_left_out) == (expected, len(expected), left_out)
    assert text.vocabulary.characters == ".abce"
    assert caplog.messages == [f"The text has 2 characters outside the vocabulary of the model: 'é…'. {said}"]


def test_a_validation_text_without_known_characters_is_refused(tmp_path: Path) -> None:
    corpus = files(tmp_path, "abc")
    with pytest.raises(InputError, match="fewer than 2 characters in the vocabulary of speeches@1"):
        prepare(corpus, "axy", Vocabulary("abc"), "speeches@1", unknown="drop")
    assert prepare(corpus, "axy", Vocabulary("abcx"), "speeches@1", unknown="drop").vocabulary.characters == "abcx"


def test_requested_validation_documents_are_joined_as_pieces(tmp_path: Path) -> None:
    assert join_documents(files(tmp_path, "one", "two")) == "one" + PIECE_END + "two"
