"""The sampler's promises, on a model of random weights, to which every character is likely."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.model import Model
from charrnn.network.network import sequence
from charrnn.options import NetworkOptions
from charrnn.sampling import sampler as sampling
from charrnn.sampling.sampler import STEPS, choose_steps, sample
from charrnn.sampling.slots import Report
from charrnn.sampling.stops import to_string
from charrnn.sampling.tasks import Row
from charrnn.sampling.texts import Text, reorder
from charrnn.training.evaluation import validation_loss
from tests.fixtures.model import random_model

BATCH = 16
PRECISIONS = ("float32", "bfloat16")
PROPERTIES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows_of(sizes: list[tuple[int, int]], **options: Any) -> list[Row]:
    """Return rows with these seed lengths and text lengths."""
    return [
        Row([(n + k) % 17 for k in range(seed)], (0.5, 1.0, 2.0)[n % 3], length, 1000 + n, **options)
        for n, (seed, length) in enumerate(sizes)
    ]


def texts(model: Model, rows: list[Row], batch: int = BATCH, **options: Any) -> dict[int, Text]:
    found = {rows[text.index].key: text for text in model.sample_rows(rows, batch, **options)}
    assert len(found) == len(rows)
    return found


sizes = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=50)

# Lengths that cross calls of STEPS, and no longer: the window model makes a call for every step
many_sizes = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=2 * BATCH, max_size=40)


other_kind = pytest.mark.slow("test_texts_depend_on_their_rows_alone", "test_a_line_depends_on_no_line_before_it")


@pytest.mark.parametrize(
    "each_model",
    ["lstm", "window", *(pytest.param(kind, marks=other_kind) for kind in ("gru", "list"))],
    indirect=True,
)
@pytest.mark.timeout(900)  # 200 examples of the window model: 59 s alone, five times that beside others
@PROPERTIES
@given(sizes=many_sizes, shuffled=st.randoms(), precision=st.sampled_from(PRECISIONS), limited=st.booleans())
def test_a_text_does_not_depend_on_order_slot_or_neighbours(
    each_model: Model, sizes: list[tuple[int, int]], shuffled: object, precision: str, limited: bool
) -> None:
    rows = rows_of(sizes)
    expected = texts(each_model, rows, precision=precision)
    # Catches: draws that differ where a neighbor has limits
    limits: dict[str, Any] = {"top_k": 3, "top_p": 0.7, "stop": (to_string([2, 3]), to_string([5]))} if limited else {}
    others = [replace(row, key=row.key + 1000, **limits) for row in rows]
    both = rows + others
    shuffled.shuffle(both)  # type: ignore[attr-defined]
    found = texts(each_model, both, precision=precision)
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
    seed_nats = validation_loss(network, weights, ids[:3]) * 2
    whole = validation_loss(network, weights, np.append(ids, 0)[:-1]) * (len(ids) - 1)
    assert (whole - seed_nats) / 50 == pytest.approx(text.nats.mean(), rel=1e-4)


def test_a_line_depends_on_no_line_before_it() -> None:
    model = random_model(NetworkOptions(units=24, lines=True))
    newline, row = model.vocabulary.ids["\n"], [4, 2, 7]
    alone, behind = (Row(seed, 0.0, 30, 5) for seed in ([newline, *row], [3, 5, newline, *row]))
    found = [texts(model, [one])[5] for one in (alone, behind)]
    np.testing.assert_array_equal(found[0].ids, found[1].ids)
    ids = np.array([newline, *row, *found[0].ids, newline])
    nats = validation_loss(model.network, model.weights, ids[:-1], reset=newline) * (len(ids) - 2)
    seed_nats = validation_loss(model.network, model.weights, ids[:4], reset=newline) * 3
    assert (nats - seed_nats) / 30 == pytest.approx(found[0].nats.mean(), rel=1e-4)


def test_each_kind_of_model_writes_what_its_network_predicts(each_model: Model) -> None:
    seed, network = [4, 2, 7], each_model.network
    written = texts(each_model, [Row(seed, 0.0, 20, 5)])[5]
    ids = list(seed)
    for _ in range(20):  # Catches: a window with more or fewer characters than max_len
        seen = np.array(ids[-(network.max_len or len(ids)) :], np.int32)[:, None]
        ids.append(
            int(np.argmax(np.asarray(sequence(network, each_model.weights, seen, reset=each_model.reset)[0])[-1, 0]))
        )
    assert list(written.ids) == ids[3:]


def test_temperature_0_is_greedy_decoding_for_any_random_seed(untrained_model: Model) -> None:
    found = texts(untrained_model, [Row([1, 2], 0.0, 30, key) for key in range(6)])
    assert len({tuple(text.ids) for text in found.values()}) == 1


def test_a_tiny_temperature_is_greedy_and_a_huge_one_makes_text(untrained_model: Model) -> None:
    tiny, zero, huge = (texts(untrained_model, [Row([1], t, 200, 5)])[5] for t in (1e-300, 0.0, 1e300))
    np.testing.assert_array_equal(tiny.ids, zero.ids)
    assert np.isfinite(huge.nats).all()
    assert len(set(huge.ids)) > len(untrained_model.vocabulary) / 2


@pytest.mark.parametrize(("steps", "groups"), [(1, 1), (5, 1), (64, 1), (64, 2), (5, 3)])
def test_a_text_does_not_depend_on_the_steps_of_a_call_or_on_how_many_run_in_turn(
    untrained_model: Model, monkeypatch: pytest.MonkeyPatch, steps: int, groups: int
) -> None:
    rows = [
        replace(row, stop=(to_string([2, 3]), to_string([5])))
        for row in rows_of([(n % 7 + 1, n + 1) for n in range(40)])
    ]
    expected = texts(untrained_model, rows)
    monkeypatch.setattr(sampling, "STEPS", steps)
    monkeypatch.setattr(sampling, "GROUPS", groups)
    found = texts(untrained_model, rows)
    for row in rows:  # Catches: a stop string that is split between two calls, rows of one batch numbered as another's
        np.testing.assert_array_equal(found[row.key].ids, expected[row.key].ids)


def test_a_text_does_not_depend_on_calls_of_different_length(
    untrained_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [replace(row, stop=(to_string([2, 3, 4]),)) for row in rows_of([(n % 7 + 1, 50 * n + 1) for n in range(30)])]
    expected = texts(untrained_model, rows)
    monkeypatch.setattr(sampling, "STEPS", 64)
    wanted = cycle([8, 64, 16, 16, 32, 8, 8])  # a longer call waits for a time that is a multiple of it
    monkeypatch.setattr(sampling, "choose_steps", lambda most, report: next(wanted))
    found = texts(untrained_model, rows)
    for row in rows:
        np.testing.assert_array_equal(found[row.key].ids, expected[row.key].ids)
        np.testing.assert_array_equal(found[row.key].nats, expected[row.key].nats)


STOPS = st.lists(st.lists(st.integers(0, 16), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple)


@PROPERTIES
@given(sizes=sizes, stops=STOPS, keep=st.booleans())
def test_a_text_ends_at_its_first_stop_string(
    untrained_model: Model, sizes: list[tuple[int, int]], stops: tuple[tuple[int, ...], ...], keep: bool
) -> None:
    rows, report = rows_of(sizes), Report(BATCH)
    whole = texts(untrained_model, rows)
    found = texts(
        untrained_model,
        [replace(row, stop=tuple(map(to_string, stops)), keep_stop=keep) for row in rows],
        report=report,
    )
    for row in rows:
        ids = whole[row.key].ids.tolist()
        end, left = first_stop(ids, stops)
        # Catches: the last stop string of a piece, or the first of the list, instead of the first in the text
        assert found[row.key].ids.tolist() == (ids if end is None else ids[: end if keep else left])
        assert found[row.key].finish_reason == ("length" if end is None else "stop")
        assert len(found[row.key].nats) == len(found[row.key].ids)
    assert report.characters == sum(first_stop(text.ids.tolist(), stops)[0] or len(text.ids) for text in whole.values())


def test_the_stop_string_that_ends_first_ends_the_text(untrained_model: Model) -> None:
    ids = texts(untrained_model, [Row([1], 1.0, 12, 5)])[5].ids.tolist()
    early = next(place for place in range(3, 12) if ids.index(ids[place]) == place)
    late = next(place for place in range(early + 1, 12) if ids.index(ids[place]) == place)
    for stops in (
        (chr(ids[late]), chr(ids[early])),
        (chr(ids[early]), chr(ids[late])),
    ):  # Catches: the first of the list
        assert texts(untrained_model, [Row([1], 1.0, 12, 5, stop=stops)])[5].ids.tolist() == ids[:early]


@pytest.mark.parametrize("length", [1, 2, 17, 50])
def test_a_stop_string_of_any_length_is_found_across_calls(untrained_model: Model, length: int) -> None:
    ids = texts(untrained_model, [Row([1, 2], 1.0, 200, 5)])[5].ids.tolist()
    stops = [to_string(ids[start : start + length]) for start in range(60, 60 + STEPS)]
    others = [
        tuple(stop[:place] + "\uffff" for place in range(length)) for stop in stops
    ]  # begin like it, and never end
    rows = [Row([1, 2], 1.0, 200, 5, stop=(*more, stop)) for stop, more in zip(stops, others, strict=True)]
    sampled = untrained_model.sample_rows(rows, BATCH)
    found = [*reorder((text.index, text.ids.tolist()) for text in sampled)]
    # Catches: a tail of the text that is one character too short
    assert found == [ids[: to_string(ids).find(stop)] for stop in stops]


def first_stop(ids: list[int], stops: tuple[tuple[int, ...], ...]) -> tuple[int | None, int]:
    """Return where the first stop string ends, and where the longest one that ends there begins."""
    for end in range(1, len(ids) + 1):
        if sizes := [len(stop) for stop in stops if len(stop) <= end and tuple(ids[end - len(stop) : end]) == stop]:
            return end, end - max(sizes)
    return None, 0


def test_a_slot_is_free_again_at_the_call_after_a_stop_string(untrained_model: Model) -> None:
    every = tuple(map(chr, range(len(untrained_model.vocabulary))))
    rows = [Row([1], 1.0, 1000, key, stop=every, keep_stop=True) for key in range(4 * BATCH)]
    report = Report(BATCH)
    found = texts(untrained_model, rows, report=report)
    assert {len(text.ids) for text in found.values()} == {1}
    # Catches: slots that continue up to the row's length
    assert report.steps <= 4 * STEPS
    assert report.slot_steps == len(rows)


@pytest.mark.parametrize(("mean", "steps"), [(0, 16), (5, 8), (30, 8), (35, 16), (1000, 16)])
def test_calls_are_short_where_stop_strings_end_texts_soon(mean: int, steps: int) -> None:
    assert choose_steps(16, Report(BATCH, stopped=100 if mean else 0, slot_steps=100 * mean)) == steps


def test_the_slots_of_a_list_are_mostly_in_use(untrained_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "STEPS", 64)
    rows = [Row([1], 1.0, 1000, key, stop=tuple(map(chr, range(0, 17, 4)))) for key in range(40 * BATCH)]
    sampling._compiled.cache_clear()
    first, second = Report(BATCH), Report(BATCH)
    for report in (first, second):
        texts(untrained_model, rows, report=report)
        assert report.stopped == len(rows)
    few = 8 * 60  # 40 calls of 8 steps or a few more; with 64 steps they would be 2,560
    assert second.steps <= 64 + few
    assert 8 * 64 < first.steps <= 8 * 64 + few  # Catches: a small job that compiles for steps that it hardly needs


def test_batches_in_turn_share_the_rows(untrained_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "GROUPS", 2)
    report = Report(BATCH)
    texts(untrained_model, [Row([1], 1.0, STEPS, key) for key in range(6 * BATCH + 1)], report=report)
    assert report.steps == 7 * STEPS  # Catches: a batch that takes rows and leaves the other one idle
    assert report.slot_steps == (6 * BATCH + 1) * STEPS


def test_an_empty_text_has_no_nats(untrained_model: Model) -> None:
    every = tuple(map(chr, range(len(untrained_model.vocabulary))))
    text = texts(untrained_model, [Row([1], 1.0, 9, 5, stop=every)])[5]
    assert (len(text.ids), text.nats_per_char, text.logprobs, text.finish_reason) == (0, None, [], "stop")


def test_compiling_is_counted_apart_and_once() -> None:
    model = random_model(NetworkOptions(units=24, layers=1))
    reports = [Report(BATCH) for _ in range(2)]
    for report in reports:
        texts(model, rows_of([(1, 20)] * 5), report=report)
    assert reports[0].compile_seconds > reports[0].seconds > 0
    assert reports[1].compile_seconds == 0  # Catches: a sampler that is compiled again for each part


def test_a_call_may_stop_the_sampler(untrained_model: Model) -> None:
    calls: Counter[str] = Counter()

    def on_call(report: Report) -> None:
        calls["made"] += 1
        raise InterruptedError

    network, weights = untrained_model.network, untrained_model.weights
    with pytest.raises(InterruptedError):
        list(sample(network, weights, rows_of([(1, 100)] * 8), BATCH, on_call=on_call))
    assert calls["made"] == 1
