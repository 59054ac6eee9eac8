"""One stream of random numbers for each row, based on counters instead of state.

The number for a place in a row's text is a hash of the row's key and that place. It does not depend on the slot, the
neighbors or the order in which rows are sampled.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def row_key(rng_seed: int, name: str, temperature: float, sample: int) -> int:
    """Return the 64-bit key of the random stream of a row.

    Args:
        rng_seed: random seed of the job.
        name: distinguishes the seed from the other seeds of the job, see `seed_name`.
        temperature: of the row.
        sample: index among the rows of this seed and temperature, from 0.
    """
    identity = json.dumps([rng_seed, name, float(temperature), sample])
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "little")


def seed_name(seed_id: str | None, seed: str, occurrence: int) -> str:
    """Return a name that distinguishes a seed: its id, or without one its text and the number of equal texts before it.

    The name does not change when other seeds are added or moved.
    """
    return json.dumps(["id", seed_id] if seed_id is not None else ["seed", seed, occurrence])


def delay(keys: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return keys of the same streams, (N,) uint64, whose numbers are later by some positions, (N,)."""
    return np.asarray(keys - positions.astype(np.uint64) * _GOLDEN)


def uniforms(keys: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return random numbers strictly between 0 and 1 as float32, one for each key and position.

    They are computed by SplitMix64 (Steele, Lea and Flood 2014). (n + 1/2) 2^-23 is exact in float32 and never 0 or 1.

    Args:
        keys: uint64.
        positions: integers of at least 0, of a shape that broadcasts with that of the keys.
    """
    z = keys.astype(np.uint64) + (positions.astype(np.uint64) + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    numbers: np.ndarray = ((z >> np.uint64(41)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)
    return numbers
