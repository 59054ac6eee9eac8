"""Sampling the next character: temperature, top-k, top-p, and a number between 0 and 1 for each row."""

from __future__ import annotations

from typing import NamedTuple

from charrnn.network import backend as ops
from charrnn.network.backend import Array

MIN_TEMPERATURE = 1e-6  # below it, logits / temperature overflows and argmax is what is left
MAX_TEMPERATURE = 1e6  # above it, every character is equally likely, and float32 ends at 3e38


class Limits(NamedTuple):
    """Which characters may be drawn, for each row; every array is (B,)."""

    top_k: Array  # int32, 1 to V: the likeliest so many, and those as likely as the last of them
    top_p: Array  # float32: of these, the likeliest that together have so much of the probability


def bounded(temperature: float) -> float:
    """Return the temperature that `sample_ids` computes with."""
    return 0.0 if temperature < MIN_TEMPERATURE else min(temperature, MAX_TEMPERATURE)


def sample_ids(
    product: Array, bias: Array, temperature: Array, numbers: Array, limits: Limits | None = None
) -> tuple[Array, Array]:
    """Sample an id for each row from softmax(logits / temperature), limited, by inverting its distribution function.

    Args:
        product: (B, V), logits without their bias.
        bias: (V,).
        temperature: (B,), of `bounded`; 0 means greedy decoding.
        numbers: (B,), strictly between 0 and 1, so that no character of probability 0 is drawn.
        limits: without any, a row is drawn to the bit as with those that allow everything.

    Returns:
        ids (B,), and their nats (B,) under softmax(logits): at temperature 1 and without limits.
    """
    # The running sum stays outside XLA: inside, a step of one row of 2 x LSTM(512) took 0.34 ms, with a product with a
    # triangle in its place 0.23.
    shifted, weights, log_total = _weigh(product, bias, temperature)
    if limits is not None:
        weights = _limited(weights, limits)
    ids, nats = _choose(shifted, ops.cumulative_sum(weights), log_total, temperature, numbers)
    return ids, nats


@ops.fused
def _weigh(product: Array, bias: Array, temperature: Array) -> tuple[Array, Array, Array]:
    """Return logits below their largest, the weights exp(logits / temperature), and log of the sum of exp(logits)."""
    logits = ops.cast(product, ops.float32) + bias
    shifted = logits - ops.largest(logits)
    divisor = ops.where(temperature == 0.0, 1.0, temperature)[:, None]
    return shifted, ops.exp(shifted / divisor), ops.log(ops.total(ops.exp(shifted), axis=-1))


@ops.fused
def _choose(
    shifted: Array, cumulative: Array, log_total: Array, temperature: Array, numbers: Array
) -> tuple[Array, Array]:
    below = cumulative <= numbers[:, None] * cumulative[:, -1:]
    drawn = ops.total(ops.cast(below, ops.int32), axis=-1)
    ids = ops.where(temperature == 0.0, ops.index_of_largest(shifted), drawn)
    return ids, log_total - ops.take_along_rows(shifted, ids)


def _limited(weights: Array, limits: Limits) -> Array:
    """Return weights (B, V) with 0 for the characters that may not be drawn."""
    ordered = ops.descending(weights)
    last = ops.take_along_rows(ordered, limits.top_k - 1)[:, None]
    ordered = ops.where(ordered >= last, ordered, 0.0)
    running = ops.cumulative_sum(ordered)
    wanted = running - ordered < limits.top_p[:, None] * running[:, -1:]  # what stands before is not enough yet
    least = ops.smallest(ops.where(wanted, ordered, ordered[:, :1]))
    # Not by `least` where all is allowed: what rounds away beside the sum before it would be lost.
    least = ops.where(limits.top_p[:, None] < 1.0, ops.maximum(least, last), last)
    return ops.where(weights >= least, weights, 0.0)
