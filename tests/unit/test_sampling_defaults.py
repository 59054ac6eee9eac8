"""Default batch size and precision of sampling."""

from __future__ import annotations

import pytest

from charrnn.sampling.defaults import CPU, GPU, choose_batch, choose_batches, choose_precision


def test_a_row_s_text_is_never_sampled_in_two_to_fifteen_slots() -> None:
    # Catches: smaller batches, in which a text can depend on its slot
    assert choose_batches(1) == {CPU: 1, GPU: 1}
    assert min(choose_batch(rows, CPU) for rows in range(2, 20_001)) == 16


@pytest.mark.parametrize(
    ("rows", "batch"), [(2, 16), (17, 32), (250, 256), (257, 64), (500, 256), (100_000, 256), (10**9, 256)]
)
def test_batches_of_some_jobs(rows: int, batch: int) -> None:
    assert choose_batch(rows, CPU) == batch


@pytest.mark.parametrize(("rows", "batch"), [(2, 256), (300, 1024), (3_000, 4096), (9_000, 4096), (10**6, 8192)])
def test_batches_of_some_jobs_on_a_gpu(rows: int, batch: int) -> None:
    assert choose_batch(rows, GPU) == batch


def test_a_single_text_is_sampled_in_float32_by_default() -> None:
    assert [choose_precision("auto", "bfloat16", batch) for batch in (1, 16)] == ["float32", "bfloat16"]
    assert choose_precision("bfloat16", "float32", 1) == "bfloat16"
