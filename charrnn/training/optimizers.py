"""How a step changes the weights: Adam for streams, RMSprop for the notebook's windows.

Plain functions of weights, gradients and moments, so that a checkpoint holds all there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from charrnn.network import backend as ops
from charrnn.network.backend import Array
from charrnn.network.network import Weights

LEARNING_RATE = 6e-3  # of Adam at REFERENCE_UNITS
REFERENCE_UNITS = 512
MAX_LEARNING_RATE = 8e-3
FINAL_SHARE = 0.02  # of the learning rate, where the cosine ends
WARM_UP_STEPS = 50
HORIZON = 200  # steps that the average of the weights spans at the highest rate
BETA_1, BETA_2 = 0.9, 0.999
RMSPROP_RATE, RHO = 1e-3, 0.9
EPSILON = 1e-7

Moments = tuple[Array, ...]


@ops.fused
def adam(weight: Array, moments: Moments, gradient: Array, rate: Array, count: Array) -> tuple[Array, Moments]:
    """Adam (Kingma and Ba 2015). `count` of updates is from 1."""
    mean = BETA_1 * moments[0] + (1.0 - BETA_1) * gradient
    square = BETA_2 * moments[1] + (1.0 - BETA_2) * gradient * gradient
    corrected_rate = rate * ops.sqrt(1.0 - BETA_2**count) / (1.0 - BETA_1**count)
    return weight - corrected_rate * mean / (ops.sqrt(square) + EPSILON), (mean, square)


@ops.fused
def rmsprop(weight: Array, moments: Moments, gradient: Array, rate: Array, count: Array) -> tuple[Array, Moments]:
    """RMSprop (Tieleman and Hinton 2012), as Keras does it."""
    square = RHO * moments[0] + (1.0 - RHO) * gradient * gradient
    return weight - rate * gradient / ops.sqrt(square + EPSILON), (square,)


def cosine_rate(step: int, share: float, units: int) -> float:
    """Return the learning rate: a linear warm-up, then half a cosine to FINAL_SHARE (Loshchilov and Hutter 2017).

    The peak falls with the width, as Adam's should (Yang et al. 2022), from MAX_LEARNING_RATE at 384 units and less.

    Args:
        share: of the training that is done, from 0 to 1.
    """
    peak = min(MAX_LEARNING_RATE, LEARNING_RATE * REFERENCE_UNITS / units)
    warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
    return peak * warm_up * (FINAL_SHARE + (1.0 - FINAL_SHARE) * _cosine(share))


def _cosine(share: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))


def constant_rate(step: int, share: float, units: int) -> float:
    return RMSPROP_RATE


def average_share(step: int, share: float) -> float:
    """Return the share of the newest weights in the running average that is evaluated and kept.

    Averaging does for the loss what a low learning rate does (Polyak and Juditsky 1992), so that a training
    that ends early, by patience or by the clock, ends well. It spans fewer steps as the rate falls: the last
    weights of a whole schedule are better alone.
    """
    return 1.0 / (1.0 + min(HORIZON * _cosine(share), step / 5))


@ops.fused
def average(averages: Weights, weights: Weights, share: Array) -> dict[str, Array]:
    return {name: value + share * (weights[name] - value) for name, value in averages.items()}


@dataclass(frozen=True)
class Optimizer:
    """An update rule, its schedule of learning rates, clipping and averaging.

    Attributes:
        rate: of (step, share of the training that is done, units).
        moments: arrays that the rule keeps for each weight.
        clip: greatest global norm of the gradients (Pascanu et al. 2013), or None.
        averages: whether the weights' running average is what is evaluated and kept.
    """

    update: Callable[[Array, Moments, Array, Array, Array], tuple[Array, Moments]]
    rate: Callable[[int, float, int], float]
    moments: int
    clip: float | None
    averages: bool


ADAM = Optimizer(adam, cosine_rate, moments=2, clip=1.0, averages=True)
RMSPROP = Optimizer(rmsprop, constant_rate, moments=1, clip=None, averages=False)
