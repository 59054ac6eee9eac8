"""A check that the outputs of a compiled call depend on the rows alone, and not on where the rows are in the call.

A library may break that without an error: by summing the tiles of a matrix product in different orders, or by joining
products of neighboring steps. No text shows it, so it is checked where a call was compiled, before its first use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

SLOT = "the slot in which they are sampled"  # or the rows beside it
STEP = "the step at which they begin"
MOMENT = "the moment at which they are sampled"

Call = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


def find_dependence(call: Call, inputs: Sequence[np.ndarray]) -> frozenset[str]:
    """Return what outputs depend on besides their rows: SLOT, STEP, both, or MOMENT. It is empty if all is well.

    The rows are computed twice, the second time in other slots, beside other neighbors, and each from another step on.
    Only if an output differs are they computed again, to see what it depends on.

    Args:
        call: from inputs to outputs. All are (K, B): K steps of B slots.
        inputs: in which each slot begins a row at the first step. Whatever a slot did before must not matter to it.
    """
    steps, batch = inputs[0].shape
    rng = np.random.default_rng(0)
    order = rng.permutation(batch)
    stay, slots = np.arange(batch), np.empty(batch, np.int64)
    slots[order] = np.roll(order, 1)  # one cycle: no row stays in its slot
    at_once, delays = np.zeros(batch, np.int64), rng.integers(0, steps // 2, batch, endpoint=True)
    expected = call(inputs)

    def is_same(slots: np.ndarray, delays: np.ndarray) -> bool:
        times = np.empty((steps, batch), np.int64)  # since its row began, of each place in the call
        times[:, slots] = np.arange(steps)[:, None] - delays
        rows = np.empty(batch, np.int64)
        rows[slots] = np.arange(batch)
        places, begun = times % steps * batch + rows, times >= 0
        found = call([values.take(places) for values in inputs])
        pairs = zip(found, expected, strict=True)
        return all(np.array_equal(now[begun], then.take(places)[begun]) for now, then in pairs)

    if is_same(slots, delays):
        return frozenset()
    if not is_same(stay, at_once):
        return frozenset([MOMENT])
    moves = {SLOT: (slots, at_once), STEP: (stay, np.full(batch, steps // 2))}  # later together: beside the same rows
    return frozenset(name for name, move in moves.items() if not is_same(*move)) or frozenset(moves)
