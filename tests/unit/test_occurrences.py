"""Equal seeds are counted, however many lie between them."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from charrnn.jobs.rows import occurrences as module
from charrnn.jobs.rows.occurrences import Occurrences

KEYS = st.one_of(st.integers(0, 3), st.integers(-(2**63), 2**63 - 1))


@given(st.lists(st.lists(KEYS, max_size=9), max_size=9), st.integers(0, 30))
def test_occurrences_of_each_key_are_counted(calls: list[list[int]], few: int) -> None:
    # Catches: equal keys of one call, those of an older array, or those before the first array left out
    occurrences, seen = Occurrences(), Counter[int]()
    with patch.object(module, "FEW", few):
        for keys in calls:
            expected = []
            for key in keys:
                expected.append(seen[key])
                seen[key] += 1
            assert occurrences.count(keys) == expected


def test_a_key_takes_few_bytes() -> None:
    occurrences = Occurrences()
    tracemalloc.start()
    try:
        for first in range(0, 200_000, 10_000):
            occurrences.count([(first + number) * 0x9E3779B97F4A7C15 % 2**63 for number in range(10_000)])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8_000_000  # Catches: a dictionary, with 100 bytes for each
