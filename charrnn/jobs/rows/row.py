"""A row of results."""

from __future__ import annotations

import json
from dataclasses import dataclass

from charrnn.jobs.job.json_object import known_fields


@dataclass(frozen=True, kw_only=True)
class Row:
    """One sampled text, as a line of results has it.

    Attributes:
        row: its number in the job.
        id: the id of its seed.
        seed: the text that it continues.
        sample: index among the texts of this seed and temperature, from 0.
        text: the new characters; None if it could not be sampled.
        finish_reason: "length", or "stop" if a stop string ended the text.
        nats_per_char: mean cross-entropy of the text at temperature 1; None for an empty text.
        novel: whether it does not occur in the training text; None if that is not known.
        longest_copy: characters of its longest stretch that does, from 24 bytes on; None if that is not known.
        version: the version that it was sampled from, such as "speeches@3".
        error: why it could not be sampled.
        logprobs: natural log probability of each character at temperature 1, if the request has `logprobs`.
    """

    row: int
    id: str | None
    seed: str
    temperature: float
    sample: int
    text: str | None
    finish_reason: str | None
    nats_per_char: float | None
    novel: bool | None
    longest_copy: int | None
    version: str
    error: str | None
    logprobs: list[float] | None = None

    @classmethod
    def from_line(cls, line: bytes) -> Row:
        """Return the row of a line of results."""
        return cls(**known_fields(cls, json.loads(line)))
