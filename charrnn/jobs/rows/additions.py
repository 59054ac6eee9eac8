"""Add rows to a file of results: those of seeds that it does not have yet, by their ids."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

from charrnn.errors import InputError, counted
from charrnn.jobs.job.json_object import not_json
from charrnn.jobs.rows.formats import CSV, FIELDS, JSONL, LOGPROBS
from charrnn.regular_file import regular

COPIED = 1 << 20  # bytes at once
Line = tuple[int, tuple[Any, ...]]  # the number of its last line in the file, and its values
LONGEST_LINE = 1 << 25  # bytes: more than a text of a million characters with its log probabilities


@dataclass(frozen=True)
class Earlier:
    """A file of results, and the seeds that it has.

    Attributes:
        path: the file.
        names: its columns.
        seeds: a digest of each seed, since a file may have millions.
    """

    path: Path
    names: tuple[str, ...]
    seeds: frozenset[bytes]

    def copy(self, sink: BinaryIO) -> None:
        """Copy the file, and end its last line."""
        last = b"\n"
        with open(self.path, "rb", opener=regular) as file:
            while piece := file.read(COPIED):
                sink.write(piece)
                last = piece[-1:]
        sink.write(b"" if last == b"\n" else b"\n")

    def without_known(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the result lines of seeds that the file does not have.

        Raises:
            InputError: they have other fields than the file.
        """
        for line in lines:
            row = json.loads(line)
            if set(row) != set(self.names):
                raise InputError(f"{self.path}: the file and the job must both have {LOGPROBS}, or neither")
            if _digest(row) not in self.seeds:
                yield line


def check_addable(format: str) -> None:
    """Check that rows can be added to files of this format.

    Raises:
        InputError: they cannot.
    """
    if format not in READERS:
        raise InputError(f"Rows can be added to JSON Lines and CSV. Received: {format}")


def read_earlier(path: Path, format: str) -> Earlier:
    """Read which seeds a file of results has.

    Raises:
        InputError: the file cannot be read, is not of this format, or the format is neither JSON Lines nor CSV.
    """
    check_addable(format)
    try:
        rows = READERS[format](path)
        (_, names), seeds = next(rows, (0, ())), set[bytes]()
        if names not in (fields := tuple(FIELDS), (*fields, LOGPROBS)):
            raise ValueError(f"it has the fields {', '.join(names) or 'of no row'}, and not those of results")
        for number, row in rows:
            if not row:  # CSV may end with an empty line
                continue
            if len(row) != len(names):
                raise ValueError(f"line {number} has {counted(len(row), 'field')}. Expected {len(names)}")
            seeds.add(_digest(dict(zip(names, row, strict=True))))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: is not a file of results in {format}: {error!s:.200}") from error
    return Earlier(path, names, frozenset(seeds))


def _digest(row: Mapping[str, Any]) -> bytes:
    """Return a digest of the seed's id, or of the seed if it has none. CSV has an empty cell then."""
    name = f"id {row['id']}" if row["id"] else f"seed {row['seed']}"
    return blake2b(name.encode(errors="surrogatepass"), digest_size=16).digest()


def _read_jsonl(path: Path) -> Iterator[Line]:
    """Yield the names of the fields, then the values of each row."""
    names = None
    with open(path, "rb", opener=regular) as file:
        for number, line in enumerate(iter(partial(file.readline, LONGEST_LINE), b""), 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number} is not JSON: {not_json(error)}") from error
            if not isinstance(row, dict) or names not in (None, tuple(row)):
                raise ValueError(f"line {number} is no row like the first: {line[:40]!r}")
            if names is None:
                yield number, (names := tuple(row))
            yield number, tuple(row.values())


def _read_csv(path: Path) -> Iterator[Line]:
    """Yield the names of the columns, then the cells of each row."""
    before = csv.field_size_limit(LONGEST_LINE)
    try:
        with open(path, encoding="utf-8-sig", newline="", opener=regular) as file:
            reader = csv.reader(file, strict=True)
            try:
                for cells in reader:
                    yield reader.line_num, tuple(cells)
            except csv.Error as error:
                raise ValueError(f"line {reader.line_num} is not CSV: {error}") from error
    finally:
        csv.field_size_limit(before)


READERS = {JSONL: _read_jsonl, CSV: _read_csv}
