"""Readers of seeds in tables: CSV with any common delimiter, and Parquet.

They yield what those of `seed_formats` do.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain
from os import SEEK_END
from typing import Any

from charrnn.errors import InputError, TextError
from charrnn.jobs.rows.seed_formats import CHUNK, ID_COLUMN, MAX_LINE, Entry, Source, delimiter_of, is_blank
from charrnn.jobs.rows.seeds import Seed

BATCH_ROWS = 100  # of a Parquet file, in memory at once: 10 MB if each has the largest seed
MAX_FOOTER = 8 << 20  # bytes of a Parquet file's schema and metadata, which take ten times as much memory
TEXTS = ("string", "large_string", "string_view", "null")  # types of Arrow


def read_csv(source: Source) -> Iterator[Entry]:
    """Yield the rows of CSV, which begins with the names of its columns."""
    lines = source.lines()
    first = next(lines, "")
    delimiter = delimiter_of(first)
    reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    try:
        columns = next(reader, [])
        seed, seed_id = _columns(source, columns)
        for cells in reader:
            if not all(map(is_blank, cells[len(columns) :])):  # a seed with a comma, cut in two
                yield InputError(
                    f"{source.name}: line {reader.line_num} has {len(cells)} cells, and the header {len(columns)}. Put "
                    f"a cell with {delimiter!r} in quotes"
                )
            elif len(cells) > seed and not is_blank(cells[seed]):
                own = cells[seed_id] if seed_id is not None and len(cells) > seed_id else ""
                yield Seed(cells[seed], own or None, f"{source.name}: line {reader.line_num}")
            else:
                yield None
    except csv.Error as error:
        raise InputError(f"{source.name}: line {reader.line_num} is not CSV: {error}") from error


def _columns(source: Source, columns: Sequence[str]) -> tuple[int, int | None]:
    """Return the numbers of the columns with the seeds and their ids."""
    names = [column.strip() for column in columns]
    ids = ID_COLUMN if source.id_column is None and ID_COLUMN in names else source.id_column
    wanted = {"seed_column": source.column} | ({} if ids is None else {"id_column": ids})
    for option, name in wanted.items():
        if name not in names:
            raise InputError(
                f"{source.name} has no column {name!r:.80}. Set `{option}` to one of its columns: "
                f"{', '.join(map(repr, names))[:200] or 'it has none'}"
            )
        if names.count(name) > 1:
            raise InputError(f"{source.name} has two columns {name!r:.80}. Rename or remove one")
    return names.index(source.column), None if ids is None else names.index(ids)


def read_parquet(source: Source) -> Iterator[Entry]:
    """Yield the rows of a Parquet file."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise InputError("Parquet needs pyarrow. Install the extra: pip install '.[parquet]' in the clone") from error
    number = 0
    try:
        _check_footer(source)
        # The defaults keep a whole row group in memory.
        table = ParquetFile(source.file, buffer_size=CHUNK, pre_buffer=False)
        names = table.schema_arrow.names
        place, id_place = _columns(source, names)
        seed, seed_id = names[place], None if id_place is None else names[id_place]
        _check_column(source, table, seed)
        if seed_id is not None:
            _check_column(source, table, seed_id, ids=seed_id != seed)
        wanted = [seed] if seed_id in (None, seed) else [seed, seed_id]
        for batch in table.iter_batches(BATCH_ROWS, columns=wanted):
            for record in batch.to_pylist():
                number += 1
                text, own = record[seed], record.get(seed_id)
                own = str(own) if isinstance(own, int) else own
                yield None if text is None else Seed(text, own, f"{source.name}: row {number}")
    except UnicodeDecodeError as error:
        rows = f"rows {number + 1} to {number + BATCH_ROWS}"
        raise TextError(f"{source.name}: one of the {rows} is not UTF-8 text ({error.reason})") from error
    except (ArrowException, OSError) as error:
        raise InputError(f"{source.name} is not a Parquet file that can be read: {error}") from error


def _check_footer(source: Source) -> None:
    """Check that the description of a Parquet file, which is at its end, is not so large that it fills the memory."""
    length = source.file.seek(0, SEEK_END)
    source.file.seek(-min(8, length), SEEK_END)
    end = source.file.read(8)
    source.file.seek(0)
    size = int.from_bytes(end[:4], "little")
    if MAX_FOOTER < size < length and end.endswith(b"PAR1"):
        raise InputError(f"{source.name}: its schema has {size:,} bytes. Expected at most {MAX_FOOTER:,}")


def _check_column(source: Source, table: Any, name: str, *, ids: bool = False) -> None:
    """Check that a column of a Parquet file has texts, or whole numbers as ids, and none of a size that no seed has: a
    few kB can be 2 GB."""
    from pyarrow import types

    column = table.schema_arrow.field(name).type
    kind = column.value_type if types.is_dictionary(column) else column
    if str(kind) not in TEXTS and not (ids and types.is_integer(kind)):
        expected = "strings or whole numbers" if ids else "strings"
        raise InputError(f"{source.name}: the column {name!r:.80} must have {expected}. Received: {kind!s:.80}")
    index = next(index for index in range(len(table.schema)) if table.schema.column(index).path == name)
    for number in range(table.num_row_groups):
        found = table.metadata.row_group(number).column(index)
        if found.total_uncompressed_size > MAX_LINE * max(found.num_values, 1):
            raise InputError(
                f"{source.name}: the column {name!r:.80} has values of {found.total_uncompressed_size:,} bytes. "
                f"Expected at most {MAX_LINE >> 20} MiB"
            )
