"""The one place that names TensorFlow: the operations that the model is written in.

Everything above it is plain functions over arrays, so a port to another backend is this file
and little more. Importing it takes seconds and much memory: only code that computes does so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no start-up notices on a user's stderr

import tensorflow as tf

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
matmul = tf.matmul
minimum = tf.minimum
reshape = tf.reshape
sigmoid = tf.sigmoid
split = tf.split
sqrt = tf.sqrt
square = tf.square
stack = tf.stack
tanh = tf.tanh
transpose = tf.transpose
unstack = tf.unstack
where = tf.where
zeros = tf.zeros

float32 = tf.float32
int32 = tf.int32


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Trace `function` once for each set of argument shapes and run it as a graph."""
    return tf.function(function)  # type: ignore[no-any-return]


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile elementwise arithmetic into one loop (XLA), inside or outside a graph."""
    return tf.function(function, jit_compile=True)  # type: ignore[no-any-return]


def gradients(loss: Callable[[], tuple[Array, Any]], variables: Sequence[Array]) -> tuple[Any, list[Array]]:
    """`loss()`'s whole result, and the gradients of its first element."""
    with tf.GradientTape() as tape:
        tape.watch(variables)
        result = loss()
    slopes = tape.gradient(result[0], variables)
    return result, [tf.convert_to_tensor(slope) for slope in slopes]


def cross_entropy(logits: Array, ids: Array) -> Array:
    """Nats of each id under softmax(logits). (..., V), (...) -> (...)"""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=ids, logits=logits)


def cumulative_sum(values: Array) -> Array:
    """Running total along the last axis."""
    return tf.cumsum(values, axis=-1)


def total(values: Array, axis: int | None = None) -> Array:
    return tf.reduce_sum(values, axis=axis)


def largest(values: Array) -> Array:
    """Maximum along the last axis, kept as an axis of 1."""
    return tf.reduce_max(values, axis=-1, keepdims=True)


def index_of_largest(values: Array) -> Array:
    return tf.argmax(values, axis=-1, output_type=tf.int32)


def keep_mask(shape: Array, rate: float, seed: Array) -> Array:
    """Dropout mask: 0 with probability `rate`, else 1 / (1 - rate). Depends on `seed` (two
    integers) alone: `tf.nn.dropout` hides a counter that no checkpoint can save."""
    kept = tf.random.stateless_uniform(shape, seed) >= rate
    return tf.cast(kept, tf.float32) / (1.0 - rate)


def shape(values: Array) -> Array:
    return tf.shape(values)
