"""LSTM and GRU layers: one step, a sequence, and its gradients.

Weights, gate order and arithmetic are those of `keras.layers.LSTM`, and of `keras.layers.GRU` with `reset_after`, so
weights can be exchanged with Keras. Sources: LSTM, Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al.
2000; GRU, Cho et al. 2014.

The product with the inputs needs no recurrence, and neither do the gradients of the kernels. They are a few large
matrix products outside of the loop over time. A framework's own loop computes T small ones and reaches a third of a
CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from charrnn.backend import ops
from charrnn.backend.ops import Array

CellState: TypeAlias = tuple[Array, ...]
"""The hidden state h, and for an LSTM also the cell state c, each (B, U) float32."""

StepState: TypeAlias = tuple[Array, Array]
"""The state between two single steps: h in the type of matrix multiplication, and the memory in float32, which is c of
an LSTM and h of a GRU. Each (B, U)."""

UNROLL = 8  # steps of training in one turn of a GPU's loop: 64 of them compile for 18 s
HALVES = (0.5, 0.5, 1.0, 0.5)  # factors of the gates of an LSTM: sigmoid(z) = (1 + tanh(z / 2)) / 2


def _lstm(x: Array, product: Array, bias: Array, state: CellState) -> tuple[CellState, Array, Array]:
    # The sums are computed here and not in the graph. There, the graph optimizer would join them to the product at some
    # steps of a call and not at others, so a text would depend on the step at which it began.
    z = ops.cast(x, ops.float32) + ops.cast(product, ops.float32) + bias
    # One tanh over all gates takes 0.21 ms, against 0.34 ms for each gate by itself (B 128, U 512).
    tanhs = ops.tanh(z * ops.repeat(HALVES, state[-1].shape[-1]))
    i, f, g, o = ops.split(tanhs, 4, axis=-1)
    c = _sigmoid(f) * state[-1] + _sigmoid(i) * g
    h = _sigmoid(o) * ops.tanh(c)
    return (h, c), ops.cast(h, product.dtype), tanhs


def _sigmoid(tanh: Array) -> Array:
    """Return sigmoid(z), given tanh(z / 2)."""
    return 0.5 + 0.5 * tanh


def _sigmoid_derivative(tanh: Array) -> Array:
    """Return the derivative of sigmoid at z, given tanh(z / 2)."""
    return 0.25 - 0.25 * tanh * tanh


def _lstm_gradient(
    dhs: Sequence[Array], dc: Array, saved: Array, before: CellState, after: CellState
) -> tuple[Array, Array, Array]:
    dz, dc = _lstm_gate_gradients(dhs, dc, saved, before[1], after[1])
    return dz, dz, dc


@ops.compile_xla
def _lstm_gate_gradients(
    dhs: Sequence[Array], dc: Array, saved: Array, before: Array, after: Array
) -> tuple[Array, Array]:
    i, f, g, o = ops.split(saved, 4, axis=-1)
    dh, tanh_c = _total(dhs), ops.tanh(after)
    dc = dc + dh * _sigmoid(o) * (1.0 - tanh_c * tanh_c)
    dz = [
        dc * g * _sigmoid_derivative(i),
        dc * before * _sigmoid_derivative(f),
        dc * _sigmoid(i) * (1.0 - g * g),
        dh * tanh_c * _sigmoid_derivative(o),
    ]
    return ops.cast(ops.concat(dz, axis=-1), dhs[0].dtype), dc * _sigmoid(f)


def _gru(x: Array, product: Array, bias: Array, state: CellState) -> tuple[CellState, Array, Array]:
    x_z, x_r, x_n = ops.split(ops.cast(x, ops.float32) + bias[0], 3, axis=-1)
    h_z, h_r, h_n = ops.split(ops.cast(product, ops.float32) + bias[1], 3, axis=-1)
    z, r = ops.sigmoid(x_z + h_z), ops.sigmoid(x_r + h_r)
    n = ops.tanh(x_n + r * h_n)
    h = z * state[0] + (1.0 - z) * n
    return (h,), ops.cast(h, product.dtype), ops.concat([z, r, n, h_n], axis=-1)


@ops.compile_xla
def _gru_gradient(
    dhs: Sequence[Array], carried: Array, saved: Array, before: CellState, after: CellState
) -> tuple[Array, Array, Array]:
    z, r, n, h_n = ops.split(saved, 4, axis=-1)
    dh = _total(dhs) + carried
    dz = dh * (before[0] - n) * z * (1.0 - z)
    dn = dh * (1.0 - z) * (1.0 - n * n)
    dr = dn * h_n * r * (1.0 - r)
    dx, dproduct = ops.concat([dz, dr, dn], axis=-1), ops.concat([dz, dr, dn * r], axis=-1)
    return ops.cast(dx, dhs[0].dtype), ops.cast(dproduct, dhs[0].dtype), dh * z


def _total(parts: Sequence[Array]) -> Array:
    return sum(ops.cast(part, ops.float32) for part in parts)


@dataclass(frozen=True)
class CellArithmetic:
    """The functions that one kind of cell computes between its matrix products.

    Attributes:
        forward: (x, product (B, gates U), bias, state) -> the next state, its h in the type of the product, and the
            values that `gradient` needs later.
        step: (x, or a table and the ids of its rows; product; bias; keep_mask (B,), 0 for a row that starts from a zero
            state; memory) -> the next state and nothing else. Computing the values that only `gradient` needs would
            take 0.53 ms instead of 0.38 ms (B 256, U 512).
        gradient: (gradients of h, to be summed; the gradient carried back in time beside that of the product, (B, U);
            saved values; states before and after the step) -> gradients of x and of the product, each (B, gates U), and
            the gradient to carry further back, (B, U).
    """

    forward: Callable[[Array, Array, Array, CellState], tuple[CellState, Array, Array]]
    step: Callable[[Array | tuple[Array, Array], Array, Array, Array, Array], StepState]
    gradient: Callable[[Sequence[Array], Array, Array, CellState, CellState], tuple[Array, Array, Array]]


def _make_step(cell: Callable[[Array, Array, Array, CellState], tuple[CellState, Array, Array]]) -> Any:
    """Return the cell's `step`. Looking up the table and resetting rows happen in the same loop, with no extra pass."""

    @ops.compile_xla
    def step(x: Array | tuple[Array, Array], product: Array, bias: Array, keep_mask: Array, memory: Array) -> StepState:
        x, keep_mask = ops.gather(*x) if isinstance(x, tuple) else x, keep_mask[:, None]
        after, _, _ = cell(x, keep_mask * ops.cast(product, ops.float32), bias, (keep_mask * memory,))
        return ops.cast(after[0], product.dtype), after[-1]

    return step


ARITHMETIC = {
    "lstm": CellArithmetic(forward=ops.compile_xla(_lstm), step=_make_step(_lstm), gradient=_lstm_gradient),
    "gru": CellArithmetic(forward=ops.compile_xla(_gru), step=_make_step(_gru), gradient=_gru_gradient),
}
"""The arithmetic of each kind of cell in `cells.CELLS`."""


class LayerWeights(NamedTuple):
    """The weights of a layer of U units with N inputs: (N, gates U), (U, gates U), and a bias as `cells` shapes it."""

    kernel: Array
    recurrent_kernel: Array
    bias: Array


def layer_step(
    cell: CellArithmetic, inputs: Array, state: StepState, keep_mask: Array, weights: LayerWeights
) -> StepState:
    """Return the state after one character.

    There are two products of depth U instead of one joined product of depth 2 U: beyond a depth of 512, oneDNN sums in
    an order that depends on B.

    Args:
        cell: the arithmetic.
        inputs: ids (B,), which stand for one-hot rows, or h of the layer below, (B, N).
        state: from the previous step.
        keep_mask: (B,) float32; 0 for rows that start from a zero state, otherwise 1.
        weights: of the layer.
    """
    x = (weights.kernel, inputs) if inputs.dtype == ops.int32 else ops.matmul(inputs, weights.kernel)
    return cell.step(x, ops.matmul(state[0], weights.recurrent_kernel), weights.bias, keep_mask, state[1])


def layer_sequence(
    cell: CellArithmetic,
    inputs: Array,
    state: CellState,
    weights: LayerWeights,
    dtype: Array,
    keep_mask: Array | None = None,
) -> tuple[Array, CellState]:
    """Run a layer over T steps, with gradients for truncated backpropagation through time.

    Args:
        cell: the arithmetic.
        inputs: ids (T, B), which stand for one-hot rows, or (T, B, N) in `dtype`; T is static.
        state: carried over from the characters before. No gradient flows into it.
        weights: of the layer.
        dtype: of matrix multiplication; sums, gates and state are float32.
        keep_mask: (T, B) float32; 0 where a row starts from a zero state, otherwise 1. None: no row does.

    Returns:
        Outputs (T, B, U) in `dtype`, and the last state, which carries no gradient either.
    """

    @ops.custom_gradient  # type: ignore[untyped-decorator]
    def run(inputs: Array, kernel: Array, recurrent_kernel: Array, bias: Array) -> tuple[Array, object]:
        weights = LayerWeights(kernel, recurrent_kernel, bias)
        kernels = _Kernels(ops.cast(kernel, dtype), ops.cast(recurrent_kernel, dtype))
        steps = _forward(cell, inputs, state, weights, kernels, masks)

        def gradient(dhs: Array, *_: Array) -> tuple[Array | None, Array, Array, Array]:
            return _backward(cell, inputs, dhs, steps, weights, kernels, masks)

        return (ops.stack(steps.h_after), *(values[-1] for values in steps.after)), gradient

    masks = None if keep_mask is None else keep_mask[:, :, None]
    outputs, *after = run(inputs, *weights)
    return outputs, tuple(after)


class _Kernels(NamedTuple):
    """The kernels of a layer in the type of matrix multiplication."""

    inputs: Array
    recurrent: Array


class _Steps(NamedTuple):
    """The values that `_forward` keeps for `_backward`, each of all T steps.

    Attributes:
        h_before: h before each step in the type of matrix multiplication, (B, U).
        h_after: h after each step, likewise. Where no row is reset, it is the one before the next step.
        saved: the values that the cell's `gradient` needs for each step.
        before: each array of the state before each step.
        after: each array of the state after each step.
    """

    h_before: Sequence[Array]
    h_after: Sequence[Array]
    saved: Sequence[Array]
    before: Sequence[Sequence[Array]]
    after: Sequence[Sequence[Array]]


def _forward(
    cell: CellArithmetic,
    inputs: Array,
    state: CellState,
    weights: LayerWeights,
    kernels: _Kernels,
    masks: Array | None,
) -> _Steps:
    """Run the steps in order of time. The product with all inputs is computed before them."""
    one_hot = inputs.dtype == ops.int32

    def body(carried: tuple[CellState, Array], step: tuple[Array, Array | None]) -> tuple[Any, tuple[Array, ...]]:
        (before, h), (x, mask) = carried, step
        row = ops.gather(weights.kernel, x) if one_hot else x
        if mask is not None:
            before, h = tuple(value * mask for value in before), h * ops.cast(mask, h.dtype)
        after, h_after, saved = cell.forward(row, ops.matmul(h, kernels.recurrent), weights.bias, before)
        return (after, h_after), (h, h_after, saved, *before, *after)

    xs, h = inputs if one_hot else _product(inputs, kernels.inputs), ops.cast(state[0], kernels.recurrent.dtype)
    _, (h_before, h_after, saved, *states) = ops.scan(body, (state, h), (xs, masks), xs.shape[0], unroll=UNROLL)
    return _Steps(h_before, h_after, saved, states[: len(state)], states[len(state) :])


def _backward(
    cell: CellArithmetic,
    inputs: Array,
    dhs: Array,
    steps: _Steps,
    weights: LayerWeights,
    kernels: _Kernels,
    masks: Array | None,
) -> tuple[Array | None, Array, Array, Array]:
    """Return the gradients of the inputs (None if they are ids), kernel, recurrent kernel and bias.

    Args:
        cell: the arithmetic.
        inputs: as `layer_sequence` takes them.
        dhs: gradients of the outputs, (T, B, U).
        steps: from `_forward`.
        weights: of the layer.
        kernels: the same kernels as `_forward` took, likewise the masks.
        masks: (T, B, 1); 0 for rows that were reset before the step. None: no row was.
    """
    dx, dproduct = _backward_in_time(cell, dhs, steps, kernels.recurrent, masks)
    dbias = [_bias_gradient(gradients) for gradients in (dx, dproduct)]
    one_hot = inputs.dtype == ops.int32
    return (
        None if one_hot else _input_gradient(dx, ops.transpose(kernels.inputs)),
        _kernel_gradient(ops.one_hot(inputs, weights.kernel.shape[0], dx.dtype) if one_hot else inputs, dx),
        _kernel_gradient(ops.stack(steps.h_before), dproduct),
        ops.stack(dbias) if len(weights.bias.shape) == 2 else dbias[0],
    )


def _backward_in_time(
    cell: CellArithmetic, dhs: Array, steps: _Steps, recurrent_kernel: Array, masks: Array | None
) -> tuple[Array, Array]:
    """Return the gradients of x and of the product with h, each (T, B, gates U), from the last step to the first."""
    transposed, arrays = ops.transpose(recurrent_kernel), len(steps.before)

    def body(carried: tuple[Array, list[Array]], step: Sequence[Array]) -> tuple[Any, tuple[Array, Array]]:
        (gradient, from_product), (dh, saved, mask, *states) = carried, step
        before, after = tuple(states[:arrays]), tuple(states[arrays:])
        dx, dproduct, gradient = cell.gradient([dh, *from_product], gradient, saved, before, after)
        from_product = _deep_products(dproduct, transposed)
        if mask is not None:
            gradient, from_product = gradient * mask, [part * ops.cast(mask, part.dtype) for part in from_product]
        return (gradient, from_product), (dx, dproduct)

    batch, units = dhs.shape[1:]
    zeros = [ops.zeros((batch, units), dhs.dtype)] * _halves(dhs.dtype, recurrent_kernel.shape[1])
    inputs = (dhs, steps.saved, masks, *steps.before, *steps.after)
    _, found = ops.scan(body, (ops.zeros((batch, units)), zeros), inputs, dhs.shape[0], reverse=True, unroll=UNROLL)
    dxs, dproducts = map(ops.stack, found)
    return dxs, dproducts


def _product(values: Array, kernel: Array) -> Array:
    """Multiply the values of all steps in one matrix product. (T, B, N), (N, M) -> (T, B, M)"""
    product = ops.matmul(_rows(values), kernel)
    return ops.reshape(product, (*values.shape[:2], kernel.shape[1]))


def _input_gradient(gradients: Array, kernel: Array) -> Array:
    """Return the gradient of the inputs. (T, B, M), (M, N) -> (T, B, N)"""
    product = ops.add(_deep_products(_rows(gradients), kernel))
    return ops.reshape(product, (*gradients.shape[:2], kernel.shape[1]))


def _deep_products(values: Array, kernel: Array) -> list[Array]:
    """Return (B, M) times (M, N) as one product, or as two products to be summed.

    In float32, a product that is much deeper than wide shares its work between threads in a slow way. With M 1,024,
    N 256, B 32 and two cores it takes 0.50 ms, against 0.14 ms for two halves. With M 2,048 and N 512 it takes 0.61 ms
    against 0.47 ms at B 32, and 182 ms against 154 ms at B 12,800.
    """
    halves = _halves(values.dtype, values.shape[1])
    return [ops.matmul(*pair) for pair in zip(ops.split(values, halves, 1), ops.split(kernel, halves, 0), strict=True)]


def _halves(dtype: Any, depth: int) -> int:
    """Return the number of products that `_deep_products` makes of a product of this depth."""
    return 2 if dtype == ops.float32 and depth % 2 == 0 else 1


def _kernel_gradient(inputs: Array, gradients: Array) -> Array:
    """Return the gradient of a kernel, summed over time and batch. (T, B, N), (T, B, M) -> (N, M) float32"""
    return ops.cast(ops.matmul(_rows(inputs), _rows(gradients), transpose_a=True), ops.float32)


def _bias_gradient(gradients: Array) -> Array:
    """Return the gradient of a bias, summed over time and batch by a matrix product. (T, B, M) -> (M,) float32"""
    return _kernel_gradient(ops.ones((*gradients.shape[:2], 1), gradients.dtype), gradients)[0]


def _rows(values: Array) -> Array:
    """Flatten time and batch. (T, B, N) -> (T B, N)"""
    return ops.reshape(values, (-1, values.shape[-1]))
