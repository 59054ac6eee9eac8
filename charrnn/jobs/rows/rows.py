"""Rows of a generate job: their numbers and their result lines.

Rows are numbered by seed, then temperature, then sample, in the order in which they were submitted. Part files are JSON
Lines compressed with zstd, so `zstd -dc` reads them.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

from charrnn.jobs.files.files import Files
from charrnn.jobs.files.storage import storage_errors
from charrnn.jobs.files.zstd import zstd
from charrnn.jobs.job.part import PartRows
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.rows.seeds import StoredSeed, read_seeds, to_json
from charrnn.options import SamplingOptions
from charrnn.regular_file import regular

WRITE_SIZE = 1 << 20  # bytes of text in one compressed chunk


@dataclass(frozen=True)
class JobRow:
    """One row of a job: a combination of seed, temperature and sample number."""

    number: int
    seed: StoredSeed
    temperature: float
    sample: int
    sampling: SamplingOptions  # the job's options, overridden by those of the seed


@dataclass(frozen=True)
class SeedRows:
    """The rows of a part that one seed has: those from `first` to before `stop`, counted from the seed's own first."""

    seed: StoredSeed
    sampling: SamplingOptions
    start: int  # the number of the seed's own first row
    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first

    def __iter__(self) -> Iterator[JobRow]:
        sampling = self.sampling
        for offset in range(self.first, self.stop):
            temperature, sample = divmod(offset, sampling.samples)
            yield JobRow(self.start + offset, self.seed, sampling.temperatures[temperature], sample, sampling)


def part_seeds(
    spec: GenerateSpec, seeds: Iterable[StoredSeed], first: int, count: int, start: int = 0
) -> Iterator[SeedRows]:
    """Yield the seeds of `count` rows from number `first` on. `start` is the number of the first row of the first
    seed."""
    for seed in seeds:
        if start >= first + count:
            return
        texts = spec.sampling.texts(seed.options)
        if start + texts > first:
            sampling = spec.sampling.with_overrides(seed.options)
            yield SeedRows(seed, sampling, start, max(first - start, 0), min(first + count - start, texts))
        start += texts


def stored_seeds(files: Files, spec: GenerateSpec, part: PartRows) -> Iterator[SeedRows]:
    """Yield the seeds of one part of a job from the store's files.

    Raises:
        ModelFileError: the seeds file is missing or was changed.
        UnreachableError: the files do not answer.
    """
    with storage_errors(files.url), open(files.verified_path(spec.seeds), "rb", opener=regular) as file:
        seeds = read_seeds(file, part.frame_offset)
        yield from part_seeds(spec, seeds, part.first_row, part.rows, part.frame_row)


def stored_rows(files: Files, spec: GenerateSpec, part: PartRows) -> Iterator[JobRow]:
    """Yield the rows of one part of a job. Raises what `stored_seeds` raises."""
    return chain.from_iterable(stored_seeds(files, spec, part))


def result(
    row: JobRow,
    model: str,
    text: str | None,
    finish_reason: str | None,
    nats_per_char: float | None,
    logprobs: list[float] | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    """Return the record of a result line. It contains nothing that depends on the run: no part, worker or time."""
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
    """Return the record for a row of a part that failed for good."""
    return result(row, model, None, None, None, error=error)


def compress(records: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Yield records as JSON Lines compressed with zstd, chunk by chunk."""
    compressor = zstd.ZstdCompressor()
    buffer = io.BytesIO()
    for record in records:
        buffer.write(dump_line(record))
        if buffer.tell() >= WRITE_SIZE:
            yield compressor.compress(buffer.getvalue())
            buffer = io.BytesIO()
    yield compressor.compress(buffer.getvalue()) + compressor.flush()


def dump_line(record: dict[str, Any]) -> bytes:
    return to_json(record).encode() + b"\n"


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines, with their line ends, of a file that `compress` made."""
    with zstd.open(file, "rb") as lines:
        yield from lines


def distinct_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield only the first of the result lines with the same seed and text. Lines without a text are left out."""
    seen: set[bytes] = set()
    for line in lines:
        record = json.loads(line)
        if record["text"] is None:
            continue
        text = record["seed"] + record["text"]
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()  # 16 bytes for each text, however long
        if digest not in seen:
            seen.add(digest)
            yield line
