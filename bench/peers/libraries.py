"""Peers of `bench/sampling.py`: Keras, the notebook, NumPy and TensorFlow's matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.peers.forms import LAYERS, STEPS, VOCABULARY, Forms, Run, draw, product_shapes
from bench.peers.product import initial

WINDOW = 20  # the notebook's max_len
DROPOUT = 0.2


def keras_sampler(batch: int, units: int) -> Forms:
    import keras

    one_hot, rng = np.eye(VOCABULARY, dtype=np.float32), np.random.default_rng(0)

    def build(jit_compile: bool) -> Run:
        layers = [
            keras.layers.LSTM(units, return_sequences=layer < LAYERS - 1, stateful=True) for layer in range(LAYERS)
        ]
        dense = keras.layers.Dense(VOCABULARY, activation="softmax")
        model = keras.Sequential([keras.Input(batch_shape=(batch, 1, VOCABULARY)), *layers, dense])
        model.set_weights(list(initial(units)[1].values()))
        model.compile(jit_compile=jit_compile)

        def run(steps: int) -> None:
            ids = np.zeros(batch, np.int64)
            for _ in range(steps):
                ids = draw(model.predict_on_batch(one_hot[ids][:, None]), rng)

        return run

    return {"XLA": build(True), "no XLA": build(False)}


def notebook_generate(batch: int, units: int) -> Forms:
    import keras

    model = keras.Sequential([keras.Input((WINDOW, VOCABULARY))])
    for layer in range(LAYERS):
        model.add(keras.layers.LSTM(units, return_sequences=layer < LAYERS - 1))
        model.add(keras.layers.Dropout(DROPOUT))
    model.add(keras.layers.Dense(VOCABULARY, activation="softmax"))
    model.compile(loss="categorical_crossentropy", optimizer="rmsprop")
    rng = np.random.default_rng(0)

    def run(steps: int) -> None:
        ids = [0] * WINDOW
        for _ in range(steps):
            x = np.zeros((batch, WINDOW, VOCABULARY), np.float32)
            x[0, np.arange(WINDOW), ids[-WINDOW:]] = 1.0
            logits = np.log(model.predict(x, verbose=0)[0].astype(np.float64)) / 1.0  # the temperature
            weights = np.exp(logits)
            ids.append(int(rng.multinomial(1, weights / weights.sum()).argmax()))

    return {"": run}


def numpy_sampler(batch: int, units: int) -> Forms:
    rng = np.random.default_rng(0)
    # The gates are in the order i, f, o, g. The first three are sigmoids. Their kernels and biases are halved
    # beforehand: sigmoid(z) = (1 + tanh(z / 2)) / 2, so that one tanh computes all four gates.
    table, kernel, first, second = (
        (rng.normal(0, 0.04, (rows, 4 * units)) * np.repeat((0.5, 0.5, 0.5, 1.0), units)).astype(np.float32)
        for rows in (VOCABULARY, units, units, units)
    )
    dense = rng.normal(0, 0.04, (units, VOCABULARY)).astype(np.float32)
    (gates, product), (h0, c0, h1, c1) = (
        np.zeros((2, batch, 4 * units), np.float32),
        np.zeros((4, batch, units), np.float32),
    )

    def cell(h: np.ndarray, memory: np.ndarray) -> None:
        np.add(gates, product, out=gates)
        np.tanh(gates, out=gates)
        sigmoids = gates[:, : 3 * units]
        sigmoids *= 0.5
        sigmoids += 0.5
        i, f, o, g = np.split(gates, 4, axis=1)
        memory *= f
        memory += np.multiply(i, g, out=g)
        np.multiply(np.tanh(memory, out=h), o, out=h)

    def run(steps: int) -> None:
        ids = np.zeros(batch, np.int64)
        for _ in range(steps):
            np.take(table, ids, axis=0, out=gates, mode="clip")  # without a mode, NumPy makes one more copy
            np.matmul(h0, first, out=product)
            cell(h0, c0)
            np.matmul(h0, kernel, out=gates)
            np.matmul(h1, second, out=product)
            cell(h1, c1)
            logits = h1 @ dense
            logits -= logits.max(axis=1, keepdims=True)
            ids = draw(np.exp(logits, out=logits), rng)

    return {"": run}


def tensorflow_products(batch: int, units: int, dtype: str) -> Forms:
    import tensorflow as tf

    kernels = [tf.cast(tf.random.normal(shape), dtype) for shape in product_shapes(units)]
    h = tf.cast(tf.random.normal((batch, units)), dtype)

    @tf.function  # type: ignore[untyped-decorator]
    def multiply(h: Any, kernels: Sequence[Any]) -> Any:
        # Different inputs, and a sum of one entry of each product, keep most products from being optimized away.
        inputs = [h * (1 + number) for number in range(STEPS)]
        return tf.add_n([tf.matmul(values, kernel)[0, 0] for values in inputs for kernel in kernels])

    def run(steps: int) -> None:
        for _ in range(steps // STEPS):
            entries = multiply(h, kernels)
        entries.numpy()

    return {"": run}
