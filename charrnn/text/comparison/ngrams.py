"""A character n-gram model: the loss that simple counting reaches, as a baseline, and to compare two texts.

Interpolated by Witten and Bell (1991), as in Chen and Goodman (1999, "An empirical study of smoothing techniques for
language modeling"). Depends only on NumPy.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

ORDER = 6  # characters of an n-gram; more gain little on a text of SAMPLE characters
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio, as in Fibonacci hashing


class _Counts(NamedTuple):
    """The n-grams of one length in a text, as sorted hashes, and their contexts, which are all but the last character.

    Attributes:
        grams: (G,), and how often each occurs.
        contexts: (C,), how often each occurs, and with how many characters behind it.
    """

    grams: np.ndarray
    gram_counts: np.ndarray
    contexts: np.ndarray
    context_counts: np.ndarray
    followers: np.ndarray


class NGrams:
    """The counts of all n-grams of a text, up to ORDER characters.

    Args:
        text: the text to count, of at least one character.
    """

    def __init__(self, text: str) -> None:
        hashes = _hashes(text)
        self._counts = [_count(contexts, grams) for contexts, grams in pairwise(hashes)]
        self._characters = len(self._counts[0].grams)

    def cross_entropy(self, text: str) -> float:
        """Return the cross-entropy of a text of at least one character, in nats per character."""
        hashes = _hashes(text)
        # One more than the characters of the text, for all that did not occur in it.
        probabilities = np.full(len(text), 1.0 / (self._characters + 1))
        for counts, contexts, grams in zip(self._counts, hashes, hashes[1:], strict=False):
            first = len(text) - len(grams)  # the first characters have a shorter context
            count = _find(counts.grams, grams, counts.gram_counts)
            total = _find(counts.contexts, contexts[: len(grams)], counts.context_counts)
            new = _find(counts.contexts, contexts[: len(grams)], counts.followers)
            shorter = probabilities[first:]
            probabilities[first:] = np.where(total > 0, (count + new * shorter) / np.maximum(total + new, 1), shorter)
        return float(-np.log(probabilities).mean())


def _hashes(text: str) -> list[np.ndarray]:
    """Return the hash of the n characters that end at each place, for n from 0 to ORDER: (N,) for 0, (N - n + 1,)."""
    characters = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.uint64)
    hashes = [np.zeros(len(characters), np.uint64)]
    for size in range(1, min(ORDER, len(characters)) + 1):
        before = hashes[-1][: len(characters) - size + 1]
        hashes.append(((before ^ (before >> np.uint64(29))) + np.uint64(1)) * ODD + characters[size - 1 :])
    return hashes


def _count(contexts: np.ndarray, grams: np.ndarray) -> _Counts:
    found, places, counts = np.unique(grams, return_index=True, return_counts=True)
    unique, inverse = np.unique(contexts[places], return_inverse=True)
    return _Counts(found, counts, unique, np.bincount(inverse, counts), np.bincount(inverse))


def _find(keys: np.ndarray, wanted: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the value of each wanted key, 0 for those that are not among the sorted keys."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
