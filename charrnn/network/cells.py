"""Names and shapes of a network's weights, for those too who must not import TensorFlow."""

from __future__ import annotations

from charrnn.options import NetworkOptions

GATES = {"lstm": 4, "gru": 3}  # width of a cell's kernels, in units
BIASES: dict[str, tuple[int, ...]] = {"lstm": (4,), "gru": (2, 3)}  # shape of a cell's bias, in units


def weight_shapes(network: NetworkOptions, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight, in the order in which they are stored."""
    cell, units, shapes = network.cell, network.units, dict[str, tuple[int, ...]]()
    inputs = vocabulary_size
    for layer in range(network.layers):
        name = f"{cell}_{layer}"
        shapes[f"{name}.kernel"] = (inputs, GATES[cell] * units)
        shapes[f"{name}.recurrent_kernel"] = (units, GATES[cell] * units)
        shapes[f"{name}.bias"] = (*BIASES[cell][:-1], BIASES[cell][-1] * units)
        inputs = units
    return shapes | {"dense.kernel": (units, vocabulary_size), "dense.bias": (vocabulary_size,)}
