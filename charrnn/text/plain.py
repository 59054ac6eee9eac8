"""Plain text: UTF-8 with composed characters, newlines at the ends of lines, and no byte order mark.

A model learns the characters of its text. Without this step, it would learn that é is one character in some files and
two in others, and it would write the line ends of Windows. Pure Python.
"""

from __future__ import annotations

import codecs
import io
import logging
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from charrnn.checks import check_choice
from charrnn.errors import TextError
from charrnn.text.documents import CHUNK, Document, FileBytes, check_encodable, not_text, place_of
from charrnn.text.encodings import SAMPLE, UTF_8, check_encoding, conversion, explain, is_utf_8, marked_encoding
from charrnn.text.listing import shorten_names

logger = logging.getLogger(__name__)

ASCII = bytes(range(0x80))
NEWLINES = (LF, KEEP) = ("lf", "keep")
FIRST_MARK = "\u0300"  # no character before it changes what stands before it
# Characters that are composed at once. A run of combining marks takes quadratic time, so a file of nothing else would
# take hours; cut in pieces it takes a second for each MB. Unicode's Stream-Safe Text Format (UAX #15) allows 30 marks.
PIECE = 1_024


def compose(text: str) -> str:
    """Return a text in normalization form C of Unicode: é is one character, whether it was one or two."""
    return text if text.isascii() else "".join(unicodedata.normalize("NFC", piece) for piece in _pieces([text]))


def plain(text: str, newlines: str = LF) -> str:
    """Return a text with composed characters and, if `newlines` is "lf", with newlines for CRLF and CR."""
    if newlines == LF and "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return compose(text)


def to_plain(documents: Iterable[Document], folder: Path, encoding: str = UTF_8, newlines: str = LF) -> list[Document]:
    """Return documents of plain text: those that are it already, and copies of the others.

    Args:
        documents: files in any encoding.
        folder: a folder for the copies. They have the names of the originals in messages.
        encoding: that of files without a byte order mark; any text encoding of Python.
        newlines: one of NEWLINES. "lf" makes newlines of CRLF and CR, "keep" keeps them.

    Raises:
        InputError: the encoding or `newlines` is unknown.
        TextError: a file cannot be read, is not text in its encoding, or a copy cannot be written.
    """
    check_encoding(encoding)
    check_choice("newlines", newlines, NEWLINES)
    found = list(documents)
    plain_ones, misread = [], []
    for number, document in enumerate(found):
        try:
            plain_ones.append(_to_plain(document, folder / f"plain-{number:06}", encoding, newlines))
        except _OtherEncodingError as error:
            raise not_text(error.problem, _advise(error.guessed, len(found))) from error
        if not codecs.lookup(encoding).name.startswith("utf") and _is_utf_8(document):
            misread.append(str(document))
    if misread:
        logger.warning(
            "Read in %s, but probably UTF-8: %s. Leave out `encoding`, and convert the other files to UTF-8",
            encoding,
            shorten_names(misread),
        )
    return plain_ones


def _is_utf_8(document: Document) -> bool:
    """Return whether a file without a byte order mark has UTF-8 around its first character that is not ASCII."""
    with document.open() as data:
        if marked_encoding(data[: len(codecs.BOM_UTF32_LE)]):
            return False
        for start in range(0, len(data), CHUNK):
            chunk = data[start : start + CHUNK]
            if not chunk.isascii():
                first = start + len(chunk) - len(chunk.lstrip(ASCII))
                return is_utf_8(data[first : first + SAMPLE])
    return False


class _OtherEncodingError(Exception):
    """A file is not in its encoding.

    Attributes:
        problem: what is wrong, with file and place.
        guessed: the encoding that it probably has, and how it reads in that; None if there is none.
    """

    def __init__(self, problem: str, guessed: tuple[str, str] | None) -> None:
        super().__init__(problem)
        self.problem, self.guessed = problem, guessed


def _to_plain(document: Document, copy: Path, encoding: str, newlines: str) -> Document:
    with document.open() as data:
        marked = marked_encoding(data[: len(codecs.BOM_UTF32_LE)])
        codec = marked or encoding
        same = codecs.lookup(codec).name == UTF_8
        if same and all(plain(text, newlines) == text for text in _pieces(_decode(document, data, codec, KEEP))):
            return document
        try:
            with copy.open("xb") as file:
                for text in _pieces(_decode(document, data, codec, newlines)):
                    file.write(compose(text).encode())
        except OSError as error:
            raise TextError(f"{document}: cannot be converted to plain UTF-8 in {copy}: {error.strerror}") from error
    return Document(copy, str(document))


def _decode(document: Document, data: FileBytes, codec: str, newlines: str) -> Iterator[str]:
    """Yield the text of a file in chunks."""
    decoder = codecs.getincrementaldecoder(codec)()
    lines = io.IncrementalNewlineDecoder(decoder, translate=True) if newlines == LF else decoder
    has_bytes = "\n".encode(codec.removesuffix("-sig")) == b"\n"  # as in all but UTF-16 and UTF-32
    for start in range(0, len(data), CHUNK):
        stop = min(start + CHUNK, len(data))
        chunk = data[start:stop]
        if has_bytes and (nul := chunk.find(b"\0")) >= 0:  # checked first: another encoding makes no text of an image
            problem = f"{document}: {place_of(data, start + nul)}: a NUL character, which text cannot contain"
            raise _OtherEncodingError(problem, explain(data, 0))
        try:
            text = lines.decode(chunk, stop == len(data))
        except UnicodeDecodeError as error:
            offset = stop - len(error.object) + error.start
            raise _wrong_byte(document, data, offset, codec, error.reason, has_bytes) from error
        except UnicodeError as error:
            raise TextError(f"{document}: is not {codec} text: {error}") from error
        check_encodable(str(document), text)
        if "\0" in text:
            raise not_text(f"{document}: a NUL character, which text cannot contain")
        yield text


def _wrong_byte(
    document: Document, data: FileBytes, offset: int, codec: str, reason: str, has_bytes: bool
) -> _OtherEncodingError:
    place = place_of(data, offset) if has_bytes else f"byte {offset + 1:,}"
    shown, name = data[offset : offset + 1].hex(), codec.removesuffix("-sig").upper()
    problem = f"{document}: {place}: 0x{shown} is not {name} text ({reason})"
    other = not codecs.lookup(codec).name.startswith("utf")
    return _OtherEncodingError(problem, explain(data, offset, maybe_utf_8=other) if has_bytes else None)


def _advise(guessed: tuple[str, str] | None, num_files: int) -> str:
    """Return what to do about a file in another encoding. `encoding` is that of all files."""
    if guessed is None:
        return ""
    encoding, sample = guessed
    if encoding == UTF_8:
        others = "" if num_files == 1 else ", and convert the other files to UTF-8"
        return f"{sample}: it is UTF-8. Leave out `encoding`{others}"
    if num_files == 1:
        return f"{sample}. If that is right, use `encoding` {encoding}"
    return (
        f"{sample}. If all {num_files:,} files are in {encoding}, use `encoding` {encoding}. If only this one is, move "
        f"it elsewhere or convert it: {conversion(encoding)}"
    )


def _pieces(chunks: Iterable[str]) -> Iterator[str]:
    """Yield a text in pieces that can be composed one by one: none begins with what composes with the one before."""
    rest = ""
    for chunk in chunks:
        text, start = rest + chunk, 0
        if text.isascii():
            yield text[:-1]
            rest = text[-1:]
            continue
        while start + PIECE < len(text):
            stop = _cut(text, start)
            yield text[start:stop]
            start = stop
        rest = text[start:]
    yield rest


def _cut(text: str, start: int) -> int:
    """Return where a piece ends that begins at `start`."""
    for stop in range(start + PIECE, start, -1):
        if not _composes(text[stop]):
            return stop
    return start + PIECE


def _composes(character: str) -> bool:
    """Return whether a character may compose, or change places, with what stands before it: marks, the vowels and final
    consonants of Hangul, and a vowel of Kirat Rai, which composes from Unicode 16 (Python 3.14) on."""
    if character < FIRST_MARK:
        return False
    return unicodedata.category(character)[0] == "M" or "\u1160" <= character <= "\u11ff" or character == "\U00016d67"
