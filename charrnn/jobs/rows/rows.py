"""Rows of a generate job: their numbers and their result lines.

Rows are numbered by seed, then temperature, then sample, in the order in which they were submitted. Part files are JSON
Lines compressed with zstd, so `zstd -dc` reads them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NotRequired, TypedDict

from charrnn.errors import ModelFileError
from charrnn.jobs.files.files import Files
from charrnn.jobs.files.storage import storage_errors
from charrnn.jobs.files.zstd import compress_frame, read_frames
from charrnn.jobs.job.part import PartRows
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.rows.seeds import StoredSeed, read_seeds, to_json
from charrnn.options import SamplingOptions
from charrnn.regular_file import regular

if TYPE_CHECKING:
    from charrnn.text.comparison.copies import Copy

logger = logging.getLogger(__name__)

WRITE_SIZE = 1 << 20  # bytes of text in one frame


@dataclass(frozen=True)
class JobRow:
    """One row of a job: a combination of seed, temperature and sample number."""

    number: int
    seed: StoredSeed
    temperature: float
    sample: int
    sampling: SamplingOptions  # the job's options, overridden by those of the seed


class ResultLine(TypedDict):
    """The record of a row as it stands in part files and in exports."""

    row: int
    id: str | None
    seed: str
    temperature: float
    sample: int
    text: str | None  # None: the row failed
    finish_reason: str | None
    nats_per_char: float | None
    novel: bool | None  # None: unknown
    longest_copy: int | None  # in characters
    version: str
    error: str | None
    logprobs: NotRequired[list[float] | None]  # in nats; where the job asks for them


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

    Many parts read the same seeds, and hashing 100 MB takes 0.1 s. A part therefore verifies the frames that it reads,
    and the whole file only if one of them is damaged or missing.

    Raises:
        ModelFileError: the seeds file is missing or was changed.
        UnreachableError: the files do not answer.
    """
    done = 0
    try:
        for rows in _seeds_at(files.local_path(spec.seeds), spec, part):
            yield rows
            done += len(rows)
    except ModelFileError as error:
        logger.warning("%s: %s; checking the whole file", spec.seeds.name, error)
    if done < part.rows:  # the copy of a bucket's file is replaced by a new one, or the damage is reported
        rest = replace(part, first_row=part.first_row + done, rows=part.rows - done)
        for rows in _seeds_at(files.verified_path(spec.seeds), spec, rest):
            yield rows
            done += len(rows)
    if done < part.rows:
        raise ModelFileError(f"{spec.seeds.name} has no seed for row {part.first_row + done:,} of its job")


def _seeds_at(path: Path, spec: GenerateSpec, part: PartRows) -> Iterator[SeedRows]:
    with storage_errors(str(path)), open(path, "rb", opener=regular) as file:
        seeds = read_seeds(file, part.frame_offset)
        yield from part_seeds(spec, seeds, part.first_row, part.rows, part.frame_row)


def stored_rows(files: Files, spec: GenerateSpec, part: PartRows) -> Iterator[JobRow]:
    """Yield the rows of one part of a job. Raises what `stored_seeds` raises."""
    return chain.from_iterable(stored_seeds(files, spec, part))


def result(
    row: JobRow,
    version: str,
    text: str | None,
    finish_reason: str | None,
    nats_per_char: float | None,
    logprobs: list[float] | None = None,
    error: str | None = None,
    copy: Copy | None = None,
) -> ResultLine:
    """Return the record of a row. It contains nothing that depends on the run: no part, worker or time."""
    line: ResultLine = {
        "row": row.number,
        "id": row.seed.id,
        "seed": row.seed.seed,
        "temperature": row.temperature,
        "sample": row.sample,
        "text": text,
        "finish_reason": finish_reason,
        "nats_per_char": nats_per_char,
        "novel": copy.novel if copy else None,
        "longest_copy": len(copy.longest) if copy else None,
        "version": version,
        "error": error,
    }
    return {**line, "logprobs": logprobs} if row.sampling.logprobs else line


def failed_result(row: JobRow, version: str, error: str) -> ResultLine:
    """Return the record for a row of a part that failed for good."""
    return result(row, version, None, None, None, error=error)


def compress(records: Iterable[Mapping[str, object]]) -> Iterator[bytes]:
    """Yield records as JSON Lines compressed with zstd, frame by frame. Without records it is one empty frame."""
    lines: list[bytes] = []
    size, frames = 0, 0
    for record in records:
        lines.append(dump_line(record))
        size += len(lines[-1])
        if size >= WRITE_SIZE:
            yield compress_frame(lines)
            lines, size, frames = [], 0, frames + 1
    if lines or not frames:
        yield compress_frame(lines)


def dump_line(record: Mapping[str, object]) -> bytes:
    return to_json(record).encode() + b"\n"


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines, with their line ends, of a file that `compress` made.

    Raises:
        ModelFileError: a frame is damaged. No line of it was yielded.
    """
    return read_frames(file)


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
