"""Check, write and read the seeds of a job. They are streamed and never all in memory.

A seeds file contains JSON Lines in zstd frames of about 1 MiB of text each, so `zstd -dc` reads it. A part knows the
frame that contains the seed of its first row, and reads and verifies only the frames that it needs.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from charrnn.errors import InputError
from charrnn.jobs.files.zstd import compress_frame, read_frames
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import Frame
from charrnn.options import ERROR, SamplingOptions
from charrnn.text.documents import check_encodable
from charrnn.text.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

FRAME_SIZE = 1 << 20  # bytes of text; a part whose first seed is inside a frame reads at most this much in vain
SHOWN_LINES = 5  # most invalid seeds shown in one error

to_json = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps makes an encoder in each call: 2 µs of its 4 µs


@dataclass(frozen=True)
class Seed:
    """A text to start from, as a user submits it."""

    text: str
    id: str | None = None  # chosen by the user, unique in the job
    line: int | None = None  # line number in the file, for errors
    options: Mapping[str, Any] = field(default_factory=dict)  # own sampling options, any of `options.OVERRIDES`

    @property
    def place(self) -> str:
        return f"line {self.line}" if self.line else repr(self.text)


@dataclass(frozen=True)
class StoredSeed:
    """A seed as it is stored. `occurrence` counts the equal seeds before it, which tells them apart."""

    id: str | None
    seed: str
    occurrence: int
    options: Mapping[str, Any] = field(default_factory=dict)


def read_seeds(file: BinaryIO, offset: int = 0) -> Iterator[StoredSeed]:
    """Yield the seeds of a file, beginning with the frame at byte `offset`.

    Raises:
        ModelFileError: a frame is damaged.
    """
    for line in read_frames(file, offset):
        yield StoredSeed(**json.loads(line))


@dataclass(frozen=True, kw_only=True)
class StoredSeeds:
    """The seeds file of a job, and facts about its contents.

    Attributes:
        rows: number of rows of the job.
        characters: maximum number of characters to sample in the job.
        seed_bytes: bytes of the seeds as stored, each counted once for each of its rows.
        sha256: sha256 of the seeds and their options, independent of compression.
        frames: the frames of the file, in order.
    """

    file: FileRef
    num_seeds: int
    rows: int
    characters: int
    seed_bytes: int
    sha256: str
    frames: tuple[Frame, ...]


def store_seeds(
    seeds: Iterable[Seed],
    sampling: SamplingOptions,
    vocabulary: Vocabulary,
    put: Callable[[Iterable[bytes]], FileRef],
) -> StoredSeeds:
    """Check and store seeds as a stream.

    Args:
        put: a function that stores the bytes of a file, given chunk by chunk.

    Raises:
        InputError: there are no seeds, or one that the model cannot read or that has invalid options.
    """
    writer = SeedWriter(sampling, vocabulary)
    file = put(writer.write(seeds))
    return StoredSeeds(
        file=file,
        num_seeds=writer.num_seeds,
        rows=writer.rows,
        characters=writer.characters,
        seed_bytes=writer.seed_bytes,
        sha256=writer.sha256,
        frames=tuple(writer.frames),
    )


class SeedWriter:
    """A checker and writer of seeds. Its attributes count what was written so far.

    Attributes:
        num_seeds: number of seeds.
        rows: number of rows.
        characters: maximum number of characters to sample.
        seed_bytes: bytes of the seeds as stored, each counted once for each of its rows.
        frames: the frames of the file, in order.
    """

    def __init__(self, sampling: SamplingOptions, vocabulary: Vocabulary) -> None:
        self.sampling, self.vocabulary = sampling, vocabulary
        self.num_seeds = self.rows = self.characters = self.seed_bytes = 0
        self.frames: list[Frame] = []
        self._digest = hashlib.sha256()
        self._numbers = _Occurrences()
        self._stops = set(sampling.stop)
        self._invalid: list[tuple[Seed, str]] = []  # the first seeds with unknown characters, and those characters
        self._num_invalid = 0

    def write(self, seeds: Iterable[Seed]) -> Iterator[bytes]:
        """Yield the file, frame by frame.

        Raises:
            InputError: there are no seeds, or one that the model cannot read or that has invalid options.
        """
        offset = 0
        for frame in self._frames(seeds):
            self.frames[-1] = Frame(self.frames[-1].row, offset)
            offset += len(frame)
            yield frame
        if not self.num_seeds:
            raise InputError("No seeds given. Expected at least one; an empty seed starts a new line")
        self._refuse_unknown()
        self._warn_of_stops()

    @property
    def sha256(self) -> str:
        """The sha256 of the seeds and their options, independent of compression."""
        return self._digest.hexdigest()

    def _frames(self, seeds: Iterable[Seed]) -> Iterator[bytes]:
        lines: list[bytes] = []
        size = 0
        for seed in seeds:
            if not lines:
                self.frames.append(Frame(self.rows, 0))
            rows = self.rows
            lines.append(to_json(vars(self._check(seed))).encode() + b"\n")
            size += len(lines[-1])
            self.seed_bytes += len(lines[-1]) * (self.rows - rows)
            if size >= FRAME_SIZE:
                yield self._compress(lines)
                lines, size = [], 0
        if lines:
            yield self._compress(lines)

    def _compress(self, lines: list[bytes]) -> bytes:
        self._digest.update(b"".join(lines))
        return compress_frame(lines)

    def _check(self, seed: Seed) -> StoredSeed:
        check_encodable(seed.place, f"{seed.text}{seed.id or ''}")
        self._count(seed)
        text = self.vocabulary.prepare_seed(seed.text, self.sampling.unknown)
        if unknown := self.vocabulary.unknown(text):
            self._num_invalid += 1
            self._invalid += [(seed, unknown)] if self._num_invalid <= SHOWN_LINES else []
        return StoredSeed(seed.id, seed.text, self._numbers.next(seed), seed.options)

    def _count(self, seed: Seed) -> None:
        sampling = self.sampling
        if seed.options:
            try:
                sampling = self.sampling.overridden(seed.options)
            except InputError as error:
                raise InputError(f"{seed.place}: {error}") from error
            self._stops.update(sampling.stop)
        rows = len(sampling.temperatures) * sampling.samples
        self.num_seeds += 1
        self.rows += rows
        self.characters += rows * sampling.length

    def _refuse_unknown(self) -> None:
        if not self._invalid:
            return
        first = self._invalid[0][0]
        if self.sampling.unknown != ERROR or not first.text:
            raise InputError(
                f"{first.place}: an empty seed starts with a newline, which is outside the vocabulary. Pass a seed of "
                f"characters in the vocabulary"
            )
        shown = "\n".join(f"  {seed.place}: {', '.join(map(repr, unknown))}" for seed, unknown in self._invalid)
        more = f"\n  and {self._num_invalid - SHOWN_LINES:,} more" if self._num_invalid > SHOWN_LINES else ""
        seeds = "1 seed contains" if self._num_invalid == 1 else f"{self._num_invalid:,} seeds contain"
        raise InputError(
            f"{seeds} characters outside the vocabulary:\n{shown}{more}\n"
            f"Vocabulary: {''.join(c for c in self.vocabulary.characters if c.isprintable())}\n"
            f"Use --unknown drop to leave these out, or --unknown replace to write plain ones, such as e for é"
        )

    def _warn_of_stops(self) -> None:
        if unmatched := sorted(stop for stop in self._stops if self.vocabulary.unknown(stop)):
            shown = ", ".join(map(repr, unmatched[:SHOWN_LINES]))
            logger.warning("stop strings with characters outside the vocabulary never match: %s", shown)


class _Occurrences:
    """Counts of equal seeds, and a check that ids are unique.

    It holds a hash of 8 bytes for each distinct seed instead of the seed; in a Python dictionary that takes about 100
    bytes. The probability that any two of a million seeds have the same hash is 3e-8.
    """

    def __init__(self) -> None:
        self.texts: dict[int, int] = {}  # hash → count
        self.ids: dict[int, int] = {}  # hash → line

    def next(self, seed: Seed) -> int:
        if seed.id is None:
            key = hash(seed.text)
            number = self.texts.get(key, 0)
            self.texts[key] = number + 1
            return number
        key = hash(seed.id)
        if key in self.ids:
            lines = f": in line {self.ids[key]} and in line {seed.line}" if seed.line else ""
            raise InputError(f"The id {seed.id!r} appears twice{lines}")
        self.ids[key] = seed.line or 0
        return 0
