"""The one place that names TensorFlow: the operations that the model is written in.

Everything above it is plain functions over arrays, so a port to another backend is this file
and little more. Importing it takes seconds and much memory: only code that computes does so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no start-up notices on a user's stderr

import tensorflow as tf

gpus = len(tf.config.list_physical_devices("GPU"))
on_gpu = gpus > 0
for _gpu in tf.config.list_physical_devices("GPU"):
    tf.config.experimental.set_memory_growth(_gpu, True)  # a GPU may be shared with its owner

Array: TypeAlias = Any
"""A tensor. TensorFlow ships no types, so shapes stand in the docstrings."""

add = tf.add_n
array = tf.convert_to_tensor
cast = tf.cast
concat = tf.concat
custom_gradient = tf.custom_gradient
exp = tf.exp
gather = tf.gather
log = tf.math.log
matmul = tf.matmul
fill = tf.fill
maximum = tf.maximum
ones = tf.ones
reshape = tf.reshape
sigmoid = tf.sigmoid
split = tf.split
sqrt = tf.sqrt
stack = tf.stack
tanh = tf.tanh
transpose = tf.transpose
unstack = tf.unstack
where = tf.where
zeros = tf.zeros

float32 = tf.float32
int32 = tf.int32
dtypes = {"float32": tf.float32, "bfloat16": tf.bfloat16}


def loaded(values: Any) -> Array:
    """Return a copy of a NumPy array.

    TensorFlow holds on to the original until its next operation: a file of several would be in memory twice.
    """
    return tf.identity(tf.convert_to_tensor(values))


def fast_precision() -> str:
    """Return the precision in which this device multiplies matrices fastest: bfloat16 where it has instructions for
    it (on AMD's Zen 4, 1.8 times the speed), else float32, which a GPU rounds to 19 bits by itself (TF32)."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return "float32"
    return "bfloat16" if not on_gpu and ("avx512_bf16" in flags or "amx_bf16" in flags) else "float32"


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Trace `function` once for each set of argument shapes and run it as a graph.

    Without AutoGraph: loops and conditions are those of Python, run while it is traced. AutoGraph would leave a file in
    the temporary folder for each function, since pool children end without Python's exit handlers.
    """
    return tf.function(function, autograph=False)  # type: ignore[no-any-return]


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile elementwise arithmetic into one loop (XLA), inside or outside a graph. Without AutoGraph, as above."""
    return tf.function(function, jit_compile=True, autograph=False)  # type: ignore[no-any-return]


def gradients(loss: Callable[[], tuple[Array, Any]], variables: Sequence[Array]) -> tuple[Any, list[Array]]:
    """Return `loss()`'s whole result and the gradients of its first element."""
    with tf.GradientTape() as tape:
        tape.watch(variables)
        result = loss()
    found = tape.gradient(result[0], variables)
    return result, [tf.convert_to_tensor(gradient) for gradient in found]


def cross_entropy(logits: Array, ids: Array) -> Array:
    """Return the cross-entropy in nats of each id under softmax(logits). (..., V), (...) -> (...)"""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=ids, logits=logits)


def mean(values: Array) -> Array:
    return tf.reduce_mean(values)


def clipped(gradients: Sequence[Array], norm: float) -> list[Array]:
    """Return gradients scaled down so that their global norm is at most `norm`."""
    scaled: list[Array] = tf.clip_by_global_norm(gradients, norm)[0]
    return scaled


def cumulative_sum(values: Array) -> Array:
    """Return the running total along the last axis."""
    return tf.cumsum(values, axis=-1)


def repeated(values: Sequence[float], times: int) -> Array:
    """Return each value `times` times in a row."""
    return tf.repeat(tf.constant(values), times)


def one_hot(ids: Array, depth: int, dtype: Any) -> Array:
    """Return one-hot vectors. (...) -> (..., depth)"""
    return tf.one_hot(ids, depth, dtype=dtype)


def total(values: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    return tf.reduce_sum(values, axis=axis)


def largest(values: Array) -> Array:
    """Return the maximum along the last axis, which remains as an axis of 1."""
    return tf.reduce_max(values, axis=-1, keepdims=True)


def smallest(values: Array) -> Array:
    """Return the minimum along the last axis, which remains as an axis of 1."""
    return tf.reduce_min(values, axis=-1, keepdims=True)


def descending(values: Array) -> Array:
    """Return values sorted along the last axis, largest first."""
    return tf.sort(values, axis=-1, direction="DESCENDING")


def take_along_rows(values: Array, indices: Array) -> Array:
    """Return the value at each row's index. (B, N), (B,) -> (B,)"""
    return tf.gather(values, indices, batch_dims=1)


def index_of_largest(values: Array) -> Array:
    return tf.argmax(values, axis=-1, output_type=tf.int32)


@lru_cache(maxsize=8)
def keras_layer(cell: str, units: int, inputs: int) -> Any:
    """Return Keras's own recurrent layer, which runs cuDNN on a GPU."""
    import keras

    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[cell](units, return_sequences=True, return_state=True)
    layer.build((None, None, inputs))
    return layer


def dropout(values: Array, rate: float, seed: Array, *, locked: bool) -> Array:
    """Return values (T, B, N) with a share of `rate` set to 0, the others scaled up.

    The mask depends on `seed` (two integers) alone: `tf.nn.dropout` hides a counter that no checkpoint can
    save. `locked` drops the same ones at all T (Gal and Ghahramani 2016).
    """
    drawn = tf.random.stateless_uniform(tf.shape(values[:1] if locked else values), seed)
    keep_mask = tf.cast(drawn >= rate, tf.float32) / (1.0 - rate)  # in float32, since bfloat16 rounds it
    return tf.cast(tf.cast(values, tf.float32) * keep_mask, values.dtype)


def shape(values: Array) -> Array:
    return tf.shape(values)
