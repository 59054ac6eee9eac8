"""Check, write and read the seeds of a job. They are streamed and never all in memory.

A seeds file contains JSON Lines in zstd frames of about 1 MiB of text each, so `zstd -dc` reads it. A part knows the
frame that contains the seed of its first row, and reads and verifies only the frames that it needs.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from charrnn.checks import check_choice, check_length, check_string, check_type
from charrnn.errors import InputError
from charrnn.jobs.files.zstd import compress_frame, read_frames
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import Frame
from charrnn.jobs.job.sizing import MAX_ROWS, row_memory
from charrnn.jobs.rows.occurrences import Occurrences
from charrnn.options import ERROR, SamplingOptions
from charrnn.text.documents import check_encodable
from charrnn.text.vocabulary import NEW_LINE, Vocabulary

logger = logging.getLogger(__name__)

FRAME_SIZE = 1 << 20  # bytes of text; a part whose first seed is inside a frame reads at most this much in vain
SHOWN_LINES = 5  # most invalid seeds shown in one error
MAX_SEEDS = 10_000_000  # 8 bytes of memory each, briefly 16
MAX_SEED = 100_000  # characters; each costs a step of the network, and 8 bytes of a worker's memory per row
MAX_ID = 1_000  # characters: ids are names, paths or URLs
SKIP = "skip"
ON_BAD_SEED = (ERROR, SKIP)

to_json = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps makes an encoder in each call: 2 µs of its 4 µs


@dataclass(frozen=True)
class Seed:
    """A text to start from, as a user submits it."""

    text: str
    id: str | None = None  # chosen by the user, unique in the job
    where: str | None = None  # for errors, such as "seeds.txt: line 3"
    options: Mapping[str, Any] = field(default_factory=dict)  # own sampling options, any of `options.OVERRIDES`

    @property
    def place(self) -> str:
        return self.where or f"{self.text!r:.80}"


@dataclass(frozen=True)
class StoredSeed:
    """A seed as it is stored. `occurrence` counts the equal seeds before it, which tells them apart."""

    id: str | None
    seed: str
    occurrence: int
    options: Mapping[str, Any] = field(default_factory=dict)


class BadSeeds:
    """The policy for seeds that cannot be used: the first is an error, or all are skipped and counted.

    Attributes:
        count: number of skipped seeds.
        first: the message of the first one, or None.
    """

    def __init__(self, policy: str = ERROR) -> None:
        check_choice("on_bad_seed", policy, ON_BAD_SEED)
        self.skips, self.count = policy == SKIP, 0
        self.first: str | None = None

    def add(self, error: InputError) -> None:
        """Count a seed that cannot be used, or raise the error."""
        if not self.skips:
            raise error
        self.count += 1
        self.first = self.first or str(error)


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
        row_memory: bytes of a worker's memory that the largest row takes.
        sha256: sha256 of the seeds and their options, independent of compression.
        frames: the frames of the file, in order.
        options: the names of the options that seeds have of their own.
    """

    file: FileRef
    num_seeds: int
    rows: int
    characters: int
    seed_bytes: int
    row_memory: int
    sha256: str
    frames: tuple[Frame, ...]
    options: frozenset[str]


def store_seeds(
    seeds: Iterable[Seed],
    sampling: SamplingOptions,
    vocabulary: Vocabulary,
    put: Callable[[Iterable[bytes]], FileRef],
    bad: BadSeeds | None = None,
) -> StoredSeeds:
    """Check and store seeds as a stream.

    Args:
        put: a function that stores the bytes of a file, given chunk by chunk.
        bad: the policy for seeds that the model cannot read or that have invalid options. Default: an error.

    Raises:
        InputError: there are no seeds, or one of them cannot be used.
    """
    writer = SeedWriter(sampling, vocabulary, bad)
    file = put(writer.write(seeds))
    return StoredSeeds(
        file=file,
        num_seeds=writer.num_seeds,
        rows=writer.rows,
        characters=writer.characters,
        seed_bytes=writer.seed_bytes,
        row_memory=writer.row_memory,
        sha256=writer.sha256,
        frames=tuple(writer.frames),
        options=frozenset(writer.options),
    )


@dataclass(frozen=True)
class _Line:
    """A seed whose number among equal ones is not yet known: the line before and after it."""

    seed: Seed
    rows: int
    length: int  # of each text
    head: str
    tail: str


class SeedWriter:
    """A checker and writer of seeds. Its attributes count what was written so far.

    Attributes:
        num_seeds: number of seeds.
        rows: number of rows.
        characters: maximum number of characters to sample.
        seed_bytes: bytes of the seeds as stored, each counted once for each of its rows.
        row_memory: bytes of a worker's memory that the largest row takes.
        frames: the frames of the file, in order.
        options: the names of the options that seeds have of their own.
    """

    def __init__(self, sampling: SamplingOptions, vocabulary: Vocabulary, bad: BadSeeds | None = None) -> None:
        self.sampling, self.vocabulary, self.bad = sampling, vocabulary, bad or BadSeeds()
        self.num_seeds = self.rows = self.characters = self.seed_bytes = self.row_memory = 0
        self.frames: list[Frame] = []
        self.options: set[str] = set()
        self._digest = hashlib.sha256()
        self._texts, self._ids = Occurrences(), Occurrences()
        self._unmatched = self._unmatched_stops(sampling)
        self._invalid: list[tuple[Seed, str]] = []  # the first seeds with unknown characters, and those characters
        self._num_invalid = 0

    def write(self, seeds: Iterable[Seed]) -> Iterator[bytes]:
        """Yield the file, frame by frame.

        Raises:
            InputError: there are no seeds, too many of them or of rows, or one that the model cannot read or that has
                invalid options.
        """
        offset = 0
        for frame in self._frames(seeds):
            self.frames[-1] = Frame(self.frames[-1].row, offset)
            offset += len(frame)
            yield frame
        if not self.num_seeds and self.bad.first:
            raise InputError(f"None of {self.bad.count:,} seeds can be used. The first: {self.bad.first}")
        if not self.num_seeds:
            raise InputError("No seeds given. Expected at least one; an empty seed starts a new line")
        self._refuse_unknown()
        self._warn_of_stops()

    @property
    def sha256(self) -> str:
        """The sha256 of the seeds and their options, independent of compression."""
        return self._digest.hexdigest()

    def _frames(self, seeds: Iterable[Seed]) -> Iterator[bytes]:
        lines: list[_Line] = []
        size = first = 0
        for seed in seeds:
            try:
                line = self._check(seed)
            except InputError as error:
                self.bad.add(error)
                continue
            self._count(line)
            lines.append(line)
            size += len(line.head) + len(line.tail)
            if size >= FRAME_SIZE:
                yield self._frame(first, lines)
                lines, size, first = [], 0, self.rows
        if lines:
            yield self._frame(first, lines)

    def _frame(self, first: int, lines: Sequence[_Line]) -> bytes:
        """Return a frame whose first line is that of row `first`."""
        self.frames.append(Frame(first, 0))
        numbers = iter(self._texts.count([hash(line.seed.text) for line in lines if line.seed.id is None]))
        self._refuse_equal_ids([line.seed for line in lines if line.seed.id is not None])
        encoded = []
        for line in lines:
            number = next(numbers) if line.seed.id is None else 0
            encoded.append(f"{line.head}{number}{line.tail}".encode())
            size = len(encoded[-1])
            self.seed_bytes += line.rows * size
            memory = row_memory(size, line.length, logprobs=self.sampling.logprobs)
            self.row_memory = max(self.row_memory, memory)
        self._digest.update(b"".join(encoded))
        return compress_frame(encoded)

    def _refuse_equal_ids(self, seeds: Sequence[Seed]) -> None:
        for seed, count in zip(seeds, self._ids.count([hash(seed.id) for seed in seeds]), strict=True):
            if count:
                place = f"{seed.where}: the" if seed.where else "The"
                raise InputError(f"{place} id {seed.id!r} appears twice. Expected a different id for each seed")

    def _check(self, seed: Seed) -> _Line:
        check_string(f"{seed.place}: a seed", seed.text)
        if seed.id is not None:
            check_string(f"{seed.place}: an id", seed.id)
        check_type(f"{seed.place}: options", seed.options, Mapping, "a mapping, such as {'length': 80}")
        check_encodable(seed.place, f"{seed.text}{seed.id or ''}")
        check_length(f"{seed.place}: a seed", seed.text, MAX_SEED)
        check_length(f"{seed.place}: an id", seed.id or "", MAX_ID)
        sampling = self._sampling(seed)
        text = self.vocabulary.prepare_seed(seed.text, self.sampling.unknown)
        if unknown := self.vocabulary.unknown(text):
            if self.bad.skips:
                raise InputError(f"{seed.place}: characters outside the vocabulary: {', '.join(map(repr, unknown))}")
            self._num_invalid += 1
            self._invalid += [(seed, unknown)] if self._num_invalid <= SHOWN_LINES else []
        head = f'{{"id": {to_json(seed.id)}, "seed": {to_json(seed.text)}, "occurrence": '
        rows = len(sampling.temperatures) * sampling.samples
        return _Line(seed, rows, sampling.length, head, f', "options": {to_json(seed.options)}}}\n')

    def _sampling(self, seed: Seed) -> SamplingOptions:
        """Return the options of a seed's texts."""
        if not seed.options:
            return self.sampling
        try:
            sampling = self.sampling.with_overrides(seed.options)
        except InputError as error:
            raise InputError(f"{seed.place}: {error}") from error
        if len(self._unmatched) < SHOWN_LINES:
            self._unmatched |= self._unmatched_stops(sampling)
        return sampling

    def _count(self, line: _Line) -> None:
        self.options.update(line.seed.options)
        self.num_seeds += 1
        self.rows += line.rows
        self.characters += line.rows * line.length
        for count, most, noun in ((self.num_seeds, MAX_SEEDS, "seeds"), (self.rows, MAX_ROWS, "rows")):
            if count > most:
                raise InputError(
                    f"{line.seed.place}: with this seed the job has {count:,} {noun}. Expected at most {most:,} (rows "
                    f"are seeds x temperatures x samples). Submit several jobs, or use fewer of them"
                )

    def _unmatched_stops(self, sampling: SamplingOptions) -> set[str]:
        return {stop for stop in sampling.stop if self.vocabulary.unknown(self.vocabulary.plain(stop))}

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
            f"Use `unknown` drop to leave these out, or `unknown` replace to write plain ones, such as e for é"
            f"{self._hint()}"
        )

    def _hint(self) -> str:
        """Return how to write a newline, if a seed has a backslash and an n in its place, as stop strings may."""
        escaped = any("\\" in unknown and r"\n" in seed.text for seed, unknown in self._invalid)
        if not escaped or NEW_LINE not in self.vocabulary:
            return ""
        return (
            "\nIn a seed, a backslash is a character like others. A seed with a newline needs a seeds file in JSON, "
            "such as [\"one\\ntwo\"], or in bash $'one\\ntwo'"
        )

    def _warn_of_stops(self) -> None:
        if self._unmatched:
            shown = ", ".join(map(repr, sorted(self._unmatched)[:SHOWN_LINES]))
            logger.warning("stop strings with characters outside the vocabulary never match: %s", shown)
