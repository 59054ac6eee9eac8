"""A row to sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charrnn.sampling.limits import ALL


@dataclass(frozen=True)
class Row:
    """One text to sample."""

    seed: Sequence[int]  # ids to feed first, at least one
    temperature: float  # 0 is greedy decoding
    length: int  # maximum number of new characters, at least 1
    key: int  # of the random stream of the row
    stop: tuple[str, ...] = ()  # stop strings, each of their ids as `to_string` has it, at most MAX_STOP of them
    keep_stop: bool = False  # the text ends after its stop string; otherwise before the first
    top_k: int = ALL
    top_p: float = 1.0
