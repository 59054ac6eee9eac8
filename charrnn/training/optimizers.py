"""Optimizers, learning-rate schedules and weight averaging: Adam for streams, RMSprop for the notebook's windows.

They are plain functions of weights, gradients and moments, so a checkpoint holds their whole state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from charrnn.backend import ops
from charrnn.backend.ops import Array
from charrnn.network.network import Weights

LEARNING_RATE = 6e-3  # peak learning rate of Adam at REFERENCE_UNITS
REFERENCE_UNITS = 512
MAX_LEARNING_RATE = 8e-3
FINAL_SHARE = 0.02  # of the peak learning rate, at the end of the cosine
WARM_UP_STEPS = 50
HORIZON = 200  # steps that the average of the weights spans at the peak of the cosine
BETA_1, BETA_2 = 0.9, 0.999
RMSPROP_RATE, RHO = 1e-3, 0.9
EPSILON = 1e-7

Moments = tuple[Array, ...]


@ops.compile_xla
def adam(weight: Array, moments: Moments, gradient: Array, rate: Array, count: Array) -> tuple[Array, Moments]:
    """Return a weight and its two moments after an update by Adam (Kingma and Ba 2015).

    Args:
        weight: the weight, of any shape.
        moments: running means of the gradient and of its square, each shaped like the weight.
        gradient: shaped like the weight.
        rate: learning rate.
        count: number of updates including this one, from 1.
    """
    mean = BETA_1 * moments[0] + (1.0 - BETA_1) * gradient
    square = BETA_2 * moments[1] + (1.0 - BETA_2) * gradient * gradient
    corrected_rate = rate * ops.sqrt(1.0 - BETA_2**count) / (1.0 - BETA_1**count)
    return weight - corrected_rate * mean / (ops.sqrt(square) + EPSILON), (mean, square)


@ops.compile_xla
def rmsprop(weight: Array, moments: Moments, gradient: Array, rate: Array, count: Array) -> tuple[Array, Moments]:
    """Return a weight and its moment after an update by RMSprop (Tieleman and Hinton 2012), computed as in Keras.

    The moment is the running mean of the squared gradient. `count` is not used.
    """
    square = RHO * moments[0] + (1.0 - RHO) * gradient * gradient
    return weight - rate * gradient / ops.sqrt(square + EPSILON), (square,)


def cosine_rate(step: int, share: float, units: int) -> float:
    """Return the learning rate: linear warm-up, times half a cosine down to FINAL_SHARE (Loshchilov and Hutter 2017).

    The peak falls with the width, as Adam's should (Yang et al. 2022). It is MAX_LEARNING_RATE at 384 units and fewer.

    Args:
        step: number of steps before this one.
        share: completed share of the training, from 0 to 1.
        units: width of the network.
    """
    peak = min(MAX_LEARNING_RATE, LEARNING_RATE * REFERENCE_UNITS / units)
    warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
    return peak * warm_up * (FINAL_SHARE + (1.0 - FINAL_SHARE) * _cosine(share))


def _cosine(share: float) -> float:
    """Return half a cosine, from 1 at a share of 0 to 0 at a share of 1."""
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))


def constant_rate(step: int, share: float, units: int) -> float:
    """Return the learning rate of RMSprop, which is constant. The arguments are not used."""
    return RMSPROP_RATE


def average_share(step: int, share: float) -> float:
    """Return the share, above 0 and at most 1, of the newest weights in the running average.

    The running average is what is evaluated and saved.

    Weight averaging lowers the loss as a low learning rate does (Polyak and Juditsky 1992), so a run that ends early,
    by early stopping or by its time limit, ends well. The average spans fewer steps as the learning rate falls, because
    the last weights of a complete schedule are better alone.

    Args:
        step: number of steps before this one.
        share: completed share of the training, from 0 to 1.
    """
    return 1.0 / (1.0 + min(HORIZON * _cosine(share), step / 5))


@ops.compile_xla
def average(averages: Weights, weights: Weights, share: Array) -> dict[str, Array]:
    """Return the running averages, by name, with a share of `weights` mixed in."""
    return {name: value + share * (weights[name] - value) for name, value in averages.items()}


@dataclass(frozen=True)
class Optimizer:
    """An update rule with its learning-rate schedule, gradient clipping and weight averaging.

    Attributes:
        update: (weight, moments, gradient, learning rate, count of updates from 1) -> the new weight and moments.
        rate: (step, completed share of the training, units) -> learning rate.
        moments: number of arrays that the rule keeps for each weight.
        clip: maximum global norm of the gradients (Pascanu et al. 2013), or None.
        averages: whether the running averages of the weights are evaluated and saved instead of the weights.
    """

    update: Callable[[Array, Moments, Array, Array, Array], tuple[Array, Moments]]
    rate: Callable[[int, float, int], float]
    moments: int
    clip: float | None
    averages: bool


ADAM = Optimizer(adam, cosine_rate, moments=2, clip=1.0, averages=True)
RMSPROP = Optimizer(rmsprop, constant_rate, moments=1, clip=None, averages=False)
