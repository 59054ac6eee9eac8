"""The operations that the model is written in, by TensorFlow. `charrnn.backend.ops` imports this module or `jax`.

On a CPU, a compiled function is a graph of TensorFlow's own operations. On a GPU it is one program of XLA, in which the
steps of a call are a loop on the device, as with JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from charrnn.backend import BFLOAT16_CAPABILITY, choose_kernels, memory_limit
from charrnn.backend.notices import without_notices

choose_kernels()
with without_notices():
    import tensorflow as tf

gpus = len(tf.config.list_physical_devices("GPU"))
on_gpu = gpus > 0
for _gpu in tf.config.list_physical_devices("GPU"):  # a GPU may be shared with its owner
    if _limit := memory_limit():  # TensorFlow accepts only one of both, and grows up to the limit
        tf.config.set_logical_device_configuration(_gpu, [tf.config.LogicalDeviceConfiguration(memory_limit=_limit)])
    else:
        tf.config.experimental.set_memory_growth(_gpu, True)

if on_gpu:  # float32 is multiplied in full: by itself, a GPU rounds it to 19 bits (TF32)
    tf.config.experimental.enable_tensor_float_32_execution(False)

Array: TypeAlias = Any
"""A tensor. TensorFlow ships no types, so docstrings give the shapes."""

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


def copy_array(values: Any) -> Array:
    """Return a copy of a NumPy array.

    Without a copy, TensorFlow keeps the original until its next operation, so a file of several arrays would be in
    memory twice.
    """
    return tf.identity(tf.convert_to_tensor(values))


def fast_precision() -> str:
    """Return the precision in which this device multiplies matrices fastest.

    This is "bfloat16" on GPUs and CPUs with instructions for it (1.8 times the speed on AMD's Zen 4), otherwise
    "float32".
    """
    if on_gpu:
        return "bfloat16" if _details().get("compute_capability", (0, 0)) >= BFLOAT16_CAPABILITY else "float32"
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return "float32"
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def device_name() -> str:
    """Return "cpu", or the name of the card that this process computes on."""
    return str(_details().get("device_name", "gpu")) if on_gpu else "cpu"


def _details() -> dict[str, Any]:
    """Return what TensorFlow knows of the card that this process computes on."""
    found: dict[str, Any] = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return found


def compile_graph(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` as a graph, traced once for each set of argument shapes. On a GPU, XLA compiles it as a whole.

    AutoGraph is off: loops and conditions run in Python during tracing. AutoGraph would leave a file in the temporary
    folder for each function, since the children of a worker's pool end without Python's exit handlers.
    """
    return tf.function(function, jit_compile=on_gpu or None, autograph=False)  # type: ignore[no-any-return]


def compile_graph_for(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """Return `function` as a graph for arguments of these types and shapes alone, see `compile_graph`.

    A call spends 0.3 ms less in Python than one of `compile_graph`, which looks for the graph that fits its arguments.
    """
    return compile_graph(function).get_concrete_function(*arguments)  # type: ignore[attr-defined, no-any-return]


def compile_xla(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return elementwise arithmetic compiled by XLA into one loop, for use in or outside a graph. AutoGraph is off here
    too, see `compile_graph`."""
    return tf.function(function, jit_compile=True, autograph=False)  # type: ignore[no-any-return]


def gradients(loss: Callable[[list[Array]], tuple[Array, Any]], weights: list[Array]) -> tuple[Any, list[Array]]:
    """Return the result of `loss(weights)`, and the gradients of its first element with respect to the weights."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        result = loss(weights)
    partials = tape.gradient(result[0], weights)
    return result, [tf.convert_to_tensor(gradient) for gradient in partials]


def scan(
    body: Callable[[Any, Any], tuple[Any, Any]],
    state: Any,
    inputs: Sequence[Sequence[Array] | None],
    steps: int,
    *,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Any, tuple[Sequence[Array], ...]]:
    """Run `body(state, inputs of a step) -> (state, outputs of the step)` for each step.

    On a CPU the graph has every step by itself: a framework's own loop over small products reaches a third of a CPU. On
    a GPU the steps are a loop on the device, as with JAX, where its reason is told.

    Args:
        body: the step. Its inputs and outputs are tuples of arrays.
        state: arrays in nested tuples and lists.
        inputs: each with one array for each step, or None, which the body gets too.
        steps: their number.
        reverse: whether to run from the last step to the first.
        unroll: steps in one turn of a GPU's loop if this divides their number, otherwise 1: see `jax.scan`.

    Returns:
        The last state, and each output in the order of the inputs, for `stack` and for another scan.
    """
    if on_gpu:
        return _loop(body, state, inputs, steps, reverse, unroll if steps % unroll == 0 else 1)
    return _unrolled(body, state, inputs, steps, reverse)


def _unrolled(
    body: Any, state: Any, inputs: Sequence[Any], steps: int, reverse: bool
) -> tuple[Any, tuple[Sequence[Array], ...]]:
    """Run `scan` with each step by itself in the graph."""
    outputs = []
    for k in reversed(range(steps)) if reverse else range(steps):
        state, output = body(state, tuple(None if values is None else values[k] for values in inputs))
        outputs.append(output)
    return state, tuple(zip(*(outputs[::-1] if reverse else outputs), strict=True))


def _loop(
    body: Any, state: Any, inputs: Sequence[Any], steps: int, reverse: bool, unroll: int
) -> tuple[Any, tuple[Array, ...]]:
    """Run `scan` as a loop on the device.

    A turn reads its steps from the inputs and writes its outputs at once, or each step would be launched by itself. No
    gradient is taken through the loop: `layer_sequence` has one of its own for gradients.
    """
    turns = steps // unroll
    split = [None if values is None else tf.reshape(values, (turns, unroll, *values.shape[1:])) for values in inputs]

    def run(state: Any, turn: Array) -> tuple[Any, list[Array]]:
        given = [None if values is None else tf.gather(values, turn) for values in split]
        state, outputs = _unrolled(body, state, given, unroll, reverse)
        return state, [tf.stack(output) for output in outputs]

    def go_on(n: Array, state: Any, arrays: Sequence[tf.TensorArray]) -> tuple[Array, Any, list[tf.TensorArray]]:
        turn = turns - 1 - n if reverse else n
        state, outputs = run(state, turn)
        return n + 1, state, [array.write(turn, output) for array, output in zip(arrays, outputs, strict=True)]

    # Traced to tell the types of the outputs, and not called.
    _, specs = tf.function(run, autograph=False).get_concrete_function(state, 0).structured_outputs
    arrays = [tf.TensorArray(spec.dtype, turns, element_shape=spec.shape) for spec in specs]
    _, state, arrays = tf.while_loop(lambda n, *_: n < turns, go_on, (0, state, arrays))
    outputs = (array.stack() for array in arrays)
    return state, tuple(tf.reshape(output, (steps, *output.shape[2:])) for output in outputs)


def cross_entropy(logits: Array, ids: Array) -> Array:
    """Return the cross-entropy in nats of each id under softmax(logits). (..., V), (...) -> (...)"""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=ids, logits=logits)


def mean(values: Array) -> Array:
    """Return the mean over all elements, ()."""
    return tf.reduce_mean(values)


def clip_by_global_norm(gradients: Sequence[Array], norm: float) -> list[Array]:
    """Return gradients, scaled down together if needed so that their global norm is at most `norm`."""
    scaled: list[Array] = tf.clip_by_global_norm(gradients, norm)[0]
    return scaled


def cumulative_sum(values: Array) -> Array:
    """Return the running total along the last axis."""
    return tf.cumsum(values, axis=-1)


def repeat(values: Sequence[float], times: int) -> Array:
    """Return each value `times` times in a row."""
    return tf.repeat(tf.constant(values), times)


def one_hot(ids: Array, depth: int, dtype: Any) -> Array:
    """Return one-hot vectors. (...) -> (..., depth)"""
    return tf.one_hot(ids, depth, dtype=dtype)


def total(values: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Return the sum over `axis`, or over all elements if it is None."""
    return tf.reduce_sum(values, axis=axis)


def largest(values: Array) -> Array:
    """Return the maximum along the last axis. (..., N) -> (..., 1)"""
    return tf.reduce_max(values, axis=-1, keepdims=True)


def smallest(values: Array) -> Array:
    """Return the minimum along the last axis. (..., N) -> (..., 1)"""
    return tf.reduce_min(values, axis=-1, keepdims=True)


def sort_descending(values: Array) -> Array:
    """Return values sorted along the last axis, largest first."""
    return tf.sort(values, axis=-1, direction="DESCENDING")


def take_along_rows(values: Array, indices: Array) -> Array:
    """Return the value at each row's index. (B, N), (B,) -> (B,)"""
    return tf.gather(values, indices, batch_dims=1)


def argmax(values: Array) -> Array:
    """Return the index of the maximum along the last axis, int32. (..., N) -> (...)"""
    return tf.argmax(values, axis=-1, output_type=tf.int32)


def dropout(values: Array, rate: float, seed: Array, *, locked: bool = False) -> Array:
    """Apply dropout to values: set a share of `rate` to 0 and divide the others by 1 - `rate`.

    The mask depends only on `seed` (two integers), because `tf.nn.dropout` hides a counter that no checkpoint can save.
    With `locked`, values are (T, B, N), and the mask is the same at all T steps (Gal and Ghahramani 2016).
    """
    uniform = tf.random.stateless_uniform(tf.shape(values[:1] if locked else values), seed)
    keep_mask = tf.cast(uniform >= rate, tf.float32) / (1.0 - rate)  # in float32, since bfloat16 would round it
    return tf.cast(tf.cast(values, tf.float32) * keep_mask, values.dtype)
