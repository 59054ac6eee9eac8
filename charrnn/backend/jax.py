"""The operations that the model is written in, by JAX. `charrnn.backend.ops` imports this module or `tensorflow`.

A compiled function is one program of XLA. On a GPU the steps of a call are one loop on the device, whose body CUDA
launches as one graph; the host does nothing in between.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from charrnn.backend import BFLOAT16_CAPABILITY, choose_kernels

choose_kernels()
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a GPU may be shared with its owner

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_devices = jax.devices()
gpus = sum(device.platform == "gpu" for device in _devices)
on_gpu = gpus > 0

Array: TypeAlias = Any
"""A jax.Array; docstrings give the shapes."""

array = jnp.asarray
exp = jnp.exp
log = jnp.log
maximum = jnp.maximum
reshape = jnp.reshape
sigmoid = jax.nn.sigmoid
sqrt = jnp.sqrt
tanh = jnp.tanh
transpose = jnp.transpose
where = jnp.where

float32 = jnp.dtype("float32")
int32 = jnp.dtype("int32")
dtypes = {"float32": float32, "bfloat16": jnp.dtype(jnp.bfloat16)}


def add(values: Sequence[Array]) -> Array:
    """Return the sum of arrays of one shape, added in this order."""
    return sum(values[1:], values[0])


def cast(values: Array, dtype: Any) -> Array:
    """Return values in another type."""
    return jnp.asarray(values).astype(dtype)


def concat(values: Sequence[Array], axis: int) -> Array:
    """Return arrays joined along an axis."""
    return jnp.concatenate(values, axis)


def fill(dims: Sequence[int], value: int) -> Array:
    """Return an int32 array in which every element is `value`."""
    return jnp.full(dims, value, int32)


def gather(values: Array, ids: Array) -> Array:
    """Return the rows of a table by their ids. (N, M), (...) -> (..., M)"""
    return jnp.take(values, ids, axis=0, mode="clip")


def matmul(a: Array, b: Array, transpose_a: bool = False) -> Array:
    """Return the matrix product. float32 is multiplied in full: by itself, a GPU rounds it to 19 bits (TF32)."""
    return jnp.matmul(a.T if transpose_a else a, b, precision=lax.Precision.HIGHEST)


def ones(dims: Sequence[int], dtype: Any = float32) -> Array:
    """Return an array of ones."""
    return jnp.ones(dims, dtype)


def split(values: Array, parts: int, axis: int) -> list[Array]:
    """Return equal parts along an axis."""
    return jnp.split(values, parts, axis)


def stack(values: Sequence[Array]) -> Array:
    """Return arrays joined along a new first axis, or what `scan` returned, which already is one array."""
    return values if isinstance(values, jax.Array) else jnp.stack(values)


def unstack(values: Array) -> list[Array]:
    """Return the elements along the first axis."""
    return [values[index] for index in range(values.shape[0])]


def zeros(dims: Sequence[int], dtype: Any = float32) -> Array:
    """Return an array of zeros."""
    return jnp.zeros(dims, dtype)


def copy_array(values: Any) -> Array:
    """Return a copy of a NumPy array."""
    return jnp.array(values)


def fast_precision() -> str:
    """Return the precision in which this device multiplies matrices fastest.

    This is "bfloat16" on GPUs with instructions for it, otherwise "float32".
    """
    if not on_gpu:
        return "float32"
    capability = tuple(map(int, _devices[0].compute_capability.split(".")))
    return "bfloat16" if capability >= BFLOAT16_CAPABILITY else "float32"


def device_name() -> str:
    """Return "cpu", or the name of the card that this process computes on."""
    return _devices[0].device_kind if on_gpu else "cpu"


def compile_graph(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` as one program, compiled once for each set of argument shapes."""
    return jax.jit(function)


def compile_graph_for(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """Return `function` as one program for arguments of these types and shapes alone."""
    return jax.jit(function).lower(*arguments).compile()


def compile_xla(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return elementwise arithmetic, compiled if it is not used in a compiled function."""
    return jax.jit(function)


def custom_gradient(function: Callable[..., tuple[Any, Callable[..., Any]]]) -> Callable[..., Any]:
    """Return a function whose gradient is what it returns beside its outputs, as `tf.custom_gradient` does.

    The gradient function takes the gradient of each output as an argument. It returns that of each argument, and None
    for ids, which have none.
    """

    @jax.custom_gradient  # type: ignore[untyped-decorator]
    def run(*arguments: Array) -> tuple[Any, Callable[..., Any]]:
        outputs, gradient = function(*arguments)

        def gradients(given: Sequence[Array]) -> tuple[Array, ...]:
            found = zip(arguments, gradient(*given), strict=True)
            return tuple(np.zeros(a.shape, jax.dtypes.float0) if slope is None else slope for a, slope in found)

        return outputs, gradients

    return run  # type: ignore[no-any-return]


def gradients(loss: Callable[[list[Array]], tuple[Array, Any]], weights: list[Array]) -> tuple[Any, list[Array]]:
    """Return the result of `loss(weights)`, and the gradients of its first element with respect to the weights."""
    return jax.value_and_grad(loss, has_aux=True)(weights)


def scan(
    body: Callable[[Any, Any], tuple[Any, Any]],
    state: Any,
    inputs: Sequence[Sequence[Array] | None],
    steps: int,
    *,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Any, tuple[Sequence[Array], ...]]:
    """Run `body(state, inputs of a step) -> (state, outputs of the step)` for each step, as a loop on the device.

    In sampling the loop must not be unrolled: XLA would join products of neighboring steps, but not those of the first
    and last one, so a text would depend on the step at which it began.

    Args:
        body: the step. Its inputs and outputs are tuples of arrays.
        state: arrays in nested tuples and lists.
        inputs: each with the steps as its first axis, or None, which the body gets too.
        steps: their number.
        reverse: whether to run from the last step to the first.
        unroll: steps in one turn of a GPU's loop, which CUDA launches as one graph if they have five kernels or more.
            On a CPU it would only take longer to compile.

    Returns:
        The last state, and each output in the order of the inputs, for `stack` and for another scan.
    """
    return lax.scan(body, state, tuple(inputs), length=steps, reverse=reverse, unroll=unroll if on_gpu else 1)


def cross_entropy(logits: Array, ids: Array) -> Array:
    """Return the cross-entropy in nats of each id under softmax(logits). (..., V), (...) -> (...)"""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), ids[..., None], -1)[..., 0]


def mean(values: Array) -> Array:
    """Return the mean over all elements, ()."""
    return jnp.mean(values)


def clip_by_global_norm(gradients: Sequence[Array], norm: float) -> list[Array]:
    """Return gradients, scaled down together if needed so that their global norm is at most `norm`."""
    found = jnp.sqrt(sum(jnp.sum(gradient * gradient) for gradient in gradients))
    return [gradient * (norm / jnp.maximum(found, norm)) for gradient in gradients]


def cumulative_sum(values: Array) -> Array:
    """Return the running total along the last axis."""
    return jnp.cumsum(values, axis=-1)


def repeat(values: Sequence[float], times: int) -> Array:
    """Return each value `times` times in a row."""
    return jnp.repeat(jnp.asarray(values, float32), times)


def one_hot(ids: Array, depth: int, dtype: Any) -> Array:
    """Return one-hot vectors. (...) -> (..., depth)"""
    return jax.nn.one_hot(ids, depth, dtype=dtype)


def total(values: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Return the sum over `axis`, or over all elements if it is None."""
    return jnp.sum(values, axis=axis)


def largest(values: Array) -> Array:
    """Return the maximum along the last axis. (..., N) -> (..., 1)"""
    return jnp.max(values, axis=-1, keepdims=True)


def smallest(values: Array) -> Array:
    """Return the minimum along the last axis. (..., N) -> (..., 1)"""
    return jnp.min(values, axis=-1, keepdims=True)


def sort_descending(values: Array) -> Array:
    """Return values sorted along the last axis, largest first."""
    return jnp.sort(values, axis=-1, descending=True)


def take_along_rows(values: Array, indices: Array) -> Array:
    """Return the value at each row's index. (B, N), (B,) -> (B,)"""
    return jnp.take_along_axis(values, indices[:, None], 1)[:, 0]


def argmax(values: Array) -> Array:
    """Return the index of the maximum along the last axis, int32. (..., N) -> (...)"""
    return jnp.argmax(values, axis=-1).astype(int32)


def dropout(values: Array, rate: float, seed: Array, *, locked: bool = False) -> Array:
    """Apply dropout to values: set a share of `rate` to 0 and divide the others by 1 - `rate`.

    The mask depends only on `seed` (two integers). It is not the mask that TensorFlow makes of the same seed.
    With `locked`, values are (T, B, N), and the mask is the same at all T steps (Gal and Ghahramani 2016).
    """
    key = jax.random.wrap_key_data(jnp.asarray(seed).astype(jnp.uint32), impl="threefry2x32")
    uniform = jax.random.uniform(key, values[:1].shape if locked else values.shape)
    keep_mask = (uniform >= rate).astype(float32) / (1.0 - rate)  # in float32, since bfloat16 would round it
    return (values.astype(float32) * keep_mask).astype(values.dtype)
