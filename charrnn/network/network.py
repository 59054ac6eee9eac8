"""The network: from a configuration to weights, and from characters to logits.

The notebook's: one-hot input, recurrent layers with dropout after each, dense to the vocabulary. The
first layer's product with a one-hot vector is a row of its kernel, looked up instead of multiplied.

A network carries its state from character to character; one with a `max_len` sees the last so many
characters and starts from nothing for each, as the notebook's does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from charrnn.network import backend as ops
from charrnn.network.backend import Array
from charrnn.network.cells import CELLS
from charrnn.network.recurrent import (
    ARITHMETIC,
    CellState,
    LayerWeights,
    keras_sequence,
    layer_sequence,
    layer_step,
)
from charrnn.options import NetworkOptions

Weights: TypeAlias = Mapping[str, Array]
State: TypeAlias = list[CellState]
"""The state of each layer, before or after a sequence."""

Carried: TypeAlias = list[tuple[Array, ...]]
"""From `step` to `step`: each layer's StepState; of a network with a `max_len` the window (max_len, B): ids, NOTHING
before the first."""

NOTHING = -1


def initial_weights(network: NetworkOptions, vocabulary_size: int, rng_seed: int) -> dict[str, np.ndarray]:
    """Return Keras's defaults: Glorot uniform kernels, orthogonal recurrent kernels, forget bias 1.

    The first kernel of a network that carries its state is the exception: one entry of a one-hot input is
    not 0, so its fan-in is 1 and not the vocabulary's size. Glorot leaves the network nearly blind to
    its input at the start (after one epoch of 2.8 million characters: 1.16 nats held out against 1.33).
    """
    rng = np.random.default_rng(rng_seed)
    biases = CELLS[network.cell].initial_biases
    shapes = network.weight_shapes(vocabulary_size)
    weights = {name: _initial(name, shape, biases, rng) for name, shape in shapes.items()}
    if network.max_len is None:
        first = f"{network.cell}_0.kernel"
        weights[first] = _uniform(weights[first].shape, 2.0, rng)  # entries of unit variance
    return {name: value.astype(np.float32) for name, value in weights.items()}


def _initial(name: str, shape: tuple[int, ...], biases: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Return one weight in float64; `biases` are those of the cell's gates."""
    if name.endswith("recurrent_kernel"):
        # Rows are fewer than columns: an orthogonal basis of the columns, transposed.
        basis, triangle = np.linalg.qr(rng.normal(size=shape[::-1]))
        return np.asarray((basis * np.sign(np.diag(triangle))).T)
    if name.endswith("kernel"):
        return _uniform(shape, sum(shape), rng)
    if name == "dense.bias":
        return np.zeros(shape)
    return np.broadcast_to(np.repeat(biases, shape[-1] // len(biases)), shape)


def _uniform(shape: tuple[int, ...], fans: float, rng: np.random.Generator) -> np.ndarray:
    limit = np.sqrt(6.0 / fans)
    return rng.uniform(-limit, limit, size=shape)


def zero_state(network: NetworkOptions, batch: Array) -> State:
    """Return the state of every layer before the first character."""
    states = CELLS[network.cell].states
    return [tuple(ops.zeros((batch, network.units)) for _ in range(states)) for _ in range(network.layers)]


def first_state(network: NetworkOptions, batch: Array, precision: str) -> Carried:
    """Return what `step` carries into the first character."""
    if network.max_len is not None:
        return [(ops.fill((network.max_len, batch), NOTHING),)]
    shape = (batch, network.units)
    return [(ops.zeros(shape, ops.dtypes[precision]), ops.zeros(shape)) for _ in range(network.layers)]


def cast_kernels(network: NetworkOptions, weights: Weights, precision: str) -> Weights:
    """Return weights as `step` takes them: kernels that are multiplied in `precision`, all others in float32."""
    table = f"{network.cell}_0.kernel"
    return {
        name: ops.cast(value, ops.dtypes[precision if name.endswith("kernel") and name != table else "float32"])
        for name, value in weights.items()
    }


def step(
    network: NetworkOptions, weights: Weights, ids: Array, carried: Carried, keep_mask: Array
) -> tuple[Array, Carried]:
    """Feed one character to each row.

    Args:
        weights: of `cast_kernels`.
        ids: (B,).
        carried: of `first_state`, or of the step before.
        keep_mask: (B,) float32; 0 for the rows that start from nothing, else 1.

    Returns:
        The product with the dense kernel (B, V), its bias still to be added, and what is carried on.
    """
    if network.max_len is None:
        after = _cells(network, weights, ids, carried, keep_mask)
        return ops.matmul(after[-1][0], weights["dense.kernel"]), after
    window = ops.where(keep_mask[None] == 0.0, NOTHING, carried[0][0])
    window = ops.concat([window[1:], ids[None]], axis=0)
    precision = weights["dense.kernel"].dtype.name
    inner, inner_mask = first_state(replace(network, max_len=None), window.shape[1], precision), keep_mask * 0.0
    for seen in ops.unstack(window):
        inner = _cells(network, weights, ops.maximum(seen, 0), inner, inner_mask)
        inner_mask = ops.cast(seen != NOTHING, ops.float32)  # what was computed for nothing is dropped by the next
    return ops.matmul(inner[-1][0], weights["dense.kernel"]), [(window,)]


def _cells(network: NetworkOptions, weights: Weights, ids: Array, carried: Carried, keep_mask: Array) -> Carried:
    after: Carried = []
    for layer, before in enumerate(carried):
        inputs = ids if layer == 0 else after[-1][0]
        after.append(layer_step(ARITHMETIC[network.cell], inputs, before, keep_mask, _layer(network, weights, layer)))
    return after


def sequence(
    network: NetworkOptions,
    weights: Weights,
    ids: Array,
    state: State | None = None,
    *,
    precision: str = "float32",
    dropout_seed: Array | None = None,
) -> tuple[Array, State]:
    """Feed T characters to each row: ids (T, B) -> logits and the last state.

    Args:
        state: from zero if None.
        precision: of the matrix products.
        dropout_seed: two integers, turn dropout on; a layer adds its number to the second.

    Returns:
        Logits (T, B, V); of a network with a `max_len`, (1, B, V): of the window's last character.
    """
    dtype, after, outputs = ops.dtypes[precision], list[CellState](), ids
    for layer, before in enumerate(state or zero_state(network, ids.shape[1])):
        if ops.on_gpu and dtype == ops.float32:
            outputs, last = keras_sequence(network.cell, outputs, before, _layer(network, weights, layer))
        else:
            outputs, last = layer_sequence(
                ARITHMETIC[network.cell], outputs, before, _layer(network, weights, layer), dtype
            )
        after.append(last)
        if layer == network.layers - 1 and network.max_len is not None:
            outputs = outputs[-1:]
        if dropout_seed is not None and network.dropout > 0:
            seed = dropout_seed + ops.array([0, layer], dtype=ops.int32)
            outputs = ops.dropout(outputs, network.dropout, seed, locked=network.max_len is None)
    return _logits(weights, outputs), after


def _layer(network: NetworkOptions, weights: Weights, layer: int) -> LayerWeights:
    return LayerWeights(*(weights[f"{network.cell}_{layer}.{name}"] for name in LayerWeights._fields))


def _logits(weights: Weights, outputs: Array) -> Array:
    """Return logits in float32. (..., U) -> (..., V)"""
    kernel = ops.cast(weights["dense.kernel"], outputs.dtype)
    product = ops.matmul(ops.reshape(outputs, (-1, outputs.shape[-1])), kernel)
    logits = ops.cast(product, ops.float32) + weights["dense.bias"]
    return ops.reshape(logits, (*outputs.shape[:-1], kernel.shape[-1]))
