"""What was sampled for a job: each part reports it, and the job's row holds the sum.

A report is JSON, so that the transaction that ends a part can add it to the job's.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SHOWN_TEMPERATURES = 20  # those that come first; the texts at further ones are counted together
SKETCH = 1024  # hashes: exact below so many distinct texts, above with a standard error of 3 %
HASHES = 1 << 32


class Distinct:
    """How many distinct texts there were, in bounded memory: the smallest of their hashes tell how dense these lie.

    K minimum values, Bar-Yossef et al. 2002, "Counting distinct elements in a data stream".
    """

    def __init__(self, hashes: Iterable[int] = ()) -> None:
        self.hashes = set(hashes)
        self._trim(SKETCH)

    def add(self, text: str) -> None:
        digest = hashlib.blake2b(text.encode(), digest_size=4).digest()
        self.hashes.add(int.from_bytes(digest, "little"))
        self._trim(2 * SKETCH)  # seldom, since it sorts

    def _trim(self, most: int) -> None:
        if len(self.hashes) > most:
            self.hashes = set(sorted(self.hashes)[:SKETCH])

    @property
    def count(self) -> int:
        smallest = sorted(self.hashes)[:SKETCH]
        return len(smallest) if len(smallest) < SKETCH else round((SKETCH - 1) * HASHES / (smallest[-1] + 1))

    def to_json(self) -> str:
        smallest = sorted(self.hashes)[:SKETCH]
        return base64.b64encode(struct.pack(f"<{len(smallest)}I", *smallest)).decode()

    @classmethod
    def from_json(cls, document: str) -> Distinct:
        return cls(hashed for (hashed,) in struct.iter_unpack("<I", base64.b64decode(document)))


@dataclass
class Tally:
    """Of the texts at one temperature."""

    rows: int = 0
    characters: int = 0
    nats: float = 0.0  # of all characters together
    distinct: Distinct = field(default_factory=Distinct)

    def add(self, text: str, nats_per_char: float | None) -> None:
        self.rows += 1
        self.characters += len(text)
        self.nats += len(text) * (nats_per_char or 0.0)
        self.distinct.add(text)

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "distinct": self.distinct.to_json()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Tally:
        return cls(**{**values, "distinct": Distinct.from_json(values["distinct"])})


class Tallies:
    """By temperature, as JSON's keys are: texts."""

    OTHERS = "others"

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}

    def at(self, temperature: str) -> Tally:
        full = len(self.tallies) >= SHOWN_TEMPERATURES and temperature not in self.tallies
        return self.tallies.setdefault(self.OTHERS if full else temperature, Tally())

    def to_dict(self) -> dict[str, Any]:
        return {temperature: tally.to_dict() for temperature, tally in self.tallies.items()}


def added(report: Mapping[str, Any] | None, part: Mapping[str, Any]) -> dict[str, Any]:
    """A job's report with that of one more part."""
    if report is None:
        return dict(part)
    tallies = Tallies()
    for temperature, values in [*report["temperatures"].items(), *part["temperatures"].items()]:
        tally, more = tallies.at(temperature), Tally.from_dict(values)
        tally.rows += more.rows
        tally.characters += more.characters
        tally.nats += more.nats
        tally.distinct = Distinct(tally.distinct.hashes | more.distinct.hashes)
    sums = {name: report[name] + part[name] for name in ("parts", "steps", "slot_steps", "characters")}
    seconds = {phase: report["seconds"][phase] + part["seconds"][phase] for phase in part["seconds"]}
    return {**part, **sums, "seconds": seconds, "temperatures": tallies.to_dict()}


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report as people read it."""
    return {
        **{name: report[name] for name in ("parts", "batch", "precision", "steps", "characters")},
        "fill": round(report["slot_steps"] / max(1, report["steps"] * report["batch"]), 4),
        "characters_per_second": round(report["characters"] / max(report["seconds"]["sampling"], 1e-3)),
        "seconds": {phase: round(seconds, 3) for phase, seconds in report["seconds"].items()},
        "temperatures": [
            {
                "temperature": None if temperature == Tallies.OTHERS else float(temperature),
                **_tally_summary(Tally.from_dict(values)),
            }
            for temperature, values in report["temperatures"].items()
        ],
    }


def _tally_summary(tally: Tally) -> dict[str, Any]:
    return {
        "rows": tally.rows,
        "nats_per_char": round(tally.nats / tally.characters, 4) if tally.characters else None,
        "distinct_share": round(min(1.0, tally.distinct.count / tally.rows), 4),
    }
