"""Estimates of the time and storage that a job takes: from earlier jobs, or else from the size of the network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from statistics import median

from charrnn.errors import InputError
from charrnn.jobs.job.sizing import CHARACTERS_PER_S, TrainingEstimate
from charrnn.jobs.job.specs import TrainSpec
from charrnn.jobs.store.shown.readable import Trained
from charrnn.options import NetworkOptions, TrainingOptions
from charrnn.sampling.defaults import CPU, GPU

KNOWN_WEIGHTS = NetworkOptions().num_weights(90)  # of the network whose speeds are known: 2 x LSTM(512)
FASTEST = {CPU: 500_000.0, GPU: 30_000_000.0}  # characters/s; above it, the work beside the matrix products counts
START_S = 6.0  # seconds to load TensorFlow, to compile a step and to save the version
EPOCH_S = 0.15  # seconds of each epoch for the previews and the validation loss of a small text
TRAINED_PER_S = 12_000.0  # characters/s in training, 2 x LSTM(512) on two cores


def guess_speed(weights: int, kind: str) -> float:
    """Return the throughput of sampling with a full batch in characters/s, for so many weights and a kind of device."""
    return min(FASTEST[kind], CHARACTERS_PER_S[kind] * KNOWN_WEIGHTS / weights)


def estimate_training(spec: TrainSpec, earlier: Sequence[Trained]) -> TrainingEstimate:
    """Estimate the time of a training job.

    A step of a small network is less than proportionally faster, since its products do not fill the processor. Between
    128 and 512 units the throughput falls with the square root of the number of weights.

    Args:
        spec: the job's.
        earlier: training jobs that were done before.
    """
    known = []
    for job in earlier:
        with suppress(InputError, TypeError):  # a damaged spec
            seconds = max(job.seconds - EPOCH_S * job.epochs, 0.2 * job.seconds)
            known.append(_characters(job.spec, job.steps) * _effort(job.spec) / seconds)
    speed = median(known) if known else TRAINED_PER_S * KNOWN_WEIGHTS**0.5
    seconds = spec.characters * _effort(spec) / speed
    if spec.network.max_len is not None:
        seconds *= spec.network.max_len / spec.training.stride
    seconds = START_S + spec.training.epochs * (EPOCH_S + seconds)
    limit = spec.training.max_minutes
    return TrainingEstimate(seconds=seconds if limit is None else min(seconds, 60 * limit), guessed=not known)


def _characters(spec: TrainSpec, steps: int) -> int:
    """Return the number of characters that these steps read."""
    training: TrainingOptions = spec.training
    batch = training.choose_batch_size(spec.network, spec.characters)
    return steps * batch * (spec.network.max_len or training.unroll)


def _effort(spec: TrainSpec) -> float:
    return math.sqrt(spec.network.num_weights(len(spec.vocabulary)))
