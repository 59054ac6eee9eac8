"""The slots of a batch: the row that each works on, the inputs of a call, and the distribution of its outputs.

The end of a row without stop strings is known when it starts, so the next row takes over its slot at the next step,
within the same call. A row that meets a stop string leaves its slot at the end of the call.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from charrnn.sampling.next_character import Limits, clamp_temperature

SAMPLED = -1  # in the feed of a plan: the input is the character sampled at the step before
ALL = 2**31 - 1  # top_k without a limit


@dataclass(frozen=True)
class Row:
    """One text to sample."""

    seed: Sequence[int]  # ids to feed first, at least one
    temperature: float  # 0 is greedy decoding
    length: int  # maximum number of new characters, at least 1
    key: int  # of the random stream of the row
    stop: tuple[str, ...] = ()  # stop strings, each of their ids as `to_string` has it: the text ends before the first
    keep_stop: bool = False  # the text ends after its stop string instead
    top_k: int = ALL
    top_p: float = 1.0

    @property
    def steps(self) -> int:
        """Number of steps until the row reaches its length."""
        return len(self.seed) + self.length - 1

    @property
    def limited(self) -> bool:
        """Whether top-k or top-p excludes characters."""
        return self.top_k < ALL or self.top_p < 1.0


@dataclass(frozen=True)
class Text:
    """The text sampled for the row at `index`.

    Attributes:
        index: number of the row, from 0.
        ids: of the characters, (length,).
        nats: negative natural log probability of each character at temperature 1, (length,).
        stopped: whether a stop string ended the text, and not its length.
    """

    index: int
    ids: np.ndarray
    nats: np.ndarray
    stopped: bool

    @property
    def finish_reason(self) -> str:
        """The reason why the text ended: "stop" or "length"."""
        return "stop" if self.stopped else "length"

    @property
    def logprobs(self) -> list[float]:
        """The natural log probability of each character at temperature 1 and without limits, to 4 decimals."""
        return [round(-nats, 4) + 0.0 for nats in self.nats.tolist()]

    @property
    def nats_per_char(self) -> float | None:
        """The mean of `nats`, to 4 decimals: the cross-entropy of the text. None if it is empty."""
        return round(float(self.nats.mean(dtype=np.float64)), 4) if len(self.nats) else None


@dataclass
class Report:
    """Counters and times of one run of the sampler."""

    batch: int
    steps: int = 0  # of the batch as a whole
    slot_steps: int = 0  # steps of single slots that worked on a row
    characters: int = 0  # sampled, including stop strings
    rows: int = 0
    compile_seconds: float = 0.0
    seconds: float = 0.0  # of sampling, without compilation

    @property
    def fill(self) -> float:
        """Batch utilization: the share of slots x steps that worked on a row."""
        return self.slot_steps / max(1, self.steps * self.batch)


class Stop(NamedTuple):
    """The place of a stop string in a text.

    The minimum of several is the one that ends first, and the longest of those that end there.
    """

    end: int
    start: int


@dataclass
class _Task:
    """A row in progress in a slot: how many of its steps are planned, and the characters sampled for it."""

    index: int
    row: Row
    planned: int = 0  # number of steps planned so far
    ids: list[np.ndarray] = field(default_factory=list)
    nats: list[np.ndarray] = field(default_factory=list)
    tail: str = ""  # the last ids, as a string: the start of a stop string that the next piece may complete

    @property
    def finished(self) -> bool:
        """Whether all steps are planned."""
        return self.planned == self.row.steps

    @property
    def sampled(self) -> int:
        """Number of characters of its text, as far as planned."""
        return max(0, self.planned - len(self.row.seed) + 1)

    def extend(self, ids: np.ndarray, nats: np.ndarray) -> Stop | None:
        """Add a piece to the text. Return the first stop string that ends in it; it may begin in earlier pieces.

        With the stop strings "END" and "D", and the pieces "the E" and "ND of":

            text    t h e   E N D   o f
            place   0 1 2 3 4 5 6 7 8 9
            matches         E N D           Stop(end=7, start=4)
                                D           Stop(end=7, start=6)

        Both end at the same place, so the longer one is taken, and the text is "the ".
        """
        self.ids.append(ids)
        self.nats.append(nats)
        if not self.row.stop:
            return None
        newest, searched = to_string(ids.tolist()), len(self.tail)
        recent = self.tail + newest
        before, stops = self.sampled - len(recent), []
        for stop in self.row.stop:
            # Bounds the cost of many long stop strings: most are not searched for, and each only where it would be new.
            if stop[-1] in newest and (place := recent.find(stop, max(0, searched - len(stop) + 1))) >= 0:
                stops.append(Stop(end=before + place + len(stop), start=before + place))
        longest = max(map(len, self.row.stop))
        self.tail = recent[max(0, len(recent) - longest + 1) :]
        return min(stops, default=None)

    def text(self, stop: Stop | None) -> Text:
        """Return the whole text, or the text before a stop string (including it if the row keeps it)."""
        ids, nats = np.concatenate(self.ids), np.concatenate(self.nats)
        if stop is not None:
            end = stop.end if self.row.keep_stop else stop.start
            ids, nats = ids[:end], nats[:end]
        return Text(self.index, ids, nats, stop is not None)


def to_string(ids: Iterable[int]) -> str:
    """Return ids as a string with one character per id, because `str.find` is the fastest search for a sequence."""
    return "".join(map(chr, ids))


class Span(NamedTuple):
    """The steps of a call, from `start` to before `stop`, in which a slot works on one row."""

    slot: int
    start: int
    stop: int
    task: _Task
    sampled: int  # the first step whose output is text: that of the last character of the seed
    last: bool  # whether the row ends with this span


class Plan:
    """The inputs of one call. Every array is (K, B)."""

    def __init__(self, settings: _Settings, steps: int) -> None:
        batch = len(settings.key)
        self.steps = steps
        self.feed = np.full((steps, batch), SAMPLED, np.int32)
        self.keep_mask = np.ones((steps, batch), np.float32)  # 0 where a row starts
        self.place = settings.place + np.arange(steps)[:, None]
        self.key = np.tile(settings.key, (steps, 1))
        self.temperature = np.tile(settings.temperature, (steps, 1))
        self.top_k = np.tile(settings.top_k, (steps, 1))
        self.top_p = np.tile(settings.top_p, (steps, 1))
        self.limited = False
        self.spans: list[Span] = []

    def limits(self, vocabulary_size: int) -> Limits | None:
        """Return the limits, (K, B), or None if no row excludes any character."""
        return Limits(np.minimum(self.top_k, vocabulary_size), self.top_p) if self.limited else None


class _Settings:
    """The settings of the row in each slot. Every array is (B,)."""

    def __init__(self, batch: int) -> None:
        self.place = np.zeros(batch, np.int64)  # of the next step within the row
        self.temperature = np.zeros(batch, np.float32)
        self.key = np.zeros(batch, np.uint64)
        self.top_k = np.full(batch, ALL, np.int32)
        self.top_p = np.ones(batch, np.float32)


class Slots:
    """B slots, and the rows that wait for one."""

    def __init__(self, rows: Iterable[Row], batch: int) -> None:
        self.waiting = enumerate(rows)
        self.tasks: list[_Task | None] = [None] * batch
        self.settings = _Settings(batch)

    def plan(self, steps: int) -> Plan:
        """Plan the steps of a call. Each slot continues its row, and the slot that is free first takes the next row."""
        plan = Plan(self.settings, steps)
        free: list[tuple[int, int]] = []  # a heap of (step, slot)
        for slot, task in enumerate(self.tasks):
            stop = self._plan_steps(plan, slot, 0, task) if task else 0
            if stop < steps:
                free.append((stop, slot))
        heapq.heapify(free)
        while free:
            start, slot = heapq.heappop(free)
            if (entry := next(self.waiting, None)) is None:
                break
            stop = self._start(plan, slot, start, _Task(*entry))
            if stop < steps:
                heapq.heappush(free, (stop, slot))
        self.settings.place += steps
        return plan

    def _start(self, plan: Plan, slot: int, start: int, task: _Task) -> int:
        """Assign the steps of a slot from `start` on to a new row. Return the step after its last one in this call."""
        row, settings, steps = task.row, self.settings, slice(start, None)
        plan.keep_mask[start, slot] = 0.0
        settings.place[slot] = -start
        plan.place[steps, slot] = np.arange(plan.steps - start)
        settings.key[slot] = plan.key[steps, slot] = row.key
        settings.temperature[slot] = plan.temperature[steps, slot] = clamp_temperature(row.temperature)
        settings.top_k[slot] = plan.top_k[steps, slot] = row.top_k
        settings.top_p[slot] = plan.top_p[steps, slot] = row.top_p
        self.tasks[slot] = task
        return self._plan_steps(plan, slot, start, task)

    def _plan_steps(self, plan: Plan, slot: int, start: int, task: _Task) -> int:
        """Plan the next steps of a row, at most to the end of the call. Return the step after the last of them."""
        row, first = task.row, task.planned
        stop = min(plan.steps, start + row.steps - first)
        task.planned += stop - start
        if seed := row.seed[first : task.planned]:
            plan.feed[start : start + len(seed), slot] = seed
        plan.limited |= row.limited
        sampled = min(stop, start + max(0, len(row.seed) - 1 - first))
        plan.spans.append(Span(slot, start, stop, task, sampled, task.finished))
        if task.finished:
            self.tasks[slot] = None
        return stop

    def collect(self, plan: Plan, ids: np.ndarray, nats: np.ndarray, report: Report) -> Iterator[Text]:
        """Give the characters sampled in a call to their rows, and yield the texts of rows that are complete.

        A row that met a stop string leaves its slot. Characters sampled behind the stop string are not counted.

        Args:
            plan: the plan of the call.
            ids: outputs of the call, (K, B).
            nats: their negative log probabilities, (K, B).
            report: its counters are increased.
        """
        for slot, start, end, task, sampled, last in plan.spans:
            stop = task.extend(ids[sampled:end, slot], nats[sampled:end, slot]) if sampled < end else None
            behind = task.sampled - stop.end if stop else 0
            report.slot_steps += end - start - behind
            report.characters += end - sampled - behind
            if stop and self.tasks[slot] is task:
                self.tasks[slot] = None
            if stop or last:
                report.rows += 1
                yield task.text(stop)
