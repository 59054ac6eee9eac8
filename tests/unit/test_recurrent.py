"""The LSTM against Keras's own: outputs, states and gradients."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from charrnn.network import initial_weights, sequence, step, zero_state
from charrnn.options import NetworkOptions

NETWORK = NetworkOptions(units=13, dropout=0.0)
VOCABULARY, BATCH, TIME = 11, 5, 17
TOLERANCE = 1e-5  # of the largest value


def arrays() -> tuple[dict[str, tf.Tensor], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    weights = {name: tf.constant(value) for name, value in initial_weights(NETWORK, VOCABULARY, 1).items()}
    inputs, targets = rng.integers(0, VOCABULARY, size=(2, TIME, BATCH)).astype(np.int32)
    return weights, inputs, targets


def keras_logits(weights: dict[str, tf.Tensor], inputs: np.ndarray) -> tf.Tensor:
    """The same network of keras.layers.LSTM, its weights ours. (T, B) -> (T, B, V)"""
    values = tf.one_hot(tf.transpose(inputs), VOCABULARY)
    for layer in range(NETWORK.layers):
        lstm = keras.layers.LSTM(NETWORK.units, return_sequences=True)
        lstm.build(values.shape)
        names = ("kernel", "recurrent_kernel", "bias")
        state = [weights[f"lstm_{layer}.{name}"] for name in names]
        values, _ = lstm.stateless_call(state, lstm.non_trainable_variables, values)
    return tf.transpose(values @ weights["dense.kernel"] + weights["dense.bias"], (1, 0, 2))


def loss(logits: tf.Tensor, targets: np.ndarray) -> tf.Tensor:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))


def assert_close(ours: tf.Tensor, theirs: tf.Tensor) -> None:
    largest = float(tf.reduce_max(tf.abs(theirs)))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * largest)


def test_outputs_equal_keras() -> None:
    weights, inputs, _ = arrays()
    ours, _ = sequence(NETWORK, weights, inputs, zero_state(NETWORK, BATCH))
    assert_close(ours, keras_logits(weights, inputs))


def test_gradients_of_every_weight_equal_keras() -> None:
    weights, inputs, targets = arrays()
    names = list(weights)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(list(weights.values()))
        ours = loss(sequence(NETWORK, weights, inputs, zero_state(NETWORK, BATCH))[0], targets)
        theirs = loss(keras_logits(weights, inputs), targets)
    for name in names:  # Catches: a gate's derivative without its factor
        mine = tf.convert_to_tensor(tape.gradient(ours, weights[name]))
        assert_close(mine, tf.convert_to_tensor(tape.gradient(theirs, weights[name])))


def test_a_sequence_in_two_pieces_is_the_sequence() -> None:
    weights, inputs, _ = arrays()
    whole, _ = sequence(NETWORK, weights, inputs, zero_state(NETWORK, BATCH))
    first, state = sequence(NETWORK, weights, inputs[:9], zero_state(NETWORK, BATCH))
    second, _ = sequence(NETWORK, weights, inputs[9:], state)
    assert_close(tf.concat([first, second], axis=0), whole)


def test_steps_are_the_sequence() -> None:
    weights, inputs, _ = arrays()
    whole, _ = sequence(NETWORK, weights, inputs, zero_state(NETWORK, BATCH))
    state = zero_state(NETWORK, BATCH)
    for t in range(TIME):
        logits, state = step(NETWORK, weights, inputs[t], state)
        assert_close(logits, whole[t])


def test_dropout_depends_on_its_seed_alone() -> None:
    weights, inputs, _ = arrays()
    network = NetworkOptions(units=13, dropout=0.5)

    def logits(*seed: int) -> np.ndarray:
        return np.asarray(sequence(network, weights, inputs, zero_state(network, BATCH), tf.constant(seed))[0])

    np.testing.assert_array_equal(logits(1, 2), logits(1, 2))
    assert not np.array_equal(logits(1, 2), logits(1, 4))
