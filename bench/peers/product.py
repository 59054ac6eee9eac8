"""Peers of `bench/sampling.py`: the product with rows of equal and unequal length, and at several batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from bench.harness import Answer
from bench.peers.forms import LAYERS, VOCABULARY, Forms

if TYPE_CHECKING:
    from charrnn.options import NetworkOptions
    from charrnn.sampling.tasks import Row
    from charrnn.sampling.texts import Texts

LENGTH = 200  # characters of rows of equal length; uniform lengths are 1 to 400
ENDLESS = 4000  # maximum length of a row that ends at a newline
ENDING = 1 / 60  # probability of a newline at each step
NEWLINE = 0
ROWS = 256  # rows that are sampled at several batch sizes
ROW_BATCHES = (16, 64, 256, 1024)
PEAKED = 3.0  # factor of the dense kernel, for choices that are open but not equally likely

Change: TypeAlias = Callable[[np.ndarray], np.ndarray]


def initial(units: int, **changes: Change) -> tuple[NetworkOptions, dict[str, np.ndarray]]:
    """Return the network and its initial weights; `changes` are applied to the weights of the dense layer."""
    from charrnn.network.network import initial_weights
    from charrnn.options import NetworkOptions

    network = NetworkOptions(layers=LAYERS, units=units)
    weights = initial_weights(network, VOCABULARY, 0)
    return network, weights | {f"dense.{name}": change(weights[f"dense.{name}"]) for name, change in changes.items()}


def row(key: int, length: int, temperature: float = 1.0, stop: tuple[str, ...] = ()) -> Row:
    from charrnn.sampling.tasks import Row

    return Row(seed=(key % VOCABULARY,), temperature=temperature, length=length, key=key, stop=stop)


def charrnn_sampler(batch: int, units: int, precision: str) -> Forms:
    from charrnn.sampling.sampler import GROUPS, sample

    network, weights = initial(units)

    def run(steps: int) -> Answer:
        rows = [row(key, steps) for key in range(GROUPS * batch)]
        return {"characters": size_of(sample(network, weights, rows, batch, precision=precision))}

    return {"": run}


def size_of(calls: Iterable[Texts]) -> int:
    """Return the number of characters of the texts of some calls."""
    return sum(int((texts.ends - texts.starts).sum()) for texts in calls)


def charrnn_ragged(batch: int, units: int, lengths: str, static: bool = False) -> Forms:
    """Sample a number of rows per slot. A `static` batch waits for its longest row, while the other slots idle."""
    from charrnn.network.network import cast_kernels
    from charrnn.sampling.sampler import sample
    from charrnn.sampling.slots import Report

    network, weights = initial(units, **ENDINGS) if lengths == "geometric" else initial(units)
    weights = dict(cast_kernels(network, weights, "bfloat16"))  # once, not for each static batch

    def run(rows_a_slot: int) -> Answer:
        rows, report = ragged_rows(lengths, batch * rows_a_slot), Report(batch)
        waves = [rows[first : first + batch] for first in range(0, len(rows), batch)] if static else [rows]
        texts = [sample(network, weights, wave, batch, precision="bfloat16", report=report) for wave in waves]
        return {"characters": sum(map(size_of, texts)), "fill": report.fill}

    return {"": run}


ENDINGS: dict[str, Change] = {
    "kernel": np.zeros_like,
    "bias": lambda bias: np.log(
        np.where(np.arange(len(bias)) == NEWLINE, ENDING, (1 - ENDING) / (len(bias) - 1)), dtype=np.float32
    ),
}
"""Changes of the dense layer with which a row ends after 60 characters on average, whatever came before."""


def ragged_rows(lengths: str, count: int) -> list[Row]:
    if lengths == "geometric":
        return [row(key, ENDLESS, stop=(chr(NEWLINE),)) for key in range(count)]
    uniform = np.random.default_rng(0).integers(1, 2 * LENGTH, size=count, endpoint=True)
    return [row(key, LENGTH if lengths == "equal" else int(uniform[key])) for key in range(count)]


def charrnn_rows(batch: int, units: int, precision: str) -> Forms:
    """Sample the same rows at every batch size up to `batch`, and measure the share of rows with equal texts."""
    from charrnn.sampling.sampler import sample

    network, weights = initial(units, kernel=lambda kernel: PEAKED * kernel)

    def run(length: int) -> Answer:
        rows = [row(key, length, temperature=(0.5, 1.0)[key % 2]) for key in range(ROWS)]
        found: list[set[bytes]] = [set() for _ in rows]
        for size in (size for size in ROW_BATCHES if size <= batch):
            for text in chain.from_iterable(sample(network, weights, rows, size, precision=precision)):
                found[text.index].add(text.ids.tobytes())
        return {"equal": sum(len(texts) == 1 for texts in found) / ROWS}

    return {"": run}
