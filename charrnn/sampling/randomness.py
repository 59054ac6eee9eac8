"""One stream of random numbers for each row, based on counters instead of state.

The number for a place in a row's text is a hash of the row's key and that place. It does not depend on the slot, the
neighbors or the order in which rows are sampled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_WORD = 2**32 - 1
_HALF, _UNIT = np.float32(0.5), np.float32(2.0**-23)


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


def counters(keys: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the values that `uniforms` hashes, one for each key and position, uint64.

    Args:
        keys: uint64.
        positions: integers of at least 0, of a shape that broadcasts with that of the keys.
    """
    return np.asarray(keys.astype(np.uint64, copy=False) + (positions.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def uniforms(keys: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return random numbers strictly between 0 and 1 as float32, one for each key and position, see `counters`.

    They are computed by SplitMix64 (Steele, Lea and Flood 2014). (n + 1/2) 2^-23 is exact in float32 and never 0 or 1.
    The last step of the hash is left out: it changes only the lower 33 bits, and a number is made of the upper 23.
    """
    z = counters(keys, positions)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_FACTORS[0])
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_FACTORS[1])
    numbers: np.ndarray = ((z >> np.uint64(41)).astype(np.float32) + _HALF) * _UNIT
    return numbers


def split_words(values: np.ndarray) -> np.ndarray:
    """Return the lower and the upper half of each number, without a copy. (...) uint64 -> (..., 2) uint32"""
    return values.astype("<u8", copy=False)[..., None].view("<u4")


def uniforms_of_words(words: Any, cast: Callable[[Any, Any], Any]) -> Any:
    """Return the numbers that `uniforms` makes of these counters, bit for bit, in arithmetic of 32 bits.

    JAX has no other integers unless a process chooses 64 bits for everything. TensorFlow's arrays have no
    operators for shifts, so numbers are multiplied and divided by powers of two, which compilers turn into shifts.

    Args:
        words: of the counters, see `split_words`; an array of NumPy, JAX or TensorFlow, (..., 2) uint32.
        cast: from an array and a type to the array in that type, such as `ops.cast`.
    """
    low, high = words[..., 0], words[..., 1]
    for shift, factor in zip((30, 27), _FACTORS, strict=True):
        left, right = np.uint32(1 << 32 - shift), np.uint32(1 << shift)
        low, high = _multiply(low ^ (low // right | high * left), high ^ (high // right), factor)
    return (cast(high // np.uint32(1 << 9), np.float32) + _HALF) * _UNIT


def _multiply(low: Any, high: Any, factor: int) -> tuple[Any, Any]:
    """Return the halves of a product modulo 2^64."""
    lower, upper = np.uint32(factor & _WORD), np.uint32(factor >> 32)
    # The upper half of low * lower, from products of 16 bits.
    half, mask = np.uint32(1 << 16), np.uint32(0xFFFF)
    low_0, low_1, lower_0, lower_1 = low & mask, low // half, lower & mask, lower // half
    inner, outer = low_1 * lower_0, low_0 * lower_1
    middle = low_0 * lower_0 // half + (inner & mask) + (outer & mask)
    carried = low_1 * lower_1 + inner // half + outer // half + middle // half
    return low * lower, carried + low * upper + high * lower
