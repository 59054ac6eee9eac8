"""The network: from a configuration to weights, and from characters to logits.

The notebook's: one-hot input, LSTM layers with dropout after each, dense to the vocabulary. The
first layer's product with a one-hot vector is a row of its kernel, looked up instead of multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from charrnn import backend as ops
from charrnn.backend import Array
from charrnn.options import NetworkOptions
from charrnn.recurrent import lstm_sequence, lstm_step

Weights: TypeAlias = Mapping[str, Array]
State: TypeAlias = list[tuple[Array, Array]]
"""Per layer h and c, each (B, units)."""


def weight_shapes(network: NetworkOptions, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight, in the order in which they are stored."""
    units, shapes = network.units, dict[str, tuple[int, ...]]()
    inputs = vocabulary_size
    for layer in range(network.layers):
        shapes[f"lstm_{layer}.kernel"] = (inputs, 4 * units)
        shapes[f"lstm_{layer}.recurrent_kernel"] = (units, 4 * units)
        shapes[f"lstm_{layer}.bias"] = (4 * units,)
        inputs = units
    return shapes | {"dense.kernel": (units, vocabulary_size), "dense.bias": (vocabulary_size,)}


def initial_weights(network: NetworkOptions, vocabulary_size: int, rng_seed: int) -> dict[str, np.ndarray]:
    """Keras's defaults: Glorot uniform kernels, orthogonal recurrent kernels, forget bias 1.

    But for the first kernel: of a one-hot input one entry is ever not 0, so its fan-in is 1 and not
    the vocabulary's size. Glorot leaves the network nearly blind to its input at the start.
    """
    rng = np.random.default_rng(rng_seed)
    shapes = weight_shapes(network, vocabulary_size)
    return {name: _initial(name, shape, rng).astype(np.float32) for name, shape in shapes.items()}


def _initial(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if name.endswith("recurrent_kernel"):
        # Rows are fewer than columns: an orthogonal basis of the columns, transposed.
        basis, triangle = np.linalg.qr(rng.normal(size=shape[::-1]))
        return np.asarray((basis * np.sign(np.diag(triangle))).T)
    if name.endswith("kernel"):
        fans = 2.0 if name == "lstm_0.kernel" else sum(shape)  # entries of unit variance
        limit = np.sqrt(6.0 / fans)
        return rng.uniform(-limit, limit, size=shape)
    bias = np.zeros(shape)
    if name.startswith("lstm"):
        units = shape[0] // 4
        bias[units : 2 * units] = 1.0
    return bias


def zero_state(network: NetworkOptions, batch: int) -> State:
    def zeros() -> Array:
        return ops.zeros((batch, network.units))

    return [(zeros(), zeros()) for _ in range(network.layers)]


def step(network: NetworkOptions, weights: Weights, ids: Array, state: State) -> tuple[Array, State]:
    """One character for each row: ids (B,) -> logits (B, V) and the next state."""
    after: State = []
    for layer, (h, c) in enumerate(state):
        x = _inputs(weights, layer, ids if layer == 0 else after[-1][0])
        after.append(lstm_step(x, h, c, weights[f"lstm_{layer}.recurrent_kernel"]))
    return _logits(weights, after[-1][0]), after


def sequence(
    network: NetworkOptions, weights: Weights, ids: Array, state: State, dropout_seed: Array | None = None
) -> tuple[Array, State]:
    """T characters for each row: ids (T, B) -> logits (T, B, V) and the last state.

    `dropout_seed` (two integers) turns dropout on; a layer adds its number to the second.
    """
    after: State = []
    outputs = ids
    for layer, (h, c) in enumerate(state):
        x = _inputs(weights, layer, outputs)
        outputs, h, c = lstm_sequence(x, h, c, weights[f"lstm_{layer}.recurrent_kernel"])
        after.append((h, c))
        if dropout_seed is not None and network.dropout > 0:
            seed = dropout_seed + ops.array([0, layer], dtype=ops.int32)
            outputs = outputs * ops.keep_mask(ops.shape(outputs), network.dropout, seed)
    return _logits(weights, outputs), after


def _inputs(weights: Weights, layer: int, inputs: Array) -> Array:
    """A layer's product with its inputs, plus its bias: ids or (..., U) -> (..., 4U)."""
    kernel = weights[f"lstm_{layer}.kernel"]
    product = ops.gather(kernel, inputs) if layer == 0 else ops.matmul(inputs, kernel)
    return product + weights[f"lstm_{layer}.bias"]


def _logits(weights: Weights, outputs: Array) -> Array:
    return ops.matmul(outputs, weights["dense.kernel"]) + weights["dense.bias"]
