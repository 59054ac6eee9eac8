"""What a person may choose, with its bounds: the network, a training, a sampling.

The library takes these, and jobs carry them, so that both refuse the same input with the same
words. Pure Python: the producer imports this without TensorFlow.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from charrnn.errors import InputError

UNROLL = 64  # characters of truncated backpropagation
MIN_STREAMS = 8  # parallel streams of a small text

# Slots of a batch. At least 16: where slots x characters is no multiple of a vector's width, its last
# elements are computed by other instructions, and a text could depend on its slot. At most 256: 1024
# is no faster on a CPU.
BATCHES = (16, 32, 64, 128, 256)
MIN_FILL = 0.95  # by whole waves; rows of unequal length cost about 5 % more

MAX_LAYERS = 8
MAX_UNITS = 4096
MAX_EPOCHS = 10_000
MAX_SAMPLES = 1_000_000
MAX_LENGTH = 1_000_000  # characters
MAX_RNG_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of the three: a JSON round trip.

    Raises:
        InputError: a field out of its bounds, or one that is not known.
    """

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        if unknown := values.keys() - {field.name for field in fields(cls)}:
            raise InputError(f"{cls.__name__} has no option {', '.join(sorted(unknown))}")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Options):
    """The network's shape, but for the size of the vocabulary."""

    layers: int = 2
    units: int = 512  # of each layer
    dropout: float = 0.2  # share of each layer's outputs that training drops

    def __post_init__(self) -> None:
        check_integer("layers", self.layers, 1, MAX_LAYERS)
        check_integer("units", self.units, 1, MAX_UNITS)
        check_number("dropout", self.dropout)
        if self.dropout >= 1.0:
            raise InputError(f"dropout must be below 1. Received: {self.dropout}")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """How long to train, and from which random seed."""

    epochs: int = 10  # times that the training text is read
    rng_seed: int = 0

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs, 1, MAX_EPOCHS)
        check_integer("rng-seed", self.rng_seed, 0, MAX_RNG_SEED)


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(Options):
    """What to sample from each seed."""

    temperatures: tuple[float, ...] = (1.0,)  # 0 is argmax, 1 what the model learned
    samples: int = 1  # texts for each seed and temperature
    length: int = 400  # new characters of each text
    rng_seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperatures:
            raise InputError("Expected at least one temperature")
        for temperature in self.temperatures:
            check_number("temperature", temperature)
        # As floats, and -0.0 as 0.0: a row's random stream depends on how its temperature is written.
        object.__setattr__(self, "temperatures", tuple(float(t) + 0.0 for t in self.temperatures))
        if len(set(self.temperatures)) < len(self.temperatures):
            raise InputError(f"A temperature stands twice in {list(self.temperatures)}. Ask for more samples instead")
        check_integer("samples", self.samples, 1, MAX_SAMPLES)
        check_integer("length", self.length, 1, MAX_LENGTH)
        check_integer("rng-seed", self.rng_seed, 0, MAX_RNG_SEED)


def check_integer(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{name} must be a whole number from {low} to {high:,}. Received: {value!r}")


def check_number(name: str, value: object) -> None:
    """Refuse what is not a finite number of at least 0."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= sys.float_info.max:
        raise InputError(f"{name} must be a finite number of at least 0. Received: {value!r}")


def check_training_length(characters: int) -> None:
    """Refuse a training text that is shorter than one batch."""
    needed = MIN_STREAMS * UNROLL + 1
    if characters < needed:
        raise InputError(
            f"The training text has {characters:,} characters, fewer than one batch. Expected at least "
            f"{needed} ({MIN_STREAMS} streams of {UNROLL}, and one) beside the 5 % held out. Add text"
        )


def choose_batch(rows: int) -> int:
    """Slots for so many rows: all at once if they fit, else the most slots that stay nearly full."""
    if rows <= BATCHES[-1]:
        return next(batch for batch in BATCHES if batch >= rows)
    return max((batch for batch in BATCHES if rows / (-(-rows // batch) * batch) >= MIN_FILL), default=BATCHES[0])
