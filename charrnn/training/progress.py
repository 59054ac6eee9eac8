"""Values that a training reports while it runs: progress, epochs, previews. Pure Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training stands after a step."""

    step: int
    steps: int  # in all; of a training with a time limit, as many as it seems to reach
    epoch: int  # from 1
    epochs: int
    train_loss: float  # mean of this epoch so far
    val_loss: float | None  # after the last whole epoch
    characters: int
    evaluating: bool = False  # the epoch's steps are done, and the validation text is being read


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A text that a model wrote while it was trained."""

    temperature: float
    seed: str
    text: str


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """One line of a training's history. Losses are nats per character."""

    epoch: int  # from 1
    step: int
    learning_rate: float
    train_loss: float
    val_loss: float
    previews: tuple[Preview, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EpochMetrics:
        previews = tuple(Preview(**preview) for preview in values["previews"])
        return cls(**{**values, "previews": previews})
