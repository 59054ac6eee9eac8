"""Rows that are added to a file of results: those of seeds that it lacks."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import InputError
from charrnn.jobs.rows.additions import read_earlier
from charrnn.jobs.rows.formats import write
from charrnn.jobs.rows.rows import dump_line

FORMATS = ("jsonl", "csv")
HEADER = b"row,id,seed,temperature,sample,text,finish_reason,nats_per_char,novel,longest_copy,version,error\n"
CUT = HEADER + b'0,x,one,0.5,0,"a text that'  # the rows that are added would stand in its cell


def row(number: int, id: str | None, seed: str, **more: Any) -> dict[str, Any]:
    facts = {"temperature": 0.5, "sample": 0, "text": "a\nb", "finish_reason": "stop", "nats_per_char": 1.0}
    facts |= {"novel": True, "longest_copy": 0}
    return {"row": number, "id": id, "seed": seed, **facts, "version": "m@1", "error": None, **more}


def save(path: Path, rows: list[dict[str, Any]], format: str) -> Path:
    with path.open("wb") as file:
        write(map(dump_line, rows), format, file)
    return path


def add(path: Path, rows: list[dict[str, Any]], format: str) -> tuple[bytes, int]:
    earlier, sink = read_earlier(path, format), io.BytesIO()
    earlier.copy(sink)
    count = write(earlier.without_known(map(dump_line, rows)), format, sink, header=False)
    return sink.getvalue(), count


def seeds_of(data: bytes, format: str) -> list[str]:
    text = data.decode("utf-8-sig")
    if format == "csv":
        return [found["seed"] for found in csv.DictReader(io.StringIO(text, newline=""), strict=True)]
    return [json.loads(line)["seed"] for line in text.splitlines()]


@pytest.mark.parametrize("format", FORMATS)
def test_only_the_rows_of_seeds_that_are_missing_are_added(tmp_path: Path, format: str) -> None:
    path = save(tmp_path / "rows", [row(0, "x", "one"), row(1, None, "two")], format)
    before = path.read_bytes()
    new = [row(0, "y", "one"), row(1, None, "two"), row(2, "x", "changed"), row(3, None, "x"), row(4, "y", "one")]
    data, count = add(path, new, format)
    # Catches: a seed whose text equals another one's id; samples of one new seed of which only the first is added
    assert seeds_of(data, format) == ["one", "two", "one", "x", "one"]
    assert count == 3
    assert data.startswith(before)
    assert path.read_bytes() == before


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_whose_last_line_has_no_end_gets_one(tmp_path: Path, format: str) -> None:
    path = save(tmp_path / "rows", [row(0, "x", "one")], format)
    path.write_bytes(path.read_bytes().rstrip())
    assert seeds_of(add(path, [row(0, "y", "two")], format)[0], format) == ["one", "two"]


def test_a_byte_order_mark_stays(tmp_path: Path) -> None:
    path = save(tmp_path / "rows", [row(0, "x", "one")], "csv")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    data, count = add(path, [row(0, "x", "one"), row(1, "y", "two")], "csv")
    assert (seeds_of(data, "csv"), count) == (["one", "two"], 1)


def test_a_file_with_a_header_alone_gets_all_rows(tmp_path: Path) -> None:
    path = save(tmp_path / "rows", [], "csv")
    assert seeds_of(add(path, [row(0, "x", "one")], "csv")[0], "csv") == ["one"]


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (b'{"row": 0}\n', "jsonl"),
        (b"[1]\n", "jsonl"),
        (b"\xff\n", "jsonl"),
        (b'{"id": "x", "seed"', "jsonl"),
        (b"[" * 100_000, "jsonl"),
        (b"name,age\nAnn,5\n", "csv"),
        (b"id,seed\n\xff,x\n", "csv"),
        (
            b"seed,id,row,temperature,sample,text,finish_reason,nats_per_char,novel,longest_copy,version,error\n",
            "csv",
        ),  # in another order
        (CUT, "csv"),
        (b"\xef\xbb\xbf", "csv"),
        (HEADER + b"0,x,one\n", "csv"),
        (CUT.replace(b'"', b"") + b"\n", "csv"),
    ],
)
def test_a_file_that_has_no_results_is_refused(tmp_path: Path, content: bytes, format: str) -> None:
    path = tmp_path / "rows"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"is not a file of results in {format}"):
        read_earlier(path, format)


@pytest.mark.parametrize(
    ("damage", "format", "message"),
    [
        (b'{"row": 2, "id', "jsonl", r"line 3 is not JSON: Invalid control character at: column 15$"),
        (b'{"row": 2}', "jsonl", "line 3 is no row like the first: "),
        (b"2,x", "csv", "line 6 has 2 fields. Expected 12"),  # the texts before it have two lines each
        (b'2,"x"y', "csv", "line 6 is not CSV: "),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, damage: bytes, format: str, message: str) -> None:
    path = save(tmp_path / "rows", [row(0, "a", "one"), row(1, "b", "two")], format)
    path.write_bytes(path.read_bytes() + damage + b"\n" + path.read_bytes()[-20:])
    with pytest.raises(InputError, match=f"is not a file of results in {format}: {message}"):
        read_earlier(path, format)


def test_files_that_cannot_be_added_to_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Rows can be added to JSON Lines and CSV. Received: parquet"):
        read_earlier(tmp_path / "rows", "parquet")
    with pytest.raises(InputError, match="cannot be read: not a regular file"):
        read_earlier(tmp_path, "jsonl")


def test_rows_with_other_fields_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "rows", [row(0, "x", "one")], "csv")
    with pytest.raises(InputError, match="must both have logprobs, or neither"):
        add(path, [row(0, "y", "two", logprobs=[-1.0])], "csv")


def test_the_header_alone_tells_the_fields(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(HEADER)
    with pytest.raises(InputError, match="must both have logprobs, or neither"):
        add(path, [row(0, "y", "two", logprobs=[-1.0])], "csv")
