"""A seeds file, or standard input, as a stream of seeds."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from charrnn.checks import check_choice
from charrnn.errors import InputError, TextError, counted
from charrnn.jobs.job.requests import STANDARD_INPUT
from charrnn.jobs.rows.seed_formats import (
    CSV,
    FORMATS,
    JSON,
    JSONL,
    PARQUET,
    SEED_COLUMN,
    SUFFIXES,
    TABLES,
    TEXT,
    Entry,
    Source,
    read_json,
    read_jsonl,
    read_text,
)
from charrnn.jobs.rows.seed_tables import read_csv, read_parquet
from charrnn.jobs.rows.seeds import BadSeeds, Seed
from charrnn.regular_file import NotRegularError, regular

logger = logging.getLogger(__name__)

READERS: dict[str, Callable[[Source], Iterator[Entry]]] = {
    TEXT: read_text,
    JSONL: read_jsonl,
    JSON: read_json,
    CSV: read_csv,
    PARQUET: read_parquet,
}


class SeedFile:
    """A seeds file, or standard input if `source` is "-". It can be iterated once, and is never held in memory.

    Args:
        source: path of the file, or "-".
        format: one of FORMATS. Default: decided by the file's suffix, otherwise text.
        column: the column of a table with the seeds. Default: seed.
        id_column: the column with their ids. Default: id, if there is one.
        bad: the policy for entries that are not seeds. Default: an error.
        pipes: whether the source may be a pipe, which a person names and waits for: `--seeds <(command)`.

    Attributes:
        blank_lines: number of blank lines skipped so far.

    Raises:
        InputError: the file cannot be read or is not UTF-8, or an entry is not a seed. The message has its place.
    """

    def __init__(
        self,
        source: str,
        format: str | None = None,
        column: str | None = None,
        id_column: str | None = None,
        *,
        pipes: bool = True,
        bad: BadSeeds | None = None,
    ) -> None:
        self.name = "standard input" if source == STANDARD_INPUT else source
        self.named = format or SUFFIXES.get(Path(source).suffix.lower())
        self.format = self.named or TEXT
        check_choice("seeds_format", self.format, FORMATS)
        for option, name in (("seed_column", column), ("id_column", id_column)):
            if name is not None and self.format not in TABLES:
                raise InputError(
                    f"`{option}` applies to CSV and Parquet only, and {self.name} is read as {self.format}. If it is a "
                    f"table, set `seeds_format`"
                )
        if source == STANDARD_INPUT and self.format == PARQUET:
            raise InputError("A Parquet file cannot be read from standard input. Pass its name")
        self.source, self.pipes, self.bad = source, pipes, bad or BadSeeds()
        self.column, self.id_column = SEED_COLUMN if column is None else column, id_column
        self.blank_lines = 0

    def __iter__(self) -> Iterator[Seed]:
        found, without_id = False, 0
        try:
            with self._open() as file:
                opened = Source(self.name, file, self.column, self.id_column, named=self.named is not None)
                for seed in READERS[self.format](opened):
                    found = found or seed is not None
                    if seed is None:
                        self.blank_lines += 1
                    elif isinstance(seed, InputError):
                        self.bad.add(seed)
                    else:
                        without_id += seed.id is None
                        yield seed
        except NotRegularError as error:
            raise TextError(f"{self.name}: {error.strerror}") from error
        except OSError as error:
            raise TextError(f"{self.name}: cannot be read: {error.strerror}") from error
        if not found:
            raise TextError(f"{self.name}: it contains no seed. Expected one per line")
        if self.id_column is not None and without_id:
            logger.warning(
                "%s: %s without an id in the column %.80r", self.name, counted(without_id, "seed"), self.id_column
            )

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        if self.source == STANDARD_INPUT:
            yield sys.stdin.buffer
            return
        with open(Path(self.source), "rb", opener=None if self.pipes else regular) as file:
            yield file
