"""Reading text: what is kept, and what an error tells."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import TextError
from charrnn.text import choose_held_out, decode, expand, read, read_corpus, without


def test_an_error_names_file_line_and_byte_of_what_is_not_utf8() -> None:
    with pytest.raises(TextError, match=r"notes\.txt: line 3, byte 4: 0xff is not UTF-8"):
        decode(b"one\ntwo\nabc\xffd\n", "notes.txt")


def test_an_error_in_the_first_line_counts_from_one() -> None:
    # Catches: `rfind(...) + 1` taken for an index of a line before the first
    with pytest.raises(TextError, match=r"x: line 1, byte 1: 0xe9 "):
        decode("été".encode("latin-1"), "x")


def test_an_error_says_how_to_convert_the_file() -> None:
    with pytest.raises(TextError, match="iconv -f LATIN1 -t UTF-8"):
        decode(b"\xff", "x")


def test_a_byte_order_mark_at_the_start_is_dropped() -> None:
    assert decode(b"\xef\xbb\xbfabc", "x") == "abc"


def test_a_byte_order_mark_inside_the_text_is_kept() -> None:
    assert decode(b"a\xef\xbb\xbfb", "x") == "a\ufeffb"


@settings(max_examples=50)
@given(st.text().filter(lambda text: not text.startswith("\ufeff")))
def test_nothing_else_is_repaired_or_normalised(text: str) -> None:
    # Catches: universal newlines, Unicode normalisation, stripping
    assert decode(text.encode(), "x") == text


def test_line_ends_of_a_file_are_kept(tmp_path: Path) -> None:
    # Catches: `read_text` in place of `read_bytes`
    file = tmp_path / "a.txt"
    file.write_bytes(b"a\r\nb\rc\n")
    assert read(file) == "a\r\nb\rc\n"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.touch()
    with pytest.raises(TextError, match=r"a\.txt: the file is empty\. Expected UTF-8 text"):
        read(file)


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"gone\.txt: cannot be read: No such file"):
        read(tmp_path / "gone.txt")


def test_a_folder_cannot_be_read_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="cannot be read: Is a directory"):
        read(tmp_path)


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_a_folder_is_its_text_files_searched_deeply(tmp_path: Path) -> None:
    # Catches: glob in place of rglob
    make_files(tmp_path, "b.txt", "a.txt", "deep/er/c.txt", "notes.md")
    assert expand([tmp_path]) == [tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "deep/er/c.txt"]


def test_a_folder_whose_name_ends_in_txt_is_no_file(tmp_path: Path) -> None:
    make_files(tmp_path, "odd.txt/a.txt")
    assert expand([tmp_path]) == [tmp_path / "odd.txt/a.txt"]


def test_a_file_is_itself_whatever_its_name(tmp_path: Path) -> None:
    make_files(tmp_path, "notes [1].md")
    assert expand([str(tmp_path / "notes [1].md")]) == [tmp_path / "notes [1].md"]


@pytest.mark.parametrize("pattern", ["a*.txt", "a?.txt", "a[1]*"])
def test_a_pattern_is_the_files_that_match_it(tmp_path: Path, pattern: str) -> None:
    make_files(tmp_path, "a1.txt", "b1.txt", "a1folder/c.txt")
    assert expand([tmp_path / pattern]) == [tmp_path / "a1.txt"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    make_files(tmp_path, "a.txt")
    assert expand([tmp_path, tmp_path / "a.txt", tmp_path / "*.txt"]) == [tmp_path / "a.txt"]


def test_the_order_of_files_does_not_depend_on_the_order_of_paths(tmp_path: Path) -> None:
    make_files(tmp_path, "a.txt", "b.txt")
    assert expand([tmp_path / "b.txt", tmp_path / "a.txt"]) == [tmp_path / "a.txt", tmp_path / "b.txt"]


@pytest.mark.parametrize("name", ["gone.txt", "gone*", "empty"])
def test_a_path_that_names_no_file_is_refused(tmp_path: Path, name: str) -> None:
    # Catches: a typing error beside a good path that trains on half the text in silence
    make_files(tmp_path, "a.txt", "empty/notes.md")
    with pytest.raises(TextError, match=r"no such file, or a folder without \.txt files"):
        expand([tmp_path / "a.txt", tmp_path / name])


def test_files_of_a_corpus_are_joined_by_a_newline(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.txt").write_text("first")
    assert read_corpus([tmp_path]) == "first\nsecond"


def test_the_held_out_text_is_the_last_twentieth() -> None:
    assert choose_held_out("a" * 950 + "b" * 50) == "b" * 50


def test_even_a_tiny_text_holds_a_character_out() -> None:
    # Catches: `max(1, ...)` left out, so that the whole text would be held out
    assert choose_held_out("abc") == "c"


def test_training_sees_no_copy_of_the_held_out_text() -> None:
    # Catches: only the last copy cut away
    assert without("one HELD two HELD", "HELD") == "one \n two \n"


@settings(max_examples=50)
@given(st.text(min_size=1))
def test_the_held_out_text_is_an_end_of_the_text(text: str) -> None:
    held_out = choose_held_out(text)
    assert held_out
    assert text.endswith(held_out)
