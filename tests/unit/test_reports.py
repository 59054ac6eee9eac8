"""The reports of parts, added up for their job."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import reduce
from operator import add

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import InputError
from charrnn.jobs.job.report import PASSED, Report, Seconds, summarize
from charrnn.jobs.job.tallies import SHOWN_TEMPERATURES, SKETCH, CopyTally, Distinct, LongestCopy, Tallies
from charrnn.text.comparison.copies import Copy


def distinct_of(texts: list[str]) -> Distinct:
    distinct = Distinct()
    for text in texts:
        distinct.add(text)
    return distinct


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_few_distinct_texts_are_counted_exactly(texts: list[str]) -> None:
    assert distinct_of(texts * 2).count == len(set(texts))


@pytest.mark.parametrize("count", [SKETCH - 1, SKETCH, 3_000, 50_000])
def test_many_are_counted_to_within_a_tenth(count: int) -> None:
    found = distinct_of([f"text {number}" for number in range(count)])
    assert found.count == pytest.approx(count, rel=0.1)
    assert Distinct.from_json(found.to_json()).count == found.count
    assert len(found.to_json()) < 6_000  # Catches: a job's report that grows with its rows


def test_values_shared_by_two_parts_are_counted_once() -> None:
    first, second = (distinct_of([f"text {n}" for n in range(start, start + 6_000)]) for start in (0, 3_000))
    assert Distinct(first.hashes | second.hashes).count == pytest.approx(9_000, rel=0.1)


def test_texts_at_further_temperatures_are_counted_together() -> None:
    tallies = Tallies()
    for number in range(3 * SHOWN_TEMPERATURES):
        tallies.at(str(number)).add("seed ", "a", 1.0)
    assert len(tallies.tallies) == SHOWN_TEMPERATURES + 1
    assert tallies.at(Tallies.OTHERS).rows == 2 * SHOWN_TEMPERATURES


@given(
    st.lists(st.tuples(st.sampled_from([True, False, None]), st.integers(0, 3_000)), max_size=40), st.integers(0, 40)
)
def test_copies_of_two_parts_are_counted_as_those_of_one(texts: list[tuple[bool | None, int]], split: int) -> None:
    parts = [CopyTally(), CopyTally(), CopyTally()]
    for row, (novel, size) in enumerate(texts):
        for tally in (parts[0], parts[1 if row < split else 2]):
            tally.add(row, Copy(novel, "é" * size, row))
    parts[2].merge(parts[1])  # Catches: the longest copy of the part that ended first
    assert CopyTally.from_dict(json.loads(json.dumps(parts[2].to_dict()))) == parts[0]
    assert (parts[0].judged, parts[0].novel) == (
        sum(novel is not None for novel, _ in texts),
        sum(novel is True for novel, _ in texts),
    )
    if not texts:
        assert parts[0].median() is None
        return
    middle = sorted(size for _, size in texts)[(len(texts) - 1) // 2]
    assert middle * 0.9 <= parts[0].median() <= middle  # type: ignore[operator]
    longest = max(size for _, size in texts)
    row = [size for _, size in texts].index(longest)
    assert parts[0].longest == (
        LongestCopy(characters=longest, text="é" * min(longest, 200), row=row, place=row) if longest else None
    )


def test_lengths_of_copies_take_bounded_space() -> None:
    tally = CopyTally()
    for size in range(20_000):
        tally.add(size, Copy(True, "a" * size))
    assert len(tally.lengths) < 300


def part_report(first: int) -> Report:
    """Return the report of a part with one text at each of 30 temperatures."""
    tallies = Tallies()
    for number in range(first, first + 30):
        tallies.at(str(number)).add("seed ", f"text {number}", 1.0)
        tallies.at(str(number)).copies.add(number, Copy(number % 2 == 0, "copied"[:number], 9))
    return Report(
        parts=1,
        batch=16,
        precision="float32",
        steps=10,
        slot_steps=80,
        free_slot_steps=80,
        characters=100,
        seconds=Seconds(loading=0.5, compiling=0.25, sampling=2.0, writing=0.125),
        temperatures=tallies,
    )


def test_reports_with_other_temperatures_are_added_up() -> None:
    report = part_report(0) + part_report(25)
    assert list(report.temperatures.tallies) == [*map(str, range(SHOWN_TEMPERATURES)), Tallies.OTHERS]
    texts = summarize(report, queue_seconds=0.0).temperatures
    # Catches: `others` counted again by the second part, or texts that both parts have counted twice
    assert (texts[-1].rows, texts[-1].distinct_share) == (60 - SHOWN_TEMPERATURES, round(35 / 40, 4))
    assert sum(text.rows for text in texts) == 60


FAILED = "failed (a card, float32, 256 slots): texts may depend on something"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((PASSED, PASSED), PASSED),
        ((PASSED, FAILED, PASSED), FAILED),
        ((FAILED, "failed (another card)"), FAILED),
        ((None, FAILED), FAILED),
        ((None, PASSED, None), PASSED),  # older releases say nothing
        ((None, None), None),
        (("", FAILED, ""), FAILED),  # of a damaged row
        (("", None), None),
    ],
)
def test_one_failed_self_check_is_that_of_the_job(parts: tuple[str | None, ...], expected: str | None) -> None:
    # Catches: the result of the last part, or of the first one
    report = reduce(add, (replace(part_report(0), self_check=part) for part in parts))
    found = summarize(Report.from_dict(report.to_dict()), queue_seconds=0.0)
    assert (found.self_check, found.failed_self_check) == (expected, expected == FAILED)


@pytest.mark.parametrize("self_check", [5, ["passed"], {}, "x" * 401])
def test_a_self_check_that_is_no_short_text_is_refused(self_check: object) -> None:
    with pytest.raises(InputError, match="self_check must"):
        Report.from_dict({**part_report(0).to_dict(), "self_check": self_check})


def test_a_report_outlives_its_json() -> None:
    report = part_report(0) + part_report(25)
    again = Report.from_dict(json.loads(json.dumps(report.to_dict())))
    # Catches: a sum or a phase that is left out
    assert again.to_dict() == report.to_dict()
    assert (again.parts, again.steps, again.slot_steps, again.characters) == (2, 20, 160, 200)
    assert again.seconds == Seconds(loading=1.0, compiling=0.5, sampling=4.0, writing=0.25)
