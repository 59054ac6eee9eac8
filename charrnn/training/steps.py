"""A training step: the loss of a batch, its gradients, and the weights they lead to."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

from charrnn.network import backend as ops
from charrnn.network.backend import Array
from charrnn.network.network import State, Weights, sequence
from charrnn.options import NetworkOptions
from charrnn.training.optimizers import Moments, Optimizer, average

Arrays: TypeAlias = dict[str, Array]


@lru_cache(maxsize=4)
def training_step(
    network: NetworkOptions, optimizer: Optimizer, precision: str, vocabulary_size: int, batch_shape: tuple[int, ...]
) -> Callable[..., Any]:
    """Return the compiled function of one step, the same one for the same arguments.

    To trace it takes seconds. On a GPU, Keras's layers make variables while it is traced for the first time and it
    allows no second: so there is one for each size.

    Its arguments are weights, their averages, the optimizer's moments, the state, inputs (T, B), targets, two integers
    for dropout, and three numbers: learning rate, updates with this one, share of the newest weights in the averages.
    It returns the mean nats, and weights, averages, moments and state after the step.
    """

    def step(
        weights: Weights, averages: Weights, moments: list[Weights], state: State, inputs: Array,
        targets: Array, dropout_seed: Array, numbers: Array,
    ) -> tuple[Array, Arrays, Arrays, list[Arrays], State]:  # fmt: skip
        # Sorted, since a checkpoint has an order of its own, and the norm's last bit depends on the order of its sum.
        names, (rate, count, newest) = sorted(weights), ops.unstack(numbers)
        before = state if network.max_len is None else None

        def loss() -> tuple[Array, State]:
            logits, after = sequence(network, weights, inputs, before, precision=precision, dropout_seed=dropout_seed)
            return ops.mean(ops.cross_entropy(logits, targets)), after

        (nats, after), gradients = ops.gradients(loss, [weights[name] for name in names])
        if optimizer.clip:
            gradients = ops.clipped(gradients, optimizer.clip)
        updated: Arrays = {}
        updated_moments: list[Arrays] = [{} for _ in moments]
        for name, gradient in zip(names, gradients, strict=True):
            own: Moments = tuple(moment[name] for moment in moments)
            updated[name], own = optimizer.update(weights[name], own, gradient, rate, count)
            for group, moment in zip(updated_moments, own, strict=True):
                group[name] = moment
        averaged = average(averages, updated, newest) if averages else {}
        return nats, updated, averaged, updated_moments, after

    return ops.compiled(step)
