"""Sampled texts: those that ended in one call, as slices of one array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np

T = TypeVar("T")
DECIMALS = 4
UTF_32 = "utf-32-le"  # four bytes for each character: NumPy looks them up
UTF_32_TYPE = "<u4"


@dataclass(slots=True)  # freezing it would double the time that it takes to make one
class Text:
    """The text sampled for the row at `index`.

    Attributes:
        index: number of the row, from 0.
        ids: of the characters, (length,).
        nats: negative natural log probability of each character at temperature 1, (length,).
        stopped: whether a stop string ended the text, and not its length.
        nats_per_char: the mean of `nats`, to 4 decimals: the cross-entropy of the text. None if it is empty.
    """

    index: int
    ids: np.ndarray
    nats: np.ndarray
    stopped: bool
    nats_per_char: float | None

    @property
    def finish_reason(self) -> str:
        """The reason why the text ended: "stop" or "length"."""
        return "stop" if self.stopped else "length"

    @property
    def logprobs(self) -> list[float]:
        """The natural log probability of each character at temperature 1 and without limits, to 4 decimals."""
        # A float32 times 10,000 is exact in float64, so this rounds as Python does, in a tenth of the time.
        ten_thousandths = np.rint(self.nats.astype(np.float64) * -(10.0**DECIMALS))
        rounded: list[float] = (ten_thousandths / 10.0**DECIMALS + 0.0).tolist()
        return rounded


@dataclass(frozen=True)
class Texts:
    """Texts that ended in one call. All but `ids` and `nats` are (N,).

    Attributes:
        index: number of the row of each, from 0.
        ids: of their characters, one text after the other, with those of stop strings that are cut off, (T,).
        nats: negative natural log probability of each character at temperature 1, (T,) float32.
        starts: the place of the first character of each.
        ends: the place after the last one of each.
        stopped: whether a stop string ended each, and not its length.
    """

    index: np.ndarray
    ids: np.ndarray
    nats: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    stopped: np.ndarray

    @classmethod
    def none(cls) -> Self:
        """Return no texts."""
        places = np.empty(0, np.int64)
        return cls(places, np.empty(0, np.uint16), np.empty(0, np.float32), places, places, np.empty(0, np.bool_))

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[Text]:
        """Yield each text."""
        columns = zip(self.index.tolist(), *self._places, self.stopped.tolist(), self.nats_per_char(), strict=True)
        for index, start, end, stopped, mean in columns:
            yield Text(index, self.ids[start:end], self.nats[start:end], stopped, mean)

    @property
    def _places(self) -> tuple[list[int], list[int]]:
        return self.starts.tolist(), self.ends.tolist()

    def decode(self, characters: str) -> list[str]:
        """Return the texts as strings. `characters` are those of the vocabulary, in the order of their ids."""
        codes = np.frombuffer(characters.encode(UTF_32, "surrogatepass"), UTF_32_TYPE)
        whole = codes[self.ids].tobytes().decode(UTF_32, "surrogatepass")
        return [whole[start:end] for start, end in zip(*self._places, strict=True)]

    def nats_per_char(self) -> list[float | None]:
        """Return the mean of `nats` of each text, to 4 decimals, or None if it is empty."""
        # A text's sum is that of its own numbers, in an order that depends on their count alone.
        between = np.stack([self.starts, self.ends], axis=1).reshape(-1)
        sums = np.add.reduceat(np.append(self.nats, 0.0), between)[::2] if len(self) else self.nats
        means = sums / np.maximum(self.ends - self.starts, 1)
        sizes = (self.ends - self.starts).tolist()
        return [round(mean, DECIMALS) if size else None for mean, size in zip(means.tolist(), sizes, strict=True)]


def reorder(numbered: Iterable[tuple[int, T]]) -> Iterator[T]:
    """Yield texts in the order of their rows, given with the numbers of these. Only those that come early are kept."""
    early: dict[int, T] = {}
    expected = 0
    for number, text in numbered:
        early[number] = text
        while expected in early:
            yield early.pop(expected)
            expected += 1
