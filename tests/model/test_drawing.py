"""Drawing: frequencies are those of the softmax, with top-k and top-p limits where they are set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.model import Model
from charrnn.sampling.limits import ALL, Limits
from charrnn.sampling.next_character import sample_ids
from charrnn.sampling.tasks import Row

LOGITS = np.array([2.0, 0.0, -1.0, 1.0, 1.0, -3.0], np.float32)


def drawn_from(
    logits: np.ndarray, temperature: float, numbers: np.ndarray, top_k: int | None = None, top_p: float = 1.0
) -> np.ndarray:
    """Draw from one row of logits, once for each number."""
    count, limits = len(numbers), None
    if top_k or top_p < 1:
        limits = Limits(np.full(count, top_k or len(logits), np.int32), np.full(count, top_p, np.float32))
    temperatures = np.full(count, temperature, np.float32)
    product = np.tile(np.asarray(logits, np.float32), (count, 1))
    ids, _ = sample_ids(product, np.zeros(len(logits), np.float32), temperatures, numbers, limits)
    return np.asarray(ids)


def evenly(count: int) -> np.ndarray:
    return ((np.arange(count) + 0.5) / count).astype(np.float32)


def expected_shares(logits: np.ndarray, temperature: float, top_k: int = ALL, top_p: float = 1.0) -> np.ndarray:
    """Return the shares by NumPy, step by step: temperature, then top-k, then top-p of what is left."""
    shares = np.exp(np.asarray(logits, np.float64) / temperature)
    shares[shares < np.sort(shares)[::-1][min(top_k, len(shares)) - 1]] = 0
    shares /= shares.sum()
    ordered = np.sort(shares)[::-1]
    enough = int(np.searchsorted(np.cumsum(ordered), top_p - 1e-9)) if top_p < 1 else len(ordered) - 1
    shares[shares < ordered[min(enough, len(ordered) - 1)]] = 0
    found: np.ndarray = shares / shares.sum()
    return found


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.5, 0.01])
@pytest.mark.parametrize("top_k", [ALL, 4, 1])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_limited_softmax(temperature: float, top_k: int, top_p: float) -> None:
    # Two characters are equally likely (ids 3 and 4): both may be drawn or none.
    numbers = evenly(40_000)
    ids = drawn_from(LOGITS, temperature, numbers, min(top_k, len(LOGITS)), top_p)
    shares = np.bincount(ids, minlength=len(LOGITS)) / len(numbers)
    # The numbers are evenly spread, so the shares are exact except at their ends.
    np.testing.assert_allclose(shares, expected_shares(LOGITS, temperature, top_k, top_p), atol=2 / len(numbers) + 1e-5)


@given(st.lists(st.floats(-30, 30, width=32), min_size=7, max_size=7), st.integers(0, 10**6))
def test_limits_that_allow_everything_change_no_draw(logits: list[float], rng_seed: int) -> None:
    # Catches: draws in sorted order, or tiny probabilities cut off: a row would depend on its neighbors' limits
    numbers = np.random.default_rng(rng_seed).uniform(0.001, 0.999, 50).astype(np.float32)
    row = np.array(logits, np.float32)
    np.testing.assert_array_equal(drawn_from(row, 1.0, numbers), drawn_from(row, 1.0, numbers, top_k=7))


def test_limits_that_allow_everything_keep_the_least_likely_characters() -> None:
    # Five thousand characters with a total probability of 1.25e-4; no single one of them changes a sum of 1.
    row, numbers = np.append(np.full(5000, -17.5), 0.0), np.array([1e-5, 5e-5, 0.5], np.float32)
    free = drawn_from(row, 1.0, numbers)
    assert free[0] < free[1] < free[2] == 5000
    np.testing.assert_array_equal(drawn_from(row, 1.0, numbers, top_k=5001), free)


def test_a_character_of_probability_0_is_never_drawn() -> None:
    logits = np.array([-np.inf, 0.0, -np.inf, 0.0, -np.inf], np.float32)
    ends = np.array([2.0**-24, 0.5, 1 - 2.0**-24], np.float32)
    assert set(drawn_from(logits, 1.0, ends)) <= {1, 3}
    assert set(drawn_from(logits, 1.0, ends, top_k=5, top_p=0.9999)) <= {1, 3}


def test_nats_are_at_temperature_1_and_without_limits() -> None:
    zeros, temperature = np.zeros(6, np.float32), np.array([0.3], np.float32)
    limits = Limits(np.array([2], np.int32), np.array([0.5], np.float32))
    ids, nats = sample_ids(LOGITS[None], zeros, temperature, np.array([0.5], np.float32), limits)
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum()
    # Catches: nats of the limited distribution, from which the character was drawn
    assert float(nats[0]) == pytest.approx(-np.log(shares[int(ids[0])]), rel=1e-5)


def bias_model(model: Model) -> tuple[Model, np.ndarray]:
    """Return a model with the same known distribution at every character, and its logits."""
    logits = np.random.default_rng(3).normal(0, 0.5, len(model.vocabulary)).astype(np.float32)
    weights = {**model.weights, "dense.kernel": 0 * np.asarray(model.weights["dense.kernel"]), "dense.bias": logits}
    return Model(model.network, model.vocabulary, weights), logits


def chi_square(counts: np.ndarray, shares: np.ndarray) -> float:
    """Return chi-square in standard deviations from its mean, of characters that are expected at least 5 times."""
    expected = shares * counts.sum()
    often = expected >= 5
    degrees = int(often.sum()) - 1
    statistic = float(((counts - expected)[often] ** 2 / expected[often]).sum())
    return (statistic - degrees) / float(np.sqrt(2 * degrees))


LIMITS = [(ALL, 1.0), (10, 1.0), (ALL, 0.98), (15, 0.95)]


@pytest.mark.parametrize(("top_k", "top_p"), LIMITS)
@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 1.5])
def test_sampled_frequencies_are_the_model_s(
    untrained_model: Model, temperature: float, top_k: int, top_p: float
) -> None:
    model, logits = bias_model(untrained_model)
    rows = [Row([1], temperature, 400, key, top_k=top_k, top_p=top_p) for key in range(256)]
    ids = np.concatenate([text.ids for text in model.sample_rows(rows, 256)])
    counts = np.bincount(ids, minlength=len(logits))
    assert len(ids) > 100_000
    shares = expected_shares(logits, temperature, top_k, top_p)
    assert not counts[shares == 0].any()
    assert chi_square(counts, shares) < 4
    for other in (0.95, 1.05):  # the same test rejects a temperature that is 5% off
        wrong = expected_shares(logits, temperature * other, top_k, top_p)
        assert counts[wrong == 0].any() or chi_square(counts, wrong) > 4
