"""Rows to sample, and rows in progress as arrays: the loops over slots are NumPy's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from charrnn.sampling.limits import ALL
from charrnn.sampling.randomness import delay


@dataclass(frozen=True)
class Row:
    """One text to sample."""

    seed: Sequence[int]  # ids to feed first, at least one
    temperature: float  # 0 is greedy decoding
    length: int  # maximum number of new characters, at least 1
    key: int  # of the random stream of the row
    stop: tuple[str, ...] = ()  # stop strings, each of their ids as `to_string` has it, at most MAX_STOP of them
    keep_stop: bool = False  # the text ends after its stop string; otherwise before the first
    top_k: int = ALL
    top_p: float = 1.0


@dataclass(frozen=True)
class Tasks:
    """Rows in progress. Every array is (N,). Times are steps since the sampler began."""

    index: np.ndarray  # int64; number of the row
    begin: np.ndarray  # int64; time of the first step whose output is text: that of the last character of its seed
    end: np.ndarray  # int64; time after its last step
    seed: np.ndarray  # int64; its character for a time is at this place and the time in `Seeds.ids`
    stops: np.ndarray  # int64; number of its stop strings in `Stops`
    keep_stop: np.ndarray  # bool; whether the text ends after its stop string
    key: np.ndarray  # uint64; of its random stream, whose positions are times
    temperature: np.ndarray  # float32
    top_k: np.ndarray  # int32
    top_p: np.ndarray  # float32

    @classmethod
    def none(cls, size: int) -> Self:
        """Return tasks that ended before the first step. Their settings are ones that can be computed with."""
        whole = (np.zeros(size, np.int64) for _ in range(5))
        settings = ((False, np.bool_), (0, np.uint64), (0.0, np.float32), (ALL, np.int32), (1.0, np.float32))
        return cls(*whole, *(np.full(size, value, kind) for value, kind in settings))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Return the tasks of several, one after the other."""
        if len(parts) == 1:  # in most calls of a small batch no row starts
            return parts[0]
        return cls(*map(np.concatenate, zip(*(vars(part).values() for part in parts), strict=True)))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, at: np.ndarray | slice) -> Self:
        return type(self)(*(values[at] for values in vars(self).values()))

    def start(self, times: np.ndarray) -> Self:
        """Return tasks, whose times are counted from their own first step, as those that start at some times, (N,)."""
        return replace(
            self,
            begin=self.begin + times,
            end=self.end + times,
            seed=self.seed - times,
            key=delay(self.key, times),
        )

    def put(self, slots: np.ndarray, tasks: Tasks) -> Self:
        """Return these tasks with others in their place at some slots."""
        changed = type(self)(*(values.copy() for values in vars(self).values()))
        for mine, others in zip(vars(changed).values(), vars(tasks).values(), strict=True):
            mine[slots] = others
        return changed
