"""Continuous batching: many rows, each with its own seed, temperature and length, in one batch.

B slots run K steps per compiled call, fewer where stop strings end texts soon. Feeding a seed and sampling are the same
step: the input is the next character of the seed while there is one, then the character that was just sampled. `slots`
plans which row each slot works on at each step. On a GPU there are two such batches, whose calls follow each other
without a pause: while one runs, the host gives out the characters of the other and plans its next call.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from charrnn.backend import ops
from charrnn.backend.ops import Array
from charrnn.backend.self_check import find_dependence
from charrnn.network.network import Carried, Weights, cast_kernels, first_state, step
from charrnn.options import NetworkOptions
from charrnn.sampling.limits import ALL, Limits
from charrnn.sampling.next_character import sample_ids
from charrnn.sampling.plan import SAMPLED, Plan
from charrnn.sampling.randomness import counters, split_words, uniforms, uniforms_of_words
from charrnn.sampling.slots import Report, Slots
from charrnn.sampling.tasks import Row
from charrnn.sampling.texts import Texts

STEPS = 64 if ops.on_gpu else 16  # the most steps per call, K. Longer calls cancel slowly
LEAST_STEPS = 8  # the overhead of shorter calls costs more than their idle slots
CALLS_BEFORE_COMPILING = 8  # before another K is compiled, which takes as long as these calls on a CPU, 0.2 s
OVERHEAD = 2.0  # of a call, in steps: 2.6 on a CPU with 2 x LSTM(256) in 256 slots
WINDOW_STEPS = 1  # K for a network with a `max_len`, which reads its whole window at each step
GROUPS = 2 if ops.on_gpu else 1  # batches in turn: the host works on one while a GPU computes the other
HASHED_ON_DEVICE = ops.on_gpu  # random numbers, which cost the host 2.5 ns each

CHECKED_TEMPERATURES = (1.0, 0.5, 0.0, 2.0)
CHECKED_TOP_P = (0.9, 1.0, 0.5)


def sample(
    network: NetworkOptions,
    weights: Weights,
    rows: Iterable[Row],
    batch: int,
    *,
    precision: str = "float32",
    reset: int | None = None,
    report: Report | None = None,
    on_call: Callable[[Report], object] = lambda report: None,
) -> Iterator[Texts]:
    """Sample every row, and yield the texts of each call in which some finish, each with the index of its row.

    Args:
        network: the architecture.
        weights: in float32, by name.
        rows: the rows to sample. They are read when a slot is free.
        batch: number of slots, of each batch if there are two. With one number and precision, the text of a row depends
            only on the weights and the row.
        precision: of matrix multiplication, "float32" or "bfloat16". Gates, memory and probabilities are float32.
        reset: id of the character before which a row starts from a zero state; None: no character.
        report: filled in while sampling runs.
        on_call: called after each compiled call. It may raise to stop.
    """
    report = report or Report(batch)
    waiting, kernels = enumerate(rows), cast_kernels(network, weights, precision)
    ready = deque(_Sampler(network, kernels, waiting, batch, precision, reset) for _ in range(GROUPS))
    running: deque[_Sampler] = deque()
    started = time.perf_counter() - report.seconds - report.compile_seconds
    while ready or running:
        while ready:
            if (sampler := ready.popleft()).start(report):  # otherwise no row is left for it
                running.append(sampler)
        if not running:
            return
        sampler = running.popleft()
        texts = sampler.collect(report)
        ready.append(sampler)
        report.seconds = time.perf_counter() - started - report.compile_seconds
        away = time.perf_counter()
        if len(texts):
            yield texts
        on_call(report)
        started += time.perf_counter() - away  # time that the caller spends on the texts is not sampling time


Key: TypeAlias = tuple[int, int, int, str, bool]
"""Size of the vocabulary, slots, steps, precision, and whether rows have limits, for which a function is compiled."""


class _Sampler:
    """The slots of a batch, the weights of a network, and the values that the slots carry from call to call."""

    def __init__(
        self,
        network: NetworkOptions,
        weights: Weights,
        rows: Iterator[tuple[int, Row]],
        batch: int,
        precision: str,
        reset: int | None,
    ) -> None:
        self.network, self.weights, self.reset = network, weights, reset
        self.vocabulary_size = weights["dense.bias"].shape[0]
        self.most_steps = STEPS if network.max_len is None else WINDOW_STEPS
        self.steps = self.most_steps
        self.batch, self.precision, self.limited = batch, precision, False
        self.slots = Slots(rows, batch, self.most_steps)
        self.call: tuple[Plan, Array, Array]
        self.carried, self.last = first_state(network, batch, precision), ops.array(np.zeros(batch, np.int32))

    def start(self, report: Report) -> bool:
        """Start a call, which a GPU computes while the host goes on. Return whether there was work for it."""
        call, ready = _compiled(self.network, self.reset, HASHED_ON_DEVICE)
        wanted = choose_steps(self.most_steps, report)
        is_ready = self._key(wanted, self.limited) in ready
        # A longer call waits for a time that is a multiple of it, and a length that is not compiled until it pays.
        if self.slots.now % wanted == 0 and (is_ready or report.steps >= CALLS_BEFORE_COMPILING * self.most_steps):
            self.steps = wanted
        plan = self.slots.plan(self.steps)
        if plan.is_empty:
            return False
        self.limited = plan.limited
        arguments = self._arguments(self._inputs(plan))
        if (key := self._key(self.steps, plan.limited)) not in ready:
            started = time.perf_counter()
            compiled = ops.compile_graph_for(call, *arguments)
            ready[key] = _Checked(compiled, self._find_dependence(compiled, plan.limited))
            report.compile_seconds += time.perf_counter() - started
        report.depends_on |= ready[key].depends_on
        ids, nats, self.last, self.carried = ready[key].call(*arguments)
        self.call = plan, ids, nats
        return True

    def _key(self, steps: int, limited: bool) -> Key:
        return self.vocabulary_size, self.batch, steps, self.precision, limited

    def _inputs(self, plan: Plan) -> list[np.ndarray]:
        """Return the inputs of each step of a call, each (K, B). A device that hashes gets counters as numbers."""
        numbers = (counters if HASHED_ON_DEVICE else uniforms)(plan.key, plan.times)
        return [plan.feed, plan.keep_mask, plan.temperature, numbers, *(plan.limits(self.vocabulary_size) or ())]

    def _arguments(self, inputs: Sequence[np.ndarray]) -> tuple[Any, ...]:
        """Return the arguments of the compiled function."""
        *some, numbers = inputs[:4]
        given = map(ops.array, (*some, split_words(numbers) if HASHED_ON_DEVICE else numbers))
        limits = Limits(*map(ops.array, inputs[4:])) if inputs[4:] else None
        return self.weights, self.carried, self.last, *given, limits

    def _find_dependence(self, compiled: Callable[..., Any], limited: bool) -> frozenset[str]:
        """Return what texts depend on besides their rows, see `find_dependence`. This costs a call more than the first
        one, which takes longer than any other, takes by itself."""
        count, batch, steps = self.vocabulary_size, self.batch, self.steps
        rows = [
            Row(
                [(7 * n + k) % count for k in range(1 + n % 4)],
                CHECKED_TEMPERATURES[n // 4 % 4],
                steps,
                n,
                top_k=count - n % count if limited else ALL,
                top_p=CHECKED_TOP_P[n % 3] if limited else 1.0,
            )
            for n in range(batch)
        ]

        def call(inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            ids, nats, *_ = compiled(*self._arguments(inputs))
            return np.asarray(ids), np.asarray(nats).view(np.int32)  # bit for bit

        return find_dependence(call, self._inputs(Slots(enumerate(rows), batch, steps).plan()))

    def collect(self, report: Report) -> Texts:
        """Wait for the call that was started, and return the texts that are complete."""
        plan, ids, nats = self.call
        report.steps += len(ids)
        return self.slots.collect(plan, np.asarray(ids), np.asarray(nats), report)


def choose_steps(most: int, report: Report) -> int:
    """Return the steps of the next call, `most` or that halved some times.

    A slot whose text a stop string ends in a call of K steps is idle for K / 2 of them on average. With L steps between
    such ends in a slot, and an overhead of o steps in each call, a text takes (L + K / 2) (1 + o / K) steps, the fewest
    with K = sqrt(2 L o).

    Args:
        most: the most steps of a call.
        report: of the calls so far.
    """
    best = math.sqrt(2 * OVERHEAD * report.slot_steps / report.stopped) if report.stopped else most
    steps = most
    while steps % 2 == 0 and steps >= 2 * LEAST_STEPS and steps > math.sqrt(2) * best:
        steps //= 2
    return steps


class _Checked(NamedTuple):
    """A compiled function, and what texts depend on besides their rows: nothing, if it is as it should be."""

    call: Callable[..., Any]
    depends_on: frozenset[str]


@lru_cache(maxsize=16)
def _compiled(network: NetworkOptions, reset: int | None, hashed: bool):  # type: ignore[no-untyped-def]
    """Return the function of a call, and what it was compiled to, by shapes.

    Args:
        network: the architecture.
        reset: see `sample`.
        hashed: whether the function makes the random numbers, from the words of their counters, (K, B, 2).
    """

    def call(
        weights: Weights, carried: Carried, last: Array, feed: Array, keep_mask: Array, temperature: Array,
        numbers: Array, limits: Limits | None,
    ) -> tuple[Array, Array, Array, Carried]:  # fmt: skip
        """Run K steps, and return ids (K, B), nats (K, B), the last ids (B,) and the carried values."""

        def body(
            state: tuple[Array, Carried], inputs: Sequence[Array]
        ) -> tuple[tuple[Array, Carried], tuple[Array, Array]]:
            last, carried = state
            feed, keep_mask, temperature, numbers, *limits = inputs
            given = ops.where(feed == SAMPLED, last, feed)
            if reset is not None:
                keep_mask = keep_mask * ops.cast(given != reset, ops.float32)
            product, carried = step(network, weights, given, carried, keep_mask)
            if hashed:
                numbers = uniforms_of_words(numbers, ops.cast)
            allowed = Limits(*limits) if limits else None
            ids, nats = sample_ids(product, weights["dense.bias"], temperature, numbers, allowed)
            return (ids, carried), (ids, nats)

        inputs = (feed, keep_mask, temperature, numbers, *(limits or ()))
        (last, carried), outputs = ops.scan(body, (last, carried), inputs, feed.shape[0])
        ids, nats = map(ops.stack, outputs)
        return ids, nats, last, carried

    compiled: dict[Key, _Checked] = {}
    return call, compiled
