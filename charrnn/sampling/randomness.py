"""One random stream for each row, by counting instead of by state.

The number at a place in a row's text is a hash of the row's key and that place: it does not
depend on the slot, the neighbours or the order in which rows are sampled.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def row_key(rng_seed: int, name: str, temperature: float, sample: int) -> int:
    """Return the 64-bit key of a row's stream; `name` tells the seed apart from the job's others."""
    identity = json.dumps([rng_seed, name, float(temperature), sample])
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "little")


def seed_name(seed_id: str | None, seed: str, occurrence: int) -> str:
    """Return the name that tells a seed apart: its id, else its text and how many equal texts came before it.

    Adding or moving other seeds changes neither."""
    return json.dumps(["id", seed_id] if seed_id is not None else ["seed", seed, occurrence])


def uniforms(keys: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return numbers strictly between 0 and 1, one for each (key, position), as float32.

    SplitMix64 (Steele, Lea and Flood 2014); (n + 1/2) 2^-23 is exact in float32 and never 0 or 1.
    """
    z = keys.astype(np.uint64) + (positions.astype(np.uint64) + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    numbers: np.ndarray = ((z >> np.uint64(41)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)
    return numbers
