"""The sampled characters of texts in progress: a ring for each slot, and what no longer fits into it.

Times are steps since the sampler began. A character is at its time modulo the size of the ring, so that the outputs of
a call are written as one block, whatever rows the slots work on.
"""

from __future__ import annotations

import numpy as np

from charrnn.options import MAX_STOP
from charrnn.sampling.seeds import ranges

TILE = 16  # steps that are transposed at once: 1.5 ns a character, and with 64 of them 2.8, which share cache sets
# Mean characters of texts below which an index of each character is faster than a slice of each text: with 60 of them 2
# instead of 5 ns a character, with 400 of them 2 instead of 1. Between the two nothing was measured.
SHORT_TEXT = 200


class History:
    """The characters of B slots, and their negative log probabilities.

    A ring keeps MAX_STOP characters and those of the newest call. No call is written across its end: the steps of each
    divide those of the longest one, and the time of its first step.
    """

    def __init__(self, batch: int, most_steps: int) -> None:
        self.size = (-(-MAX_STOP // most_steps) + 1) * most_steps
        self.ids = np.zeros((batch, self.size), np.uint16)
        self.nats = np.zeros((batch, self.size), np.float32)
        self._saved = np.zeros(batch, np.int64)  # the time before which a slot's text is in `_early` instead
        self._early: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}

    def write(self, now: int, ids: np.ndarray, nats: np.ndarray) -> None:
        """Write the outputs of a call, both (K, B), whose first step was at the time `now`, a multiple of K."""
        at = now % self.size
        for ring, values in (self.ids, ids.astype(np.uint16)), (self.nats, nats):  # before the strides: 0.7 of the time
            for k in range(0, len(values), TILE):
                tile = values[k : k + TILE]
                ring[:, at + k : at + k + len(tile)] = tile.T

    def save(self, slots: np.ndarray, begins: np.ndarray, now: int, most_steps: int) -> None:
        """Save what the next call will overwrite of texts in progress. A text needs it once in MAX_STOP steps.

        Args:
            slots: (N,).
            begins: times of the texts' first characters, (N,).
            now: time of the first step of the next call.
            most_steps: the most steps of a call.
        """
        begins = np.maximum(begins, self._saved[slots])
        lost = begins < now + most_steps - self.size
        for slot, begin in zip(slots[lost].tolist(), begins[lost].tolist(), strict=True):
            places = np.arange(begin, now) % self.size
            self._early.setdefault(slot, []).append((self.ids[slot, places], self.nats[slot, places]))
            self._saved[slot] = now

    def recent(self, slots: np.ndarray, first: int, last: int) -> np.ndarray:
        """Return the ids of some slots from time `first` to before `last`, at most the end of the newest call, (N, T).

        They are anything at times before those of the ring.
        """
        at = first % self.size
        end = at + last - first
        rings = (self.ids[:, at:end], self.ids[:, : max(0, end - self.size)])
        return np.concatenate([ring[slots] for ring in rings], axis=1)

    def cut(self, slots: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of texts, one after the other, and their nats. Forget what was saved of them.

        Args:
            slots: (N,).
            begins: times of the texts' first characters, (N,).
            ends: times after the last ones, at most the end of the newest call, (N,).
        """
        saved = np.flatnonzero(begins < self._saved[slots])
        begins = np.maximum(begins, self._saved[slots])
        rings, firsts = slots * self.size, begins % self.size
        lasts = firsts + ends - begins
        over = np.maximum(lasts - self.size, 0)  # characters that are at the beginning of the ring
        starts = np.stack([rings + firsts, rings], axis=1)
        stops = np.stack([rings + lasts - over, rings + over], axis=1)
        if not len(saved) and (ends - begins).sum() < SHORT_TEXT * len(slots):
            places = ranges(starts.reshape(-1), (stops - starts).reshape(-1))
            # All places are in the ring. Clipping them is faster than a check.
            return self.ids.reshape(-1).take(places, mode="clip"), self.nats.reshape(-1).take(places, mode="clip")
        used = starts < stops
        pieces = list(map(slice, starts[used].tolist(), stops[used].tolist()))
        ids, nats = (list(map(ring.reshape(-1).data.__getitem__, pieces)) for ring in (self.ids, self.nats))
        before = np.cumsum(used.sum(axis=1)) - used.sum(axis=1)  # number of pieces before each text
        for slot, place in zip(slots[saved[::-1]].tolist(), before[saved[::-1]].tolist(), strict=True):
            early = self._early.pop(slot)
            ids[place:place] = [piece.data for piece, _ in early]
            nats[place:place] = [piece.data for _, piece in early]
        return np.frombuffer(b"".join(ids), self.ids.dtype), np.frombuffer(b"".join(nats), self.nats.dtype)
