"""The encoding that a message names is the one that the file has."""

from __future__ import annotations

import gzip

import pytest

from charrnn.errors import InputError
from charrnn.text.encodings import check_encoding, explain, guess

TEXTS = {
    "one accent": ("un café noir\n", "cp1252"),
    "curly quotes": ("It’s the old sailor’s “lamp” – he said…\n" * 10, "cp1252"),
    "one curly quote": ("It’s the old sailor\n", "cp1252"),
    "German": ("Die Straße führt über die Brücke. Größe, Häuser, Mädchen.\n" * 4, "cp1252"),
    "names": ("José\nMaría\nZoë\nBjörn\nChloé\nAndré\nNoël\n", "cp1252"),
    "Russian": ("Съешь ещё этих мягких французских булок, да выпей чаю.\n" * 4, "cp1251"),
    "Russian, KOI8": ("Съешь ещё этих мягких французских булок, да выпей чаю.\n" * 4, "koi8-r"),
    "Japanese": ("これは日本語のテキストです。名前はまだ無い。\n" * 4, "cp932"),
    "Chinese": ("这是一个中文文本。我们喜欢学习。\n" * 4, "gb18030"),
    "UTF-16 without a mark": ("It is a text from Windows.\n" * 4, "utf-16-le"),
    "big-endian UTF-16": ("It is a text, не короткий.\n" * 4, "utf-16-be"),
}


@pytest.mark.parametrize(("text", "encoding"), TEXTS.values(), ids=TEXTS.keys())
def test_a_text_s_encoding_is_named(text: str, encoding: str) -> None:
    data = text.encode(encoding)
    assert guess(data) == encoding
    found = explain(data, 0)
    assert found
    assert found[0] == encoding
    assert found[1].startswith(f"In {encoding} it reads {text[:4]!r}"[:-1])


@pytest.mark.parametrize("data", [gzip.compress(bytes(range(256)) * 40, mtime=0), bytes(200), b"plain", b""])
def test_what_is_no_text_in_another_encoding_gets_no_name(data: bytes) -> None:
    assert explain(data, 0) is None


def test_utf_16_is_recognized_at_any_place() -> None:
    # Catches: a sample that begins inside a character, so that the byte order is the other one
    data = ("It is a text from Windows.\n" * 400).encode("utf-16-le")
    for offset in (9_000, 9_001):
        found = explain(data, offset)
        assert found
        assert found[0] == "utf-16-le"
    found = explain("\ufeffthe".encode("utf-16-le"), 0)
    assert found == ("utf-16", "In utf-16 it reads 'the'")


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "base64", "", "a\0b", "undefined", "../x", "x" * 5000])
def test_an_unknown_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(InputError, match="encoding must be a text encoding of Python, such as utf-8"):
        check_encoding(encoding)
