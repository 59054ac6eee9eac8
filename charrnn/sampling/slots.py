"""The slots of a batch: the row that each works on, the inputs of a call, and the distribution of its outputs.

The end of a row without stop strings is known when it starts, so the next row takes over its slot at the next step,
within the same call. A row that meets a stop string leaves its slot at the end of the call, so calls are shorter where
many do.

All slots are planned and collected at once, in arrays. Python touches a row when it begins and when it ends: a loop
over the slots took 1.5 to 3 us for each in every call, with which no device samples more than 3 million characters/s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from charrnn.sampling.history import History
from charrnn.sampling.limits import clamp_temperatures
from charrnn.sampling.plan import Plan, Spans
from charrnn.sampling.seeds import Seeds
from charrnn.sampling.stops import Stops
from charrnn.sampling.tasks import Row, Tasks
from charrnn.sampling.texts import Texts


@dataclass
class Report:
    """Counters and times of one run of the sampler, and what the self-check found, see `find_dependence`."""

    batch: int
    steps: int = 0  # of the batch as a whole
    slot_steps: int = 0  # steps of single slots that worked on a row
    characters: int = 0  # sampled, including stop strings
    rows: int = 0
    stopped: int = 0  # rows that a stop string ended
    compile_seconds: float = 0.0
    seconds: float = 0.0  # of sampling, without compilation
    depends_on: frozenset[str] = frozenset()  # what texts depend on besides their rows

    @property
    def fill(self) -> float:
        """Batch utilization: the share of slots x steps that worked on a row."""
        return self.slot_steps / max(1, self.steps * self.batch)


class Slots:
    """B slots, and the rows that wait for one.

    Args:
        rows: the rows with their numbers. They are read when a slot is free; other slots may read the same iterator.
        batch: B.
        most_steps: the most steps of a call.
    """

    def __init__(self, rows: Iterator[tuple[int, Row]], batch: int, most_steps: int) -> None:
        self.waiting, self.most_steps, self.now = rows, most_steps, 0
        self.tasks, self.ahead = Tasks.none(batch), Tasks.none(0)
        self.seeds, self.stops, self.history = Seeds(), Stops(), History(batch, most_steps)

    def plan(self, steps: int | None = None) -> Plan:
        """Plan the steps of a call. Each slot continues its row, and the slot that is free first takes the next row.

        Args:
            steps: K, which divides `most_steps` and the time now; None: `most_steps`.
        """
        end = self.now + (steps or self.most_steps)
        plan, batch = Plan(self.now, end - self.now, self.tasks), len(self.tasks)
        busy = np.flatnonzero(self.tasks.end > self.now)
        self._forget_seeds(busy)
        plan.add(self._work(plan, self.tasks[busy], busy, np.full(len(busy), self.now), end))
        free = np.maximum(self.tasks.end, self.now) * batch + np.arange(batch)  # in the order of times, then of slots
        while len(free := np.sort(free[free < end * batch])):
            tasks = self._next_rows(len(free))
            if not len(tasks):
                break
            times, slots = np.divmod(free[: len(tasks)], batch)
            again = (times + tasks.end) * batch + slots
            # As many rows as take a slot before the first of them has freed its own.
            in_time = free[1 : len(tasks)] < np.minimum.accumulate(again)[:-1]
            count = len(tasks) if in_time.all() else 1 + int(in_time.argmin())
            started, self.ahead = tasks[:count].start(times[:count]), self.ahead[count:]
            self.tasks = self.tasks.put(slots[:count], started)
            plan.start(self._work(plan, started, slots[:count], times[:count], end))
            free = np.concatenate([free[count:], again[:count]])
        self.now = end
        return plan

    def _work(self, plan: Plan, tasks: Tasks, slots: np.ndarray, starts: np.ndarray, end: int) -> Spans:
        """Let rows work in their slots from some times on, until they end or the call does. Feed their seeds."""
        stops = np.minimum(tasks.end, end)
        fed = np.flatnonzero(starts <= tasks.begin)
        if len(fed):
            first = starts[fed]
            counts = np.minimum(tasks.begin[fed] + 1, stops[fed]) - first
            self.seeds.feed(plan.feed, slots[fed], first - self.now, tasks.seed[fed] + first, counts)
        return Spans(tasks, slots, starts, stops)

    def _forget_seeds(self, busy: np.ndarray) -> None:
        """Forget the ids of seeds that have been fed, if they are many.

        Between two calls no row is ahead: one that was read has found its slot in the same call.
        """
        if self.seeds.is_full:
            fed = busy[self.tasks.begin[busy] >= self.now]
            places = self.seeds.keep(self.tasks.seed[fed] + self.now, self.tasks.begin[fed] + 1 - self.now)
            self.tasks.seed[fed] = places - self.now

    def _next_rows(self, count: int) -> Tasks:
        """Return the next rows that wait for a slot, at most `count`. Their times are counted from their first step."""
        if rows := list(islice(self.waiting, count - len(self.ahead))):
            self.ahead = Tasks.join([self.ahead, self._tasks(rows)])
        return self.ahead[:count]

    def _tasks(self, numbered: Sequence[tuple[int, Row]]) -> Tasks:
        numbers, rows = zip(*numbered, strict=True)
        seeds = [row.seed for row in rows]
        lengths = np.fromiter(map(len, seeds), np.int64, len(rows))
        return Tasks(
            index=np.array(numbers, np.int64),
            begin=lengths - 1,
            end=lengths - 1 + [row.length for row in rows],
            seed=self.seeds.add(seeds, lengths),
            stops=self.stops.numbers([row.stop for row in rows]),
            keep_stop=np.array([row.keep_stop for row in rows]),
            key=np.array([row.key for row in rows], np.uint64),
            temperature=clamp_temperatures(np.array([row.temperature for row in rows])),
            top_k=np.array([row.top_k for row in rows], np.int32),
            top_p=np.array([row.top_p for row in rows], np.float32),
        )

    def collect(self, plan: Plan, ids: np.ndarray, nats: np.ndarray, report: Report) -> Texts:
        """Give the characters sampled in a call to their rows, and return the texts of rows that are complete.

        A row that met a stop string leaves its slot. Characters sampled behind the stop string are not counted.

        Args:
            plan: the plan of the call.
            ids: outputs of the call, (K, B).
            nats: their negative log probabilities, (K, B).
            report: its counters are increased.
        """
        self.history.write(plan.now, ids, nats)
        spans = plan.spans
        tasks, ends, text_ends, stopped = spans.tasks, *self._find_stops(plan.now, spans)
        mine = stopped & (self.tasks.index[spans.slots] == tasks.index)
        self.tasks.end[spans.slots[mine]] = self.now
        complete = np.flatnonzero(stopped | (ends == tasks.end))
        report.slot_steps += int((ends - spans.starts).sum())
        report.characters += int(np.maximum(ends - np.maximum(tasks.begin, spans.starts), 0).sum())
        report.rows += len(complete)
        report.stopped += int(stopped.sum())
        texts = Texts.none()
        if len(complete):
            slots, done = spans.slots[complete], tasks[complete]
            texts = self._texts(done, slots, ends[complete], text_ends[complete], stopped[complete])
        busy = np.flatnonzero(self.tasks.end > self.now)
        self.history.save(busy, self.tasks.begin[busy], self.now, self.most_steps)
        return texts

    def _find_stops(self, now: int, spans: Spans) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the times before which rows work in a call, those before which their texts end, and whether a stop
        string ends them. Each (N,)."""
        tasks, stopped = spans.tasks, np.zeros(len(spans.stops), np.bool_)
        some = np.flatnonzero((tasks.stops > 0) & (tasks.begin < spans.stops))
        if not len(some):
            return spans.stops, spans.stops, stopped
        ends, text_ends = spans.stops.copy(), spans.stops.copy()
        found, starts, stops = self.stops.find(
            self.history, now, tasks.stops[some], spans.slots[some], tasks.begin[some], ends[some]
        )
        found = some[found]
        ends[found], stopped[found] = stops, True
        text_ends[found] = np.where(tasks.keep_stop[found], stops, starts)
        return ends, text_ends, stopped

    def _texts(
        self, tasks: Tasks, slots: np.ndarray, ends: np.ndarray, text_ends: np.ndarray, stopped: np.ndarray
    ) -> Texts:
        """Return the texts of rows that are complete."""
        ids, nats = self.history.cut(slots, tasks.begin, ends)
        sizes = ends - tasks.begin
        starts = np.cumsum(sizes) - sizes
        return Texts(tasks.index, ids, nats, starts, starts + text_ends - tasks.begin, stopped)
