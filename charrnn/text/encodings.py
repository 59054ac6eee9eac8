"""Text encodings: their names, their marks, and a guess at which one a file has. Pure Python."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from charrnn.errors import InputError

if TYPE_CHECKING:
    from charrnn.text.documents import FileBytes

UTF_8 = "utf-8"
MARKS = (  # those of UTF-32 first: the one of UTF-16 begins like it
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
CONTINUED = bytes(range(0x80, 0xC0))  # bytes of UTF-8 that continue a character
SAMPLE = 4_096  # bytes to guess from
QUOTED = 30  # characters shown around the first one that is not ASCII
NUL_SHARE = 0.2  # of the bytes at even or odd places; UTF-16 has more of them even where half of a text is Chinese

# The characters of Western European texts that are not ASCII. For texts with few of them, such as English with curly
# quotes, charset-normalizer 3.5 reports cp852, cp1006 or big5hkscs.
WESTERN = frozenset("‘’‚“”„«»‹›–—…•€£§©®°·¡¿´ªº½àáâãäåæçèéêëìíîïñòóôõöøùúûüÿßœÀÁÂÃÄÅÆÇÈÉÊËÍÎÏÑÓÔÕÖØÙÚÛÜŒ\xa0")


def check_encoding(encoding: str) -> None:
    """Check that Python has a text encoding of that name.

    Raises:
        InputError: it has none.
    """
    try:
        "a".encode(encoding)
        codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError) as error:
        raise InputError(
            f"encoding must be a text encoding of Python, such as utf-8, utf-16, cp1252 or shift_jis, not {encoding!r}"
        ) from error


def marked_encoding(data: bytes) -> str | None:
    """Return the encoding whose byte order mark the data begins with."""
    return next((encoding for mark, encoding in MARKS if data.startswith(mark)), None)


def explain(data: bytes | FileBytes, offset: int, *, maybe_utf_8: bool = False) -> tuple[str, str] | None:
    """Return the encoding that a text probably has which is not in the expected one, and how it reads in that encoding.

    Args:
        data: the text.
        offset: the place of the first byte that is wrong.
        maybe_utf_8: whether another encoding than UTF-8 was expected.
    """
    start = max(0, offset - SAMPLE // 2) // 2 * 2  # where a character of UTF-16 begins
    sample, offset = data[start : start + SAMPLE], offset - start
    whole = sample.lstrip(CONTINUED) if start else sample  # it may begin within a character
    encoding = UTF_8 if maybe_utf_8 and is_utf_8(whole) else guess(sample)
    if not encoding:
        return None
    text = sample[:offset].decode(encoding, "ignore")[-QUOTED // 2 :] + sample[offset:].decode(encoding, "ignore")
    return encoding, f"In {encoding} it reads {' '.join(text.split())[:QUOTED]!r}"


def is_utf_8(sample: bytes) -> bool:
    """Return whether the beginning of a text is UTF-8 with characters that are not ASCII. It may end within one."""
    try:
        text = codecs.getincrementaldecoder(UTF_8)().decode(sample)
    except UnicodeDecodeError:
        return False
    return not text.isascii()


def conversion(encoding: str) -> str:
    """Return the command that converts a file from an encoding, by the name that iconv has for it."""
    return f"iconv -f {encoding.replace('utf-16-', 'utf-16')} -t utf-8 FILE > NEW"


def guess(data: bytes) -> str | None:
    """Return the encoding that a text most probably has, or None."""
    from charset_normalizer import from_bytes  # 40 ms to import, and only needed for an error message

    if marked := marked_encoding(data):
        return marked
    if b"\0" in data:
        return _guess_utf_16(data)
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    others = {character for character in text if not character.isascii()}
    if others and others <= WESTERN:
        return "cp1252"
    best = from_bytes(data).best()
    return None if best is None or best.encoding in ("ascii", "utf_8") else codecs.lookup(best.encoding).name


def _guess_utf_16(data: bytes) -> str | None:
    """Return the byte order of UTF-16, whose ASCII characters have a NUL at every even or every odd place."""
    even, odd = data[::2].count(0), data[1::2].count(0)
    if max(even, odd) < NUL_SHARE * len(data) / 2 or min(even, odd) > max(even, odd) / 10:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"
