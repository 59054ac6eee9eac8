"""Plain text: the same characters, whatever the file's encoding, line ends and forms of accents."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.errors import InputError, TextError
from charrnn.text import plain as module
from charrnn.text.documents import Document
from charrnn.text.plain import KEEP, LF, compose, plain, to_plain
from charrnn.text.vocabulary import Vocabulary

EMOJI = "👩\u200d👩\u200d👧 می\u200cخواهم क्षि"  # a family, Persian and Devanagari: joiners and marks that stay
TEXT = f"été\nÅngström, 한글, {EMOJI}\n"


def read(path: Path, data: bytes, encoding: str = "utf-8", newlines: str = LF) -> str:
    path.write_bytes(data)
    (path.parent / "copies").mkdir(exist_ok=True)
    for copy in (path.parent / "copies").iterdir():
        copy.unlink()
    (document,) = to_plain([Document(path)], path.parent / "copies", encoding, newlines)
    assert str(document) == str(path)
    return "".join(document.read())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("option", ["utf-8", "latin-1"])
def test_byte_order_marks_are_understood(tmp_path: Path, encoding: str, option: str) -> None:
    mark = b"" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff".encode(encoding)
    assert read(tmp_path / "a.txt", mark + TEXT.encode(encoding), option) == TEXT


@pytest.mark.parametrize(
    "encoding", ["cp1252", "latin-1", "shift_jis", "gb18030", "utf-7", "utf-16-le", "koi8-r", "UTF8"]
)
def test_any_encoding_of_python_can_be_named(tmp_path: Path, encoding: str) -> None:
    text = {"shift_jis": "日本\n", "koi8-r": "Ещё\n"}.get(encoding, "été\n")
    assert read(tmp_path / "a.txt", text.encode(encoding), encoding) == text


def test_a_file_in_utf_8_among_others_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    new, old, plain_one = (tmp_path / name for name in ("new.txt", "old.txt", "ascii.txt"))
    new.write_bytes(b"x" * 70_000 + "Straße\n".encode())
    old.write_bytes("Straße\n".encode("cp1252"))
    plain_one.write_bytes(b"Strasse\n")
    to_plain(map(Document, (new, old, plain_one)), tmp_path, "cp1252")
    # Catches: StraÃŸe, learned without a warning after the advice about the other file was followed
    assert caplog.messages == [
        f"Read in cp1252, but probably UTF-8: {new}. Leave out `encoding`, and convert the other files to UTF-8"
    ]


def test_an_error_says_that_a_file_is_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Hallo 🍀 Straße\n")
    with pytest.raises(TextError, match=r"reads '.*Straße': it is UTF-8. Leave out `encoding`$"):
        to_plain([Document(path)], tmp_path, "cp1252")


@pytest.mark.parametrize("data", ["Straße".encode()[:-2], "Straße".encode()[5:], "Straße\0".encode()])
def test_damaged_utf_8_is_not_said_to_be_utf_8(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(TextError) as caught:
        to_plain([Document(path)], tmp_path)
    assert "it is UTF-8" not in str(caught.value)


def test_a_quote_of_windows_is_not_said_to_be_utf_8(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("“Stra".encode("cp1252") + "ÃŸe”\n".encode("cp1252"))
    to_plain([Document(path)], tmp_path, "cp1252")
    assert caplog.messages == []  # Catches: a first byte that is dropped instead of deciding


def test_plain_files_are_read_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TEXT)
    assert to_plain([Document(path)], tmp_path) == [Document(path)]  # Catches: a copy of every file
    assert to_plain([Document(path)], tmp_path, "latin-1") != [Document(path)]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_line_ends_become_newlines_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(module, "CHUNK", size)
    assert read(tmp_path / "a.txt", b"a\r\nb\rc\n\r\n\rd\r") == "a\nb\nc\n\n\nd\n"
    assert read(tmp_path / "a.txt", b"a\r\nb\rc", newlines=KEEP) == "a\r\nb\rc"


marks = st.text(st.sampled_from("aeé\u0301\u0323\u0302ᄒ\u1161\u11ab가\u11a8क\u093c\u200d\r\n😀"), max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=marks, size=st.integers(1, 9))
def test_text_is_composed_across_chunks_and_pieces(tmp_path: Path, text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", size)
        found = read(tmp_path / "a.txt", text.encode() + b".")
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    assert found == unicodedata.normalize("NFC", lines) + "."
    assert plain(text) == unicodedata.normalize("NFC", lines)


def test_no_piece_begins_with_what_composes_with_the_one_before() -> None:
    """With every character of Unicode."""
    for code in range(sys.maxunicode):
        character = chr(code)
        parts = unicodedata.decomposition(character).split()
        if unicodedata.combining(character):
            assert module._composes(character), hex(code)
        if len(parts) == 2 and parts[0][0] != "<" and unicodedata.is_normalized("NFC", character):
            assert module._composes(chr(int(parts[1], 16))), hex(code)


def test_a_piece_ends_in_a_run_of_marks_that_is_too_long(tmp_path: Path) -> None:
    """Composing one run of n marks takes n² steps: 2 MB of them would take 8 minutes, more than a test may."""
    text = "\u0301\u0323" * 500_000
    assert len(compose(text)) == len(text)
    assert len(read(tmp_path / "a.txt", text[:100_000].encode())) == 100_000


@pytest.mark.parametrize(
    ("data", "encoding", "message"),
    [
        (
            b"one\nt\xe9\n",
            "utf-8",
            "a.txt: line 2, byte 2: 0xe9 is not UTF-8 .*'one té'. If that is right, use `encoding` cp1252",
        ),
        (codecs.BOM_UTF8 + b"one\nt\xe9\n", "utf-8", "a.txt: line 2, byte 2: 0xe9 is not UTF-8 text"),
        (b"one\nt\xe9\n", "ascii", "line 2, byte 2: 0xe9 is not ASCII text"),
        (b"one\n\x81\n", "cp1252", "line 2, byte 1: 0x81 is not CP1252 text"),
        (b"\xff\xfea\0\0\xd8b\0", "utf-8", "byte 5: 0x00 is not UTF-16 text"),
        (b"\xff\xfea\0b", "utf-8", "byte 5: 0x62 is not UTF-16 text"),
        (b"a\0b\0\n\0c\0" * 9, "utf-8", "line 1, byte 2: a NUL character.*In utf-16-le it reads 'ab ca"),
        (b"GIF89a\0\1\2\3\0\0", "latin-1", "line 1, byte 7: a NUL character.*Is it a text file?"),
        (codecs.BOM_UTF16_LE + b"a\0\0\0", "utf-8", "a.txt: a NUL character.*Is it a text file?"),
        (b"\\ud800", "unicode_escape", "a surrogate such as"),
        (codecs.BOM_UTF8, "utf-8", "a.txt: the file is empty"),
    ],
)
def test_what_is_not_text_in_its_encoding_is_refused(tmp_path: Path, data: bytes, encoding: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        read(tmp_path / "a.txt", data, encoding)


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        ("caffè, città\n".encode("cp1252") * 9, "`encoding` cp1252. .* iconv -f cp1252 -t utf-8 FILE > NEW$"),
        ("ab\nc".encode("utf-16-le") * 9, "`encoding` utf-16-le. .* iconv -f utf-16le -t utf-8 FILE > NEW$"),
    ],
    ids=["cp1252", "utf-16"],
)
def test_the_advice_on_one_file_of_several_fits_the_others(tmp_path: Path, data: bytes, advice: str) -> None:
    (tmp_path / "a.txt").write_text("perché\n")
    (tmp_path / "b.txt").write_bytes(data)
    documents = [Document(tmp_path / name) for name in ("a.txt", "b.txt")]
    one = "If only this one is, move it elsewhere or convert it"
    # Catches: an encoding that would apply to the other files too, which are not in it
    with pytest.raises(TextError, match=rf"b.txt: line 1, .* If all 2 files are in .*, use {advice}") as found:
        to_plain(documents, tmp_path)
    assert one in str(found.value)


def test_unknown_line_ends_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="newlines must be one of lf, keep"):
        to_plain([], tmp_path, newlines="crlf")


def test_seeds_have_the_form_of_the_text() -> None:
    vocabulary = Vocabulary.of("été\n ab")
    assert vocabulary.prepare_seed("e\u0301te\u0301\r\n", "error") == "été\n"
    assert Vocabulary.of("a\r\n").prepare_seed("a\r\n", "error") == "a\r\n"  # trained with newlines="keep"
