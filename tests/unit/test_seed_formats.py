"""Seeds in tables and JSON, and text that looks like either."""

from __future__ import annotations

import csv
import json
import struct
import tracemalloc
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from charrnn.errors import InputError, TextError
from charrnn.jobs.rows import seed_formats
from charrnn.jobs.rows.seed_file import SeedFile
from charrnn.jobs.rows.seeds import Seed

SEEDS = [("a", "one"), ("b", 'two\nlines, and "quotes"'), ("c", "tab\tand ; é😀")]


def read(file: Path, *arguments: Any) -> list[tuple[str | None, str]]:
    return [(seed.id, seed.text) for seed in SeedFile(str(file), *arguments)]


def write_csv(file: Path, delimiter: str, columns: tuple[str, str] = ("id", "seed")) -> Path:
    with open(file, "w", newline="", encoding="utf-8-sig") as table:
        writer = csv.writer(table, delimiter=delimiter)
        writer.writerows([[*columns, "other"], *([*seed, "x"] for seed in SEEDS)])
    return file


def write_parquet(file: Path, **columns: list[Any]) -> Path:
    parquet.write_table(pyarrow.table(columns), file)
    return file


@pytest.mark.parametrize(("name", "delimiter"), [("seeds.csv", ","), ("seeds.CSV", ";"), ("seeds.tsv", "\t")])
def test_a_table_of_text_is_read_with_its_ids(tmp_path: Path, name: str, delimiter: str) -> None:
    # Catches: a byte order mark in the first column's name; a seed of two lines cut at its newline
    assert read(write_csv(tmp_path / name, delimiter)) == SEEDS


def test_a_json_array_is_read(tmp_path: Path) -> None:
    objects = [{"id": own, "seed": seed, "temperature": 0.5} for own, seed in SEEDS]
    (tmp_path / "seeds.json").write_text(json.dumps([*objects, "four"], indent=1))
    assert read(tmp_path / "seeds.json") == [*SEEDS, (None, "four")]
    assert next(iter(SeedFile(str(tmp_path / "seeds.json")))).options == {"temperature": 0.5}


def test_a_parquet_file_is_read(tmp_path: Path) -> None:
    ids, seeds = zip(*SEEDS, strict=True)
    file = write_parquet(tmp_path / "seeds.parquet", id=[*ids, None], seed=[*seeds, None], other=[1, 2, 3, 4])
    found = SeedFile(str(file))
    assert [(seed.id, seed.text, seed.where) for seed in found] == [
        (own, seed, f"{file}: row {number}") for number, (own, seed) in enumerate(SEEDS, 1)
    ]
    assert found.blank_lines == 1


def test_lines_of_json_may_be_strings(tmp_path: Path) -> None:
    (tmp_path / "seeds.jsonl").write_text('"one"\n{"seed": "two"}\n')
    assert read(tmp_path / "seeds.jsonl") == [(None, "one"), (None, "two")]


def test_the_column_can_be_chosen(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "seeds.csv", ",", ("id", "opening line"))
    assert read(table, None, "opening line") == SEEDS
    with pytest.raises(InputError, match=r"no column 'seed'\. Set `seed_column` to .*: 'id', 'opening line', 'other'"):
        read(table)
    table = write_parquet(tmp_path / "seeds.parquet", text=["one"])
    assert read(table, None, "text") == [(None, "one")]
    with pytest.raises(InputError, match=r"no column 'seed'.*: 'text'"):
        read(table)
    with pytest.raises(InputError, match="`seed_column` applies to CSV and Parquet only"):
        SeedFile("seeds.txt", None, "text")


def test_the_column_of_the_ids_can_be_chosen(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "seeds.csv", ",", ("sku", "seed"))
    assert read(table) == [(None, text) for _, text in SEEDS]
    assert read(table, None, None, "sku") == SEEDS
    assert read(table, None, "seed", "seed") == [(text, text) for _, text in SEEDS]
    with pytest.raises(InputError, match=r"no column 'SKU'\. Set `id_column` to .*: 'sku', 'seed', 'other'"):
        read(table, None, None, "SKU")
    table = write_parquet(tmp_path / "seeds.parquet", sku=[7, None], id=["a", "b"], seed=["one", "two"])
    assert read(table, None, None, "sku") == [("7", "one"), (None, "two")]  # Catches: the ids of another column
    assert read(table, None, None, "seed") == [("one", "one"), ("two", "two")]
    for columns in (("", None), ("seed", "")):
        with pytest.raises(InputError, match="has no column ''"):  # Catches: an empty name that means the default
            read(table, None, *columns)
    with pytest.raises(InputError, match="'sku' must have strings"):  # whole numbers are ids, not seeds
        read(table, None, "sku", "sku")
    with pytest.raises(InputError, match="`id_column` applies to CSV and Parquet only.* set `seeds_format`"):
        SeedFile("seeds.jsonl", None, None, "sku")


def test_seeds_without_an_id_in_the_column_that_was_named_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "seeds.csv").write_text("sku,seed\na,one\n,two\n,\n,three\n")
    assert read(tmp_path / "seeds.csv") == [(None, text) for text in ("one", "two", "three")]
    assert caplog.messages == []
    assert read(tmp_path / "seeds.csv", None, None, "sku") == [("a", "one"), (None, "two"), (None, "three")]
    assert caplog.messages == [f"{tmp_path / 'seeds.csv'}: 2 seeds without an id in the column 'sku'"]


def test_a_row_with_more_cells_than_the_header_is_no_seed(tmp_path: Path) -> None:
    (tmp_path / "seeds.csv").write_text('id,seed\na,"Hello, you"\nb,one,, \nc,Hello, World\n')
    # Catches: half a seed, since its comma is not in quotes; an error about the empty cells of a spreadsheet
    with pytest.raises(
        InputError, match="seeds.csv: line 4 has 3 cells, and the header 2. Put a cell with ',' in quotes"
    ):
        read(tmp_path / "seeds.csv")


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=9), st.integers(1, 9), st.sampled_from([None, 0, 3]))
def test_an_array_is_the_same_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, seeds: list[str], size: int, indent: int | None
) -> None:
    # Catches: an element that is lost or read twice where a chunk ends
    file = tmp_path_factory.mktemp("seeds") / "seeds.json"
    file.write_bytes(json.dumps(seeds, indent=indent, ensure_ascii=False).encode() + b" \n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seed_formats, "CHUNK", size)
        if seeds:
            assert [text for _, text in read(file)] == seeds
        else:
            with pytest.raises(TextError, match="contains no seed"):
                read(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"seed": "a"}\n', "is not a JSON array.*set `seeds_format` to jsonl"),
        ("", "is not a JSON array"),
        ('["a", ', "element 2 is not JSON"),
        ('["a"', "element 1 is not JSON: the array has no end"),
        ('["a" "b"]', "element 1 is followed by '\"'. Expected ',' or ']'"),
        ('["a",]', "element 2 is not JSON"),
        ('["a"] x', "followed by other text"),
        ('["a", 7]', "element 2: 7 is not a JSON object"),
        ('["a", null]', "element 2: None is not a JSON object"),
        ('["a", {"text": "b"}]', "element 2: unknown field 'text'"),
        ("[" * 100_000, "element 1 is not JSON"),
    ],
)
def test_what_is_not_an_array_of_seeds_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "seeds.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "seeds.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'seed\n"open\nand never closed\n', "line 3 is not CSV: unexpected end"),
        (b'seed\n"a"b\n', "line 2 is not CSV"),
        (b"seed\n" + b"x" * 200_000, "line 2 is not CSV: field larger than field limit"),
        (b"seed\n\xff\n", "line 2, byte 1: 0xff is not UTF-8"),
        (b"", "no column 'seed'.*it has none"),
        (b"seed\n\n\n", "it contains no seed"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "seeds.csv").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "seeds.csv")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"x" * 5000])
def test_a_damaged_parquet_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "seeds.parquet").write_bytes(data)
    with pytest.raises(InputError, match="is not a Parquet file that can be read"):
        read(tmp_path / "seeds.parquet")


def test_parquet_with_bytes_that_are_not_text_is_refused(tmp_path: Path) -> None:
    data, ends = pyarrow.py_buffer(b"\xff\xfe"), pyarrow.py_buffer(struct.pack("<ii", 0, 2))
    table = pyarrow.table({"seed": pyarrow.StringArray.from_buffers(1, ends, data)})
    parquet.write_table(table, tmp_path / "seeds.parquet")
    with pytest.raises(InputError, match="one of the rows 1 to 100 is not UTF-8 text"):  # Catches: a traceback
        read(tmp_path / "seeds.parquet")


def test_parquet_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "seeds.parquet"
    table = pyarrow.table({"seed": ["one"]}).replace_schema_metadata({"note": "x" * (8 << 20)})
    parquet.write_table(table, file)
    with pytest.raises(InputError, match=r"its schema has \d\d,\d+,\d+ bytes"):  # Catches: 50 MB that take 0.5 GB
        read(file)
    parquet.write_table(pyarrow.table({"seed": ["x" * (17 << 20)]}), file, compression="zstd", use_dictionary=False)
    assert file.stat().st_size < 100_000
    with pytest.raises(InputError, match="the column 'seed' has values of 17,"):
        read(file)


def test_a_table_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    # Catches: seeds of one of the columns, and nobody knows which
    table = pyarrow.table([["one"], ["two"]], names=["seed", "seed"])
    parquet.write_table(table, tmp_path / "seeds.parquet")
    (tmp_path / "seeds.csv").write_text("id,seed,id\n1,one,2\n")
    for name, column in (("seeds.parquet", "seed"), ("seeds.csv", "id")):
        with pytest.raises(InputError, match=f"has two columns '{column}'"):
            read(tmp_path / name)


def test_parquet_of_another_type_is_refused(tmp_path: Path) -> None:
    for seeds in ([1, 2], [["one"]], [{"text": "one"}], [b"one"], [datetime(2026, 1, 1)]):
        with pytest.raises(InputError, match="the column 'seed' must have strings. Received: "):
            read(write_parquet(tmp_path / "seeds.parquet", seed=seeds))
    for ids in ([1.0], [True]):
        with pytest.raises(InputError, match="the column 'id' must have strings or whole numbers. Received: "):
            read(write_parquet(tmp_path / "seeds.parquet", seed=["one"], id=ids))
    with pytest.raises(InputError, match="cannot be read from standard input"):
        SeedFile("-", "parquet")


def test_whole_numbers_as_ids_are_their_digits_in_every_format(tmp_path: Path) -> None:
    (tmp_path / "seeds.json").write_text('[{"id": 0, "seed": "one"}, {"id": 12, "seed": "two"}]')
    (tmp_path / "seeds.csv").write_text("id,seed\n0,one\n12,two\n")
    write_parquet(tmp_path / "seeds.parquet", id=[0, 12], seed=["one", "two"])
    for name in ("seeds.json", "seeds.csv", "seeds.parquet"):
        assert read(tmp_path / name) == [("0", "one"), ("12", "two")], name


LOOKS = {
    '{"seed": "one"}\n': "jsonl",
    '["one",\n "two"]\n': "json",
    '[\n  {"seed": "one"}]\n': "json",
    "id,seed\n1,one\n": "csv",
    "Seed;Name\none;x\n": "csv",
    '1,"The baker, opens"\n': "csv",
    '1,"The baker, opens"\n2,plain\n3,"a"\n': "csv",
}


@pytest.mark.parametrize("text", LOOKS)
def test_text_that_looks_like_another_format_is_refused_unless_it_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "seeds.txt"
    file.write_text(text)
    with pytest.raises(
        InputError, match=f"looks like {LOOKS[text].upper()}, .*Set `seeds_format` to {LOOKS[text]}, or"
    ):
        read(file)
    assert [seed for _, seed in read(file, "text")] == text.splitlines()


@pytest.mark.parametrize(
    ("text", "line"), [('plain\n2\t"a"\n', 2), ('1,"The baker, opens"\nand closes, now, again\n', 1)]
)
def test_a_list_with_a_line_like_csv_is_text_and_says_so(
    tmp_path: Path, text: str, line: int, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "seeds.txt"
    file.write_text(text)
    assert [seed for _, seed in read(file)] == text.splitlines()  # Catches: a list that is refused for one of its lines
    assert [f"line {line} looks like a row of CSV" in said for said in caplog.messages] == [True]
    caplog.clear()
    read(file, "text")
    assert caplog.messages == []


@pytest.mark.parametrize(
    "text",
    [
        "The seed, he said, is sown.\n",
        '"Yes," she said, "and no."\n',
        'He said, "go" and went, slowly\n',
        "{ int x; }\n",
        "{not json}\n",
        "[Verse 1]\n",
        '5" pipe, 3" bolt\n',
        "seed\n",
        "[\n",
    ],
)
def test_prose_and_code_are_text(tmp_path: Path, text: str) -> None:
    # Catches: a line of dialogue that is taken for CSV
    (tmp_path / "seeds.txt").write_text(text)
    assert [seed for _, seed in read(tmp_path / "seeds.txt")] == [text.removesuffix("\n")]


def test_the_place_of_a_seed_is_its_last_line(tmp_path: Path) -> None:
    file = tmp_path / "seeds.csv"
    file.write_text('seed\n"two\nlines"\none\n')
    assert list(SeedFile(str(file))) == [
        Seed("two\nlines", None, f"{file}: line 3"),
        Seed("one", None, f"{file}: line 4"),
    ]


@pytest.mark.parametrize("suffix", ["json", "csv", "parquet"])
def test_a_large_file_takes_little_memory(tmp_path: Path, suffix: str) -> None:
    # Catches: a file that is read or parsed as a whole, or a row group of one, which here is all of it
    file, lines = tmp_path / f"seeds.{suffix}", ['"' + "x" * 1000 + '"'] * 20_000
    if suffix == "parquet":
        parquet.write_table(pyarrow.table({"seed": lines}), file, compression="none", use_dictionary=False)
    else:
        file.write_text("\n".join(["seed", *lines]) if suffix == "csv" else f"[{','.join(lines)}]")
    tracemalloc.start()
    try:
        assert sum(1 for _ in SeedFile(str(file))) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
