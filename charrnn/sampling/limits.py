"""The limits on what is sampled: temperatures, and the characters that top-k and top-p leave."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

ALL = 2**31 - 1  # top_k without a limit
MIN_TEMPERATURE = 1e-6  # below it, logits / temperature overflows, so greedy decoding is used
MAX_TEMPERATURE = 1e6  # above it, all characters are equally likely; float32 ends at 3e38


class Limits(NamedTuple):
    """The limits on the characters that may be sampled for each row. Both are arrays (B,), or (K, B) of K steps."""

    top_k: Any  # int32, 1 to V: the k most likely characters, and those as likely as the last of them
    top_p: Any  # float32, above 0 to 1: of these, the most likely ones that together reach this probability


def clamp_temperatures(temperatures: np.ndarray) -> np.ndarray:
    """Return the temperatures that `sample_ids` computes with, (N,) float32: 0, or at most MAX_TEMPERATURE."""
    clamped = np.where(temperatures < MIN_TEMPERATURE, 0.0, np.minimum(temperatures, MAX_TEMPERATURE))
    return clamped.astype(np.float32)
