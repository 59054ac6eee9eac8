"""Default batch size and precision for sampling. Pure Python."""

from __future__ import annotations

from charrnn.options import AUTO, FLOAT32

CPU, GPU = "cpu", "gpu"
BATCHES = {
    CPU: {16: 0.45, 32: 0.65, 64: 0.85, 128: 0.95, 256: 1.0},
    GPU: {256: 0.13, 1024: 0.4, 4096: 0.9, 8192: 1.0},
}
"""Throughput of a full batch by its slots for each kind of device, as a share of that of the largest.

On a CPU (2 x LSTM(512), bfloat16, two cores) there are at least 16 slots: if slots x characters is not a multiple of a
vector's width, other instructions compute its last elements, and a text could depend on its slot. There are at most
256: a batch of 1,024 is 5% faster, but its last wave has four times the idle slots. The shares of GPUs are estimated
from the program that XLA compiles for an H200, and not yet measured. A single text gets a batch of one slot, so that it
is ready soon.
"""


def choose_batch(rows: int, kind: str) -> int:
    """Return the batch size that finishes a number of rows of equal length soonest. For one row it is 1.

    Args:
        rows: their number.
        kind: of device, "cpu" or "gpu".
    """
    if rows == 1:
        return 1
    shares = BATCHES[kind]
    return min(shares, key=lambda batch: -(-rows // batch) * batch / shares[batch])


def choose_batches(rows: int) -> dict[str, int]:
    """Return the batch size for each kind of device, see `choose_batch`."""
    return {kind: choose_batch(rows, kind) for kind in BATCHES}


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
