"""The slots of a batch: which row each works on, what a call feeds them, and what becomes of its answer.

The end of a row is known when it starts, unless it has stop strings: so the next row takes over its slot at the very
step after, inside the call. A row that meets a stop string leaves its slot with the end of the call.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from charrnn.sampling.next_character import Limits, bounded

SAMPLED = -1  # in a plan's feed: the input is what was sampled the step before
ALL = 2**31 - 1  # top_k without a limit


@dataclass(frozen=True)
class Row:
    """One text to sample."""

    seed: Sequence[int]  # ids to feed first, at least one
    temperature: float  # 0 is greedy decoding
    length: int  # new characters at most, at least 1
    key: int  # of the row's random stream
    stop: tuple[tuple[int, ...], ...] = ()  # the text ends before the first of these, as ids
    keep_stop: bool = False  # it ends after it
    top_k: int = ALL
    top_p: float = 1.0

    @property
    def steps(self) -> int:
        return len(self.seed) + self.length - 1

    @property
    def limited(self) -> bool:
        return self.top_k < ALL or self.top_p < 1.0


@dataclass(frozen=True)
class Text:
    """The text sampled for the row at `index`: ids (length,) and their nats at temperature 1."""

    index: int
    ids: np.ndarray
    nats: np.ndarray
    stopped: bool  # by a stop string, not by its length

    @property
    def finish_reason(self) -> str:
        return "stop" if self.stopped else "length"

    @property
    def logprobs(self) -> list[float]:
        """Natural logarithm of each character's probability at temperature 1, without limits."""
        return [round(-nats, 4) + 0.0 for nats in self.nats.tolist()]

    @property
    def nats_per_char(self) -> float | None:
        """Mean of the nats; None of an empty text."""
        return round(float(self.nats.mean(dtype=np.float64)), 4) if len(self.nats) else None


@dataclass
class Report:
    """Counts and times of a run of the sampler."""

    batch: int
    steps: int = 0  # of the whole batch
    slot_steps: int = 0  # of slots that held a row, until its end
    characters: int = 0  # sampled, stop strings too
    rows: int = 0
    compile_seconds: float = 0.0
    seconds: float = 0.0  # of sampling, compiling left out

    @property
    def fill(self) -> float:
        """Share of slots x steps that worked on a row."""
        return self.slot_steps / max(1, self.steps * self.batch)


class Stop(NamedTuple):
    """The place of a stop string in a text. The least of several is the one that ends first, then the longest."""

    end: int
    start: int


@dataclass
class _Held:
    """The row that a slot works on, how far it has come, and what was sampled for it."""

    index: int
    row: Row
    done: int = 0  # steps planned so far
    ids: list[np.ndarray] = field(default_factory=list)
    nats: list[np.ndarray] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.done == self.row.steps

    @property
    def sampled(self) -> int:
        """Characters of its text, planned so far."""
        return max(0, self.done - len(self.row.seed) + 1)

    def find_stop(self) -> Stop | None:
        """Return the first stop string that ends in the newest piece of the text; it may begin in earlier pieces.

        With the stop strings "END" and "D", and the pieces "the E" and "ND of":

            text    t h e   E N D   o f
            place   0 1 2 3 4 5 6 7 8 9
            found           E N D           Stop(end=7, start=4)
                                D           Stop(end=7, start=6)

        Both end first, so the longer one is taken, and the text is "the ".
        """
        newest, longest = len(self.ids[-1]), max(map(len, self.row.stop))
        recent = ""  # the newest piece, and as many before it as a stop string that ends in it can begin in
        for piece in reversed(self.ids):
            if len(recent) >= newest + longest - 1:
                break
            recent = _string(piece.tolist()) + recent
        before, searched = self.sampled - len(recent), len(recent) - newest
        stops = []
        for stop in map(_string, self.row.stop):
            place = recent.find(stop, max(0, searched - len(stop) + 1))
            if place >= 0:
                stops.append(Stop(end=before + place + len(stop), start=before + place))
        return min(stops, default=None)

    def text(self, stop: Stop | None) -> Text:
        """Return the whole text, or what comes before a stop string (with it, if the row keeps it)."""
        ids, nats = np.concatenate(self.ids), np.concatenate(self.nats)
        if stop is not None:
            end = stop.end if self.row.keep_stop else stop.start
            ids, nats = ids[:end], nats[:end]
        return Text(self.index, ids, nats, stop is not None)


def _string(ids: Iterable[int]) -> str:
    """Return ids as a string of as many characters: `str.find` is the fastest search for a sequence."""
    return "".join(map(chr, ids))


class Span(NamedTuple):
    """The steps start..stop of a call in which a slot works on one row."""

    slot: int
    start: int
    stop: int
    held: _Held
    sampled: int  # first step whose output is text: until the seed's last character it is not
    last: bool  # the row ends with this span


class Plan:
    """The inputs of one call; every array is (K, B)."""

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
        """(K, B); None where every row may draw every character."""
        return Limits(np.minimum(self.top_k, vocabulary_size), self.top_p) if self.limited else None


class _Settings:
    """Settings of the row in each slot; every array is (B,)."""

    def __init__(self, batch: int) -> None:
        self.place = np.zeros(batch, np.int64)  # of the next step, in the row
        self.temperature = np.zeros(batch, np.float32)
        self.key = np.zeros(batch, np.uint64)
        self.top_k = np.full(batch, ALL, np.int32)
        self.top_p = np.ones(batch, np.float32)


class Slots:
    """B slots, and the rows that wait for one."""

    def __init__(self, rows: Iterable[Row], batch: int) -> None:
        self.waiting = enumerate(rows)
        self.held: list[_Held | None] = [None] * batch
        self.settings = _Settings(batch)
        self.stop_ends: set[int] = set()  # last ids of all stop strings so far

    def plan(self, steps: int) -> Plan:
        """Fill a call's steps: each slot goes on with its row; the slot that is free first takes the next."""
        plan = Plan(self.settings, steps)
        free: list[tuple[int, int]] = []  # (step, slot), a heap
        for slot, held in enumerate(self.held):
            stop = self._go_on(plan, slot, 0, held) if held else 0
            if stop < steps:
                free.append((stop, slot))
        heapq.heapify(free)
        while free:
            start, slot = heapq.heappop(free)
            if (entry := next(self.waiting, None)) is None:
                break
            stop = self._start(plan, slot, start, _Held(*entry))
            if stop < steps:
                heapq.heappush(free, (stop, slot))
        self.settings.place += steps
        return plan

    def _start(self, plan: Plan, slot: int, start: int, held: _Held) -> int:
        """Give the slot's steps from `start` on to a new row -> the step after its last."""
        row, settings, steps = held.row, self.settings, slice(start, None)
        plan.keep_mask[start, slot] = 0.0
        settings.place[slot] = -start
        plan.place[steps, slot] = np.arange(plan.steps - start)
        settings.key[slot] = plan.key[steps, slot] = row.key
        settings.temperature[slot] = plan.temperature[steps, slot] = bounded(row.temperature)
        settings.top_k[slot] = plan.top_k[steps, slot] = row.top_k
        settings.top_p[slot] = plan.top_p[steps, slot] = row.top_p
        self.stop_ends.update(stop[-1] for stop in row.stop)
        self.held[slot] = held
        return self._go_on(plan, slot, start, held)

    def _go_on(self, plan: Plan, slot: int, start: int, held: _Held) -> int:
        """Plan the row's next steps, at most to the call's end -> the step after the last of them."""
        row, first = held.row, held.done
        stop = min(plan.steps, start + row.steps - first)
        held.done += stop - start
        if seed := row.seed[first : held.done]:
            plan.feed[start : start + len(seed), slot] = seed
        plan.limited |= row.limited
        sampled = min(stop, start + max(0, len(row.seed) - 1 - first))
        plan.spans.append(Span(slot, start, stop, held, sampled, held.finished))
        if held.finished:
            self.held[slot] = None
        return stop

    def collect(self, plan: Plan, ids: np.ndarray, nats: np.ndarray, report: Report) -> Iterator[Text]:
        """Hand each span's sampled characters (K, B) to its row; yield the rows that are complete.

        A row that met a stop string leaves its slot. What was sampled behind the stop string is not counted.
        """
        may_stop = np.any(np.isin(ids, list(self.stop_ends)), axis=0).tolist()
        for slot, start, end, held, sampled, last in plan.spans:
            if sampled < end:
                held.ids.append(ids[sampled:end, slot])
                held.nats.append(nats[sampled:end, slot])
            stop = held.find_stop() if held.row.stop and may_stop[slot] and held.ids else None
            behind = held.sampled - stop.end if stop else 0
            report.slot_steps += end - start - behind
            report.characters += end - sampled - behind
            if stop and self.held[slot] is held:
                self.held[slot] = None
            if stop or last:
                report.rows += 1
                yield held.text(stop)
