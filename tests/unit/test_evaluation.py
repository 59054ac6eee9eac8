"""Held-out loss."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charrnn.evaluation import held_out_nats
from charrnn.network import initial_weights, sequence
from charrnn.options import NetworkOptions

LENGTHS = (2, 3, 70, 5000)  # one stretch, a ragged end, many stretches


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("max_len", [None, 20])
def test_a_model_that_knows_nothing_has_uniform_nats(length: int, max_len: int | None) -> None:
    network = NetworkOptions(units=16, max_len=max_len)
    weights = {name: 0 * value for name, value in initial_weights(network, 10, 1).items()}
    ids = np.arange(length, dtype=np.uint8) % 10
    # Catches: padding counted as text
    assert held_out_nats(network, weights, ids) == pytest.approx(math.log(10), rel=1e-5)


def test_windows_are_read_from_nothing_and_at_every_third_character() -> None:
    network = NetworkOptions(units=16, max_len=7)
    weights = initial_weights(network, 10, 1)
    ids = np.random.default_rng(1).integers(0, 10, 900).astype(np.uint8)
    nats = []
    for start in range(0, 900 - 7, 3):
        logits = np.asarray(sequence(network, weights, ids[start : start + 7, None].astype(np.int32))[0])[0, 0]
        nats.append(math.log(np.exp(logits).sum()) - logits[ids[start + 7]])
    assert held_out_nats(network, weights, ids) == pytest.approx(np.mean(nats), rel=1e-5)
