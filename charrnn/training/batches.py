"""Training batches: parallel streams of a text or of its shuffled lines, or windows of it.

A batch depends only on the step, so training can resume from any checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from charrnn.options import count_windows

CHUNK = 1 << 20  # ids that are looked at once


@dataclass(frozen=True)
class Streams:
    """Parallel streams over ids (N,), with N at least batch x unroll + 1.

    A stream is a stretch of the text that one row of the batch reads from start to end. An epoch reads every stream
    once, `unroll` characters per step, with the hidden state carried from step to step (truncated backpropagation
    through time).
    """

    ids: np.ndarray
    batch: int
    unroll: int

    @property
    def epoch_steps(self) -> int:
        """Number of steps in an epoch."""
        return (len(self.ids) - 1) // self.step_characters

    @property
    def step_characters(self) -> int:
        """Number of characters that a step learns to predict."""
        return self.batch * self.unroll

    def read(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and the characters that follow them (teacher forcing), each (unroll, batch) int32.

        If an epoch leaves characters over, they are alternately the last and the first ones of the text.
        """
        epoch, within = divmod(step, self.epoch_steps)
        span = self.epoch_steps * self.unroll  # characters of one stream
        spare = len(self.ids) - 1 - self.batch * span
        start = epoch % 2 * spare + within * self.unroll
        places = start + span * np.arange(self.batch) + np.arange(self.unroll)[:, None]
        return self.ids[places].astype(np.int32), self.ids[places + 1].astype(np.int32)


class Lines:
    """Parallel streams over the lines of ids (N,), which are in another random order in each epoch.

    A newline stands before each line, also before the first, and each stream begins with a line.

    Args:
        ids: the text.
        batch: number of streams.
        unroll: characters per step.
        newline: its id.
        rng_seed: random seed of the orders.
    """

    def __init__(self, ids: np.ndarray, batch: int, unroll: int, newline: int, rng_seed: int = 0) -> None:
        self.ids, self.batch, self.unroll, self.rng_seed = ids, batch, unroll, rng_seed
        self.starts = _find(ids, newline)
        self.lengths = np.diff(self.starts, append=len(ids))
        self._shuffled = -1, self.starts, self.starts

    @property
    def epoch_steps(self) -> int:
        """Number of steps in an epoch."""
        return len(self.ids) // self.step_characters

    @property
    def step_characters(self) -> int:
        """Number of characters that a step learns to predict."""
        return self.batch * self.unroll

    def read(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and the characters that follow them (teacher forcing), each (unroll, batch) int32."""
        epoch, within = divmod(step, self.epoch_steps)
        starts, ends = self._shuffle(epoch)
        spans = np.arange(1, self.batch) * self.epoch_steps * self.unroll
        streams = np.append(0, ends[np.searchsorted(ends, spans)])
        places = (streams + within * self.unroll + np.arange(self.unroll + 1)[:, None]) % len(self.ids)
        lines = np.searchsorted(ends, places, side="right")
        ids = self.ids[starts[lines] + places].astype(np.int32)
        return ids[:-1], ids[1:]

    def _shuffle(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return two facts about each line in the order of an epoch: its place in the text minus that in the order, and
        where it ends in the order. They are kept until the next epoch."""
        if self._shuffled[0] != epoch:
            order = _order(len(self.starts), self.rng_seed, epoch)
            ends = np.cumsum(self.lengths[order])
            self._shuffled = epoch, self.starts[order] - (ends - self.lengths[order]), ends
        return self._shuffled[1:]


@dataclass(frozen=True)
class Windows:
    """Windows of `max_len` characters over ids (N,), one every `stride` characters, in random order.

    They are the windows of the notebook, but cut when they are needed: as one-hot vectors they would take 600 times the
    size of the text.
    """

    ids: np.ndarray
    batch: int
    max_len: int
    stride: int
    rng_seed: int = 0

    @property
    def count(self) -> int:
        """Number of windows in the text."""
        return count_windows(len(self.ids), self.max_len, self.stride)

    @property
    def epoch_steps(self) -> int:
        """Number of steps in an epoch."""
        return -(-self.count // self.batch)

    @property
    def step_characters(self) -> int:
        """Number of characters that a step learns to predict: one per window."""
        return self.batch

    def read(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return windows (max_len, batch) and the character that follows each, (1, batch), both int32.

        The last batch of an epoch is filled up with the epoch's first windows, so that all batches have one shape.
        """
        epoch, within = divmod(step, self.epoch_steps)
        order = _order(self.count, self.rng_seed, epoch)
        chosen = order[np.arange(within * self.batch, (within + 1) * self.batch) % self.count]
        return self.at(chosen)

    def at(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return windows by number, (W,), as inputs (max_len, W) and the character that follows each, (1, W)."""
        places = windows.astype(np.int64) * self.stride + np.arange(self.max_len + 1)[:, None]
        ids = self.ids[places].astype(np.int32)
        return ids[:-1], ids[-1:]


def _find(ids: np.ndarray, wanted: int) -> np.ndarray:
    """Return the places of an id, without a copy of all ids, which may be mapped into memory."""
    found = [start + np.flatnonzero(ids[start : start + CHUNK] == wanted) for start in range(0, len(ids), CHUNK)]
    return np.concatenate(found)


@lru_cache(maxsize=1)
def _order(count: int, rng_seed: int, epoch: int) -> np.ndarray:
    """Return the numbers of all windows or lines in the random order of an epoch, (count,)."""
    order = np.arange(count, dtype=np.min_scalar_type(count))  # at most 4 bytes each; `permutation` takes 8
    np.random.default_rng([rng_seed, epoch]).shuffle(order)
    return order
