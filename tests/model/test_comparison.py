"""Comparison of two models on the characters that both know."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charrnn.model import Model
from charrnn.network.network import initial_weights
from charrnn.options import NetworkOptions
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.comparison import common_nats


def uniform(characters: str) -> Model:
    """Return a model to which all its characters are equally likely."""
    network = NetworkOptions(units=4, layers=1)
    weights = {name: np.zeros_like(value) for name, value in initial_weights(network, len(characters), 0).items()}
    return Model(network, Vocabulary(characters), weights)


def test_characters_that_one_lacks_are_left_out_for_both() -> None:
    nats, other_nats, left_out = common_nats(uniform("abc"), uniform("bcdef"), "abcabcdbc")
    assert left_out == 3  # a, a, d
    assert (nats, other_nats) == pytest.approx((math.log(3), math.log(5)))


def test_without_common_text_both_losses_are_zero() -> None:
    assert common_nats(uniform("ab"), uniform("bc"), "abc") == (0.0, 0.0, 3)
