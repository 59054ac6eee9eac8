"""Held-out loss: nats per character on text that training never sees."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from charrnn import backend as ops
from charrnn.backend import Array
from charrnn.network import State, Weights, sequence, zero_state
from charrnn.options import NetworkOptions

STREAMS = 32  # parallel stretches; each pays for its cold start, so no more than speed needs
UNROLL = 64


def held_out_nats(network: NetworkOptions, weights: Weights, ids: np.ndarray) -> float:
    """Mean nats of each character of `ids` (N,) but the first of each stretch.

    Short texts are read in fewer stretches; the last, ragged columns are masked out.
    """
    inputs, targets, mask = _stretches(ids)
    state, nats = zero_state(network, inputs.shape[1]), 0.0
    for start in range(0, len(inputs), UNROLL):
        block = slice(start, start + UNROLL)
        block_nats, state = _evaluator(network)(weights, inputs[block], targets[block], mask[block], state)
        nats += float(block_nats)
    return nats / max(1.0, float(mask.sum()))


def _stretches(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, targets and mask, each (T, streams), T a multiple of UNROLL."""
    count = max(1, min(STREAMS, (len(ids) - 1) // UNROLL))
    length = -(-(len(ids) - 1) // count)
    padded_length = -(-length // UNROLL) * UNROLL
    places = np.arange(count) * length + np.arange(padded_length)[:, None]
    mask = (places - np.arange(count) * length < length) & (places + 1 < len(ids))
    last = max(0, len(ids) - 1)
    inputs, targets = ids[np.minimum(places, last)], ids[np.minimum(places + 1, last)]
    return inputs.astype(np.int32), targets.astype(np.int32), mask.astype(np.float32)


@lru_cache(maxsize=4)
def _evaluator(network: NetworkOptions):  # type: ignore[no-untyped-def]  # a compiled function
    def evaluate(weights: Weights, inputs: Array, targets: Array, mask: Array, state: State) -> tuple[Array, State]:
        logits, state = sequence(network, weights, inputs, state)
        return ops.total(ops.cross_entropy(logits, targets) * mask), state

    return ops.compiled(evaluate)
