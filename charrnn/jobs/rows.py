"""Rows of a generate job: seeds as they are stored, row numbers, and result lines.

Rows are numbered by seed, then temperature, then sample, in submit order. Files are JSON Lines under
zstd, so `zstd -dc` reads them.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from charrnn.errors import InputError
from charrnn.jobs.specs import GenerateSpec
from charrnn.options import SamplingOptions
from charrnn.text import check_encodable

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
    options: Mapping[str, Any] = field(default_factory=dict)  # of `options.OVERRIDES`: what it asks for itself

    @property
    def place(self) -> str:
        return f"line {self.line}" if self.line else repr(self.text)


@dataclass(frozen=True)
class StoredSeed:
    """A seed with what tells it apart from equal ones: how many came before it."""

    id: str | None
    seed: str
    occurrence: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobRow:
    """One (seed, temperature, sample) of a job."""

    number: int
    seed: StoredSeed
    temperature: float
    sample: int
    sampling: SamplingOptions  # the job's, with what the seed asks for itself


def encode_seeds(seeds: Iterable[StoredSeed]) -> Iterator[bytes]:
    return compress(vars(seed) for seed in seeds)


def decode_seeds(data: bytes) -> Iterator[StoredSeed]:
    return (StoredSeed(**json.loads(line)) for line in read_lines(data))


def part_rows(spec: GenerateSpec, seeds: Iterable[StoredSeed], first: int, count: int) -> Iterator[JobRow]:
    """The rows first .. first + count - 1 of a job."""
    start = 0
    for seed in seeds:
        if start >= first + count:
            return
        texts = spec.sampling.texts(seed.options)
        if start + texts > first:
            sampling = spec.sampling.overridden(seed.options)
            for offset in range(max(first - start, 0), min(first + count - start, texts)):
                temperature, sample = divmod(offset, sampling.samples)
                yield JobRow(start + offset, seed, sampling.temperatures[temperature], sample, sampling)
        start += texts


def result(
    row: JobRow,
    model: str,
    text: str | None,
    finish_reason: str | None,
    nats_per_char: float | None,
    logprobs: list[float] | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    """A result line. It holds nothing that depends on the run: no part, worker or time."""
    line = {
        "row": row.number,
        "id": row.seed.id,
        "seed": row.seed.seed,
        "temperature": row.temperature,
        "sample": row.sample,
        "text": text,
        "finish_reason": finish_reason,
        "nats_per_char": nats_per_char,
        "model": model,
        "error": error,
    }
    return line | {"logprobs": logprobs} if row.sampling.logprobs else line


def failed_result(row: JobRow, model: str, error: str) -> dict[str, Any]:
    """The line of a row in a part that was given up."""
    return result(row, model, None, None, None, error=error)


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


def first_of_each_text(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Of result lines with equal texts the first; those without a text are left out."""
    seen: set[bytes] = set()
    for line in lines:
        if (text := json.loads(line)["text"]) is None:
            continue
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()  # 16 bytes, however long the texts are
        if digest not in seen:
            seen.add(digest)
            yield line


def store_seeds(seeds: Iterable[Seed]) -> Iterator[StoredSeed]:
    """Number equal seeds.

    Raises:
        InputError: two seeds with one id, or half a character.
    """
    ids: dict[str, Seed] = {}
    seen: dict[str, int] = {}
    for seed in seeds:
        check_encodable(seed.place, f"{seed.text}{seed.id or ''}")
        if seed.id is None:
            occurrence = seen[seed.text] = seen.get(seed.text, -1) + 1
        elif seed.id in ids:
            lines = f": in line {ids[seed.id].line} and in line {seed.line}" if seed.line else ""
            raise InputError(f"The id {seed.id!r} stands twice{lines}")
        else:
            ids[seed.id], occurrence = seed, 0
        yield StoredSeed(seed.id, seed.text, occurrence, seed.options)
