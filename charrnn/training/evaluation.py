"""Validation loss: cross-entropy in nats per character on text that is never trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from charrnn.backend import ops
from charrnn.backend.ops import Array
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
    reset: int | None = None,
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
        reset: id of the character that begins a text of its own, from a zero state; None: no character.
    """
    carries = network.max_len is None
    nats, count, state = 0.0, 0.0, None
    evaluate = _evaluator(network, weights["dense.bias"].shape[0], precision, reset)
    for inputs, targets, mask in _stretches(ids, reset) if network.max_len is None else _windows(ids, network.max_len):
        if carries and state is None:
            state = zero_state(network, inputs.shape[1])
        block_nats, after = evaluate(weights, inputs, targets, mask, state)
        state = after if carries else None
        nats, count = nats + float(block_nats), count + float(mask.sum())
        after_block()
    return nats / count


def sampling_precision(
    network: NetworkOptions,
    weights: Weights,
    ids: np.ndarray,
    after_block: Callable[[], object] = lambda: None,
    reset: int | None = None,
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
        reset: likewise.
    """
    if network.max_len is not None or ops.fast_precision() != BFLOAT16:
        return FLOAT32
    exact, rough = (
        validation_loss(network, weights, ids[:COMPARED], after_block, precision, reset)
        for precision in (FLOAT32, BFLOAT16)
    )
    return BFLOAT16 if abs(rough - exact) < MAX_CHANGE else FLOAT32


def _stretches(ids: np.ndarray, reset: int | None) -> Iterator[Block]:
    """Yield blocks of UNROLL characters of each stretch. Short texts have fewer stretches.

    Where a character begins a text of its own, so does each stretch. The mask is 0 behind the end of shorter ones.
    """
    last = len(ids) - 1
    count = max(1, min(STREAMS, last // UNROLL))
    starts = np.arange(count) * -(-last // count)
    if reset is not None and len(beginnings := np.flatnonzero(ids[:-1] == reset)):
        starts = np.unique([0, *beginnings[np.searchsorted(beginnings[:-1], starts[1:])]])
    ends = np.append(starts[1:], last)
    for start in range(0, int(np.max(ends - starts)), UNROLL):
        places = starts + np.arange(start, start + UNROLL)[:, None]
        mask = places < np.minimum(ends, last)
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
def _evaluator(network: NetworkOptions, vocabulary_size: int, precision: str, reset: int | None):  # type: ignore[no-untyped-def]  # a compiled function
    # One function for each size, so that the memory of those that are no longer used is freed.
    def evaluate(
        weights: Weights, inputs: Array, targets: Array, mask: Array, state: State | None
    ) -> tuple[Array, State]:
        logits, after = sequence(network, weights, inputs, state, precision=precision, reset=reset)
        return ops.total(ops.cross_entropy(logits, targets) * mask), after

    return ops.compile_graph(evaluate)
