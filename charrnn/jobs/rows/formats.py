"""Convert result lines to other formats, and select rows.

All formats are streamed: a million rows need no more memory than the first few thousand. CSV follows RFC 4180 and
changes no text: a spreadsheet reads a cell that begins with "=" as a formula, and such cells are not escaped here.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

from charrnn.checks import check_choice, did_you_mean
from charrnn.errors import InputError

JSONL, CSV, TXT, PARQUET = "jsonl", "csv", "txt", "parquet"

# The fields of `rows.result`, with their types in Parquet
FIELDS = {
    "row": "int64",
    "id": "string",
    "seed": "string",
    "temperature": "float64",
    "sample": "int32",
    "text": "string",
    "finish_reason": "string",
    "nats_per_char": "float64",
    "novel": "bool",
    "longest_copy": "int32",
    "version": "string",
    "error": "string",
}
LOGPROBS = "logprobs"  # a further field in all lines of a job with log probabilities, in failed ones too

WRITE_SIZE = 1 << 20  # bytes of lines written at once
PARSE_SIZE = 1 << 18  # bytes of lines parsed in one call; they fit the cache, so that this is 1.5 times as fast
AS_WRITTEN = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)  # the numbers' values are not needed
GROUP_ROWS = 10_000  # most rows in a Parquet row group
GROUP_SIZE = 1 << 25  # bytes of lines after which a group ends earlier: 10,000 rows of the greatest length are 10 GB

NUMBERS = ("row", "temperature", "sample", "longest_copy")
NULLABLE = ("id", "text", "finish_reason", "novel", "longest_copy", "error")
TRUTHS = {True: "true", False: "false", None: None}  # as JSON has them
CONDITION_FIELDS = tuple(name for name in FIELDS if name != "nats_per_char")  # nobody types its digits
ROWS = re.compile(r"([0-9]{0,18}):([0-9]{0,18})")  # 18 digits fit an index
ROWS_EXAMPLE = "A:B, from row A to before row B, such as 100:200, :100 or 100:"

Keep = Callable[[Mapping[str, Any]], bool]
Piece = tuple[bytes, int]  # of a file, with the number of rows in it


def format_of(path: Path, given: str | None) -> str:
    """Return the requested format, or else the one that the file's suffix names, or JSON Lines if it has none.

    Raises:
        InputError: the requested format does not exist, or the suffix names none.
    """
    if given is not None:
        check_choice("format", given, FORMATS)
        return given
    suffix = path.suffix.lower().removeprefix(".")
    if suffix and suffix not in SUFFIXES:
        raise InputError(
            f"{path.name} names no format. Expected a name that ends with .{', .'.join(FORMATS)}, or a `format`"
        )
    return suffix if suffix in FORMATS else JSONL


def write(lines: Iterable[bytes], format: str, sink: BinaryIO, *, header: bool = True) -> int:
    """Write result lines in one of FORMATS. The sink stays open.

    Args:
        lines: the result lines.
        format: one of FORMATS.
        sink: a binary file.
        header: whether CSV begins with a line of the columns' names.

    Returns:
        The number of rows written.

    Raises:
        InputError: the format does not exist, or Parquet was requested and pyarrow is not installed.
    """
    count = 0
    for piece, rows in encode(lines, format, header=header):
        sink.write(piece)
        count += rows
    return count


def encode(lines: Iterable[bytes], format: str, *, header: bool = True) -> Iterator[Piece]:
    """Return an iterator over the pieces of the file that `write` writes, each with its number of rows.

    Raises:
        InputError: as `write`.
    """
    check_choice("format", format, FORMATS)
    return _encode_csv(lines, header=header) if format == CSV else ENCODERS[format](lines)


def _encode_jsonl(lines: Iterable[bytes]) -> Iterator[Piece]:
    for chunk in _chunks(lines, WRITE_SIZE):
        yield b"".join(chunk), len(chunk)


def _encode_csv(lines: Iterable[bytes], *, header: bool = True) -> Iterator[Piece]:
    """Yield a header if asked, then the rows. Null becomes an empty cell, and the cell of logprobs contains JSON."""
    lines, logprobs = _peek(lines)
    names = (*FIELDS, LOGPROBS) if logprobs else tuple(FIELDS)
    if header:
        yield _csv([names]), 0
    for chunk in _chunks(lines, PARSE_SIZE):
        records = _parse(chunk)
        for record in records:
            record["novel"] = TRUTHS[record["novel"]]
            if logprobs:
                record[LOGPROBS] = _cell(record[LOGPROBS])
        yield _csv(map(itemgetter(*names), records)), len(chunk)


def _csv(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(logprobs: list[str] | None) -> str | None:
    return None if logprobs is None else f"[{', '.join(logprobs)}]"


def _encode_txt(lines: Iterable[bytes]) -> Iterator[Piece]:
    """Yield seed, text and a newline for each row, to read or to train on. Failed rows are left out."""
    for chunk in _chunks(lines, PARSE_SIZE):
        records = _parse(chunk)
        texts = [f"{record['seed']}{record['text']}\n" for record in records if record["text"] is not None]
        yield "".join(texts).encode(), len(texts)


def has_newline(line: bytes) -> bool:
    """Return whether seed and text of a result line have several lines, so that txt does not show where they end."""
    if rb"\n" not in line:  # as JSON has it; this is all that most lines of a list cost
        return False
    record = json.loads(line)
    return record["text"] is not None and "\n" in f"{record['seed']}{record['text']}"


def _encode_parquet(lines: Iterable[bytes]) -> Iterator[Piece]:
    """Yield row groups compressed with zstd.

    An error leaves an incomplete file behind, which the caller removes.
    """
    try:
        from pyarrow.parquet import ParquetWriter
    except ModuleNotFoundError as error:
        raise InputError(
            f"Writing Parquet requires pyarrow, which is not installed ({error}). "
            "Install the extra: pip install '.[parquet]' in the clone"
        ) from error
    lines, logprobs = _peek(lines)
    schema = _schema(logprobs)
    buffer = _Buffer()
    with ParquetWriter(buffer, schema, compression="zstd") as writer:
        for chunk in _chunks(lines, GROUP_SIZE, GROUP_ROWS):
            writer.write_table(_table(chunk, schema))
            yield buffer.take(), len(chunk)
    yield buffer.take(), 0


class _Buffer(io.BufferedIOBase):
    """A file to write to, whose bytes are taken away from time to time."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._position += len(self._parts[-1])
        return len(self._parts[-1])

    def tell(self) -> int:
        return self._position

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def _schema(logprobs: bool) -> Any:
    import pyarrow

    fields = [(name, pyarrow.type_for_alias(alias)) for name, alias in FIELDS.items()]
    return pyarrow.schema([*fields, (LOGPROBS, pyarrow.list_(pyarrow.float32()))] if logprobs else fields)


def _table(lines: Sequence[bytes], schema: Any) -> Any:
    """Return lines as a table. Arrow parses them into columns, 2.5 times as fast as through Python objects."""
    from pyarrow import BufferReader
    from pyarrow import json as arrow_json

    parse = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    read = arrow_json.ReadOptions(block_size=max(WRITE_SIZE, *map(len, lines)))  # lines must fit
    return arrow_json.read_json(BufferReader(b"".join(lines)), read_options=read, parse_options=parse)


ENCODERS = {JSONL: _encode_jsonl, CSV: _encode_csv, TXT: _encode_txt, PARQUET: _encode_parquet}
FORMATS = tuple(ENCODERS)
SUFFIXES = (*FORMATS, "ndjson")


def _peek(lines: Iterable[bytes]) -> tuple[Iterator[bytes], bool]:
    """Return the lines, and whether they contain log probabilities."""
    lines = iter(lines)
    first = list(islice(lines, 1))
    return chain(first, lines), bool(first) and LOGPROBS in json.loads(first[0])


def _chunks(lines: Iterable[bytes], size: int, rows: int = sys.maxsize) -> Iterator[list[bytes]]:
    """Yield non-empty lists of lines. Each ends with the line that reaches `size` bytes or `rows` rows."""
    chunk: list[bytes] = []
    filled = 0
    for line in lines:
        chunk.append(line)
        filled += len(line)
        if filled >= size or len(chunk) == rows:
            yield chunk
            chunk, filled = [], 0
    if chunk:
        yield chunk


def _parse(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """Return the rows of result lines, with their numbers as text."""
    rows: list[dict[str, Any]] = AS_WRITTEN.decode(f"[{b','.join(lines).decode()}]")
    return rows


def select(lines: Iterable[bytes], keep: Keep) -> Iterator[bytes]:
    """Yield the lines, unchanged, for whose rows `keep` returns True."""
    return (line for line in lines if keep(json.loads(line)))


@dataclass(frozen=True)
class Condition:
    """A condition FIELD=VALUE that selects rows."""

    field: str
    value: str | float | bool | None

    def holds(self, row: Mapping[str, object]) -> bool:
        return bool(row[self.field] == self.value)

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Parse FIELD=VALUE. Numbers are compared as numbers, and "null" matches a field without a value.

        Raises:
            InputError: there is no "=", the field is unknown, or a value must be a number, true or false and is not.
        """
        field, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"`where` {text!r} has no '='. Expected FIELD=VALUE, such as temperature=0.5")
        if field not in CONDITION_FIELDS:
            raise InputError(f"`where` {text!r}: {_unknown_field(field)}")
        if value == "null" and field in NULLABLE:
            return cls(field, None)
        if field in NUMBERS:
            return cls(field, _number(text, value))
        if field == "novel":
            return cls(field, _truth(text, value))
        return cls(field, value)


def _unknown_field(name: str) -> str:
    sentences = (
        f"there is no field {name!r} to compare.",
        did_you_mean(name.strip().lower(), CONDITION_FIELDS),
        f"Expected one of {', '.join(CONDITION_FIELDS)}",
    )
    return " ".join(filter(None, sentences))


def _number(text: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(
            f"`where` {text!r}: {value!r} is not a number. Expected a number, such as temperature=0.5 or row=7"
        )
    return number


def _truth(text: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise InputError(f"`where` {text!r}: {value!r} is not true or false. Expected novel=true, false or null")
    return value == "true"


def parse_conditions(texts: Iterable[str]) -> Keep:
    """Return a function that tells whether a row meets all conditions. Without conditions every row does.

    Args:
        texts: conditions of the form FIELD=VALUE.

    Raises:
        InputError: a condition cannot be parsed.
    """
    conditions = [Condition.parse(text) for text in texts]
    return lambda row: all(condition.holds(row) for condition in conditions)


def parse_rows(text: str) -> tuple[int, int | None]:
    """Parse A:B, the rows from A to before B, as start and stop. Either may be left out.

    Raises:
        InputError: the text is not of this form, or A is greater than B.
    """
    match = ROWS.fullmatch(text)
    if not match:
        raise InputError(f"`rows` {text!r} is not a range. Expected {ROWS_EXAMPLE}")
    start, stop = int(match[1] or 0), int(match[2]) if match[2] else None
    if stop is not None and start > stop:
        raise InputError(f"`rows` {text!r} starts after its end. Expected {ROWS_EXAMPLE}")
    return start, stop
