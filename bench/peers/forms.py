"""What a contestant of `bench/sampling.py` is: the network it samples from, and the forms in which it can play."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from bench.harness import Answer

UNITS, LAYERS, VOCABULARY = 512, 2, 90
STEPS = 16  # turns are multiples of it: the product's steps a call

Run: TypeAlias = Callable[[int], Answer | None]
"""Plays so many steps; returns what it says beyond batch x steps characters."""

Forms: TypeAlias = Mapping[str, Run]
"""The forms of a contestant, by name."""


def product_shapes(units: int) -> list[tuple[int, int]]:
    """Return the shapes of a step's kernels. The first layer's one-hot input is looked up."""
    return [(units, 4 * units)] * (2 * LAYERS - 1) + [(units, VOCABULARY)]


def draw(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a character of each row: (B, V) -> ids (B,)."""
    cumulative = probabilities.cumsum(axis=1)
    numbers = rng.random((len(cumulative), 1), np.float32) * cumulative[:, -1:]
    ids: np.ndarray = (cumulative[:, :-1] <= numbers).sum(axis=1)
    return ids
