"""Counts of equal seeds, among millions that are read one after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.jobs.rows.sorted_keys import SortedKeys

FEW = 10_000  # keys that a dictionary counts, with 100 bytes for each


class Occurrences:
    """Counts how often each key has occurred before: few keys without NumPy, whose import takes 0.05 s.

    Keys are 64-bit hashes.
    """

    def __init__(self) -> None:
        self._few = Counter[int]()
        self._many: SortedKeys | None = None

    def count(self, keys: Sequence[int]) -> list[int]:
        """Return for each key the number of equal ones before it, in this and in earlier calls."""
        if self._many is None and self._few.total() + len(keys) > FEW:
            from charrnn.jobs.rows.sorted_keys import SortedKeys

            self._many = SortedKeys()
            self._many.count(list(self._few.elements()))
            self._few.clear()
        if self._many is not None:
            return self._many.count(keys)
        counts = []
        for key in keys:
            counts.append(self._few[key])
            self._few[key] += 1
        return counts
