"""Result lines in another format, and which of them are wanted.

Formats are streamed: a million rows need no more memory than the first few thousand. CSV is written as RFC 4180
has it and alters no text: a cell that begins with "=" is a formula to a spreadsheet, and is not defused here.
"""

from __future__ import annotations

import csv
import io
import json
import logging
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

logger = logging.getLogger(__name__)

JSONL, CSV, TXT, PARQUET = "jsonl", "csv", "txt", "parquet"

# Fields of `rows.result`, with their types in Parquet
FIELDS = {
    "row": "int64",
    "id": "string",
    "seed": "string",
    "temperature": "float64",
    "sample": "int32",
    "text": "string",
    "finish_reason": "string",
    "nats_per_char": "float64",
    "model": "string",
    "error": "string",
}
LOGPROBS = "logprobs"  # in the lines of a job that asked for them, failed ones too

WRITE_SIZE = 1 << 20  # bytes of lines written at once
PARSE_SIZE = 1 << 18  # bytes of lines parsed at once: in one call, small enough for the cache, 1.5 times as fast
AS_WRITTEN = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)  # no number's value is needed
GROUP_ROWS = 10_000  # of a Parquet row group
GROUP_SIZE = 1 << 25  # bytes of lines that end a group sooner: 10,000 rows of the greatest length are 10 GB

NUMBERS = ("row", "temperature", "sample")
NULLABLE = ("id", "text", "finish_reason", "error")
CONDITION_FIELDS = tuple(name for name in FIELDS if name != "nats_per_char")  # whose digits nobody types
ROWS = re.compile(r"([0-9]{0,18}):([0-9]{0,18})")  # 18 digits fit an index
ROWS_EXAMPLE = "A:B, from row A to before row B, such as 100:200, :100 or 100:"

Keep = Callable[[Mapping[str, Any]], bool]


def format_of(path: Path, given: str | None) -> str:
    """The format that is asked for, else the one that the file's name ends in, else JSON Lines.

    Raises:
        InputError: no such format.
    """
    if given is not None:
        check_choice("format", given, FORMATS)
        return given
    suffix = path.suffix.lower().removeprefix(".")
    if suffix and suffix not in (*FORMATS, "ndjson"):
        logger.warning("%s is written as JSON Lines; -f chooses another format", path.name)
    return suffix if suffix in FORMATS else JSONL


def write(lines: Iterable[bytes], format: str, sink: BinaryIO) -> int:
    """Write result lines in one of FORMATS; the sink stays open.

    Returns:
        The number of rows written.

    Raises:
        InputError: no such format, or Parquet without pyarrow.
    """
    check_choice("format", format, FORMATS)
    return WRITERS[format](lines, sink)


def _write_jsonl(lines: Iterable[bytes], sink: BinaryIO) -> int:
    count = 0
    for chunk in _chunks(lines, WRITE_SIZE):
        sink.write(b"".join(chunk))
        count += len(chunk)
    return count


def _write_csv(lines: Iterable[bytes], sink: BinaryIO) -> int:
    """A header, then the rows; null is an empty cell, and logprobs are JSON in theirs."""
    lines, logprobs = _peek(lines)
    names = (*FIELDS, LOGPROBS) if logprobs else tuple(FIELDS)
    sink.write(_csv([names]))
    count = 0
    for chunk in _chunks(lines, PARSE_SIZE):
        records = _parse(chunk)
        if logprobs:
            records = [record | {LOGPROBS: _cell(record[LOGPROBS])} for record in records]
        sink.write(_csv(map(itemgetter(*names), records)))
        count += len(chunk)
    return count


def _csv(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(logprobs: list[str] | None) -> str | None:
    return None if logprobs is None else f"[{', '.join(logprobs)}]"


def _write_txt(lines: Iterable[bytes], sink: BinaryIO) -> int:
    """Seed and text of each row, and a newline: for reading, and to train on. Failed rows are left out."""
    count = 0
    for chunk in _chunks(lines, PARSE_SIZE):
        records = _parse(chunk)
        texts = [f"{record['seed']}{record['text']}\n" for record in records if record["text"] is not None]
        sink.write("".join(texts).encode())
        count += len(texts)
    return count


def _write_parquet(lines: Iterable[bytes], sink: BinaryIO) -> int:
    """Row groups under zstd. After an error what is there is a whole file with fewer rows: the caller removes it."""
    try:
        from pyarrow.parquet import ParquetWriter
    except ModuleNotFoundError as error:
        raise InputError(
            f"Writing Parquet requires pyarrow, which is not installed ({error}). "
            "Install the extra: pip install '.[parquet]' in the clone"
        ) from error
    lines, logprobs = _peek(lines)
    schema = _schema(logprobs)
    count = 0
    with ParquetWriter(sink, schema, compression="zstd") as writer:
        for chunk in _chunks(lines, GROUP_SIZE, GROUP_ROWS):
            writer.write_table(_table(chunk, schema))
            count += len(chunk)
    return count


def _schema(logprobs: bool) -> Any:
    import pyarrow

    fields = [(name, pyarrow.type_for_alias(alias)) for name, alias in FIELDS.items()]
    return pyarrow.schema([*fields, (LOGPROBS, pyarrow.list_(pyarrow.float32()))] if logprobs else fields)


def _table(lines: Sequence[bytes], schema: Any) -> Any:
    """Parsed by Arrow, into columns: 2.5 times as fast as through Python's objects."""
    from pyarrow import BufferReader
    from pyarrow import json as arrow_json

    parse = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    read = arrow_json.ReadOptions(block_size=max(WRITE_SIZE, *map(len, lines)))  # a line may not be longer than a block
    return arrow_json.read_json(BufferReader(b"".join(lines)), read_options=read, parse_options=parse)


WRITERS = {JSONL: _write_jsonl, CSV: _write_csv, TXT: _write_txt, PARQUET: _write_parquet}
FORMATS = tuple(WRITERS)


def _peek(lines: Iterable[bytes]) -> tuple[Iterator[bytes], bool]:
    """The lines, and whether they tell log probabilities."""
    lines = iter(lines)
    first = list(islice(lines, 1))
    return chain(first, lines), bool(first) and LOGPROBS in json.loads(first[0])


def _chunks(lines: Iterable[bytes], size: int, rows: int = sys.maxsize) -> Iterator[list[bytes]]:
    """Lists of lines, none empty; each ends with the line that fills `size` bytes, or with so many rows."""
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
    """The rows, with their numbers as text."""
    rows: list[dict[str, Any]] = AS_WRITTEN.decode(f"[{b','.join(lines).decode()}]")
    return rows


def select(lines: Iterable[bytes], keep: Keep) -> Iterator[bytes]:
    """The lines, as they are, whose rows are wanted."""
    return (line for line in lines if keep(json.loads(line)))


@dataclass(frozen=True)
class Condition:
    """FIELD=VALUE: what a row must hold to be wanted."""

    field: str
    value: str | float | None

    def holds(self, row: Mapping[str, Any]) -> bool:
        return bool(row[self.field] == self.value)

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read FIELD=VALUE; a number is compared as one, and null with what has no value.

        Raises:
            InputError: no "=", a field that is not known, or no number where one is expected.
        """
        field, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--where {text!r} has no '='. Expected FIELD=VALUE, such as temperature=0.5")
        if field not in CONDITION_FIELDS:
            raise InputError(f"--where {text!r}: {_unknown_field(field)}")
        if field in NUMBERS:
            return cls(field, _number(text, value))
        return cls(field, None if value == "null" and field in NULLABLE else value)


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
            f"--where {text!r}: {value!r} is not a number. Expected a number, such as temperature=0.5 or row=7"
        )
    return number


def parse_conditions(texts: Sequence[str]) -> Keep:
    """Whether a row meets all of some FIELD=VALUE; without any, every row does.

    Raises:
        InputError: one that cannot be read.
    """
    conditions = [Condition.parse(text) for text in texts]
    return lambda row: all(condition.holds(row) for condition in conditions)


def parse_rows(text: str) -> tuple[int, int | None]:
    """Read A:B, the rows from A to before B, as start and stop; either may be left out.

    Raises:
        InputError: not of this form, or A behind B.
    """
    match = ROWS.fullmatch(text)
    if not match:
        raise InputError(f"--rows {text!r} is not a range. Expected {ROWS_EXAMPLE}")
    start, stop = int(match[1] or 0), int(match[2]) if match[2] else None
    if stop is not None and start > stop:
        raise InputError(f"--rows {text!r} starts after its end. Expected {ROWS_EXAMPLE}")
    return start, stop
