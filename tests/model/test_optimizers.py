"""One update compared with Keras's optimizers, and the learning-rate schedules."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from charrnn.backend import ops
from charrnn.training.optimizers import ADAM, RMSPROP, Optimizer, average, average_share, cosine_rate


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(ADAM, keras.optimizers.Adam(1e-2, epsilon=1e-7)), (RMSPROP, keras.optimizers.RMSprop(1e-2))],
    ids=["adam", "rmsprop"],
)
def test_updates_equal_keras(ours: Optimizer, theirs: keras.optimizers.Optimizer) -> None:
    rng = np.random.default_rng(5)
    start = rng.normal(size=(7, 3)).astype(np.float32)
    variable, weight = keras.Variable(start), ops.array(start)
    moments = tuple(ops.zeros(start.shape) for _ in range(ours.moments))
    theirs.build([variable])
    for count in range(1, 6):
        slope = ops.array(rng.normal(size=start.shape).astype(np.float32))
        weight, moments = ours.update(weight, moments, slope, np.float32(1e-2), np.float32(count))
        theirs.apply([slope])
    np.testing.assert_allclose(weight, variable.numpy(), rtol=1e-4)


def test_the_learning_rate_rises_then_falls() -> None:
    rates = [cosine_rate(step, step / 1000, 512) for step in range(1001)]
    peak = int(np.argmax(rates))
    assert 0 < peak < 100
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] == pytest.approx(0.02 * max(rates), rel=0.05)


def test_a_share_beyond_the_end_keeps_the_last_rate() -> None:
    # Catches: a cosine that rises again when a time limit is passed in the middle of a step
    assert cosine_rate(1000, 1.5, 512) == cosine_rate(1000, 1.0, 512)


def test_the_average_follows_the_weights_at_the_start_and_at_the_end() -> None:
    assert average_share(0, 0.0) == 1.0
    assert average_share(10_000, 1.0) == 1.0
    assert average_share(10_000, 0.0) < 0.01


def test_an_average_moves_by_its_share() -> None:
    moved = average({"w": ops.array([0.0, 4.0])}, {"w": ops.array([4.0, 0.0])}, np.float32(0.25))
    np.testing.assert_allclose(moved["w"], [1.0, 3.0])
