"""Rows of a job: their order, their parts and their lines."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.rows.rows import (
    JobRow,
    compress,
    distinct_lines,
    dump_line,
    failed_result,
    part_seeds,
    read_lines,
    result,
)
from charrnn.jobs.rows.seeds import StoredSeed
from charrnn.options import SamplingOptions
from charrnn.text.comparison.copies import Copy

KEYS = ["row", "id", "seed", "temperature", "sample", "text", "finish_reason", "nats_per_char"]
KEYS += ["novel", "longest_copy", "version", "error"]
ROW = JobRow(number=7, seed=StoredSeed("x", "Today", 0), temperature=0.5, sample=2, sampling=SamplingOptions())


def make_spec(num_seeds: int, temperatures: int, samples: int) -> GenerateSpec:
    sampling = SamplingOptions(temperatures=tuple(range(temperatures)), samples=samples)
    return GenerateSpec(
        model="speeches",
        version=1,
        seeds=FileRef(name="none", size=0, sha256="0"),
        num_seeds=num_seeds,
        rows=num_seeds * temperatures * samples,
        characters=num_seeds * temperatures * samples * sampling.length,
        sampling=sampling,
        batches={"cpu": 1, "gpu": 1},
        part_rows=50,
        gpu_rows=50,
    )


def part_rows(
    spec: GenerateSpec, seeds: Iterable[StoredSeed], first: int, count: int, start: int = 0
) -> Iterator[JobRow]:
    return chain.from_iterable(part_seeds(spec, seeds, first, count, start))


def make_seeds(count: int) -> list[StoredSeed]:
    return [StoredSeed(None, f"seed {index}", 0) for index in range(count)]


def test_rows_come_by_seed_then_temperature_then_sample() -> None:
    # Catches: `//` and `%` swapped, which gives every row another row's random stream
    rows = part_rows(make_spec(2, 2, 3), make_seeds(2), 0, 12)
    assert [(row.number, row.seed.seed, row.temperature, row.sample) for row in rows] == [
        (0, "seed 0", 0, 0),
        (1, "seed 0", 0, 1),
        (2, "seed 0", 0, 2),
        (3, "seed 0", 1, 0),
        (4, "seed 0", 1, 1),
        (5, "seed 0", 1, 2),
        (6, "seed 1", 0, 0),
        (7, "seed 1", 0, 1),
        (8, "seed 1", 0, 2),
        (9, "seed 1", 1, 0),
        (10, "seed 1", 1, 1),
        (11, "seed 1", 1, 2),
    ]


COUNTS = st.integers(1, 5)


@given(COUNTS, COUNTS, COUNTS, st.integers(0, 130), st.integers(0, 130))
def test_a_part_is_a_slice_of_the_job(num_seeds: int, temperatures: int, samples: int, first: int, count: int) -> None:
    # Catches: a row lost or sampled twice where two parts meet
    spec, seeds = make_spec(num_seeds, temperatures, samples), make_seeds(num_seeds)
    whole = list(part_rows(spec, seeds, 0, spec.rows))
    assert len(whole) == spec.rows
    assert list(part_rows(spec, seeds, first, count)) == whole[first : first + count]


def test_a_part_reads_no_seed_behind_its_last_row() -> None:
    seeds = iter(make_seeds(5))
    list(part_rows(make_spec(5, 1, 2), seeds, 0, 4))
    assert len(list(seeds)) == 2  # the third is read: it shows that the part is complete


def lines_of(chunks: Iterable[bytes]) -> list[bytes]:
    return list(read_lines(io.BytesIO(b"".join(chunks))))


def test_rows_can_be_read_from_the_middle_of_the_seeds() -> None:
    spec, seeds = make_spec(5, 1, 2), make_seeds(5)
    # Catches: rows numbered from 0 at the first of the given seeds
    assert list(part_rows(spec, seeds[3:], 7, 2, start=6)) == list(part_rows(spec, seeds, 7, 2))


JSON = st.one_of(st.none(), st.booleans(), st.integers(), st.text())
RECORDS = st.lists(st.dictionaries(st.text(), JSON), max_size=20)


@given(RECORDS)
def test_lines_that_were_compressed_are_read_back(records: list[dict[str, Any]]) -> None:
    assert [json.loads(line) for line in lines_of(compress(records))] == records


def test_characters_are_written_as_they_are() -> None:
    # Catches: ensure_ascii, with which grep finds nothing
    assert lines_of(compress([{"text": "é😀"}])) == ['{"text": "é😀"}\n'.encode()]


def test_only_a_newline_ends_a_line() -> None:
    # Catches: splitlines, which treats these as line ends too
    assert len(lines_of(compress([{"text": "a\u2028b\x85c\r\nd"}]))) == 1


def test_files_of_parts_can_be_concatenated() -> None:
    chunks = [*compress([{"row": 0}]), *compress([{"row": 1}])]
    assert lines_of(chunks) == [b'{"row": 0}\n', b'{"row": 1}\n']


def test_a_large_part_is_compressed_in_pieces() -> None:
    # Catches: a part that is held in memory as a whole
    records = [{"text": f"{number}" * 1000} for number in range(800)]
    chunks = list(compress(records))
    assert len(chunks) > 1
    assert [json.loads(line) for line in lines_of(chunks)] == records


def test_a_result_line_has_these_keys_and_no_others() -> None:
    # Catches: a part, worker or time in a line, so that a retry would change an export
    assert list(result(ROW, "speeches@1", "abc", "length", 1.25)) == KEYS


def test_a_failed_line_has_the_same_keys() -> None:
    assert list(failed_result(ROW, "speeches@1", "broken")) == KEYS


def test_a_result_line_shows_the_row_and_its_text() -> None:
    assert result(ROW, "speeches@1", "abc", "length", 1.25, copy=Copy(True, "ab", 7)) == {
        "row": 7,
        "id": "x",
        "seed": "Today",
        "temperature": 0.5,
        "sample": 2,
        "text": "abc",
        "finish_reason": "length",
        "nats_per_char": 1.25,
        "novel": True,
        "longest_copy": 2,
        "version": "speeches@1",
        "error": None,
    }


def test_a_failed_row_has_a_reason_and_no_text() -> None:
    line = failed_result(ROW, "speeches@1", "broken")
    assert [line[key] for key in ("row", "text", "finish_reason", "nats_per_char", "error")] == [
        7,
        None,
        None,
        None,
        "broken",
    ]


def test_the_options_of_a_seed_override_those_of_the_job() -> None:
    seeds = [
        StoredSeed(None, "a", 0, {"temperature": [0.1, 0.2, 0.3], "length": 5}),
        StoredSeed(None, "b", 0),
        StoredSeed(None, "c", 0, {"temperature": 0, "stop": "\n"}),
    ]
    spec = make_spec(3, 2, 2)
    rows = list(part_rows(spec, seeds, 0, 99))
    # Catches: rows numbered as if each seed had the same number of rows
    assert [row.number for row in rows] == list(range(6 + 4 + 2))
    assert [row.temperature for row in rows] == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0, 0, 1, 1, 0, 0]
    assert [row.sampling.length for row in rows] == [5] * 6 + [400] * 6
    assert rows[-1].sampling.stop == ("\n",)
    for first in range(12):
        assert list(part_rows(spec, seeds, first, 5)) == rows[first : first + 5]


def test_log_probabilities_are_reported_on_request() -> None:
    row = replace(ROW, sampling=SamplingOptions(logprobs=True))
    assert list(result(row, "speeches@1", "a", "stop", 1.25, [-1.25])) == [*KEYS, "logprobs"]
    assert failed_result(row, "speeches@1", "broken")["logprobs"] is None


def test_distinct_keeps_the_first_of_equal_rows_and_no_failed_rows() -> None:
    texts = ["a", "b", "a", None, "b", ""]
    lines = [dump_line({"row": number, "seed": "x", "text": text}) for number, text in enumerate(texts)]
    lines.append(dump_line({"row": 6, "seed": "y", "text": "a"}))  # Catches: the seed left out
    assert [json.loads(line)["row"] for line in distinct_lines(lines)] == [0, 1, 5, 6]
