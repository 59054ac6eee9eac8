"""A small computation with a known result, to see whether a device computes before it gets work.

A card that is newer than the library is found by it, and fails at the first operation.
"""

from __future__ import annotations

import numpy as np

from charrnn.backend import ops
from charrnn.backend.ops import Array
from charrnn.errors import CharrnnError

ROWS, DEPTH, STEPS = 16, 64, 8
TOLERANCES = {"float32": 1e-3, "bfloat16": 0.1}  # of values between -1 and 1


class DeviceError(CharrnnError):
    """A device does not compute what it should."""


def check_device() -> None:
    """Compute a product and a compiled loop in each precision that may be used here, and compare with NumPy.

    Raises:
        DeviceError: a result is wrong.
        Exception: whatever the backend raises if an operation fails.
    """
    rng = np.random.default_rng(1)
    state = rng.normal(size=(ROWS, DEPTH)).astype(np.float32)
    kernel = (rng.normal(size=(DEPTH, DEPTH)) / DEPTH**0.5).astype(np.float32)
    inputs = rng.normal(size=(STEPS, ROWS, DEPTH)).astype(np.float32)
    for precision in sorted({"float32", ops.fast_precision()}):
        found, expected = np.asarray(_run(precision, state, kernel, inputs)), state
        for k in range(STEPS):
            expected = np.tanh(expected @ kernel + inputs[k])
            error = float(np.abs(found[k] - expected).max())
            if not error < TOLERANCES[precision]:  # it may be NaN
                raise DeviceError(f"A product of matrices in {precision} is wrong by {error:.3g} after {k + 1} steps")


def _run(precision: str, state: np.ndarray, kernel: np.ndarray, inputs: np.ndarray) -> Array:
    """Return the states after each step, (STEPS, ROWS, DEPTH)."""
    dtype = ops.dtypes[precision]

    def run(state: Array, kernel: Array, inputs: Array) -> Array:
        def body(state: Array, step: tuple[Array]) -> tuple[Array, tuple[Array]]:
            product = ops.matmul(ops.cast(state, dtype), ops.cast(kernel, dtype))
            after = ops.tanh(ops.cast(product, ops.float32) + step[0])
            return after, (after,)

        _, (states,) = ops.scan(body, state, (inputs,), STEPS)
        return ops.stack(states)

    return ops.compile_graph(run)(ops.array(state), ops.array(kernel), ops.array(inputs))
