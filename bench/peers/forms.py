"""Types and sizes of the peers of `bench/sampling.py`: the network, and the forms in which a peer runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from bench.harness import Answer

UNITS, LAYERS, VOCABULARY = 512, 2, 90
STEPS = 16  # the product's steps per call; every turn is a multiple of it

Run: TypeAlias = Callable[[int], Answer | None]
"""Runs a number of steps. Returns an answer if it has more to tell than batch x steps characters."""

Forms: TypeAlias = Mapping[str, Run]
"""The forms of a peer, by name."""


def product_shapes(units: int) -> list[tuple[int, int]]:
    """Return the shapes of a step's kernels, without the first layer's input kernel: one-hot inputs are looked up."""
    return [(units, 4 * units)] * (2 * LAYERS - 1) + [(units, VOCABULARY)]


def draw(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one character per row. Takes probabilities of shape (B, V) and returns ids of shape (B,)."""
    cumulative = probabilities.cumsum(axis=1)
    numbers = rng.random((len(cumulative), 1), np.float32) * cumulative[:, -1:]
    ids: np.ndarray = (cumulative[:, :-1] <= numbers).sum(axis=1)
    return ids
