"""Results in other formats, read back by independent readers, and the selection of rows."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from charrnn.errors import InputError
from charrnn.jobs.rows import formats as exports
from charrnn.jobs.rows.formats import Condition, format_of, parse_conditions, parse_rows, select, write
from charrnn.jobs.rows.rows import JobRow, ResultLine, dump_line, failed_result, result
from charrnn.jobs.rows.seeds import StoredSeed
from charrnn.options import SamplingOptions
from charrnn.text.comparison.copies import Copy
from producer.export import export

ROW = JobRow(number=0, seed=StoredSeed("x", "Today", 0), temperature=0.5, sample=2, sampling=SamplingOptions())
TOLD = replace(ROW, sampling=SamplingOptions(logprobs=True))
MODEL = "speeches@1"
HARD = ["a\nb", "a\r\nb", "\r", 'say "so"', '"', "a,b", "😀é\u2028", "=1+1", "", " ", "\\n", "a\x00b", "null", "'"]
COPIES = (Copy(True, "abc"), Copy(False), None)
NUMBERS = ("row", "sample", "temperature", "nats_per_char")


def records(texts: list[str | None]) -> list[ResultLine]:
    """Return a result for each text, a failed one for None."""
    rows = [replace(ROW, number=number, temperature=number / 4) for number in range(len(texts))]
    return [
        failed_result(row, MODEL, "it broke")
        if text is None
        else result(row, MODEL, text, "length", 0.1 + row.number, copy=COPIES[row.number % 3])
        for row, text in zip(rows, texts, strict=True)
    ]


def exported(rows: list[ResultLine], format: str) -> bytes:
    sink = io.BytesIO()
    count = write((dump_line(row) for row in rows), format, sink)
    assert count == len(rows)
    assert not sink.closed
    return sink.getvalue()


def read_csv(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True))


def read_parquet(data: bytes) -> parquet.ParquetFile:
    return parquet.ParquetFile(io.BytesIO(data))


def as_cells(record: Mapping[str, Any]) -> dict[str, str]:
    """Return a result as CSV stores it: strings unchanged, numbers as in JSON, null as an empty cell."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in record.items()}
    return {name: "" if record[name] is None else text for name, text in texts.items()}


def test_the_fields_are_those_of_a_result() -> None:
    assert [*exports.FIELDS, exports.LOGPROBS] == list(result(TOLD, MODEL, "a", "stop", 1.0, [-1.0]))


def test_json_lines_are_exported_unaltered() -> None:
    # Catches: lines that are parsed and written again; these are not even JSON
    lines = [b"%d %s\n" % (number, b"x" * 1000) for number in range(3000)]  # three writes
    sink = io.BytesIO()
    assert write(lines, "jsonl", sink) == 3000
    assert sink.getvalue() == b"".join(lines)


def test_json_lines_are_written_in_large_pieces() -> None:
    sizes: list[int] = []

    class Sink(io.BytesIO):
        def write(self, data: Any) -> int:
            sizes.append(len(data))
            return len(data)

    write([b"x" * 1023 + b"\n"] * 2500, "jsonl", Sink())
    assert sizes == [1 << 20, 1 << 20, (2500 - 2048) * 1024]


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_hard_texts_and_failed_rows_are_read_back(format: str) -> None:
    rows = records([*HARD, None])
    data = exported(rows, format)
    if format == "csv":
        assert read_csv(data) == [as_cells(row) for row in rows]
    else:
        assert read_parquet(data).read().to_pylist() == rows


def test_csv_is_as_the_rfc_has_it() -> None:
    # Catches: lineterminator="\n"
    assert exported(records(['a "b",\nc', None]), "csv").decode() == (
        "row,id,seed,temperature,sample,text,finish_reason,nats_per_char,novel,longest_copy,version,error\r\n"
        '0,x,Today,0.0,2,"a ""b"",\nc",length,0.1,true,3,speeches@1,\r\n'
        "1,x,Today,0.25,2,,,,,,speeches@1,it broke\r\n"
    )


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
RECORDS = st.builds(
    result,
    st.builds(
        JobRow,
        number=st.integers(0, 2**63 - 1),
        seed=st.builds(StoredSeed, st.none() | TEXTS, TEXTS, st.just(0)),
        temperature=st.floats(0, allow_nan=False, allow_infinity=False),
        sample=st.integers(0, 10**6),
        sampling=st.just(SamplingOptions()),
    ),
    TEXTS,
    st.none() | TEXTS,
    st.none() | TEXTS,
    st.none() | st.floats(allow_nan=False),
    error=st.none() | TEXTS,
)


@given(st.lists(RECORDS, max_size=5))
def test_csv_is_read_back(rows: list[ResultLine]) -> None:
    assert read_csv(exported(rows, "csv")) == [as_cells(row) for row in rows]


@given(st.lists(RECORDS, max_size=5))
def test_parquet_is_read_back(rows: list[ResultLine]) -> None:
    # Catches: Arrow's JSON reader reading a number, an escape or an empty text differently from Python's
    assert read_parquet(exported(rows, "parquet")).read().to_pylist() == rows


def test_numbers_in_csv_keep_their_values() -> None:
    [row], [cells] = (rows := records(["abc"])), read_csv(exported(rows, "csv"))
    assert [float(cells[name]) for name in NUMBERS] == [dict(row)[name] for name in NUMBERS]


def test_text_has_seed_and_text_of_the_rows_that_have_one() -> None:
    # Catches: `if record["text"]`, which loses rows whose text is empty
    sink = io.BytesIO()
    assert write(map(dump_line, records([" is é", None, "", "\na"])), "txt", sink) == 3
    assert sink.getvalue().decode() == "Today is é\nToday\nToday\na\n"


def test_parquet_has_this_schema() -> None:
    assert read_parquet(exported(records(["a"]), "parquet")).schema_arrow == pa.schema(
        [
            ("row", pa.int64()),
            ("id", pa.string()),
            ("seed", pa.string()),
            ("temperature", pa.float64()),
            ("sample", pa.int32()),
            ("text", pa.string()),
            ("finish_reason", pa.string()),
            ("nats_per_char", pa.float64()),
            ("novel", pa.bool_()),
            ("longest_copy", pa.int32()),
            ("version", pa.string()),
            ("error", pa.string()),
        ]
    )


def test_the_schema_does_not_depend_on_the_rows() -> None:
    # Catches: inferred types, so that a job of failed rows, or of dates, has other types than the next job
    schema = read_parquet(exported(records(["a"]), "parquet")).schema_arrow
    for rows in ([], records([None]), records(["2026-01-01", "1"])):
        assert read_parquet(exported(rows, "parquet")).schema_arrow == schema


def test_parquet_is_written_in_compressed_row_groups() -> None:
    # Catches: `rows` left out of the call of `_chunks`, so that a row group grows with the job
    rows = [replace(ROW, number=number) for number in range(20_001)]
    file = read_parquet(exported([result(row, MODEL, "a", "length", 1.0) for row in rows], "parquet"))
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    assert [group.num_rows for group in groups] == [10_000, 10_000, 1]
    assert {group.column(5).compression for group in groups} == {"ZSTD"}
    assert file.read(["row"])["row"].to_pylist() == list(range(20_001))


def test_a_row_group_of_long_texts_has_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "GROUP_SIZE", 2500)
    file = read_parquet(exported(records(["x" * 1000] * 5), "parquet"))
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [3, 2]


def test_a_text_may_be_longer_than_a_block_of_arrow_s() -> None:
    # Catches: `block_size` left at its default, 1 MiB
    rows = records(["ab", "😀" * 1_000_000, "c"])
    assert read_parquet(exported(rows, "parquet")).read().to_pylist() == rows


LOGPROBS = [[-0.5, -1e-05, 0.0], [], None]  # None: a failed row


def told() -> list[ResultLine]:
    return [result(TOLD, MODEL, "abc", "stop", 1.0, logprobs) for logprobs in LOGPROBS]


def test_log_probabilities_are_json_in_their_cell() -> None:
    rows = read_csv(exported(told(), "csv"))
    assert [row["logprobs"] for row in rows] == ["[-0.5, -1e-05, 0.0]", "[]", ""]


def test_log_probabilities_are_a_list_in_parquet() -> None:
    file = read_parquet(exported(told(), "parquet"))
    assert file.schema_arrow.field("logprobs").type == pa.list_(pa.float32())
    values = file.read()["logprobs"].to_pylist()
    assert values == [pytest.approx(LOGPROBS[0]), [], None]


def test_an_export_of_no_rows_is_valid_in_each_format() -> None:
    assert [exported([], "jsonl"), exported([], "txt")] == [b"", b""]
    assert exported([], "csv").decode() == ",".join(exports.FIELDS) + "\r\n"
    assert read_parquet(exported([], "parquet")).read().num_rows == 0


def test_without_pyarrow_the_error_explains_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"pip install '.\[parquet\]'"):
        write([], "parquet", io.BytesIO())


@pytest.mark.parametrize(
    ("name", "given", "format"),
    [
        ("a.csv", None, "csv"),
        ("a.TXT", None, "txt"),
        ("a.b.parquet", None, "parquet"),
        ("a.jsonl", None, "jsonl"),
        ("csv", None, "jsonl"),
        ("-", None, "jsonl"),
        ("a.csv", "txt", "txt"),
        ("-", "csv", "csv"),
    ],
)
def test_the_format_is_chosen_by_option_or_file_name(name: str, given: str | None, format: str) -> None:
    assert format_of(Path(name), given) == format


@pytest.mark.parametrize("name", ["a.xlsx", "a.json", "texts.2026"])
def test_a_name_of_another_format_is_refused_with_the_known_endings(name: str) -> None:
    # Catches: JSON Lines in a file that a spreadsheet cannot open
    with pytest.raises(InputError, match=f"{name} names no format. Expected a name that ends with .jsonl, .csv, .txt"):
        format_of(Path(name), None)
    assert format_of(Path(name), "csv") == "csv"


@pytest.mark.parametrize("given", ["xml", "CSV", ""])
def test_an_unknown_format_is_refused_with_the_known_ones(given: str) -> None:
    message = f"format must be one of jsonl, csv, txt, parquet. Received: '{given}'"
    with pytest.raises(InputError, match=message):
        format_of(Path("a.csv"), given)
    with pytest.raises(InputError, match=message):
        write([], given, io.BytesIO())


HELD = result(replace(ROW, number=7, temperature=1.0), MODEL, "a=b", "length", 1.25, copy=Copy(False, "abc"))
FAILED = failed_result(replace(ROW, seed=StoredSeed(None, "null", 0)), MODEL, "it broke")


@pytest.mark.parametrize(
    ("condition", "held", "failed"),
    [
        ("row=7", True, False),
        ("row=7.0", True, False),
        ("row=7.5", False, False),
        ("temperature=1", True, False),
        ("temperature=1.0", True, False),
        ("temperature=.5", False, True),
        ("temperature=5e-1", False, True),
        ("sample=2", True, True),
        ("id=x", True, False),
        ("id=X", False, False),
        ("id=null", False, True),
        ("seed=Today", True, False),
        ("seed=null", False, True),  # a seed is never null, so this is the text
        ("text=a=b", True, False),
        ("text=null", False, True),
        ("text=", False, False),
        ("finish_reason=length", True, False),
        ("finish_reason=null", False, True),
        ("novel=false", True, False),
        ("novel=true", False, False),
        ("novel=null", False, True),
        ("longest_copy=3", True, False),
        ("longest_copy=null", False, True),
        ("version=speeches@1", True, True),
        ("error=null", True, False),
        ("error=it broke", False, True),
    ],
)
def test_a_condition_holds_for_rows_with_this_value(condition: str, held: bool, failed: bool) -> None:
    # Catches: numbers compared as strings, so that temperature=1 finds nothing
    keep = parse_conditions([condition])
    assert [keep(HELD), keep(FAILED)] == [held, failed]


def test_all_conditions_must_hold_and_without_any_every_row_is_wanted() -> None:
    # Catches: `any` instead of `all`
    assert parse_conditions(["sample=2", "row=7"])(HELD)
    assert not parse_conditions(["sample=2", "row=7"])(FAILED)
    assert not parse_conditions(["row=7", "row=0"])(HELD)
    assert parse_conditions([])(HELD)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("temperature", r"'temperature' has no '='. Expected FIELD=VALUE, such as temperature=0.5"),
        ("", "has no '='"),
        (
            "temprature=1",
            r"no field 'temprature' to compare. Did you mean temperature\? Expected one of row, id, seed, ",
        ),
        ("Temperature=1", r"Did you mean temperature\?"),
        ("temperature =1", r"Did you mean temperature\?"),
        ("zzz=1", r"no field 'zzz' to compare. Expected one of .*, finish_reason, novel, .*, version, error$"),
        ("nats_per_char=1", "no field 'nats_per_char' to compare"),
        ("=1", "no field '' to compare"),
        (
            "temperature=warm",
            r"`where` 'temperature=warm': 'warm' is not a number. Expected a number, such as temperature=0.5",
        ),
        ("row=", "'' is not a number"),
        ("row=null", "'null' is not a number"),
        ("row=nan", "'nan' is not a number"),
        ("novel=yes", "'yes' is not true or false. Expected novel=true, false or null"),
        ("row=1e999", "'1e999' is not a number"),
    ],
)
def test_a_condition_that_cannot_be_read_is_refused(condition: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Condition.parse(condition)


def test_selected_lines_are_unaltered() -> None:
    lines = [b'{"row":  0}\n', b'{"row": 1}\n', b'{"row":0 }\n']
    assert list(select(lines, parse_conditions(["row=0"]))) == [lines[0], lines[2]]


def test_lines_are_selected_one_by_one() -> None:
    # Catches: reading ahead; a terminal shows 20 rows of a million
    lines = iter([b'{"row": 0}\n'] * 3)
    next(select(lines, parse_conditions([])))
    assert len(list(lines)) == 2


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("2:5", (2, 5)),
        (":100", (0, 100)),
        ("100:", (100, None)),
        (":", (0, None)),
        ("0:0", (0, 0)),
        ("007:9", (7, 9)),
        (f"{10**17}:", (10**17, None)),
    ],
)
def test_rows_are_a_half_open_range(text: str, rows: tuple[int, int | None]) -> None:
    assert parse_rows(text) == rows


@pytest.mark.parametrize(
    "text", ["", "5", "a:b", "-5:", ":-1", "1:2:3", "1 : 2", "1:2\n", "١:٢", "1.5:2", "9" * 5000 + ":"]
)
def test_invalid_row_ranges_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"is not a range. Expected A:B, .*, such as 100:200, :100 or 100:"):
        parse_rows(text)


def test_a_range_that_starts_after_its_end_is_refused() -> None:
    with pytest.raises(InputError, match=r"`rows` '5:2' starts after its end. Expected A:B, .*, such as 100:200"):
        parse_rows("5:2")


@pytest.mark.parametrize(
    ("format", "texts", "says"),
    [
        ("txt", ["one", "a\nb", "two"], True),
        ("txt", ["one", None, r"a\nb"], False),  # Catches: a backslash and an n, as JSON writes them, for a newline
        ("jsonl", ["a\nb"], False),
    ],
)
def test_an_export_says_if_texts_cannot_be_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str, texts: list[str | None], says: bool
) -> None:
    # Catches: 1,000 texts of which nobody can tell where one ends, without a word
    for output in (tmp_path / "texts", None):
        export(iter([dump_line(row) for row in records(texts)]), format, output)
        notes = [line for line in capsys.readouterr().err.splitlines() if "several lines" in line]
        expected = "some texts have several lines, and txt does not show where each one ends. -f jsonl and csv do"
        assert notes == ([expected] if says else [])
