"""Rows of a generate job: seeds as they are stored, row numbers, and result lines.

Row r is sample r % n of temperature (r / n) % t of seed r / (n t): by seed, then temperature, then
sample, in submit order. Files are JSON Lines under zstd, so `zstd -dc` reads them.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from charrnn.errors import InputError
from charrnn.jobs.specs import GenerateSpec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WRITE_SIZE = 1 << 20  # bytes of text between two compressed chunks


@dataclass(frozen=True)
class Seed:
    """A text to start from, as a person handed it in."""

    text: str
    id: str | None = None  # theirs, unique in the job
    line: int | None = None  # where it stood, for errors


@dataclass(frozen=True)
class StoredSeed:
    """A seed with what tells it apart from equal ones: how many came before it."""

    id: str | None
    seed: str
    occurrence: int


@dataclass(frozen=True)
class JobRow:
    """One (seed, temperature, sample) of a job."""

    number: int
    seed: StoredSeed
    temperature: float
    sample: int


def encode_seeds(seeds: Iterable[StoredSeed]) -> Iterator[bytes]:
    return compress({"id": seed.id, "seed": seed.seed, "occurrence": seed.occurrence} for seed in seeds)


def decode_seeds(data: bytes) -> Iterator[StoredSeed]:
    return (StoredSeed(**json.loads(line)) for line in read_lines(data))


def part_rows(spec: GenerateSpec, seeds: Iterable[StoredSeed], first: int, count: int) -> Iterator[JobRow]:
    """The rows first .. first + count - 1 of a job."""
    samples = spec.sampling.samples
    for index, seed in enumerate(seeds):
        start = index * spec.rows_per_seed
        if start >= first + count:
            return
        for offset in range(max(first - start, 0), min(first + count - start, spec.rows_per_seed)):
            yield JobRow(start + offset, seed, spec.sampling.temperatures[offset // samples], offset % samples)


def result(row: JobRow, model: str, text: str, nats_per_char: float) -> dict[str, Any]:
    """A result line. It holds nothing that depends on the run: no part, worker or time."""
    return {
        "row": row.number,
        "id": row.seed.id,
        "seed": row.seed.seed,
        "temperature": row.temperature,
        "sample": row.sample,
        "text": text,
        "finish_reason": "length",
        "nats_per_char": nats_per_char,
        "model": model,
        "error": None,
    }


def failed_result(row: JobRow, model: str, error: str) -> dict[str, Any]:
    """The line of a row in a part that was given up."""
    line = result(row, model, "", 0.0)
    return line | {"text": None, "finish_reason": None, "nats_per_char": None, "error": error}


def compress(records: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """JSON Lines under zstd, chunk by chunk."""
    compressor = zstd.ZstdCompressor()
    buffer = io.BytesIO()
    for record in records:
        buffer.write(dump_line(record))
        if buffer.tell() >= WRITE_SIZE:
            yield compressor.compress(buffer.getvalue())
            buffer = io.BytesIO()
    yield compressor.compress(buffer.getvalue()) + compressor.flush()


def dump_line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def read_lines(data: bytes) -> Iterator[bytes]:
    """The lines, with their ends, of what `compress` wrote."""
    with zstd.open(io.BytesIO(data), "rb") as file:
        yield from file


def store_seeds(seeds: Iterable[Seed]) -> Iterator[StoredSeed]:
    """Number equal seeds.

    Raises:
        InputError: two seeds with one id.
    """
    ids: dict[str, Seed] = {}
    seen: dict[str, int] = {}
    for seed in seeds:
        if seed.id is None:
            occurrence = seen[seed.text] = seen.get(seed.text, -1) + 1
        elif seed.id in ids:
            lines = f": in line {ids[seed.id].line} and in line {seed.line}" if seed.line else ""
            raise InputError(f"The id {seed.id!r} stands twice{lines}")
        else:
            ids[seed.id], occurrence = seed, 0
        yield StoredSeed(seed.id, seed.text, occurrence)
