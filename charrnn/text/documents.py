"""Reading text that people hand in: its characters, or a clear error with file, line and byte.

Nothing is repaired and nothing is normalised but a byte order mark at the start, which is dropped:
a model learns the characters that are in the file. Pure Python.
"""

from __future__ import annotations

import glob
import mmap
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from charrnn.checks import check_choice
from charrnn.errors import TextError

BYTE_ORDER_MARK = "\ufeff"
MARK_BYTES = BYTE_ORDER_MARK.encode()
CORPUS_SUFFIX = ".txt"
UTF_8, LATIN_1 = ENCODINGS = ("utf-8", "latin-1")
CHUNK = 1 << 20  # bytes that are read at once


def decode(data: bytes, name: str, line: int = 1) -> str:
    """Decode UTF-8; `name` is what an error calls the source, `line` the number of the first line.

    Raises:
        TextError: with line and byte (both from 1) of the first byte that is not UTF-8.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf_8(data, name, error.start, error.reason, line) from error
    return text.removeprefix(BYTE_ORDER_MARK) if line == 1 else text


def check_encodable(name: str, text: str) -> None:
    """Refuse half a character, which no file and no database takes.

    Raises:
        TextError: a surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(f"{name}: a surrogate such as \\ud800 is not a character by itself") from error


def check_storable(name: str, text: str) -> None:
    """Refuse also NUL, which PostgreSQL does not take.

    Raises:
        TextError: a surrogate or a NUL.
    """
    check_encodable(name, text)
    if "\0" in text:
        raise TextError(f"{name}: a NUL, which no text has")


def _not_utf_8(data: bytes | mmap.mmap, name: str, offset: int, reason: str, line: int = 1) -> TextError:
    return TextError(
        f"{name}: {_place(data, offset, line)}: 0x{data[offset]:02x} is not UTF-8 text ({reason}). "
        f"Convert the file first, for example: iconv -f LATIN1 -t UTF-8 FILE"
    )


def _place(data: bytes | mmap.mmap, offset: int, line: int = 1) -> str:
    line_start = data.rfind(b"\n", 0, offset) + 1
    lines = sum(data[start : min(start + CHUNK, offset)].count(b"\n") for start in range(0, offset, CHUNK))
    return f"line {line + lines}, byte {offset - line_start + 1}"


@dataclass(frozen=True)
class Document:
    """A file of a corpus. It is mapped into memory and read in pieces, however large it is.

    Attributes:
        url: where it was copied from, if it is a copy.
    """

    path: Path
    encoding: str = UTF_8
    url: str | None = None

    def __str__(self) -> str:
        """Name it as people know it."""
        return self.url or str(self.path)

    @contextmanager
    def mapped(self) -> Iterator[mmap.mmap]:
        """Map the file's bytes.

        Raises:
            TextError: no regular file, unreadable or empty.
        """
        try:
            status = self.path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise TextError(f"{self}: not a regular file. Write a pipe's text to a file first")
            if not status.st_size:
                raise TextError(f"{self}: the file is empty. Expected text")
            with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if len(data) == len(MARK_BYTES) and data[:] == MARK_BYTES:
                    raise TextError(f"{self}: the file has a byte order mark and nothing else. Expected text")
                yield data
        except OSError as error:
            raise TextError(f"{self}: cannot be read: {error.strerror}") from error

    def size(self) -> int:
        """Return its length in bytes."""
        with self.mapped() as data:
            return len(data)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """Read the text between two places, in bytes, chunk by chunk.

        Raises:
            TextError: a byte that is not of the encoding, or NUL, which no text has.
        """
        with self.mapped() as data:
            stop = len(data) if stop is None else stop
            while start < stop:
                end = self.boundary(data, start + CHUNK) if start + CHUNK < stop else stop
                text = self._decode(data, start, end)
                yield text.removeprefix(BYTE_ORDER_MARK) if start == 0 else text
                start = end

    def boundary(self, data: mmap.mmap, place: int) -> int:
        """Return the start of the character that the byte at `place` belongs to."""
        before = place
        while self.encoding == UTF_8 and before - 4 < place < len(data) and data[place] & 0xC0 == 0x80:
            place -= 1
        return place

    def _decode(self, data: mmap.mmap, start: int, stop: int) -> str:
        if (nul := data.find(b"\0", start, stop)) >= 0:  # first: a picture is no text in another encoding
            raise TextError(f"{self}: {_place(data, nul)}: a NUL, which no text has. Is it a text file?")
        try:
            return data[start:stop].decode(self.encoding)
        except UnicodeDecodeError as error:
            refused = _not_utf_8(data, str(self), start + error.start, error.reason)
            raise TextError(f"{refused}, or read every byte as a character: --encoding latin-1") from error


def list_documents(paths: str | Path | Iterable[str | Path], encoding: str) -> list[Document]:
    """Return the documents of files, folders and patterns, in sorted order.

    Raises:
        InputError: a path that names no file, or an encoding that is not known.
    """
    check_choice("encoding", encoding, ENCODINGS)
    given = [paths] if isinstance(paths, str | Path) else paths
    return [Document(path, encoding) for path in expand(given)]


def expand(paths: Iterable[str | Path]) -> list[Path]:
    """Return the files named by `paths`: a file is itself, a folder its *.txt files (searched deeply), a
    pattern with *, ? or [ the files that match it. Sorted, each once, however it is named.

    Raises:
        TextError: a path that names no file.
    """
    paths, files = list(paths), dict[Path, Path]()
    if not paths or "" in paths:
        raise TextError("A path is empty, or there is none. Expected text files or folders of them")
    for path in (Path(path).absolute() for path in paths):
        try:
            found = _files(path)
        except OSError as error:
            raise TextError(f"{path}: cannot be read: {error.strerror}") from error
        if not found:
            raise TextError(f"{path}: {_why_none(path)}. Expected text files or folders of them")
        for file in found:
            real = file.resolve()
            files[real] = min(file, files.get(real, file))
    return sorted(files.values())


def _why_none(path: Path) -> str:
    if path.is_dir():
        return f"a folder without {CORPUS_SUFFIX} files"
    return "a pattern that no file matches" if set(str(path)) & set("*?[") else "no such file"


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [file for file in path.rglob(f"*{CORPUS_SUFFIX}") if file.is_file()]
    if path.exists():
        return [path]
    return [Path(match) for match in glob.glob(str(path)) if Path(match).is_file()]
