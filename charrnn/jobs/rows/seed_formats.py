"""The formats of seeds files, and readers of lines of text, JSON Lines and a JSON array.

A reader yields for each entry a Seed, None if it is blank, or the error if it is not a seed. It raises an error if it
cannot read on. No file is ever in memory as a whole.
"""

from __future__ import annotations

import codecs
import csv
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, BinaryIO

from charrnn.errors import InputError, TextError
from charrnn.jobs.job.json_object import not_json
from charrnn.jobs.rows.seeds import Seed
from charrnn.options import OVERRIDES
from charrnn.text.documents import BYTE_ORDER_MARK, decode

logger = logging.getLogger(__name__)

TEXT, JSONL, JSON, CSV, PARQUET = FORMATS = ("text", "jsonl", "json", "csv", "parquet")
TABLES = (CSV, PARQUET)
SUFFIXES = {
    ".jsonl": JSONL,
    ".ndjson": JSONL,
    ".json": JSON,
    ".csv": CSV,
    ".tsv": CSV,
    ".parquet": PARQUET,
}
SEED_COLUMN, ID_COLUMN = "seed", "id"
DELIMITERS = ",;\t"
MAX_LINE = 16 << 20  # bytes; a file without line ends, such as /dev/zero, must not fill the memory
CHUNK = 1 << 20  # bytes of a JSON array read at once
PEEKED = 10  # lines that are looked at to tell text from the other formats
JSON_ARRAY = re.compile(r'\s*\[\s*["{\[]')
SPACE = re.compile(r"\s*")

Entry = Seed | InputError | None

EXPECTED = (
    f'an object {{"id": ..., "seed": ...}}, where "id" is optional, and optionally any of {", ".join(OVERRIDES)}; or a '
    f"string"
)


@dataclass(frozen=True)
class Source:
    """An open seeds file.

    Attributes:
        name: its name in error messages.
        column: the column of a table with the seeds.
        id_column: the column with their ids; None: the column `id`, if there is one.
        named: whether its format was named by its suffix or by the user. Other text must not look like JSON or CSV.
    """

    name: str
    file: BinaryIO
    column: str
    id_column: str | None
    named: bool

    def lines(self) -> Iterator[str]:
        """Yield the lines with their line ends.

        Raises:
            TextError: a line is not UTF-8, or too long.
        """
        number = 0
        while data := self.file.readline(MAX_LINE):
            number += 1
            if len(data) == MAX_LINE:
                raise TextError(
                    f"{self.name}: line {number} is longer than {MAX_LINE >> 20} MiB. Expected one seed per line"
                )
            yield decode(data, self.name, number)


def read_text(source: Source) -> Iterator[Entry]:
    """Yield the lines of a text, which must not look like another format unless its own was named."""
    lines = source.lines()
    head = list(islice(lines, PEEKED))
    looks = None if source.named else _look(head)
    if looks:
        raise InputError(
            f"{source.name} looks like {looks.upper()}, but is read as one seed per line. Set `seeds_format` to "
            f"{looks}, or to text if each line is a seed"
        )
    looked = () if source.named else enumerate(head, 1)
    quoted = next((number for number, line in looked if len(_cells(line, quoted=True)) > 1), None)
    if quoted is not None:
        logger.warning(
            "%s: line %d looks like a row of CSV, and other lines do not. Each line is read as a seed. If it is a "
            "table, set `seeds_format` to csv",
            source.name,
            quoted,
        )
    for number, line in enumerate(chain(head, lines), 1):
        text = line.removesuffix("\n").removesuffix("\r")
        yield None if is_blank(text) else Seed(text, None, f"{source.name}: line {number}")


def _look(lines: Sequence[str]) -> str | None:
    """Return the format that the first lines of a file look like, if it is not text."""
    text = "".join(lines).lstrip()
    first = next((line.strip() for line in lines if not is_blank(line)), "")
    if first.startswith("{") and first.endswith("}") and _is_json(first):
        return JSONL
    if JSON_ARRAY.match(text):
        return JSON
    cells = {cell.strip().lower() for cell in re.split(f"[{DELIMITERS}]", first)}
    if (len(cells) > 1 and SEED_COLUMN in cells) or _are_rows([line for line in lines if not is_blank(line)]):
        return CSV
    return None


def _are_rows(lines: Sequence[str]) -> bool:
    """Return whether lines are rows of a table: all have the same number of cells, two or more, and some are quoted."""
    lengths = {len(_cells(line)) for line in lines}
    return len(lengths) == 1 and lengths.isdisjoint({0, 1}) and any(_cells(line, quoted=True) for line in lines)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _cells(line: str, *, quoted: bool = False) -> list[str]:
    """Return the cells of a line of CSV, or none if it is not CSV.

    Args:
        quoted: only of a row in which a cell is in quotes, such as 1,"The baker, opens".
    """
    try:
        (cells,) = csv.reader([line], delimiter=delimiter_of(line), strict=True)
    except (csv.Error, ValueError):
        return []
    without_quotes = sum(map(len, cells)) >= len(line.rstrip("\r\n")) - len(cells)
    return [] if quoted and without_quotes else cells


def delimiter_of(line: str) -> str:
    """Return the delimiter that a line of CSV has most of."""
    return max(DELIMITERS, key=line.count)


def is_blank(text: str) -> bool:
    """Return whether a seed is left out, since it has no character but blanks."""
    return not text or text.isspace()


def read_jsonl(source: Source) -> Iterator[Entry]:
    """Yield the lines of JSON Lines."""
    for number, line in enumerate(source.lines(), 1):
        if is_blank(line):
            yield None
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield InputError(f"{source.name}: line {number} is not JSON: {not_json(error)}")
        else:
            yield _seed(f"{source.name}: line {number}", record)


def read_json(source: Source) -> Iterator[Entry]:
    """Yield the elements of a JSON array."""
    for number, record in enumerate(_elements(source), 1):
        yield _seed(f"{source.name}: element {number}", record)


def _elements(source: Source) -> Iterator[Any]:
    """Yield the elements of a JSON array, which is read and parsed bit by bit."""
    chunks, decoder = _chunks(source), json.JSONDecoder()
    text = next(chunks, "").lstrip()
    if not text.startswith("["):
        raise InputError(
            f'{source.name} is not a JSON array, such as ["one", "two"]. For one object per line, set `seeds_format` '
            f"to jsonl"
        )
    place, number, separator = 1, 1, ""
    while separator != "]":
        place = _skip(text, place)
        if number == 1 and text[place : place + 1] == "]":  # an empty array
            place += 1
            break
        try:
            record, end = decoder.raw_decode(text, place)
            end = _skip(text, end)
            separator = text[end]
        except (ValueError, IndexError, RecursionError) as error:  # IndexError: the separator is in the next chunk
            more = next(chunks, "") if len(text) - place < MAX_LINE else ""
            if not more:
                reason = "the array has no end" if isinstance(error, IndexError) else str(error)
                raise InputError(f"{source.name}: element {number} is not JSON: {reason:.200}") from error
            text, place = text[place:] + more, 0
            continue
        if separator not in ",]":
            raise InputError(f"{source.name}: element {number} is followed by {separator!r}. Expected ',' or ']'")
        yield record
        number, place = number + 1, end + 1
    if not is_blank(text[place:]) or not all(map(is_blank, chunks)):
        raise InputError(f"{source.name}: the JSON array is followed by other text. Expected one array")


def _skip(text: str, place: int) -> int:
    found = SPACE.match(text, place)
    return found.end() if found else place


def _chunks(source: Source) -> Iterator[str]:
    """Yield the text of a file in chunks, none of them empty."""
    decoder, read, begun = codecs.getincrementaldecoder("utf-8")(), 0, False
    try:
        while data := source.file.read(CHUNK):
            if text := decoder.decode(data):
                yield text if begun else text.removeprefix(BYTE_ORDER_MARK)
                begun = True
            read += len(data)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise TextError(f"{source.name}: byte {read + error.start + 1:,} is not UTF-8 text ({error.reason})") from error


def _seed(where: str, record: object) -> Seed | InputError:
    if isinstance(record, str):
        return Seed(record, None, where)
    if not isinstance(record, dict):
        return InputError(f"{where}: {record!r:.80} is not a JSON object. Expected {EXPECTED}")
    if unknown := sorted(record.keys() - {ID_COLUMN, SEED_COLUMN, *OVERRIDES}):
        return InputError(f"{where}: unknown field {unknown[0]!r:.80}. Expected {EXPECTED}")
    if SEED_COLUMN not in record:
        return InputError(f"{where}: the seed is missing. Expected {EXPECTED}")
    seed, seed_id = record[SEED_COLUMN], record.get(ID_COLUMN)
    if not isinstance(seed, str):
        hint = ". Set the random seed with `rng_seed`" if isinstance(seed, int) else ""
        return InputError(f"{where}: seed must be a string, the text to start from. Received: {seed!r:.80}{hint}")
    if isinstance(seed_id, int) and not isinstance(seed_id, bool):
        seed_id = str(seed_id)
    if seed_id is not None and not isinstance(seed_id, str):
        return InputError(f"{where}: id must be a string or a whole number. Received: {seed_id!r:.80}")
    return Seed(seed, seed_id, where, {name: record[name] for name in OVERRIDES if name in record})
