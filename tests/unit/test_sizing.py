"""Sizes of parts: long enough to be efficient, short enough to lose, and enough of them for all devices."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import InputError
from charrnn.jobs.job.sizing import (
    MAX_PART_ROWS,
    MAX_PARTS,
    batch_speed,
    check_part_rows,
    choose_part_rows,
    full_speed,
    most_part_rows,
    result_bytes,
    row_memory,
    split,
)
from charrnn.sampling.defaults import CPU, GPU


def part_rows(rows: int, length: int = 400, devices: int = 1, speed: float | None = 40_000.0) -> int:
    return choose_part_rows(rows, rows * length, 256, devices, MAX_PART_ROWS, speed)


def test_a_part_is_twenty_seconds_of_work() -> None:
    # 20 s x 40,000 characters/s = 2,000 texts of 400 characters: seven batches, since eight would be more than that
    assert part_rows(1_000_000) == 7 * 256
    assert part_rows(1_000_000, speed=400_000) == 78 * 256  # Catches: the measured speed ignored
    assert part_rows(1_000_000, length=100) == 31 * 256


def test_every_device_has_four_parts_at_least() -> None:
    # Catches: one device that still works while nine are idle
    assert part_rows(20_000, devices=10) == 256
    assert part_rows(200_000, devices=20) == 7 * 256


def test_a_part_for_one_device_is_not_shorter_than_two_seconds() -> None:
    assert part_rows(3_000, speed=400_000) == 7 * 256
    assert part_rows(3_000, speed=400_000, devices=2) == 256


def test_a_part_is_a_full_batch_at_least() -> None:
    assert part_rows(10_000, length=100_000) == 256


def test_a_job_smaller_than_a_part_is_one() -> None:
    assert part_rows(100) == 100
    assert choose_part_rows(1, 400, 1, 0, MAX_PART_ROWS) == 1


@given(st.integers(1, 10**9), st.integers(1, 10**6), st.integers(0, 1000), st.floats(1, 1e9))
def test_there_are_never_more_parts_than_a_job_may_have(rows: int, length: int, devices: int, speed: float) -> None:
    size = part_rows(rows, length, devices, speed)
    assert 1 <= size <= min(rows, MAX_PART_ROWS)
    check_part_rows(rows, size, MAX_PART_ROWS)


def test_too_many_parts_are_refused() -> None:
    with pytest.raises(InputError, match=r"100,001 parts of 1 row\. Expected at most 100,000 parts\. Use a larger"):
        check_part_rows(MAX_PARTS + 1, 1, MAX_PART_ROWS)


def test_a_job_with_too_large_parts_is_refused_with_the_limit() -> None:
    most = most_part_rows(row_memory(100, 1_000_000, logprobs=True))
    assert most == 21  # 512 MiB, with 25 bytes for each of a million characters
    assert part_rows(50, length=1_000_000) == 50
    assert choose_part_rows(10**9, 10**15, 16, 1, most) == 16  # Catches: parts that kill their workers
    with pytest.raises(InputError, match=r"Submit several jobs of at most 2,100,000 rows, or use shorter"):
        check_part_rows(10**9, 16, most)
    with pytest.raises(InputError, match=r"part_rows must be at most 21 .* may use 512 MiB .* Received: 22"):
        check_part_rows(100, 22, most)


def test_a_speed_is_kept_as_that_of_a_full_batch() -> None:
    assert batch_speed(full_speed(9_000, 2.0, 16, CPU), 16, CPU) == pytest.approx(4_500)
    assert full_speed(9_000, 2.0, 16, CPU) == pytest.approx(10_000)  # 16 slots reach 0.45 of the speed of 256
    assert full_speed(9_000, 2.0, 4096, GPU) == pytest.approx(5_000)


def test_a_part_of_a_gpu_is_short_and_fills_its_slots() -> None:
    # Catches: the 20 s of a CPU, after which a GPU would have 600,000,000 characters in memory
    assert choose_part_rows(10**7, 10**9, 8192, 1, 10**7, 10**6, GPU) == 4 * 8192
    assert choose_part_rows(10**7, 10**9, 8192, 1, 10**7, 10**5, GPU) == 8192


def test_an_estimate_grows_with_rows_seeds_and_texts() -> None:
    stored, export = result_bytes(rows=10, characters=1_000, seed_bytes=600, logprobs=False)
    assert export == 10 * 110 + 600 + 1_000
    assert 0 < stored < export
    _, more = result_bytes(rows=10, characters=1_000, seed_bytes=600, logprobs=True)
    assert more == export + 9 * 1_000


@given(st.integers(0, 10**9), st.integers(1, 100_000))
def test_the_pieces_of_a_part_have_each_of_its_rows_once(first: int, rows: int) -> None:
    pieces = split(first, rows)
    assert [start for start, _ in pieces] == [first + size for size in accumulate((n for _, n in pieces), initial=0)][
        :-1
    ]
    assert sum(count for _, count in pieces) == rows
    assert len(pieces) == 1 if rows == 1 else 2 <= len(pieces) <= 8
