"""The seeds of a job: checked and written as they come, never all in memory; read from the middle on.

The file is JSON Lines in zstd frames of about 1 MiB of text each, so `zstd -dc` reads it. A part
knows the frame in which its first row's seed stands, and need not read what comes before.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from charrnn.errors import InputError
from charrnn.jobs.files.zstd import zstd
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import Frame
from charrnn.options import ERROR, SamplingOptions
from charrnn.text.documents import check_encodable
from charrnn.text.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

FRAME_SIZE = 1 << 20  # bytes of text; a part that begins in the middle reads at most so much for nothing
SHOWN_LINES = 5  # of wrong seeds in one error

to_json = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps makes an encoder for each call: 2 µs of 4


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


def read_seeds(file: BinaryIO, offset: int = 0) -> Iterator[StoredSeed]:
    """The seeds from a frame on."""
    file.seek(offset)
    with zstd.open(file, "rb") as lines:
        for line in lines:
            yield StoredSeed(**json.loads(line))


@dataclass(frozen=True, kw_only=True)
class StoredSeeds:
    """The seeds file of a job, and what is in it.

    Attributes:
        rows, characters: of the job; characters to sample at most.
        seed_bytes: of the seeds as stored, each as often as there are rows of it.
        sha256: of the seeds and what they ask for, whatever the compression.
        frames: of the file, in order.
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
    """Check seeds as they come, and store them.

    Args:
        put: stores the bytes of a file, chunk by chunk.

    Raises:
        InputError: no seed at all; one that the model cannot read, or that asks for what cannot be.
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
    """Checks seeds and writes them.

    Attributes:
        num_seeds, rows, characters: so far; characters to sample at most.
        seed_bytes: of the seeds as stored, each as often as there are rows of it.
        frames: of the file, in order.
    """

    def __init__(self, sampling: SamplingOptions, vocabulary: Vocabulary) -> None:
        self.sampling, self.vocabulary = sampling, vocabulary
        self.num_seeds = self.rows = self.characters = self.seed_bytes = 0
        self.frames: list[Frame] = []
        self._digest = hashlib.sha256()
        self._numbers = _Occurrences()
        self._stops = set(sampling.stop)
        self._wrong: list[tuple[Seed, str]] = []  # the first that have characters that are not known
        self._num_wrong = 0

    def write(self, seeds: Iterable[Seed]) -> Iterator[bytes]:
        """The file, frame by frame.

        Raises:
            InputError: no seed at all; one that the model cannot read, or that asks for what cannot be.
        """
        offset = 0
        for frame in self._frames(seeds):
            self.frames[-1] = Frame(self.frames[-1].row, offset)
            offset += len(frame)
            yield frame
        if not self.num_seeds:
            raise InputError("There is no seed. Expected at least one; an empty seed starts a new line")
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
            lines.append(to_json(vars(self._checked(seed))).encode() + b"\n")
            size += len(lines[-1])
            self.seed_bytes += len(lines[-1]) * (self.rows - rows)
            if size >= FRAME_SIZE:
                yield self._frame(lines)
                lines, size = [], 0
        if lines:
            yield self._frame(lines)

    def _frame(self, lines: list[bytes]) -> bytes:
        text = b"".join(lines)
        self._digest.update(text)
        return zstd.compress(text)

    def _checked(self, seed: Seed) -> StoredSeed:
        check_encodable(seed.place, f"{seed.text}{seed.id or ''}")
        self._count(seed)
        fed = self.vocabulary.prepare_seed(seed.text, self.sampling.unknown)
        if unknown := self.vocabulary.unknown(fed):
            self._num_wrong += 1
            self._wrong += [(seed, unknown)] if self._num_wrong <= SHOWN_LINES else []
        return StoredSeed(seed.id, seed.text, self._numbers.next(seed), seed.options)

    def _count(self, seed: Seed) -> None:
        chosen = self.sampling
        if seed.options:
            try:
                chosen = self.sampling.overridden(seed.options)
            except InputError as error:
                raise InputError(f"{seed.place}: {error}") from error
            self._stops.update(chosen.stop)
        texts = len(chosen.temperatures) * chosen.samples
        self.num_seeds += 1
        self.rows += texts
        self.characters += texts * chosen.length

    def _refuse_unknown(self) -> None:
        if not self._wrong:
            return
        first = self._wrong[0][0]
        if self.sampling.unknown != ERROR or not first.text:
            raise InputError(
                f"{first.place}: an empty seed starts with a newline, which is outside the vocabulary. Pass a seed of "
                f"characters in the vocabulary"
            )
        shown = "\n".join(f"  {seed.place}: {', '.join(map(repr, unknown))}" for seed, unknown in self._wrong)
        more = f"\n  and {self._num_wrong - SHOWN_LINES:,} seeds more" if self._num_wrong > SHOWN_LINES else ""
        raise InputError(
            f"{self._num_wrong:,} seeds contain characters outside the vocabulary:\n{shown}{more}\n"
            f"The vocabulary: {''.join(c for c in self.vocabulary.characters if c.isprintable())}\n"
            f"--unknown drop leaves such characters out, --unknown replace writes them plainly"
        )

    def _warn_of_stops(self) -> None:
        if never := sorted(stop for stop in self._stops if self.vocabulary.unknown(stop)):
            shown = ", ".join(map(repr, never[:SHOWN_LINES]))
            logger.warning("stop string %s contains characters outside the vocabulary, so it never matches", shown)


class _Occurrences:
    """How many equal seeds came before; an id may not come again.

    Holds 8 bytes of hash for each distinct seed and not the seed: about 100 bytes in Python. That two of a
    million have one hash has a chance of 3e-8.
    """

    def __init__(self) -> None:
        self.texts: dict[int, int] = {}  # hash → how many
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
