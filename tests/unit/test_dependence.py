"""The check that a call's outputs depend on the rows alone: it names what else they depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import numpy as np
import pytest

from charrnn.backend.self_check import MOMENT, SLOT, STEP, find_dependence

STEPS, BATCH = 16, 32
Noise = Callable[[int, np.ndarray], np.ndarray | float]


def find(noise: Noise, steps: int = STEPS, batch: int = BATCH) -> frozenset[str]:
    """Check a call whose state is a sum since its row began. `noise` is added to each step's outputs."""
    calls = count()

    def call(inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        values, keep_mask = inputs
        state, sums = np.zeros(values.shape[1]), []
        next(calls)
        for k in range(len(values)):
            state = state * keep_mask[k] + values[k]
            sums.append(state + noise(k, values[k]))
        return values, np.stack(sums)

    keep_mask = np.ones((steps, batch))
    keep_mask[0] = 0.0
    return find_dependence(call, (np.random.default_rng(1).integers(0, 99, (steps, batch)), keep_mask))


@pytest.mark.parametrize(("steps", "batch"), [(STEPS, BATCH), (1, BATCH), (STEPS, 1), (64, 8192), (1, 1)])
def test_outputs_that_depend_on_the_rows_alone_pass(steps: int, batch: int) -> None:
    # Catches: outputs compared before their row began, delays for a call of one step
    assert find(lambda k, values: 0.0, steps, batch) == frozenset()


def only(condition: bool) -> float:
    return 1e-7 if condition else 0.0


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (lambda k, values: 1e-7 * (np.arange(len(values)) == len(values) - 1), {SLOT}),  # the last slot alone
        (lambda k, values: 1e-7 * (np.arange(len(values)) % 16), {SLOT}),
        (lambda k, values: 1e-7 * np.roll(values, 1), {SLOT}),  # its neighbor
        (lambda k, values: only(k == 0), {STEP}),  # the first step alone
        (lambda k, values: only(k == STEPS - 1), {STEP}),
        (lambda k, values: 1e-7 * (k + np.arange(len(values))), {SLOT, STEP}),
    ],
)
def test_what_outputs_depend_on_is_named(noise: Noise, expected: set[str]) -> None:
    # Catches: rows that stay in their slots, or that begin at the same step; differences below a tolerance
    assert find(noise) == expected


def test_outputs_that_differ_each_time_are_named() -> None:
    times = count()
    assert find(lambda k, values: 1e-7 * next(times)) == {MOMENT}


@pytest.mark.parametrize("batch", [2, 3, 16])
def test_no_row_stays_in_its_slot(batch: int) -> None:
    # Catches: a permutation that leaves some rows where they are, and with two slots both
    for slot in range(batch):
        assert find(lambda k, values, slot=slot: 1e-7 * (np.arange(batch) == slot), batch=batch) == {SLOT}  # type: ignore[misc]
