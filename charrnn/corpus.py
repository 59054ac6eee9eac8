"""A text as ids, with the held-out part set aside, cut into parallel streams.

A stream is a stretch of the text that one row of the batch reads from start to end; an epoch
reads every stream once, in steps of `unroll` characters, with the state carried from step to step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.options import MIN_STREAMS, check_training_length
from charrnn.text import without
from charrnn.vocabulary import Vocabulary

MAX_STREAMS = 64
MIN_EPOCH_STEPS = 256  # a small text gets fewer streams, so that an epoch still takes many steps


@dataclass(frozen=True)
class Corpus:
    """Training and held-out ids (uint16) under one vocabulary."""

    vocabulary: Vocabulary
    training: np.ndarray
    held_out: np.ndarray

    @classmethod
    def of(cls, text: str, held_out: str) -> Corpus:
        """Encode a text; where it contains `held_out`, that is cut away from training.

        Raises:
            InputError: what is left to train on is shorter than one batch.
        """
        training = without(text, held_out)
        check_training_length(len(training))
        vocabulary = Vocabulary.of(training + held_out)
        return cls(vocabulary, _encode(training, vocabulary), _encode(held_out, vocabulary))


def _encode(text: str, vocabulary: Vocabulary) -> np.ndarray:
    """Ids of a text that the vocabulary covers: (N,) uint16."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    known = np.array([ord(character) for character in vocabulary.characters], dtype=np.uint32)
    return np.searchsorted(known, codes).astype(np.uint16)


def choose_streams(characters: int, unroll: int) -> int:
    """A power of two of parallel streams that fits a training text of that length."""
    wanted = max(1, characters // (unroll * MIN_EPOCH_STEPS))
    power: int = 1 << (wanted.bit_length() - 1)
    return min(max(power, MIN_STREAMS), MAX_STREAMS)


@dataclass(frozen=True)
class Streams:
    """Parallel streams over ids (N,), N at least streams x unroll + 1."""

    ids: np.ndarray
    streams: int
    unroll: int

    @property
    def epoch_steps(self) -> int:
        return (len(self.ids) - 1) // (self.streams * self.unroll)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and the characters that follow them, each (unroll, streams) int32.

        Where an epoch leaves characters over, the start moves from epoch to epoch, so that all are read.
        """
        epoch, within = divmod(step, self.epoch_steps)
        span = self.epoch_steps * self.unroll  # characters of one stream
        spare = len(self.ids) - 1 - self.streams * span
        start = epoch * self.unroll % (spare + 1) + within * self.unroll
        places = start + span * np.arange(self.streams) + np.arange(self.unroll)[:, None]
        return self.ids[places].astype(np.int32), self.ids[places + 1].astype(np.int32)
