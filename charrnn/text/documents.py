"""Reading of text files in UTF-8: their characters, or an error with file, line and byte. Pure Python.

`charrnn.text.plain` makes such files of others.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from charrnn.checks import check_string
from charrnn.errors import TextError
from charrnn.regular_file import NotRegularError, regular
from charrnn.text.encodings import conversion, explain
from charrnn.text.listing import expand

BYTE_ORDER_MARK = "\ufeff"
CHUNK = 1 << 20  # bytes read at once


def decode(data: bytes, name: str, line: int = 1) -> str:
    """Decode UTF-8. A byte order mark at the start of line 1 is dropped.

    Args:
        data: the bytes to decode.
        name: the source's name in error messages.
        line: the number of the first line in `data`, from 1.

    Raises:
        TextError: the bytes are not UTF-8. Names line and byte, both from 1, of the first invalid byte.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf_8(data, name, error.start, error.reason, line) from error
    return text.removeprefix(BYTE_ORDER_MARK) if line == 1 else text


def check_encodable(name: str, text: str) -> None:
    """Check that text has no surrogate: half a character, which no file and no database can store.

    Raises:
        InputError: the text is not a string.
        TextError: the text has a surrogate.
    """
    check_string(name, text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(f"{name}: a surrogate such as \\ud800 is not a character by itself") from error


def check_storable(name: str, text: str) -> None:
    """Check that text has no surrogate and no NUL, which PostgreSQL cannot store.

    Raises:
        InputError: the text is not a string.
        TextError: the text has a surrogate or a NUL.
    """
    check_encodable(name, text)
    if "\0" in text:
        raise TextError(f"{name}: a NUL character, which text cannot contain")


class FileBytes:
    """The bytes of an open file, each slice read when it is asked for.

    A mapped file would do the same, but its pages count as memory of the process, and one that is truncated while it is
    read ends the process by SIGBUS.

    Raises:
        OSError: the file cannot be read, or became shorter.
    """

    def __init__(self, handle: int) -> None:
        self._handle, self._size = handle, os.fstat(handle).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice) -> bytes:
        start, stop, _ = place.indices(self._size)
        found = os.pread(self._handle, max(0, stop - start), start)
        if len(found) < stop - start:
            raise OSError(errno.EIO, "it became shorter while it was read")
        return found


def _not_utf_8(data: bytes | FileBytes, name: str, offset: int, reason: str, line: int = 1) -> TextError:
    problem = (
        f"{name}: {place_of(data, offset, line)}: 0x{data[offset : offset + 1].hex()} is not UTF-8 text ({reason})"
    )
    if not (found := explain(data, offset)):
        return not_text(problem)
    encoding, sample = found
    return not_text(problem, f"{sample}. Convert it first: {conversion(encoding)}")


def not_text(problem: str, advice: str = "") -> TextError:
    """Return an error about bytes that are not text, with the advice or, without any, a question."""
    return TextError(f"{problem}. {advice or 'Is it a text file?'}")


def place_of(data: bytes | FileBytes, offset: int, line: int = 1) -> str:
    """Return the line and byte of a byte offset, both from 1."""
    line_start = 0
    for start in range(0, offset, CHUNK):  # the whole file would be in memory otherwise
        chunk = data[start : min(start + CHUNK, offset)]
        line += chunk.count(b"\n")
        if (end := chunk.rfind(b"\n")) >= 0:
            line_start = start + end + 1
    return f"line {line}, byte {offset - line_start + 1}"


@dataclass(frozen=True)
class Document:
    """One file of a corpus. It is read in chunks, so its size does not matter.

    Attributes:
        path: the file.
        source: the name or URL of what the file is a copy of.
    """

    path: Path
    source: str | None = None

    def __str__(self) -> str:
        """Return the name that users know."""
        return self.source or str(self.path)

    @contextmanager
    def open(self) -> Iterator[FileBytes]:
        """Open the file to read its bytes.

        Raises:
            TextError: the file is not a regular file, cannot be read, or is empty.
        """
        try:
            with open(self.path, "rb", opener=regular) as file:
                data = FileBytes(file.fileno())
                if not len(data):
                    raise TextError(f"{self}: the file is empty. Expected text")
                yield data
        except NotRegularError as error:
            raise TextError(f"{self}: {error.strerror}") from error
        except OSError as error:
            raise TextError(f"{self}: cannot be read: {error.strerror}") from error

    def size(self) -> int:
        """Return the size of the file in bytes."""
        with self.open() as data:
            return len(data)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """Yield the text in chunks.

        Args:
            start: byte offset of the first character.
            stop: byte offset behind the last character. Default: the end of the file.

        Raises:
            TextError: a byte is not UTF-8, or is NUL, which text cannot contain.
        """
        with self.open() as data:
            stop = len(data) if stop is None else stop
            while start < stop:
                end = self.boundary(data, start + CHUNK) if start + CHUNK < stop else stop
                yield self._decode(data, start, end)
                start = end

    def boundary(self, data: FileBytes, place: int) -> int:
        """Return the byte offset at which the character that includes the byte at `place` starts."""
        before = place
        while max(0, before - 4) < place < len(data) and data[place : place + 1][0] & 0xC0 == 0x80:
            place -= 1
        return place

    def _decode(self, data: FileBytes, start: int, stop: int) -> str:
        found = data[start:stop]
        if (nul := found.find(b"\0")) >= 0:
            raise not_text(f"{self}: {place_of(data, start + nul)}: a NUL character, which text cannot contain")
        try:
            return found.decode()
        except UnicodeDecodeError as error:
            raise _not_utf_8(data, str(self), start + error.start, error.reason) from error


def list_documents(paths: str | Path | Iterable[str | Path], *, keep_empty: bool = False) -> list[Document]:
    """Return the documents that files, folders and patterns name, in sorted order. See `expand`.

    Raises:
        InputError: a path names no file.
    """
    given = [paths] if isinstance(paths, str | Path) else paths
    return [Document(path) for path in expand(given, keep_empty=keep_empty)]
