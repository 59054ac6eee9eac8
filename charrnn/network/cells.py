"""The kinds of recurrent cells: everything about each except its arithmetic. Pure Python."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CellKind:
    """Shapes and initial values of one kind of cell.

    Attributes:
        initial_biases: the initial bias of each gate, in the order of the gates in the kernels.
        bias_rows: number of biases per gate: 2 if the products with the input and with the state have one each.
        states: number of (B, U) arrays that a layer carries from character to character.
    """

    initial_biases: tuple[float, ...]
    bias_rows: int = 1
    states: int

    def weight_shapes(self, inputs: int, units: int) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of each weight of a layer, in the order in which they are stored."""
        width = len(self.initial_biases) * units
        bias = (width,) if self.bias_rows == 1 else (self.bias_rows, width)
        return {"kernel": (inputs, width), "recurrent_kernel": (units, width), "bias": bias}


CELLS = {
    # Input, forget, cell and output gate. Forget bias 1: Jozefowicz et al. 2015.
    "lstm": CellKind(initial_biases=(0.0, 1.0, 0.0, 0.0), states=2),
    # Update gate, reset gate and candidate.
    "gru": CellKind(initial_biases=(0.0, 0.0, 0.0), bias_rows=2, states=1),
}
"""All kinds that the option `cell` accepts. `recurrent.py` has the arithmetic of each."""
