"""The slots of the sampler beside a plain form of them: loops over slots, one row after the other."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.options import MAX_STOP
from charrnn.sampling.limits import ALL
from charrnn.sampling.plan import SAMPLED
from charrnn.sampling.randomness import uniforms
from charrnn.sampling.slots import Report, Slots
from charrnn.sampling.stops import to_string
from charrnn.sampling.tasks import Row
from charrnn.sampling.texts import Text

CHARACTERS = 5  # few, so that stop strings occur


@dataclass
class PlainTask:
    """A row in progress."""

    index: int
    row: Row
    planned: int = 0
    text: list[int] = field(default_factory=list)
    nats: list[float] = field(default_factory=list)


Span: TypeAlias = tuple[int, int, int, PlainTask]
"""Slot, first step, the step after the last one, and the row."""


def steps_of(row: Row) -> int:
    return len(row.seed) + row.length - 1


class PlainSlots:
    """The definition of `Slots`: the slot that is free first takes the next row, and the lower one of two."""

    def __init__(self, rows: list[Row], batch: int) -> None:
        self.waiting, self.batch = enumerate(rows), batch
        self.tasks: list[PlainTask | None] = [None] * batch

    def plan(self, steps: int) -> list[Span]:
        """Return the work of a call."""
        spans: list[Span] = []
        free: list[tuple[int, int]] = []

        def work(slot: int, start: int, task: PlainTask) -> None:
            stop = min(steps, start + steps_of(task.row) - task.planned)
            task.planned += stop - start
            spans.append((slot, start, stop, task))
            self.tasks[slot] = None if task.planned == steps_of(task.row) else task
            if stop < steps:
                heapq.heappush(free, (stop, slot))

        for slot, task in enumerate(self.tasks):
            if task:
                work(slot, 0, task)
            else:
                heapq.heappush(free, (0, slot))
        while free and (entry := next(self.waiting, None)):
            start, slot = heapq.heappop(free)
            work(slot, start, PlainTask(*entry))
        return spans

    def inputs(self, spans: list[Span]) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Yield step, slot and inputs of all work."""
        for slot, start, stop, task in spans:
            first = task.planned - (stop - start)
            for k in range(start, stop):
                place, row = first + k - start, task.row
                yield (
                    k,
                    slot,
                    {
                        "feed": row.seed[place] if place < len(row.seed) else SAMPLED,
                        "keep_mask": float(place > 0),
                        "number": uniforms(np.array([row.key], np.uint64), np.array([place]))[0],
                        "temperature": np.float32(row.temperature),
                        "top_k": min(row.top_k, CHARACTERS),
                        "top_p": np.float32(row.top_p),
                    },
                )

    def collect(
        self, spans: list[Span], ids: np.ndarray, nats: np.ndarray, report: Report
    ) -> Iterator[tuple[int, list[int], list[float], bool]]:
        """Yield index, ids, nats and whether a stop string ended it of each text that is complete."""
        for slot, start, stop, task in spans:
            stopped, end = None, stop
            for k in range(start, stop):
                if task.planned - stop + k < len(task.row.seed) - 1:
                    continue
                task.text.append(int(ids[k, slot]))
                task.nats.append(float(nats[k, slot]))
                report.characters += 1
                if stopped := self.ended_by(task):
                    end = k + 1
                    break
            report.slot_steps += end - start
            if stopped and self.tasks[slot] is task:
                self.tasks[slot] = None
            if stopped or task.planned == steps_of(task.row):
                report.rows += 1
                report.stopped += bool(stopped)
                kept = len(task.text) - (len(stopped) if stopped and not task.row.keep_stop else 0)
                yield task.index, task.text[:kept], task.nats[:kept], bool(stopped)

    def ended_by(self, task: PlainTask) -> str:
        """Return the longest stop string at the end of a text, or none."""
        text = to_string(task.text)
        return max((stop for stop in task.row.stop if text.endswith(stop)), key=len, default="")


def sampled(keys: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and nats as a network would: they depend on the row and the place in it alone."""
    numbers = uniforms(keys, positions)
    return (numbers * CHARACTERS).astype(np.int32), numbers


def steps_of_calls(most: int, halvings: Sequence[int]) -> Iterator[int]:
    """Yield the steps of each call: `most`, halved as often as it says and as the time of the first one needs."""
    now = 0
    for halved in cycle(halvings):
        steps = most
        while now % steps or (most // steps < 2**halved and steps % 2 == 0):
            steps //= 2
        yield steps
        now += steps


def check_like_plain(rows: list[Row], batch: int, most_steps: int, halvings: Sequence[int] = (0,)) -> None:
    """Check that slots give every text, every input and every count of the plain form."""
    slots, plain = Slots(enumerate(rows), batch, most_steps), PlainSlots(rows, batch)
    calls = steps_of_calls(most_steps, halvings)
    reports = Report(batch), Report(batch)
    found: list[Text] = []
    expected: list[tuple[int, list[int], list[float], bool]] = []
    while spans := plain.plan(steps := next(calls)):
        plan = slots.plan(steps)
        limits = plan.limits(CHARACTERS)
        given = {name: getattr(plan, name) for name in ("feed", "keep_mask", "temperature")}
        given["number"] = uniforms(plan.key, plan.times)
        if limits:
            given |= limits._asdict()
            assert (given["top_k"] > 0).all()  # Catches: a slot without a row that would take no character at all
        assert (limits is not None) == any(task.row.top_k < ALL or task.row.top_p < 1.0 for *_, task in spans)
        for k, slot, inputs in plain.inputs(spans):
            assert {name: values[k, slot] for name, values in given.items()} == {name: inputs[name] for name in given}
        np.testing.assert_array_equal(
            given["number"], uniforms(plan.key, plan.times)
        )  # Catches: rows that are overwritten
        ids, nats = sampled(plan.key, plan.times)
        expected += plain.collect(spans, ids, nats, reports[1])
        found += slots.collect(plan, ids, nats, reports[0])
    assert slots.plan().is_empty
    assert [(text.index, text.ids.tolist(), text.nats.tolist(), text.stopped) for text in found] == expected
    assert reports[0] == reports[1]


ROWS = st.lists(
    st.builds(
        Row,
        seed=st.lists(st.integers(0, CHARACTERS - 1), min_size=1, max_size=40),
        temperature=st.sampled_from((0.0, 0.5, 1.0)),
        length=st.integers(1, 80),
        key=st.integers(0, 2**64 - 1),
        stop=st.lists(st.lists(st.integers(0, CHARACTERS - 1), min_size=1, max_size=6).map(to_string), max_size=3).map(
            tuple
        ),
        keep_stop=st.booleans(),
        top_k=st.sampled_from((ALL, 3)),
        top_p=st.sampled_from((1.0, 0.5)),
    ),
    max_size=60,
)


def rows_of(*lengths: int) -> list[Row]:
    return [Row([1], 1.0, length, key) for key, length in enumerate(lengths)]


# Catches: a row that starts one step late, a stop string found in the seed or in the row before, the shorter of two
# that end together, limits of the slot's last row, a seed that is cut off where the call ends
@given(
    rows=ROWS,
    batch=st.integers(1, 20),
    most_steps=st.integers(1, 24),
    halvings=st.lists(st.integers(0, 4), min_size=1, max_size=5),
)
# The first slot is free again before the third.
@example(rows=rows_of(8, 8, 13, 1, 100, 50), batch=3, most_steps=8, halvings=[0])
def test_slots_do_what_their_plain_form_does(rows: list[Row], batch: int, most_steps: int, halvings: list[int]) -> None:
    check_like_plain(rows, batch, most_steps, halvings)


def text_of(row: Row) -> str:
    """Return the whole text of a row without stop strings."""
    places = len(row.seed) - 1 + np.arange(row.length)
    return to_string(sampled(np.full(row.length, row.key, np.uint64), places)[0].tolist())


@pytest.mark.parametrize(("most_steps", "halvings"), [(16, [0]), (64, [0]), (64, [3, 1, 0, 2])])
def test_seeds_texts_and_stop_strings_may_be_longer_than_the_ring_of_a_slot(
    most_steps: int, halvings: list[int]
) -> None:
    # Catches: what a ring has overwritten, taken for the text; a seed that moved while it was fed; a ring for calls of
    # the length of the first one
    seed = [n % CHARACTERS for n in range(7_000)]
    rows = [Row(seed[: 1 + n * 1_777 % 6_000], 1.0, 1 + n * 911 % 5_000, n) for n in range(6)]
    ends = [len(text_of(row)) * 2 // 3 for row in rows]
    for n, (row, end) in enumerate(zip(rows, ends, strict=True)):
        if n % 2:
            stop = text_of(row)[max(0, end - MAX_STOP) : end]
            rows[n] = replace(row, stop=(stop,) if stop else (), keep_stop=n % 3 == 0)
    check_like_plain(rows, 3, most_steps, halvings)


def test_long_texts_and_short_ones_end_in_one_call() -> None:
    long = MAX_STOP * 3 // 2
    check_like_plain(rows_of(long, long, 2, 3, 4), 2, 16)  # Catches: the saved part of one text in another


def test_short_texts_are_cut_across_the_end_of_the_ring() -> None:
    check_like_plain(rows_of(*[37] * 60), 1, 16)  # Catches: what is behind the ring, taken for its beginning


def test_characters_with_the_codes_of_surrogates_stop_a_text() -> None:
    ids = [0xD800, 0xDC00, 0xFFFF, 7]
    row = Row([1], 1.0, 4, 0, stop=(to_string([0xDC00, 0xFFFF]),))
    slots, report = Slots(enumerate([row]), 1, 4), Report(1)
    plan = slots.plan()
    texts = slots.collect(plan, np.array(ids, np.int32)[:, None], np.ones((4, 1), np.float32), report)
    assert [(text.ids.tolist(), text.stopped) for text in texts] == [([0xD800], True)]


def test_rows_are_read_when_a_slot_is_free() -> None:
    rows = iter([Row([1], 1.0, 3, key) for key in range(20)])
    slots = Slots(enumerate(rows), 2, 4)
    slots.plan()  # each slot starts two rows, the second at the fourth step
    assert len(list(rows)) == 16  # Catches: rows that are read ahead, whose seeds wait in memory
