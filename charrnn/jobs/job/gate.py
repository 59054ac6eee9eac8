"""The gate of a model: a new version becomes its champion only if it is better on the model's held-out text.

A version that goes on from another model's may lack characters of the held-out text; then its loss and the
champion's are of different texts. What one of them lacks is left out for both, which takes both models: a worker
measures it, and the transaction that stores the version looks whether that was against the champion of the moment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Row

FIRST = "the first version"
NOT_COMPARED = "not compared: one of it and the champion lacks characters of the held-out text"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A version and a champion on the characters of the held-out text that both know. Losses are nats per character."""

    champion: int  # its number
    nats: float
    champion_nats: float
    left_out: int = 0  # characters of the text that one of them lacks


class NotComparedError(Exception):
    """The version's loss and the champion's are of other characters, and they were not compared: do so, come again."""

    def __init__(self, champion: Row[Any]) -> None:
        super().__init__(f"{champion.model}@{champion.version}")
        self.champion = champion


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What the gate made of a version.

    Attributes:
        margin: nats by which it had to be better.
        comparison: None of a first version, which has nobody to be better than, and of one that was not compared.
    """

    promoted: bool
    margin: float = 0.0
    comparison: Comparison | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Gate:
        comparison = values["comparison"] and Comparison(**values["comparison"])
        return cls(**{**values, "comparison": comparison})

    def reason(self, model: str) -> str:
        """For people: why it was promoted, or was not."""
        if (against := self.comparison) is None:
            return FIRST if self.promoted else NOT_COMPARED
        champion = f"{against.champion_nats:.4f} of {model}@{against.champion}"
        verdict = f"{against.nats:.4f} nats, {'better' if self.promoted else 'not better'} than {champion}"
        margin = f" by {self.margin:g}" if self.margin else ""
        left_out = f"; {against.left_out:,} characters that one of them lacks are left out" if against.left_out else ""
        return verdict + margin + left_out


def passed(comparison: Comparison, margin: float) -> Gate:
    """Whether a version is better by more than nothing, and by the margin."""
    better = comparison.champion_nats - comparison.nats
    return Gate(promoted=better > 0 and better >= margin, margin=margin, comparison=comparison)
