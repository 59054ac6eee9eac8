"""Reading text that people hand in: UTF-8 or a clear error with file, line and byte.

Nothing is repaired and nothing is normalised but a byte order mark at the start, which is dropped:
a model learns the characters that are in the file. Pure Python.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from charrnn.errors import TextError

BYTE_ORDER_MARK = "\ufeff"
CORPUS_SUFFIX = ".txt"
HELD_OUT_SHARE = 0.05


def decode(data: bytes, name: str) -> str:
    """Decode UTF-8; `name` is what an error calls the source.

    Raises:
        TextError: with line and byte (both from 1) of the first byte that is not UTF-8.
    """
    try:
        return data.decode("utf-8").removeprefix(BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        line_start = data.rfind(b"\n", 0, error.start) + 1
        line = data.count(b"\n", 0, error.start) + 1
        raise TextError(
            f"{name}: line {line}, byte {error.start - line_start + 1}: "
            f"0x{data[error.start]:02x} is not UTF-8 text ({error.reason}). "
            f"Convert the file first, for example: iconv -f LATIN1 -t UTF-8 FILE"
        ) from error


def read(path: Path) -> str:
    """Read one UTF-8 file.

    Raises:
        TextError: missing, a folder, unreadable, empty or not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TextError(f"{path}: cannot be read: {error.strerror}") from error
    text = decode(data, str(path))
    if not text:
        raise TextError(f"{path}: the file is empty. Expected UTF-8 text")
    return text


def expand(paths: Iterable[str | Path]) -> list[Path]:
    """Files named by `paths`: a file is itself, a folder its *.txt files (searched deeply), a
    pattern with *, ? or [ the files that match it. Sorted, each once.

    Raises:
        TextError: a path that names no file.
    """
    paths, files = list(paths), set[Path]()
    if "" in paths:
        raise TextError("A path is empty. Expected text files or folders of them")
    for path in (Path(path).absolute() for path in paths):
        try:
            found = _files(path)
        except OSError as error:
            raise TextError(f"{path}: cannot be read: {error.strerror}") from error
        if not found:
            raise TextError(
                f"{path}: no such file, or a folder without {CORPUS_SUFFIX} files. "
                f"Expected text files or folders of them"
            )
        files.update(found)
    return sorted(files)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [file for file in path.rglob(f"*{CORPUS_SUFFIX}") if file.is_file()]
    if path.exists():
        return [path]
    return [Path(match) for match in glob.glob(str(path)) if Path(match).is_file()]


def read_corpus(paths: Iterable[str | Path]) -> str:
    """The text of all files that `paths` name, joined by newlines in sorted order."""
    return "\n".join(read(file) for file in expand(paths))


def choose_held_out(text: str) -> str:
    """The last 5 % of a text: what a model's first training sets aside."""
    return text[len(text) - max(1, round(len(text) * HELD_OUT_SHARE)) :]


def without(text: str, held_out: str) -> str:
    """The text that training may see: `text` with every copy of the held-out text cut away."""
    return text.replace(held_out, "\n")
