"""The training step: the loss of a batch, its gradients, and the update of the weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

from charrnn.backend import ops
from charrnn.backend.ops import Array
from charrnn.network.network import State, Weights, sequence
from charrnn.options import NetworkOptions
from charrnn.training.optimizers import Moments, Optimizer, average

Arrays: TypeAlias = dict[str, Array]


@lru_cache(maxsize=4)
def training_step(
    network: NetworkOptions,
    optimizer: Optimizer,
    precision: str,
    vocabulary_size: int,
    batch_shape: tuple[int, ...],
    reset: int | None = None,
) -> Callable[..., Any]:
    """Return the compiled function of one training step. The same arguments return the same function.

    Tracing it takes seconds. There is one function for each size, so that the memory of those that are no longer used
    is freed.

    The function takes weights, their averages, the moments of the optimizer, the state, inputs (T, B), targets (T, B)
    or (1, B) for windows, two integers for dropout, and three numbers: the learning rate, the number of updates
    including this one, and the share of the newest weights in the averages. It returns the mean cross-entropy in nats
    per character, and weights, averages, moments and state after the step.

    Args:
        network: the architecture.
        optimizer: the update rule.
        precision: of matrix multiplication, "float32" or "bfloat16".
        vocabulary_size: V, the number of characters.
        batch_shape: (T, B), the shape of the inputs.
        reset: id of the character before which a row starts from a zero state; None: no character.
    """

    def step(
        weights: Weights, averages: Weights, moments: list[Weights], state: State, inputs: Array,
        targets: Array, dropout_seed: Array, numbers: Array,
    ) -> tuple[Array, Arrays, Arrays, list[Arrays], State]:  # fmt: skip
        # Sorted, because a checkpoint has its own order, and the last bit of the norm depends on the order of its sum.
        names, (rate, count, newest) = sorted(weights), ops.unstack(numbers)
        before = state if network.max_len is None else None

        def loss(values: list[Array]) -> tuple[Array, State]:
            named = dict(zip(names, values, strict=True))
            logits, after = sequence(
                network, named, inputs, before, precision=precision, dropout_seed=dropout_seed, reset=reset
            )
            return ops.mean(ops.cross_entropy(logits, targets)), after

        (nats, after), gradients = ops.gradients(loss, [weights[name] for name in names])
        if optimizer.clip:
            gradients = ops.clip_by_global_norm(gradients, optimizer.clip)
        updated: Arrays = {}
        updated_moments: list[Arrays] = [{} for _ in moments]
        for name, gradient in zip(names, gradients, strict=True):
            own: Moments = tuple(moment[name] for moment in moments)
            updated[name], own = optimizer.update(weights[name], own, gradient, rate, count)
            for group, moment in zip(updated_moments, own, strict=True):
                group[name] = moment
        averaged = average(averages, updated, newest) if averages else {}
        return nats, updated, averaged, updated_moments, after

    return ops.compile_graph(step)
