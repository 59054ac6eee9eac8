"""Default batch size and precision for sampling. Pure Python."""

from __future__ import annotations

from charrnn.options import AUTO, FLOAT32

BATCHES = {16: 0.45, 32: 0.65, 64: 0.85, 128: 0.95, 256: 1.0}
"""Throughput of a full batch by its slots, as a share of that of 256 slots (2 x LSTM(512), bfloat16, two cores).

There are at least 16 slots: if slots x characters is not a multiple of a vector's width, other instructions compute its
last elements, and a text could depend on its slot. There are at most 256: a batch of 1,024 is 5% faster on a CPU, but
its last wave has four times the idle slots. A single text gets a batch of one slot, so that it is ready soon.
"""


def choose_batch(rows: int) -> int:
    """Return the batch size that finishes a number of rows of equal length soonest. For one row it is 1."""
    if rows == 1:
        return 1
    return min(BATCHES, key=lambda batch: -(-rows // batch) * batch / BATCHES[batch])


def choose_precision(requested: str, best: str, batch: int) -> str:
    """Return the precision of matrix multiplication for sampling.

    Args:
        requested: "auto", or the precision to use.
        best: the model's best precision, which "auto" stands for. A batch of one slot is sampled in float32 instead,
            which is faster for single rows.
        batch: number of slots.
    """
    if requested != AUTO:
        return requested
    return FLOAT32 if batch == 1 else best
