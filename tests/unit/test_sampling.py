"""The sampler's promises, on a model of random weights whose every choice is open."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.evaluation import held_out_nats
from charrnn.model import Model
from charrnn.network import sequence
from charrnn.drawing import draw
from charrnn.sampling import STEPS, sample
from charrnn.slots import Report, Row, Text

BATCH = 16
PROPERTIES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows_of(sizes: list[tuple[int, int]]) -> list[Row]:
    """Rows of seed lengths and text lengths."""
    return [
        Row([(n + k) % 17 for k in range(seed)], (0.5, 1.0, 2.0)[n % 3], length, 1000 + n)
        for n, (seed, length) in enumerate(sizes)
    ]


def texts(model: Model, rows: list[Row], batch: int = BATCH, report: Report | None = None) -> dict[int, Text]:
    found = {rows[text.index].key: text for text in model.sample_rows(rows, batch, report=report)}
    assert len(found) == len(rows)
    return found


sizes = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=50)


many_sizes = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=2 * BATCH, max_size=50)


@PROPERTIES
@given(sizes=many_sizes, shuffled=st.randoms())
def test_a_text_does_not_depend_on_order_slot_or_neighbours(
    each_model: Model, sizes: list[tuple[int, int]], shuffled: object
) -> None:
    rows = rows_of(sizes)
    expected = texts(each_model, rows)
    others = rows + rows_of([(3, 5)] * 3 + sizes)[len(sizes) :]
    shuffled.shuffle(others)  # type: ignore[attr-defined]
    found = texts(each_model, list({row.key: row for row in others}.values()))
    for row in rows:  # Catches: the state not cleared for a new row
        np.testing.assert_array_equal(found[row.key].ids, expected[row.key].ids)
        np.testing.assert_array_equal(found[row.key].nats, expected[row.key].nats)


@PROPERTIES
@given(sizes=sizes)
def test_every_text_has_its_length_and_no_slot_waits(untrained_model: Model, sizes: list[tuple[int, int]]) -> None:
    rows, report = rows_of(sizes), Report(BATCH)
    found = texts(untrained_model, rows, report=report)
    assert [len(found[row.key].ids) for row in rows] == [length for _, length in sizes]
    longest = max(seed + length for seed, length in sizes)
    # Catches: refill at the end of a call instead of at the very next step
    assert report.steps <= math.ceil(len(rows) / BATCH) * longest + STEPS
    assert report.slot_steps == sum(seed + length - 1 for seed, length in sizes)
    assert (report.rows, report.characters) == (len(rows), sum(length for _, length in sizes))


def test_a_text_is_what_the_network_gives_for_seed_and_text(untrained_model: Model) -> None:
    """The nats that the sampler reports are those of reading seed and text as one sequence."""
    row = Row([4, 2, 7], 1.0, 50, 99)
    text = texts(untrained_model, [row])[99]
    network, weights = untrained_model.network, untrained_model.weights
    ids = np.array([*row.seed, *text.ids])
    seed_nats = held_out_nats(network, weights, ids[:3]) * 2
    whole = held_out_nats(network, weights, np.append(ids, 0)[:-1]) * (len(ids) - 1)
    assert (whole - seed_nats) / 50 == pytest.approx(text.nats.mean(), rel=1e-4)


def test_each_kind_of_model_writes_what_its_network_predicts(each_model: Model) -> None:
    seed, network = [4, 2, 7], each_model.network
    written = texts(each_model, [Row(seed, 0.0, 20, 5)])[5]
    ids = list(seed)
    for _ in range(20):  # Catches: a window that holds more characters, or fewer, than max_len
        seen = np.array(ids[-(network.max_len or len(ids)) :], np.int32)[:, None]
        ids.append(int(np.argmax(np.asarray(sequence(network, each_model.weights, seen)[0])[-1, 0])))
    assert list(written.ids) == ids[3:]


def test_temperature_0_is_argmax_whatever_the_random_stream(untrained_model: Model) -> None:
    found = texts(untrained_model, [Row([1, 2], 0.0, 30, key) for key in range(6)])
    assert len({tuple(text.ids) for text in found.values()}) == 1


def test_a_tiny_temperature_is_argmax_and_a_huge_one_is_still_text(untrained_model: Model) -> None:
    tiny, zero, huge = (texts(untrained_model, [Row([1], t, 200, 5)])[5] for t in (1e-300, 0.0, 1e300))
    np.testing.assert_array_equal(tiny.ids, zero.ids)
    assert np.isfinite(huge.nats).all()
    assert len(set(huge.ids)) > len(untrained_model.vocabulary) / 2


def test_draws_follow_softmax_of_logits_over_temperature() -> None:
    logits, count = np.array([2.0, 0.0, -1.0, 1.0], np.float32), 40_000
    numbers = ((np.arange(count) + 0.5) / count).astype(np.float32)
    for temperature in (0.5, 1.0, 2.0):
        drawn, _ = draw(
            np.tile(logits, (count, 1)), np.zeros(4, np.float32), np.full(count, temperature, np.float32), numbers
        )
        expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
        shares = np.bincount(drawn, minlength=4) / count
        # The numbers are evenly spread, so the shares are exact but for their ends.
        np.testing.assert_allclose(shares, expected, atol=2 / count + 1e-5)


def test_a_character_of_probability_0_is_never_drawn() -> None:
    logits = np.array([[-np.inf, 0.0, -np.inf, 0.0, -np.inf]], np.float32)
    ends = np.array([2.0**-24, 0.5, 1 - 2.0**-24], np.float32)
    drawn, _ = draw(np.repeat(logits, 3, axis=0), np.zeros(5, np.float32), np.ones(3, np.float32), ends)
    assert set(np.asarray(drawn)) <= {1, 3}


def test_a_call_may_stop_the_sampler(untrained_model: Model) -> None:
    calls: Counter[str] = Counter()

    def on_call(report: Report) -> None:
        calls["made"] += 1
        raise InterruptedError

    network, weights = untrained_model.network, untrained_model.weights
    with pytest.raises(InterruptedError):
        list(sample(network, weights, rows_of([(1, 100)] * 8), BATCH, on_call=on_call))
    assert calls["made"] == 1
