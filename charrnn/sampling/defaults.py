"""Batch size and precision of a sampling for which nobody chose them. Pure Python."""

from __future__ import annotations

from charrnn.options import AUTO, FLOAT32

# Slots of a batch -> speed of a full one, of that of 256 (2 x LSTM(512), bfloat16, two cores). At least 16 slots: where
# slots x characters is no multiple of a vector's width, its last elements are computed by other instructions, and a
# text could depend on its slot. At most 256: 1024 is 5 % faster on a CPU, and its last wave has four times the idle
# slots. A single text has a batch of its own, to be there soon.
BATCHES = {16: 0.45, 32: 0.65, 64: 0.85, 128: 0.95, 256: 1.0}


def choose_batch(rows: int) -> int:
    """Return the slots for `rows` texts: one for one, else those with which rows of equal length are done soonest."""
    if rows == 1:
        return 1
    return min(BATCHES, key=lambda batch: -(-rows // batch) * batch / BATCHES[batch])


def choose_precision(asked: str, best: str, batch: int) -> str:
    """Return the precision of the matrix products that was asked for, or for "auto" the model's best.

    A single text is sampled in float32: its products alone are faster so.
    """
    if asked != AUTO:
        return asked
    return FLOAT32 if batch == 1 else best
