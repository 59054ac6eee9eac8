"""Validation loss: nats per character on text that training never sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from charrnn.network import backend as ops
from charrnn.network.backend import Array
from charrnn.network.network import State, Weights, sequence, zero_state
from charrnn.options import BFLOAT16, FLOAT32, NetworkOptions
from charrnn.training.batches import Windows

STREAMS = 32  # parallel stretches; each pays for its cold start, so no more than speed needs
UNROLL = 64
WINDOWS = 256  # read at once
STRIDE = 3  # characters from one window to the next, as the notebook trains
COMPARED = 100_000  # characters, so that choosing a precision takes seconds
MAX_MOVED = 0.001  # nats by which the loss may differ in the precision that a model is sampled in

Block = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Inputs (T, B), targets and mask: (T, B), or (1, B) of windows."""


def validation_loss(
    network: NetworkOptions,
    weights: Weights,
    ids: np.ndarray,
    after_block: Callable[[], object] = lambda: None,
    precision: str = FLOAT32,
) -> float:
    """Return the cross-entropy in nats per character of `ids` (N,), N at least 2, predicted as the network samples.

    With its state carried from character to character, of all but the first of each of 32 stretches; of
    a network with a `max_len` from the window before, of every third character.

    Args:
        after_block: called after each block of about 2,000 characters or 256 windows; may raise to end it.
        precision: of the matrix products.
    """
    carries = network.max_len is None
    nats, count, state = 0.0, 0.0, None
    evaluate = _evaluator(network, weights["dense.bias"].shape[0], precision)
    for inputs, targets, mask in _stretches(ids) if network.max_len is None else _windows(ids, network.max_len):
        if carries and state is None:
            state = zero_state(network, inputs.shape[1])
        block_nats, after = evaluate(weights, inputs, targets, mask, state)
        state = after if carries else None
        nats, count = nats + float(block_nats), count + float(mask.sum())
        after_block()
    return nats / count


def sampling_precision(
    network: NetworkOptions, weights: Weights, ids: np.ndarray, after_block: Callable[[], object] = lambda: None
) -> str:
    """Return the precision to sample in: bfloat16 where this device multiplies it faster and the loss hardly moves.

    A network with a `max_len` stays in float32: its evaluation reads a whole window for each character.
    """
    if network.max_len is not None or ops.fast_precision() != BFLOAT16:
        return FLOAT32
    exact, rough = (
        validation_loss(network, weights, ids[:COMPARED], after_block, precision) for precision in (FLOAT32, BFLOAT16)
    )
    return BFLOAT16 if abs(rough - exact) < MAX_MOVED else FLOAT32


def _stretches(ids: np.ndarray) -> Iterator[Block]:
    """Yield blocks of UNROLL characters; short texts in fewer stretches, the last, ragged columns masked out."""
    count = max(1, min(STREAMS, (len(ids) - 1) // UNROLL))
    length = -(-(len(ids) - 1) // count)
    for start in range(0, length, UNROLL):
        within = np.arange(start, start + UNROLL)[:, None]
        places = np.arange(count) * length + within
        mask = (within < length) & (places + 1 < len(ids))
        yield _block(ids, places, places + 1, mask)


def _windows(ids: np.ndarray, max_len: int) -> Iterator[Block]:
    """Yield blocks of WINDOWS windows, the last filled up."""
    windows = Windows(ids, WINDOWS, min(max_len, len(ids) - 1), STRIDE)
    for start in range(0, windows.count, WINDOWS):
        numbers = np.arange(start, start + WINDOWS)
        inputs, targets = windows.at(np.minimum(numbers, windows.count - 1))
        yield inputs, targets, (numbers < windows.count)[None].astype(np.float32)


def _block(ids: np.ndarray, inputs: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> Block:
    last = len(ids) - 1
    read = [ids[np.minimum(places, last)].astype(np.int32) for places in (inputs, targets)]
    return read[0], read[1], mask.astype(np.float32)


@lru_cache(maxsize=4)
def _evaluator(network: NetworkOptions, vocabulary_size: int, precision: str):  # type: ignore[no-untyped-def]  # a compiled function
    # One for each size: on a GPU, Keras's layers make variables at the first call, and a function allows no second.
    def evaluate(
        weights: Weights, inputs: Array, targets: Array, mask: Array, state: State | None
    ) -> tuple[Array, State]:
        logits, after = sequence(network, weights, inputs, state, precision=precision)
        return ops.total(ops.cross_entropy(logits, targets) * mask), after

    return ops.compiled(evaluate)
