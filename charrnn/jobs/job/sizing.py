"""How many rows a part has, how long a job takes, and how much disk it fills.

A part is what a killed worker loses, what a cancelled job still does, and what is between two looks
at the queue: about 20 seconds of work. No row's text depends on it.
"""

from __future__ import annotations

import math

from charrnn.errors import InputError
from charrnn.sampling.defaults import BATCHES

PART_S = 20.0
LEAST_S = 2.0  # of a job for one device: there is nobody to share with, and each part costs about 0.1 s
TURNS = 4  # parts for each device, so that none has nothing to do while another ends a long one
CHARACTERS_PER_S = 40_000.0  # of 2 x LSTM(512) on two cores: taken where no speed is known
MAX_PARTS = 100_000  # each is a row of the store

LINE_BYTES = 110  # that a result line has beside its text and the seed as it is stored
LOGPROB_BYTES = 9  # of one, as JSON
COMPRESSED = 0.4  # that zstd leaves of result lines, amply: 0.13 at temperature 0.2, 0.27 at 1; 0.8 of mere noise


def choose_part_rows(
    rows: int, characters: int, batch: int, devices: int, characters_per_s: float | None = None
) -> int:
    """Rows of a part, whole batches where there are several.

    Args:
        characters: of all rows.
        devices: that could work on the job now.
        characters_per_s: of one device with this batch, if it is known.
    """
    per_second = rows * (characters_per_s or CHARACTERS_PER_S) / characters
    least_s = LEAST_S if devices <= 1 else 0.0
    share = max(rows / (TURNS * max(devices, 1)), least_s * per_second)
    batches = max(1, int(min(PART_S * per_second, share) / batch))
    return min(rows, max(batches * batch, math.ceil(rows / MAX_PARTS)))


def check_part_rows(rows: int, part_rows: int) -> None:
    """Refuse more parts than a job may have.

    Raises:
        InputError: and what would do.
    """
    if (parts := -(-rows // part_rows)) > MAX_PARTS:
        raise InputError(
            f"{rows:,} rows would be {parts:,} parts. Expected at most {MAX_PARTS:,}: a larger --part-rows, or "
            f"fewer rows"
        )


def device_kind(device: str) -> str:
    """Of a worker's device: cpu or gpu, whose speeds are told apart."""
    return device if device == "cpu" else "gpu"


def full_speed(characters: int, seconds: float, batch: int) -> float:
    """Characters a second that a device would do with the most slots."""
    return characters / seconds / _share(batch)


def batch_speed(characters_per_s: float, batch: int) -> float:
    """Of a batch with fewer slots than the most."""
    return characters_per_s * _share(batch)


def _share(batch: int) -> float:
    return BATCHES.get(batch, min(BATCHES.values()) / 4)  # a single slot, of a single text


def result_bytes(rows: int, characters: int, seed_bytes: int, *, logprobs: bool) -> tuple[int, int]:
    """Of the part files and of their export, about."""
    export = rows * LINE_BYTES + seed_bytes + characters * (1 + (LOGPROB_BYTES if logprobs else 0))
    return round(export * COMPRESSED), export
