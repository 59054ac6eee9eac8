"""Validation loss."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charrnn.backend import ops
from charrnn.network.network import initial_weights, sequence
from charrnn.options import NetworkOptions
from charrnn.training.evaluation import sampling_precision, validation_loss

LENGTHS = (2, 3, 70, 5000)  # one stretch, an incomplete last stretch, many stretches


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("max_len", [None, 20])
def test_a_model_with_zero_weights_has_uniform_nats(length: int, max_len: int | None) -> None:
    network = NetworkOptions(units=16, max_len=max_len)
    weights = {name: 0 * value for name, value in initial_weights(network, 10, 1).items()}
    ids = np.arange(length, dtype=np.uint8) % 10
    # Catches: padding counted as text
    assert validation_loss(network, weights, ids) == pytest.approx(math.log(10), rel=1e-5)


def test_windows_start_empty_and_at_every_third_character() -> None:
    network = NetworkOptions(units=16, max_len=7)
    weights = initial_weights(network, 10, 1)
    ids = np.random.default_rng(1).integers(0, 10, 900).astype(np.uint8)
    nats, read = [], ops.compile_graph(lambda window: sequence(network, weights, window)[0])
    for start in range(0, 900 - 7, 3):
        logits = np.asarray(read(ids[start : start + 7, None].astype(np.int32)))[0, 0]
        nats.append(math.log(np.exp(logits).sum()) - logits[ids[start + 7]])
    assert validation_loss(network, weights, ids) == pytest.approx(np.mean(nats), rel=1e-5)


def test_a_model_is_sampled_in_bfloat16_where_that_is_faster_and_changes_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, ids = NetworkOptions(units=16), np.random.default_rng(1).integers(0, 10, 900).astype(np.uint8)
    weights = initial_weights(network, 10, 1)
    rough = {name: 40 * value for name, value in weights.items()}
    monkeypatch.setattr(ops, "fast_precision", lambda: "bfloat16")
    chosen = [sampling_precision(network, found, ids) for found in (weights, rough)]
    assert chosen == ["bfloat16", "float32"]  # Catches: no comparison of the losses
    assert sampling_precision(NetworkOptions(units=16, max_len=7), weights, ids) == "float32"
    monkeypatch.setattr(ops, "fast_precision", lambda: "float32")
    assert sampling_precision(network, weights, ids) == "float32"
