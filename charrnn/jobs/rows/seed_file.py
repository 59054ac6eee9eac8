"""Read seeds files: one seed per line, or JSON Lines with `id` and `seed`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from charrnn.checks import check_choice
from charrnn.errors import InputError, TextError
from charrnn.jobs.job.requests import STANDARD_INPUT
from charrnn.jobs.rows.seeds import Seed
from charrnn.options import OVERRIDES
from charrnn.regular_file import NotRegularError, regular
from charrnn.text.documents import decode

TEXT, JSONL = "text", "jsonl"
FORMATS = (TEXT, JSONL)
JSON_LINES = (".jsonl", ".ndjson")  # suffixes of files
MAX_LINE = 16 << 20  # bytes; a file without line ends, such as /dev/zero, must not fill the memory


class SeedFile:
    """A seeds file, or standard input if `source` is "-". It can be iterated once, and is never held in memory.

    Args:
        source: path of the file, or "-".
        format: one of FORMATS. Default: decided by the file's suffix.
        pipes: whether the source may be a pipe, which a person names and waits for: `--seeds <(command)`.

    Attributes:
        blank_lines: number of blank lines skipped so far.

    Raises:
        InputError: the file cannot be read or is not UTF-8, or a JSON line is not a seed. The message has the line.
    """

    def __init__(self, source: str, format: str | None = None, *, pipes: bool = True) -> None:
        self.name = "standard input" if source == STANDARD_INPUT else source
        self.format = format or (JSONL if source.lower().endswith(JSON_LINES) else TEXT)
        check_choice("seeds-format", self.format, FORMATS)
        self.source, self.pipes = source, pipes
        self.blank_lines = 0

    def __iter__(self) -> Iterator[Seed]:
        found = False
        make = self._json_seed if self.format == JSONL else Seed
        for number, line in enumerate(self._lines(), 1):
            if line and not line.isspace():
                found = True
                yield make(line, None, number)
            else:
                self.blank_lines += 1
        if not found:
            raise TextError(f"{self.name}: it contains no seed. Expected one per line")

    def _lines(self) -> Iterator[str]:
        """Yield the lines without their line ends."""
        number = 0
        try:
            with self._open() as file:
                while data := file.readline(MAX_LINE):
                    number += 1
                    self._check_length(data, number)
                    yield decode(data.removesuffix(b"\n").removesuffix(b"\r"), self.name, number)
        except NotRegularError as error:
            raise TextError(f"{self.name}: {error.strerror}") from error
        except OSError as error:
            raise TextError(f"{self.name}: cannot be read: {error.strerror}") from error

    def _check_length(self, data: bytes, number: int) -> None:
        if len(data) == MAX_LINE:
            raise TextError(
                f"{self.name}: line {number} is longer than {MAX_LINE >> 20} MiB. Expected one seed per line"
            )

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        if self.source == STANDARD_INPUT:
            yield sys.stdin.buffer
            return
        with open(Path(self.source), "rb", opener=None if self.pipes else regular) as file:
            yield file

    def _json_seed(self, line: str, _id: None, number: int) -> Seed:
        place = f"{self.name}: line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place} is not JSON: {error}") from error
        return _from_record(place, number, record)


def _from_record(place: str, number: int, record: object) -> Seed:
    expected = (
        f'an object {{"id": ..., "seed": ...}}, where "id" is optional, and optionally any of {", ".join(OVERRIDES)}'
    )
    if not isinstance(record, dict):
        raise InputError(f"{place}: {record!r:.80} is not a JSON object. Expected {expected}")
    if unknown := sorted(record.keys() - {"id", "seed", *OVERRIDES}):
        raise InputError(f"{place}: unknown field {unknown[0]!r:.80}. Expected {expected}")
    if "seed" not in record:
        raise InputError(f"{place}: the seed is missing. Expected {expected}")
    seed, seed_id = record["seed"], record.get("id")
    if not isinstance(seed, str):
        hint = ". Set the random seed with --rng-seed" if isinstance(seed, int) else ""
        raise InputError(f"{place}: seed must be a string, the text to start from. Received: {seed!r:.80}{hint}")
    if seed_id is not None and not isinstance(seed_id, str):
        raise InputError(f'{place}: id must be a string, such as "{seed_id!s:.80}". Received: {seed_id!r:.80}')
    return Seed(seed, seed_id, number, {name: record[name] for name in OVERRIDES if name in record})
