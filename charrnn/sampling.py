"""Continuous batching: many rows, each with its own seed, temperature and length, as one batch.

B slots run K steps a compiled call. Feeding the seed and sampling are the same step: the input is
the seed's next character while there is one, else the character just sampled. A row's last step is
known when it starts, so the next row takes over its slot at the very step after, inside the call.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from charrnn import backend as ops
from charrnn.backend import Array
from charrnn.network import State, Weights, forget, step, zero_state
from charrnn.options import NetworkOptions
from charrnn.randomness import uniforms

STEPS = 16  # K: steps a call. More calls cost their overhead, longer ones make cancelling slow
WINDOW_STEPS = 1  # the same of a network with a `max_len`, which reads its whole window at each step
SAMPLED = -1  # in the plan's feed: the input is what was sampled the step before
MIN_TEMPERATURE = 1e-6  # below it, logits / temperature overflows and argmax is what is left
MAX_TEMPERATURE = 1e6  # above it, every character is equally likely, and float32 ends at 3e38


@dataclass(frozen=True)
class Row:
    """One text to sample."""

    seed: list[int]  # ids to feed first, at least one
    temperature: float  # 0 is argmax
    length: int  # new characters, at least 1
    key: int  # of the row's random stream

    @property
    def steps(self) -> int:
        return len(self.seed) + self.length - 1


@dataclass(frozen=True)
class Text:
    """What was sampled for the row of that index: ids (length,) and their nats at temperature 1."""

    index: int
    ids: np.ndarray
    nats: np.ndarray

    @property
    def nats_per_char(self) -> float:
        return round(float(self.nats.mean(dtype=np.float64)), 4)


@dataclass
class Report:
    """What a run of the sampler did."""

    batch: int
    steps: int = 0  # of the whole batch
    slot_steps: int = 0  # of slots that held a row
    characters: int = 0
    rows: int = 0

    @property
    def fill(self) -> float:
        """Share of slots x steps that worked on a row."""
        return self.slot_steps / max(1, self.steps * self.batch)


@dataclass
class _Slot:
    """The row that a slot works on, how far it has come, and what was sampled for it."""

    index: int
    row: Row
    done: int = 0  # steps planned so far
    ids: list[np.ndarray] = field(default_factory=list)
    nats: list[np.ndarray] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.done == self.row.steps

    def text(self) -> Text:
        return Text(self.index, np.concatenate(self.ids), np.concatenate(self.nats))


@dataclass(frozen=True)
class _Span:
    """The steps start..stop of a call in which a slot works on one row."""

    slot: int
    start: int
    stop: int
    held: _Slot
    sampled: int  # first step whose output is text: until the seed's last character it is not
    last: bool  # the row ends with this span


class _Plan:
    """The inputs of one call; every array is (K, B)."""

    def __init__(self, steps: int, batch: int) -> None:
        self.steps = steps
        self.feed = np.zeros((steps, batch), np.int32)
        self.fresh = np.ones((steps, batch), np.bool_)  # start from a zero state; so do idle slots
        self.temperature = np.zeros((steps, batch), np.float32)
        self.keys = np.zeros((steps, batch), np.uint64)
        self.positions = np.zeros((steps, batch), np.int64)
        self.spans: list[_Span] = []

    def add(self, slot: int, start: int, held: _Slot) -> int:
        """Give the slot's steps from `start` on to a row; returns the step after its last."""
        row, first = held.row, held.done
        stop = min(self.steps, start + row.steps - first)
        held.done += stop - start
        steps = slice(start, stop)
        seed = row.seed[first : held.done]
        self.feed[steps, slot] = SAMPLED
        self.feed[start : start + len(seed), slot] = seed
        self.fresh[steps, slot] = False
        self.fresh[start, slot] = first == 0
        self.temperature[steps, slot] = _bounded(row.temperature)
        self.keys[steps, slot] = row.key
        self.positions[steps, slot] = np.arange(first, held.done)
        sampled = min(stop, start + max(0, len(row.seed) - 1 - first))
        self.spans.append(_Span(slot, start, stop, held, sampled, held.finished))
        return stop


def _bounded(temperature: float) -> float:
    return 0.0 if temperature < MIN_TEMPERATURE else min(temperature, MAX_TEMPERATURE)


def sample(
    network: NetworkOptions,
    weights: Weights,
    rows: Iterable[Row],
    batch: int,
    *,
    report: Report | None = None,
    on_call: Callable[[Report], object] = lambda report: None,
) -> Iterator[Text]:
    """Sample every row; texts come as they finish, each with its row's index.

    Args:
        batch: slots. For one batch size a row's text depends on the weights and the row alone.
        report: filled in while it runs.
        on_call: called after each compiled call; may raise to stop.
    """
    report = report or Report(batch)
    waiting = enumerate(rows)
    slots: list[_Slot | None] = [None] * batch
    state, last = zero_state(network, batch), ops.array(np.zeros(batch, np.int32))
    steps = STEPS if network.max_len is None else WINDOW_STEPS
    while (plan := _plan(steps, slots, waiting)).spans:
        numbers = uniforms(plan.keys, plan.positions)
        ids, nats, last, state = _sampler(network)(
            weights, state, last, plan.feed, plan.fresh, plan.temperature, numbers
        )
        report.steps += steps
        yield from _collect(plan, np.asarray(ids), np.asarray(nats), report)
        on_call(report)


def _plan(steps: int, slots: list[_Slot | None], waiting: Iterator[tuple[int, Row]]) -> _Plan:
    """Fill a call's steps: each slot goes on with its row; the slot that is free first takes the next."""
    plan = _Plan(steps, len(slots))
    free = [(0, slot) for slot in range(len(slots))]  # (step, slot), a heap
    while free:
        start, slot = heapq.heappop(free)
        if (held := _held(slots, slot, waiting)) is None:
            continue
        stop = plan.add(slot, start, held)
        if stop < steps:
            heapq.heappush(free, (stop, slot))
    return plan


def _held(slots: list[_Slot | None], slot: int, waiting: Iterator[tuple[int, Row]]) -> _Slot | None:
    held = slots[slot]
    if held is None or held.finished:
        entry = next(waiting, None)
        held = slots[slot] = _Slot(*entry) if entry else None
    return held


def _collect(plan: _Plan, ids: np.ndarray, nats: np.ndarray, report: Report) -> Iterator[Text]:
    """Hand each span's sampled characters to its row; yield the rows that are complete."""
    for span in plan.spans:
        steps = slice(span.sampled, span.stop)
        span.held.ids.append(ids[steps, span.slot])
        span.held.nats.append(nats[steps, span.slot])
        report.slot_steps += span.stop - span.start
        report.characters += span.stop - span.sampled
        if span.last:
            report.rows += 1
            yield span.held.text()


@lru_cache(maxsize=4)
def _sampler(network: NetworkOptions):  # type: ignore[no-untyped-def]  # a compiled function
    def call(
        weights: Weights, state: State, last: Array, feed: Array, fresh: Array, temperature: Array, numbers: Array
    ) -> tuple[Array, Array, Array, State]:
        """K steps -> ids (K, B), nats (K, B), the last ids (B,) and the state."""
        ids, nats = [], []
        for k in range(feed.shape[0]):
            inputs = ops.where(feed[k] == SAMPLED, last, feed[k])
            logits, state = step(network, weights, inputs, forget(network, state, fresh[k]))
            last = draw(logits, temperature[k], numbers[k])
            ids.append(last)
            nats.append(ops.cross_entropy(logits, last))
        return ops.stack(ids), ops.stack(nats), last, state

    return ops.compiled(call)


def draw(logits: Array, temperature: Array, numbers: Array) -> Array:
    """Sample from softmax(logits / temperature) by inverting its distribution function.

    Args:
        logits: (B, V).
        temperature: (B,); 0 means argmax.
        numbers: (B,), strictly between 0 and 1, so that no character of probability 0 is drawn.

    Returns:
        ids (B,).
    """
    cold = temperature == 0.0
    divisor = ops.where(cold, 1.0, temperature)[:, None]
    cumulative = ops.cumulative_sum(ops.exp((logits - ops.largest(logits)) / divisor))
    drawn = ops.total(ops.cast(cumulative <= numbers[:, None] * cumulative[:, -1:], ops.int32), axis=-1)
    return ops.where(cold, ops.index_of_largest(logits), drawn)
