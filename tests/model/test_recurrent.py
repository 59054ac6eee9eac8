"""LSTM and GRU compared with Keras's: outputs, states and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from charrnn.backend import ops
from charrnn.backend.ops import Array
from charrnn.network.network import cast_kernels, first_state, initial_weights, sequence, step, zero_state
from charrnn.options import NetworkOptions

NETWORKS = [NetworkOptions(cell=cell, units=13, dropout=0.0) for cell in ("lstm", "gru")]
VOCABULARY, BATCH, TIME = 11, 5, 17
TOLERANCE = 1e-5  # relative to the largest value
LAYERS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}

each_cell = pytest.mark.parametrize("network", NETWORKS, ids=["lstm", "gru"])


def arrays(network: NetworkOptions) -> tuple[dict[str, Array], np.ndarray, np.ndarray]:
    """Return random weights, so that no bias is 0, and inputs and targets (T, B)."""
    rng = np.random.default_rng(3)
    weights = {
        name: ops.array(value + rng.normal(0, 0.1, value.shape).astype(np.float32))
        for name, value in initial_weights(network, VOCABULARY, 1).items()
    }
    inputs, targets = rng.integers(0, VOCABULARY, size=(2, TIME, BATCH)).astype(np.int32)
    return weights, inputs, targets


def keras_logits(network: NetworkOptions, weights: dict[str, Array], inputs: np.ndarray) -> tf.Tensor:
    """Return the logits (T, B, V) for inputs (T, B) of the same network with the same weights, in Keras's layers."""
    values = tf.one_hot(tf.transpose(inputs), VOCABULARY)
    for layer in range(network.layers):
        recurrent = LAYERS[network.cell](network.units, return_sequences=True)
        recurrent.build(values.shape)
        names = ("kernel", "recurrent_kernel", "bias")
        state = [weights[f"{network.cell}_{layer}.{name}"] for name in names]
        values, _ = recurrent.stateless_call(state, recurrent.non_trainable_variables, values)
    return tf.transpose(values @ weights["dense.kernel"] + weights["dense.bias"], (1, 0, 2))


def keras_gradients(network: NetworkOptions, weights: dict[str, Array], inputs: np.ndarray, targets: np.ndarray) -> Any:
    """Return by name the gradients of the loss of `keras_logits`."""
    variables = {name: tf.Variable(np.asarray(value)) for name, value in weights.items()}
    with tf.GradientTape() as tape:
        logits = keras_logits(network, variables, inputs)
        nats = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
    return {name: tf.convert_to_tensor(slope) for name, slope in tape.gradient(nats, variables).items()}


def gradients(
    logits: Callable[[dict[str, Array]], Array], weights: dict[str, Array], targets: np.ndarray
) -> tuple[Array, dict[str, Array]]:
    """Return `logits(weights)`, and by name the gradients of their loss."""

    def loss(values: list[Array]) -> tuple[Array, Array]:
        found = logits(dict(zip(weights, values, strict=True)))
        return ops.mean(ops.cross_entropy(found, targets)), found

    (_, found), slopes = ops.compile_graph(lambda values: ops.gradients(loss, values))(list(weights.values()))
    return found, dict(zip(weights, slopes, strict=True))


def assert_close(ours: Array, theirs: Array, tolerance: float = TOLERANCE) -> None:
    largest = float(np.abs(theirs).max())
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=0, atol=tolerance * largest)


@each_cell
def test_outputs_equal_keras(network: NetworkOptions) -> None:
    weights, inputs, _ = arrays(network)
    ours, _ = sequence(network, weights, inputs)
    assert_close(ours, keras_logits(network, weights, inputs))


@each_cell
def test_gradients_of_every_weight_equal_keras(network: NetworkOptions) -> None:
    weights, inputs, targets = arrays(network)
    _, ours = gradients(lambda values: sequence(network, values, inputs)[0], weights, targets)
    theirs = keras_gradients(network, weights, inputs, targets)
    for name, expected in theirs.items():  # Catches: a gate's derivative without its factor
        assert float(np.abs(expected).max()) > 0, name
        assert_close(ours[name], expected)


@each_cell
def test_bfloat16_products_stay_near(network: NetworkOptions) -> None:
    weights, inputs, targets = arrays(network)
    exact, rough = (
        gradients(lambda values, p=precision: sequence(network, values, inputs, precision=p)[0], weights, targets)[1]  # type: ignore[misc]
        for precision in ("float32", "bfloat16")
    )
    for name, slope in rough.items():
        assert slope.dtype == ops.float32
        assert not np.array_equal(slope, exact[name])  # Catches: the precision ignored
        assert_close(slope, exact[name], tolerance=0.05)


@each_cell
def test_a_sequence_in_two_pieces_is_the_sequence(network: NetworkOptions) -> None:
    weights, inputs, _ = arrays(network)
    whole, _ = sequence(network, weights, inputs)
    first, state = sequence(network, weights, inputs[:9], zero_state(network, BATCH))
    second, _ = sequence(network, weights, inputs[9:], state)
    assert_close(ops.concat([first, second], axis=0), whole)


@each_cell
def test_a_reset_character_begins_a_sequence_of_its_own(network: NetworkOptions) -> None:
    weights, inputs, targets = arrays(network)
    inputs[[0, 9], :] = 3
    inputs[1:9][inputs[1:9] == 3] = 4
    inputs[10:][inputs[10:] == 3] = 4

    def in_pieces(values: dict[str, Array]) -> Array:
        return ops.concat([sequence(network, values, part)[0] for part in (inputs[:9], inputs[9:])], axis=0)

    whole, ours = gradients(lambda values: sequence(network, values, inputs, reset=3)[0], weights, targets)
    pieces, theirs = gradients(in_pieces, weights, targets)
    assert_close(whole, pieces)
    for name, slope in ours.items():  # Catches: a gradient that flows back over the beginning of a line
        assert_close(slope, theirs[name])


@each_cell
def test_recurrent_dropout_drops_the_same_weights_at_all_steps(network: NetworkOptions) -> None:
    weights, inputs, _ = arrays(network)
    dropped = replace(network, recurrent_dropout=0.5)
    found, _ = sequence(dropped, weights, inputs, dropout_seed=ops.array([1, 2]))
    expected = dict(weights)
    for layer in range(network.layers):
        name = f"{network.cell}_{layer}.recurrent_kernel"
        expected[name] = ops.dropout(weights[name], 0.5, ops.array([2, 2 + layer]))
        assert 0.4 < np.mean(np.asarray(expected[name]) == 0.0) < 0.6
    assert_close(found, sequence(network, expected, inputs)[0])
    assert_close(sequence(dropped, weights, inputs)[0], sequence(network, weights, inputs)[0])


@each_cell
def test_steps_are_the_sequence(network: NetworkOptions) -> None:
    weights, inputs, _ = arrays(network)
    whole, _ = sequence(network, weights, inputs)
    for t, logits in enumerate(steps(network, weights, inputs)):
        assert_close(logits, whole[t])


def steps(network: NetworkOptions, weights: dict[str, Array], inputs: np.ndarray) -> Iterator[Array]:
    """Yield the logits after each single step."""
    carried = first_state(network, BATCH, "float32")
    run = ops.compile_graph(lambda ids, carried: step(network, weights, ids, carried, ops.ones((BATCH,))))
    for ids in inputs:
        product, carried = run(ids, carried)
        yield product + weights["dense.bias"]


@each_cell
def test_a_new_row_in_a_slot_does_not_depend_on_the_previous_one(network: NetworkOptions) -> None:
    weights, inputs, _ = arrays(network)
    expected = next(steps(network, weights, inputs[1:]))
    for options in (network, replace(network, max_len=4)):
        _, carried = step(options, weights, inputs[0], first_state(options, BATCH, "float32"), ops.ones(BATCH))
        keep_mask = np.ones(BATCH, np.float32)
        keep_mask[2] = 0
        product, _ = step(options, weights, inputs[1], carried, keep_mask)
        differs = np.abs(product + weights["dense.bias"] - expected).max(axis=1) > TOLERANCE
        assert list(differs) == [True, True, False, True, True]  # Catches: the mask left out of h, c or the window


@each_cell
def test_narrow_steps_are_near_the_exact_ones(network: NetworkOptions) -> None:
    weights, inputs, _ = arrays(network)
    exact, narrow = list(steps(network, weights, inputs))[-1], cast_kernels(network, weights, "bfloat16")
    carried = first_state(network, BATCH, "bfloat16")
    for ids in inputs:
        product, carried = step(network, narrow, ids, carried, ops.ones(BATCH))
    assert [state[1].dtype for state in carried] == [ops.float32] * network.layers  # the state is not rounded
    assert product.dtype == ops.dtypes["bfloat16"]
    assert_close(ops.cast(product, ops.float32) + weights["dense.bias"], exact, tolerance=0.05)


@each_cell
def test_a_window_predicts_one_character(network: NetworkOptions) -> None:
    weights, inputs, _ = arrays(network)
    windowed = NetworkOptions.from_dict({**network.to_dict(), "max_len": TIME})
    logits, _ = sequence(windowed, weights, inputs)
    assert logits.shape == (1, BATCH, VOCABULARY)
    assert_close(logits[0], sequence(network, weights, inputs)[0][-1])


@each_cell
def test_steps_of_a_network_with_a_window_depend_on_the_window_only(network: NetworkOptions) -> None:
    weights, inputs, _ = arrays(network)
    windowed = NetworkOptions.from_dict({**network.to_dict(), "max_len": 6})
    for t, logits in enumerate(steps(windowed, weights, inputs)):
        window = inputs[max(0, t - 5) : t + 1]  # Catches: padding read as characters, state kept from the step before
        assert_close(logits, sequence(network, weights, window)[0][-1])


@pytest.mark.parametrize("max_len", [None, TIME])
def test_dropout_depends_on_its_seed_alone(max_len: int | None) -> None:
    weights, inputs, _ = arrays(NETWORKS[0])
    network = NetworkOptions(units=13, dropout=0.5, max_len=max_len)

    def logits(*seed: int) -> np.ndarray:
        return np.asarray(sequence(network, weights, inputs, dropout_seed=ops.array(seed))[0])

    np.testing.assert_array_equal(logits(1, 2), logits(1, 2))
    assert not np.array_equal(logits(1, 2), logits(1, 4))


@pytest.mark.parametrize("locked", [True, False])
def test_dropout_keeps_the_mean_and_drops_the_given_rate(locked: bool) -> None:
    values = ops.ones((50, 40, 30), ops.dtypes["bfloat16"])
    dropped = np.asarray(ops.dropout(values, 0.2, ops.array([1, 2]), locked=locked), np.float32)
    assert np.mean(dropped == 0) == pytest.approx(0.2, abs=0.03)
    assert dropped.max() == pytest.approx(1.25)
    assert (dropped == dropped[0]).all() == locked
