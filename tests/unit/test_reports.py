"""The reports of parts, added up for their job."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.jobs.job.report import SHOWN_TEMPERATURES, SKETCH, Distinct, Report, Seconds, Tallies, summarize


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


def part_report(first: int) -> Report:
    """Return the report of a part with one text at each of 30 temperatures."""
    tallies = Tallies()
    for number in range(first, first + 30):
        tallies.at(str(number)).add("seed ", f"text {number}", 1.0)
    return Report(
        parts=1,
        batch=16,
        precision="float32",
        steps=10,
        slot_steps=80,
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


def test_a_report_outlives_its_json() -> None:
    report = part_report(0) + part_report(25)
    again = Report.from_dict(json.loads(json.dumps(report.to_dict())))
    # Catches: a sum or a phase that is left out
    assert again.to_dict() == report.to_dict()
    assert (again.parts, again.steps, again.slot_steps, again.characters) == (2, 20, 160, 200)
    assert again.seconds == Seconds(loading=1.0, compiling=0.5, sampling=4.0, writing=0.25)
