"""Validation loss: cross-entropy in nats per character on text that is never trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from charrnn.network import backend as ops
from charrnn.network.backend import Array
from charrnn.network.network import State, Weights, sequence, zero_state
from charrnn.options import BFLOAT16, FLOAT32, NetworkOptions
from charrnn.training.batches import Windows

STREAMS = 32  # parallel stretches; each starts from a zero state, which costs loss, so no more than speed needs
UNROLL = 64
WINDOWS = 256  # evaluated at once
STRIDE = 3  # characters from one window to the next, as in the training of the notebook
COMPARED = 100_000  # characters for choosing a precision, so that it takes seconds
MAX_CHANGE = 0.001  # nats per character by which bfloat16 may change the loss of a model that is sampled in it

Block = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Inputs (T, B), then targets and mask: each (T, B), or (1, B) for windows."""


def validation_loss(
    network: NetworkOptions,
    weights: Weights,
    ids: np.ndarray,
    after_block: Callable[[], object] = lambda: None,
    precision: str = FLOAT32,
) -> float:
    """Return the cross-entropy of a text in nats per character, predicted in the way in which the network samples.

    A network that carries its hidden state predicts all characters except the first of each of up to 32 stretches. A
    network with a `max_len` predicts every third character, each from the window before it.

    Args:
        network: the architecture.
        weights: in float32, by name.
        ids: the text, (N,), with N at least 2.
        after_block: called after each block of about 2,000 characters or 256 windows. It may raise to stop.
        precision: of matrix multiplication, "float32" or "bfloat16".
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
    """Return the precision to sample in.

    This is bfloat16 if this device multiplies it faster and the loss of the first COMPARED characters changes by less
    than MAX_CHANGE, otherwise float32. A network with a `max_len` stays in float32, because its evaluation reads a
    whole window for each character.

    Args:
        network: the architecture.
        weights: in float32, by name.
        ids: the validation text, (N,), with N at least 2.
        after_block: called after each block of an evaluation, see `validation_loss`.
    """
    if network.max_len is not None or ops.fast_precision() != BFLOAT16:
        return FLOAT32
    exact, rough = (
        validation_loss(network, weights, ids[:COMPARED], after_block, precision) for precision in (FLOAT32, BFLOAT16)
    )
    return BFLOAT16 if abs(rough - exact) < MAX_CHANGE else FLOAT32


def _stretches(ids: np.ndarray) -> Iterator[Block]:
    """Yield blocks of UNROLL characters of each stretch. Short texts have fewer stretches.

    The mask is 0 behind the end of the text, where the last stretches are shorter.
    """
    count = max(1, min(STREAMS, (len(ids) - 1) // UNROLL))
    length = -(-(len(ids) - 1) // count)
    for start in range(0, length, UNROLL):
        within = np.arange(start, start + UNROLL)[:, None]
        places = np.arange(count) * length + within
        mask = (within < length) & (places + 1 < len(ids))
        yield _block(ids, places, places + 1, mask)


def _windows(ids: np.ndarray, max_len: int) -> Iterator[Block]:
    """Yield blocks of WINDOWS windows. The last block is filled up, and its mask is 0 there."""
    windows = Windows(ids, WINDOWS, min(max_len, len(ids) - 1), STRIDE)
    for start in range(0, windows.count, WINDOWS):
        numbers = np.arange(start, start + WINDOWS)
        inputs, targets = windows.at(np.minimum(numbers, windows.count - 1))
        yield inputs, targets, (numbers < windows.count)[None].astype(np.float32)


def _block(ids: np.ndarray, inputs: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> Block:
    last = len(ids) - 1
    values = [ids[np.minimum(places, last)].astype(np.int32) for places in (inputs, targets)]
    return values[0], values[1], mask.astype(np.float32)


@lru_cache(maxsize=4)
def _evaluator(network: NetworkOptions, vocabulary_size: int, precision: str):  # type: ignore[no-untyped-def]  # a compiled function
    # One function for each size: on a GPU, Keras's layers create variables at the first call, and a compiled function
    # allows no further ones.
    def evaluate(
        weights: Weights, inputs: Array, targets: Array, mask: Array, state: State | None
    ) -> tuple[Array, State]:
        logits, after = sequence(network, weights, inputs, state, precision=precision)
        return ops.total(ops.cross_entropy(logits, targets) * mask), after

    return ops.compile_graph(evaluate)
