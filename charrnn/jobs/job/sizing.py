"""Estimates: how many rows a part gets, how long a job takes, and how much disk space it needs.

A part is about 20 seconds of work on a CPU, and 4 on a GPU, which would otherwise keep a million rows in memory. A
killed worker loses that much, a cancelled job still does that much, and a worker checks the queue that often. No row's
text depends on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.errors import InputError, counted
from charrnn.sampling.defaults import BATCHES, CPU, GPU

PART_S = {CPU: 20.0, GPU: 4.0}
LEAST_S = 2.0  # shortest part with one device: no other device could share it, and each part costs about 0.1 s
TURNS = 4  # parts for each device, so that no device is idle while another one finishes a long part
CHARACTERS_PER_S = {CPU: 40_000.0, GPU: 5_000_000.0}  # speed of 2 x LSTM(512) that is assumed if none is known
MAX_PARTS = 100_000  # each part is a row of the store
SPLIT = 8  # pieces that a failed part is split into: a bad row among 256 is alone after 3 splits
MAX_ROWS = 1_000_000_000  # of a job; their result lines take 110 GB without texts
MAX_PART_ROWS = 100_000
MAX_PART_MEMORY = 512 << 20  # bytes that a worker takes for the rows of a part, in addition to TensorFlow and the model

LINE_BYTES = 110  # bytes of a result line in addition to its text and the stored seed
LOGPROB_BYTES = 9  # bytes of one log probability as JSON
# Generous share of result lines that is left after zstd: 0.13 at temperature 0.2, 0.27 at 1, 0.8 for pure noise.
COMPRESSED = 0.4


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A rough estimate of the time and storage of a generate job."""

    result_bytes: int  # size of the results in the store's files
    export_bytes: int  # size of an export as JSON Lines
    seconds: float  # time with the devices that are live now
    guessed: bool  # from the network's size, since the model's speed has not been measured yet
    mean_length: float | None = None  # characters of a text so far, where stop strings make texts shorter


@dataclass(frozen=True, kw_only=True)
class TrainingEstimate:
    """A rough estimate of the time of a training job on one device, if early stopping does not end it sooner."""

    seconds: float
    guessed: bool  # from the network's size, since no earlier training tells the speed


def row_memory(seed_bytes: int, length: int, *, logprobs: bool) -> int:
    """Return the bytes of a worker's memory that a row takes at most.

    Ids of the seed and of the text take 8 bytes for each character, log probabilities 4, and the result line is kept
    until its part is written. All rows of a part count, since those that end early wait for the first.

    Args:
        seed_bytes: bytes of the seed as stored, with its id and options.
        length: maximum number of characters of the text.
    """
    return 600 + 10 * seed_bytes + length * (16 + (LOGPROB_BYTES if logprobs else 0))


def most_part_rows(row_memory: int) -> int:
    """Return the most rows that a part may have if the largest takes this much memory, in bytes."""
    return max(1, min(MAX_PART_ROWS, MAX_PART_MEMORY // row_memory))


def choose_part_rows(
    rows: int,
    characters: int,
    batch: int,
    devices: int,
    most: int,
    characters_per_s: float | None = None,
    kind: str = CPU,
) -> int:
    """Return the number of rows of a part. A part with more than one batch has whole batches.

    Args:
        rows: number of rows of the job.
        characters: number of characters of all rows.
        batch: batch size in slots.
        devices: number of devices that could work on the job now.
        most: rows that a part may have.
        characters_per_s: speed of one device with this batch size, if it is known.
        kind: of the devices.
    """
    per_second = rows * (characters_per_s or CHARACTERS_PER_S[kind]) / characters
    least_s = LEAST_S if devices <= 1 else 0.0
    share = max(rows / (TURNS * max(devices, 1)), least_s * per_second)
    batches = max(1, int(min(PART_S[kind] * per_second, share) / batch))
    whole = most - most % batch or most
    return min(rows, whole, max(batches * batch, math.ceil(rows / MAX_PARTS)))


def check_part_rows(rows: int, part_rows: int, most: int) -> None:
    """Check that the parts of a job are neither too large nor too many.

    Args:
        most: rows that a part may have.

    Raises:
        InputError: they are, and no other part_rows would do, or it was chosen by the user.
    """
    if part_rows > most:
        raise InputError(
            f"part_rows must be at most {most:,} for seeds and texts of this length: a worker may use "
            f"{MAX_PART_MEMORY >> 20} MiB for the rows of a part. Received: {part_rows:,}"
        )
    if (parts := -(-rows // part_rows)) > MAX_PARTS:
        raise InputError(
            f"{rows:,} rows would make {counted(parts, 'part')} of {counted(part_rows, 'row')}. "
            f"Expected at most {MAX_PARTS:,} parts. "
            + (
                "Use a larger part_rows, or fewer rows"
                if most >= -(-rows // MAX_PARTS)
                else f"Submit several jobs of at most {most * MAX_PARTS:,} rows, or use shorter seeds and texts"
            )
        )


def split(first_row: int, rows: int) -> list[tuple[int, int]]:
    """Return the first row and the number of rows of each piece of a part, at most SPLIT pieces of one size."""
    size = max(1, -(-rows // SPLIT))
    return [(first, min(size, first_row + rows - first)) for first in range(first_row, first_row + rows, size)]


def device_kind(device: str) -> str:
    """Return the kind of a worker's device or of an engine's, cpu or gpu. Speeds are stored for each kind."""
    return CPU if device.split(" ")[0] == CPU else GPU


def full_speed(characters: int, seconds: float, batch: int, kind: str) -> float:
    """Return the characters per second of a device with the largest batch, from a measurement with this batch."""
    return characters / seconds / _share(batch, kind)


def batch_speed(characters_per_s: float, batch: int, kind: str) -> float:
    """Return the expected characters per second with this batch, from those with the largest batch."""
    return characters_per_s * _share(batch, kind)


def _share(batch: int, kind: str) -> float:
    shares = BATCHES[kind]
    return shares.get(batch, min(shares.values()) / 4)  # a single slot, for a single text


def result_bytes(rows: int, characters: int, seed_bytes: int, *, logprobs: bool) -> tuple[int, int]:
    """Return the approximate bytes of the part files and of their export."""
    export = rows * LINE_BYTES + seed_bytes + characters * (1 + (LOGPROB_BYTES if logprobs else 0))
    return round(export * COMPRESSED), export
