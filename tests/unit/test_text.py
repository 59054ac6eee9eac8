"""Reading text: which characters are kept, and the content of error messages."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import TextError
from charrnn.text import documents as text
from charrnn.text.documents import Document, decode


def test_an_error_names_file_line_and_byte_of_what_is_not_utf8() -> None:
    with pytest.raises(TextError, match=r"notes\.txt: line 3, byte 4: 0xff is not UTF-8"):
        decode(b"one\ntwo\nabc\xffd\n", "notes.txt")


def test_an_error_in_the_first_line_counts_from_one() -> None:
    # Catches: `rfind(...) + 1` used as an index in a line before the first
    with pytest.raises(TextError, match=r"x: line 1, byte 1: 0xe9 "):
        decode("été".encode("latin-1"), "x")


def test_an_error_explains_how_to_convert_the_file() -> None:
    with pytest.raises(TextError, match="In cp1252 it reads 'un café noir'. Convert it first: iconv -f cp1252 -t"):
        decode(b"un caf\xe9 noir", "x")


def test_a_byte_order_mark_at_the_start_is_dropped() -> None:
    assert decode(b"\xef\xbb\xbfabc", "x") == "abc"


def test_a_byte_order_mark_inside_the_text_is_kept() -> None:
    assert decode(b"a\xef\xbb\xbfb", "x") == "a\ufeffb"


@given(st.text().filter(lambda text: not text.startswith("\ufeff")))
def test_nothing_else_is_repaired_or_normalized(text: str) -> None:
    # Catches: universal newlines, Unicode normalization, stripping
    assert decode(text.encode(), "x") == text


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"gone\.txt: cannot be read: No such file"):
        list(Document(tmp_path / "gone.txt").read())


def written(path: Path, data: bytes) -> Document:
    path.write_bytes(data)
    return Document(path)


def test_a_document_is_read_in_chunks_that_cut_no_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "CHUNK", 4)
    characters = "aé€😀b" * 9
    chunks = list(written(tmp_path / "a.txt", characters.encode()).read())
    assert len(chunks) > 9
    assert "".join(chunks) == characters  # Catches: chunks that end inside a character


@pytest.mark.parametrize(("data", "place"), [(b"\xff", "line 1, byte 1"), (b"one\ntwo\nabc\xe2\x82", "line 3, byte 4")])
def test_a_document_s_error_names_file_line_and_byte_of_any_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, place: str
) -> None:
    monkeypatch.setattr(text, "CHUNK", 4)
    with pytest.raises(TextError, match=rf"a\.txt: {place}: 0x.. is not UTF-8"):
        list(written(tmp_path / "a.txt", data).read())


@pytest.mark.parametrize("data", [b"\x80", b"\xbf" * 3, b"\x80abc"])
def test_a_text_that_begins_inside_a_character_is_refused_with_its_place(tmp_path: Path, data: bytes) -> None:
    # Catches: a search for the character's first byte that goes on before the file's begin
    document = written(tmp_path / "x.txt", data)
    with document.open() as opened:
        assert document.boundary(opened, 0) == 0
    with pytest.raises(TextError, match=r"x\.txt: line 1, byte 1: 0x.* is not UTF-8"):
        list(document.read())


def test_a_nul_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"a\.txt: line 2, byte 3: a NUL character"):
        list(written(tmp_path / "a.txt", b"ab\ncd\0e").read())


def test_an_empty_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="is empty"):
        list(written(tmp_path / "a.txt", b"").read())


def test_a_deleted_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="cannot be read: No such file"):
        Document(tmp_path / "gone.txt").size()


def test_a_file_that_is_cut_off_while_it_is_read_is_refused(tmp_path: Path) -> None:
    # Catches: a mapped file, which ends the process by SIGBUS
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"a" * (text.CHUNK + 1))
    chunks = Document(path).read()
    next(chunks)
    path.write_bytes(b"a")
    with pytest.raises(TextError, match="corpus.txt: cannot be read: it became shorter while it was read"):
        next(chunks)
