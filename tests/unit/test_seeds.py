"""Seeds as people write them, and the messages about mistakes."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from charrnn.errors import InputError, TextError
from charrnn.jobs.rows.seed_file import SeedFile
from charrnn.jobs.rows.seed_formats import MAX_LINE
from charrnn.jobs.rows.seeds import Seed


def read_text(folder: Path, data: bytes) -> list[Seed]:
    file = folder / "seeds.txt"
    file.write_bytes(data)
    return list(SeedFile(str(file)))


def read_json(folder: Path, *lines: str) -> list[Seed]:
    file = folder / "seeds.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    return list(SeedFile(str(file)))


def blank_lines(folder: Path, data: bytes) -> int:
    file = folder / "seeds.txt"
    file.write_bytes(data)
    seeds = SeedFile(str(file))
    list(seeds)
    return seeds.blank_lines


def test_each_line_is_a_seed_with_its_number(tmp_path: Path) -> None:
    assert read_text(tmp_path, b"one\ntwo\n") == [
        Seed("one", where=f"{tmp_path}/seeds.txt: line 1"),
        Seed("two", where=f"{tmp_path}/seeds.txt: line 2"),
    ]


def test_the_last_line_needs_no_newline(tmp_path: Path) -> None:
    assert read_text(tmp_path, b"one\ntwo") == read_text(tmp_path, b"one\ntwo\n")


def test_windows_line_ends_are_not_part_of_a_seed(tmp_path: Path) -> None:
    assert [seed.text for seed in read_text(tmp_path, b"one\r\ntwo\r\n")] == ["one", "two"]


def test_a_byte_order_mark_is_not_part_of_a_seed(tmp_path: Path) -> None:
    assert read_text(tmp_path, b"\xef\xbb\xbfone\n")[0].text == "one"


def test_spaces_in_and_around_a_seed_are_kept(tmp_path: Path) -> None:
    # Catches: strip(): the model's next character depends on the space at the end
    assert read_text(tmp_path, b"  one \t two  \n")[0].text == "  one \t two  "


def test_only_a_newline_ends_a_seed(tmp_path: Path) -> None:
    # Catches: splitlines
    assert [seed.text for seed in read_text(tmp_path, "a\u2028b\x0cc\n".encode())] == ["a\u2028b\x0cc"]


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    data = b"\none\r\n\r\n \t\ntwo\n\n"
    assert blank_lines(tmp_path, data) == 4
    assert [(seed.where or "")[-6:] for seed in read_text(tmp_path, data)] == ["line 2", "line 5"]


@pytest.mark.parametrize("data", [b"one", b"one\n", b"one\r\n"])
def test_the_end_of_the_file_is_not_a_blank_line(tmp_path: Path, data: bytes) -> None:
    assert blank_lines(tmp_path, data) == 0


def test_a_file_of_blank_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"seeds\.txt: it contains no seed\. Expected one per line"):
        read_text(tmp_path, b"\n \n")


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"seeds\.txt: line 2, byte 3: 0xff"):
        read_text(tmp_path, b"one\nab\xff\n")


def test_a_seed_of_json_lines_can_have_an_id(tmp_path: Path) -> None:
    file = read_json(tmp_path, '{"id": "a", "seed": "one"}', "", '{"seed": "two\\nlines"}')
    name = tmp_path / "seeds.jsonl"
    assert file == [Seed("one", "a", f"{name}: line 1"), Seed("two\nlines", None, f"{name}: line 3")]


def test_a_line_that_is_not_json_is_refused_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"seeds\.jsonl: line 2 is not JSON: Expecting value: column 1$"):
        read_json(tmp_path, '{"seed": "one"}', "two")


def test_json_that_is_nested_too_deeply_is_refused_with_its_line(tmp_path: Path) -> None:
    # Catches: json's RecursionError, a traceback instead of a message
    with pytest.raises(InputError, match="line 1 is not JSON"):
        read_json(tmp_path, "[" * 100_000)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("[]", r"\[\] is not a JSON object"),
        ("7", "7 is not a JSON object"),
        ("{}", "the seed is missing"),
        ('{"id": "a"}', "the seed is missing"),
        ('{"seed": "a", "temprature": 1}', "unknown field 'temprature'"),
    ],
)
def test_a_line_of_another_form_is_refused(tmp_path: Path, line: str, what: str) -> None:
    # Catches: a misspelled key that is ignored silently
    with pytest.raises(InputError, match=rf'line 1: {what}. Expected an object \{{"id": \.\.\., "seed": \.\.\.\}}'):
        read_json(tmp_path, line)


@pytest.mark.parametrize("name", ["seeds.jsonl", "seeds.NDJSON"])
def test_json_lines_are_recognized_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"seed": "one"}\n')
    assert [seed.text for seed in SeedFile(str(tmp_path / name))] == ["one"]


def test_the_format_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "seeds").write_text('{"seed": "one"}\n')
    assert [seed.text for seed in SeedFile(str(tmp_path / "seeds"), "jsonl")] == ["one"]
    with pytest.raises(InputError, match="seeds_format must be one of text, jsonl, json, csv, parquet"):
        SeedFile(str(tmp_path / "seeds"), "xml")


def test_a_number_as_seed_is_refused_with_a_hint_at_rng_seed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Received: 7\. Set the random seed with `rng_seed`"):
        read_json(tmp_path, '{"seed": 7}')


@pytest.mark.parametrize("value", ["null", "[]", '{"a": 1}'])
def test_a_seed_that_is_not_text_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match="line 1: seed must be a string, the text to start from"):
        read_json(tmp_path, f'{{"seed": {value}}}')


def test_a_whole_number_as_id_is_its_digits(tmp_path: Path) -> None:
    ids = ["7", "-1", "0", "12345678901234567890123"]
    lines = [f'{{"id": {number}, "seed": "one"}}' for number in ids]
    assert [seed.id for seed in read_json(tmp_path, *lines)] == ids  # Catches: 0 as no id


@pytest.mark.parametrize(("value", "shown"), [("1.0", "1.0"), ("true", "True"), ('["a"]', r"\['a'\]")])
def test_an_id_of_another_type_is_refused(tmp_path: Path, value: str, shown: str) -> None:
    with pytest.raises(InputError, match=rf"line 1: id must be a string or a whole number\. Received: {shown}"):
        read_json(tmp_path, f'{{"id": {value}, "seed": "one"}}')


def test_an_id_of_null_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path, '{"id": null, "seed": "one"}')[0].id is None


def test_two_halves_are_a_character(tmp_path: Path) -> None:
    assert read_json(tmp_path, r'{"seed": "\ud83d\ude00"}')[0].text == "😀"


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeffé\r\nb\n".encode())))
    assert list(SeedFile("-")) == [
        Seed("é", where="standard input: line 1"),
        Seed("b", where="standard input: line 2"),
    ]


def test_errors_of_standard_input_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(TextError, match="standard input: it contains no seed"):
        list(SeedFile("-"))


def test_a_seed_may_have_options(tmp_path: Path) -> None:
    file = read_json(tmp_path, '{"seed": "one", "temperature": [0.5, 1], "stop": "\\n", "top_k": 5, "length": 9}')
    assert file[0].options == {"temperature": [0.5, 1], "stop": "\n", "top_k": 5, "length": 9}


@pytest.mark.parametrize("path", ["/dev/zero", "folder", "missing"])
def test_files_that_are_not_lines_are_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    # Catches: /dev/zero read into memory until the machine has none
    with pytest.raises(TextError, match="is longer than 16 MiB|cannot be read"):
        list(SeedFile(str(tmp_path / path)))


def test_a_line_may_have_almost_the_longest_length(tmp_path: Path) -> None:
    assert len(read_text(tmp_path, b"x" * (MAX_LINE - 2) + b"\nb\n")[0].text) == MAX_LINE - 2


def test_seeds_are_read_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "seeds.txt"
    file.write_bytes(b"one\n" * 10 + b"\xff\n")  # 10 lines are looked at to recognize JSON and CSV
    assert next(iter(SeedFile(str(file)))).text == "one"  # Catches: the whole file read for its first line
