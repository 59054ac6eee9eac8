"""Continuous batching: many rows, each with its own seed, temperature and length, in one batch.

B slots run K steps per compiled call. Feeding a seed and sampling are the same step: the input is the next character of
the seed while there is one, then the character that was just sampled. `slots` plans which row each slot works on at
each step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from charrnn.backend import ops
from charrnn.backend.ops import Array
from charrnn.network.network import Carried, Weights, cast_kernels, first_state, step
from charrnn.options import NetworkOptions
from charrnn.sampling.limits import Limits
from charrnn.sampling.next_character import sample_ids
from charrnn.sampling.plan import SAMPLED, Plan
from charrnn.sampling.randomness import uniforms
from charrnn.sampling.slots import Report, Slots
from charrnn.sampling.tasks import Row
from charrnn.sampling.texts import Texts

STEPS = 16  # K, steps per call. Shorter calls cost more overhead, longer ones make canceling slow
WINDOW_STEPS = 1  # K for a network with a `max_len`, which reads its whole window at each step


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
        batch: number of slots. With one batch size and precision, the text of a row depends only on the weights and the
            row.
        precision: of matrix multiplication, "float32" or "bfloat16". Gates, memory and probabilities are float32.
        reset: id of the character before which a row starts from a zero state; None: no character.
        report: filled in while sampling runs.
        on_call: called after each compiled call. It may raise to stop.
    """
    report = report or Report(batch)
    sampler = _Sampler(network, cast_kernels(network, weights, precision), batch, precision, reset)
    slots = Slots(rows, batch, sampler.steps)
    started = time.perf_counter() - report.seconds - report.compile_seconds
    while not (plan := slots.plan()).is_empty:
        ids, nats = sampler.run(plan, report)
        report.steps += sampler.steps
        texts = slots.collect(plan, ids, nats, report)
        report.seconds = time.perf_counter() - started - report.compile_seconds
        away = time.perf_counter()
        if len(texts):
            yield texts
        on_call(report)
        started += time.perf_counter() - away  # time that the caller spends on the texts is not sampling time


class _Sampler:
    """The weights of a network, and the values that its slots carry from call to call."""

    def __init__(
        self, network: NetworkOptions, weights: Weights, batch: int, precision: str, reset: int | None
    ) -> None:
        self.network, self.weights, self.reset = network, weights, reset
        self.vocabulary_size = weights["dense.bias"].shape[0]
        self.steps = STEPS if network.max_len is None else WINDOW_STEPS
        self.shapes = (self.vocabulary_size, batch, self.steps, precision)
        self.carried, self.last = first_state(network, batch, precision), ops.array(np.zeros(batch, np.int32))

    def run(self, plan: Plan, report: Report) -> tuple[np.ndarray, np.ndarray]:
        """Run the steps of a plan, and return ids and their negative log probabilities, each (K, B)."""
        numbers = uniforms(plan.key, plan.times)
        limits = plan.limits(self.vocabulary_size)
        inputs = map(ops.array, (plan.feed, plan.keep_mask, plan.temperature, numbers))
        arguments = (self.weights, self.carried, self.last, *inputs, limits and Limits(*map(ops.array, limits)))
        call, ready = _compiled(self.network, self.reset)
        if (key := (*self.shapes, plan.limited)) not in ready:
            started = time.perf_counter()
            ready[key] = ops.compile_graph_for(call, *arguments)
            ready[key](*arguments)
            report.compile_seconds += time.perf_counter() - started
        ids, nats, self.last, self.carried = ready[key](*arguments)
        return np.asarray(ids), np.asarray(nats)


@lru_cache(maxsize=16)
def _compiled(network: NetworkOptions, reset: int | None):  # type: ignore[no-untyped-def]
    """Return the function of a call, and what it was compiled to, by shapes."""

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
            allowed = Limits(*limits) if limits else None
            ids, nats = sample_ids(product, weights["dense.bias"], temperature, numbers, allowed)
            return (ids, carried), (ids, nats)

        inputs = (feed, keep_mask, temperature, numbers, *(limits or ()))
        (last, carried), outputs = ops.scan(body, (last, carried), inputs, feed.shape[0])
        ids, nats = map(ops.stack, outputs)
        return ids, nats, last, carried

    compiled: dict[tuple[int, int, int, str, bool], Callable[..., Any]] = {}
    return call, compiled
