"""What parts report, added up for their job."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.jobs.reports import SHOWN_TEMPERATURES, SKETCH, Distinct, Tallies


def distinct_of(texts: list[str]) -> Distinct:
    distinct = Distinct()
    for text in texts:
        distinct.add(text)
    return distinct


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_few_distinct_texts_are_counted_exactly(texts: list[str]) -> None:
    assert distinct_of(texts * 2).count == len(set(texts))


@pytest.mark.parametrize("count", [SKETCH - 1, SKETCH, 3_000, 50_000])
def test_many_are_counted_to_within_a_tenth(count: int) -> None:
    found = distinct_of([f"text {number}" for number in range(count)])
    assert found.count == pytest.approx(count, rel=0.1)
    assert Distinct.from_json(found.to_json()).count == found.count
    assert len(found.to_json()) < 6_000  # Catches: a job's report that grows with its rows


def test_what_two_parts_have_in_common_is_counted_once() -> None:
    first, second = (distinct_of([f"text {n}" for n in range(start, start + 6_000)]) for start in (0, 3_000))
    assert Distinct(first.hashes | second.hashes).count == pytest.approx(9_000, rel=0.1)


def test_texts_at_further_temperatures_are_counted_together() -> None:
    tallies = Tallies()
    for number in range(3 * SHOWN_TEMPERATURES):
        tallies.at(str(number)).add("a", 1.0)
    assert len(tallies.tallies) == SHOWN_TEMPERATURES + 1
    assert tallies.at(Tallies.OTHERS).rows == 2 * SHOWN_TEMPERATURES
