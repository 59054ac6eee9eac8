"""Values that training reports while it runs: progress, epochs and previews. Pure Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of training after a step. Losses are cross-entropy in nats per character."""

    step: int
    steps: int  # in total; with a time limit, an estimate of how many fit into it
    epoch: int  # from 1
    epochs: int
    train_loss: float  # mean over the current epoch so far
    val_loss: float | None  # after the last complete epoch; None before
    characters: int  # number of characters trained on so far, over all epochs
    evaluating: bool = False  # the steps of the epoch are done, and the validation loss is being computed
    seconds: float = 0.0  # of training so far

    @property
    def remaining_s(self) -> float | None:
        """The seconds that the remaining steps take, if none is left out by early stopping. None before the first."""
        return self.seconds / self.step * (self.steps - self.step) if self.step and self.seconds else None


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A text that a model generated during its training."""

    temperature: float
    seed: str
    text: str


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """The metrics of one epoch. Losses are cross-entropy in nats per character."""

    epoch: int  # from 1
    step: int
    learning_rate: float
    train_loss: float
    val_loss: float
    previews: tuple[Preview, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EpochMetrics:
        """Return the metrics that `dataclasses.asdict` made a dictionary of."""
        previews = tuple(Preview(**preview) for preview in values["previews"])
        return cls(**{**values, "previews": previews})
