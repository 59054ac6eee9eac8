"""LSTM: one step, a sequence, and the sequence's gradient.

Weights and gate order (input, forget, candidate, output) are those of `keras.layers.LSTM`, so the
two interchange. Sources: Hochreiter and Schmidhuber 1997; forget gate, Gers et al. 2000.

The product with the inputs needs no recurrence, and neither does the gradient of the recurrent
kernel: both are one large matrix product outside the time loop, where a framework's own loop does
T small ones and reaches a third of a CPU.
"""

from __future__ import annotations

from charrnn import backend as ops
from charrnn.backend import Array


@ops.fused
def lstm_gates(x: Array, product: Array, c: Array) -> tuple[Array, Array, Array]:
    """Apply the gates. x and the recurrent product (B, 4U), c (B, U) -> h, c (B, U), gates (B, 4U).

    The sum is made here and not in the graph: there the optimizer joins it to the bias at some
    steps of a call and not at others, and a text would depend on the step at which it began.
    """
    i, f, g, o = ops.split(x + product, 4, axis=-1)
    i, f, g, o = ops.sigmoid(i), ops.sigmoid(f), ops.tanh(g), ops.sigmoid(o)
    c = f * c + i * g
    return o * ops.tanh(c), c, ops.concat([i, f, g, o], axis=-1)


@ops.fused
def lstm_gates_gradient(dh: Array, dc: Array, gates: Array, c: Array, previous_c: Array) -> tuple[Array, Array]:
    """Gradient of `lstm_gates`: of z (B, 4U) and of the previous c (B, U)."""
    i, f, g, o = ops.split(gates, 4, axis=-1)
    tanh_c = ops.tanh(c)
    dc = dc + dh * o * (1.0 - tanh_c * tanh_c)
    dz = [
        dc * g * i * (1.0 - i),
        dc * previous_c * f * (1.0 - f),
        dc * i * (1.0 - g * g),
        dh * tanh_c * o * (1.0 - o),
    ]
    return ops.concat(dz, axis=-1), dc * f


def lstm_step(x: Array, h: Array, c: Array, recurrent_kernel: Array) -> tuple[Array, Array]:
    """One character. x (B, 4U) = input product and bias -> h, c (B, U)."""
    h, c, _ = lstm_gates(x, ops.matmul(h, recurrent_kernel), c)
    return h, c


def lstm_sequence(x: Array, h: Array, c: Array, recurrent_kernel: Array) -> tuple[Array, Array, Array]:
    """All T steps of truncated backpropagation.

    Args:
        x: (T, B, 4U), input product and bias; T is static.
        h, c: (B, U), carried over from the characters before; no gradient flows into them.
        recurrent_kernel: (U, 4U).

    Returns:
        Outputs (T, B, U), and the last h and c, which carry no gradient either.
    """

    @ops.custom_gradient  # type: ignore[untyped-decorator]
    def run(x: Array, recurrent_kernel: Array) -> tuple[tuple[Array, Array, Array], object]:
        hs, cs, gates = [h], [c], []
        for x_t in ops.unstack(x):
            h_t, c_t, gates_t = lstm_gates(x_t, ops.matmul(hs[-1], recurrent_kernel), cs[-1])
            hs.append(h_t)
            cs.append(c_t)
            gates.append(gates_t)

        def gradient(dhs: Array, _dh: Array, _dc: Array) -> tuple[Array, Array]:
            dh, dc = ops.zeros(ops.shape(h)), ops.zeros(ops.shape(c))
            dzs: list[Array] = []
            halves = ops.split(ops.transpose(recurrent_kernel), 2)  # (2U, U) each
            for t, dh_t in reversed(list(enumerate(ops.unstack(dhs)))):
                dz, dc = lstm_gates_gradient(dh + dh_t, dc, gates[t], cs[t + 1], cs[t])
                dh = _split_product(dz, halves)
                dzs.append(dz)
            dx = ops.stack(dzs[::-1])  # (T, B, 4U)
            return dx, ops.matmul(_rows(ops.stack(hs[:-1])), _rows(dx), transpose_a=True)

        return (ops.stack(hs[1:]), hs[-1], cs[-1]), gradient

    outputs, h, c = run(x, recurrent_kernel)
    return outputs, h, c


def _split_product(values: Array, halves: list[Array]) -> Array:
    """(B, 4U) times a kernel given as two halves, (2U, U) each -> (B, U)

    A product four times as deep as wide falls into a slow way of sharing work between threads:
    0.50 ms against 0.14 ms for the sum of two halves (B 32, U 256, two cores)."""
    return ops.add([ops.matmul(*pair) for pair in zip(ops.split(values, 2, axis=-1), halves, strict=True)])


def _rows(values: Array) -> Array:
    """(T, B, N) -> (T x B, N)"""
    return ops.reshape(values, (-1, values.shape[-1]))
