"""Options of a network, a training and a sampling, with their bounds.

The library takes these, and jobs carry them, so that both refuse the same input with the same
words. Pure Python: the producer imports this without TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from charrnn.checks import check_choice, check_integer, check_number, check_temperatures
from charrnn.errors import InputError
from charrnn.network.cells import CELLS
from charrnn.text.documents import check_encodable

PRECISIONS = (AUTO, FLOAT32, BFLOAT16) = ("auto", "float32", "bfloat16")
UNKNOWN = (ERROR, DROP, REPLACE) = ("error", "drop", "replace")
MAX_LAYERS = 8
MAX_UNITS = 4096
MAX_UNROLL = 1024  # characters; a step's graph and its memory grow with it
MAX_BATCH = 4096
MAX_EPOCHS = 10_000
MAX_SAMPLES = 1_000_000
MAX_TOP_K = 65_536  # as many characters as a vocabulary can have
MAX_STOPS = 100
MAX_STOP = 1000  # characters
MAX_LENGTH = 1_000_000  # characters
MAX_RNG_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base class of the three: a JSON round trip.

    Raises:
        InputError: a field out of its bounds, or one that is not known.
    """

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def names(cls) -> set[str]:
        return {field.name for field in fields(cls)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        if unknown := values.keys() - cls.names():
            raise InputError(f"{cls.__name__} has no option {', '.join(sorted(unknown))}")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Options):
    """The architecture of a network. Only the size of the vocabulary is missing."""

    cell: str = "lstm"
    layers: int = 2
    units: int = 512  # of each layer
    dropout: float = 0.1  # dropout rate of each layer's outputs in training
    max_len: int | None = None  # characters that it sees; None: all before, by the state it carries

    def __post_init__(self) -> None:
        check_choice("cell", self.cell, list(CELLS))
        check_integer("layers", self.layers, 1, MAX_LAYERS)
        check_integer("units", self.units, 1, MAX_UNITS)
        check_number("dropout", self.dropout)
        if self.dropout >= 1.0:
            raise InputError(f"dropout must be below 1. Received: {self.dropout}")
        if self.max_len is not None:
            check_integer("max-len", self.max_len, 1, MAX_UNROLL)

    def weight_shapes(self, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every weight, in the order in which they are stored."""
        shapes: dict[str, tuple[int, ...]] = {}
        inputs = vocabulary_size
        for layer in range(self.layers):
            for name, shape in CELLS[self.cell].weight_shapes(inputs, self.units).items():
                shapes[f"{self.cell}_{layer}.{name}"] = shape
            inputs = self.units
        return shapes | {"dense.kernel": (self.units, vocabulary_size), "dense.bias": (vocabulary_size,)}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """How to train, how long, and from which random seed."""

    epochs: int = 10  # at most
    patience: int = 2  # early stopping: epochs without a lower validation loss
    max_minutes: float | None = None
    batch: int | None = None  # parallel streams, or windows; None: what the text's length asks for
    unroll: int = 64  # characters of truncated backpropagation
    stride: int = 3  # characters from one window to the next
    precision: str = "auto"  # of matrix products: bfloat16 where the device multiplies it faster
    preview_temperatures: tuple[float, ...] = (0.2, 0.5, 1.0, 1.2)
    rng_seed: int = 0

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs, 1, MAX_EPOCHS)
        check_integer("patience", self.patience, 1, MAX_EPOCHS)
        if self.max_minutes is not None:
            check_number("max-minutes", self.max_minutes)
            if not self.max_minutes:
                raise InputError("max-minutes must be above 0. Received: 0")
        if self.batch is not None:
            check_integer("batch", self.batch, 1, MAX_BATCH)
        check_integer("unroll", self.unroll, 1, MAX_UNROLL)
        check_integer("step", self.stride, 1, MAX_LENGTH)
        check_choice("precision", self.precision, PRECISIONS)
        object.__setattr__(self, "preview_temperatures", check_temperatures(self.preview_temperatures))
        check_integer("rng-seed", self.rng_seed, 0, MAX_RNG_SEED)

    def batch_of(self, network: NetworkOptions, characters: int) -> int:
        """Return the streams or windows that a step reads from a training text of so many characters.

        Raises:
            InputError: a text that is shorter than one batch.
        """
        if network.max_len is not None:
            batch, needed = self.batch or NOTEBOOK_BATCH, network.max_len + 1
            what = f"one window of {network.max_len}, and the character after it"
        else:
            batch = self.batch or choose_streams(characters)
            needed = batch * self.unroll + 1
            what = f"{batch} streams of {self.unroll}, and one"
        if characters < needed:
            raise InputError(
                f"The training text has {characters:,} characters, fewer than one batch. Expected at least "
                f"{needed:,} ({what}) beside the validation text. Add text"
            )
        return batch


def continued(network: NetworkOptions | None, start: NetworkOptions | None) -> NetworkOptions:
    """Return the network of a training: the one that was asked for, or that of the model to fine-tune."""
    if start and network:
        raise InputError(
            "A model that goes on keeps its network. Leave out cell, units, layers, dropout, max-len and preset"
        )
    return start or network or NetworkOptions()


NOTEBOOK_BATCH = 128
PRESETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "notebook": ({"dropout": 0.2, "max_len": 20}, {"batch": NOTEBOOK_BATCH, "precision": "float32"})
}
"""Options that each preset changes. `notebook` follows ml4a's recurrent_neural_networks.ipynb, where this began."""


def chosen_options(
    preset: str | None, network: Mapping[str, Any], training: Mapping[str, Any], *, continues: bool = False
) -> tuple[NetworkOptions | None, TrainingOptions]:
    """Return options from a preset and from what was asked for; None means left out.

    Args:
        continues: whether the network is to be that of a model.

    Raises:
        InputError: an option out of its bounds, not known, or of the other way to train.

    Returns:
        The network, or None if nothing of it was asked for, and the training.
    """
    if preset is not None:
        check_choice("preset", preset, list(PRESETS))
    base = PRESETS[preset] if preset else ({}, {})
    chosen = [
        {**values, **{name: value for name, value in asked.items() if value is not None}}
        for values, asked in zip(base, (network, training), strict=True)
    ]
    if "max_len" in chosen[0] and "unroll" in chosen[1]:
        raise InputError("--unroll is of streams. A window is as long as its --max-len")
    if "max_len" not in chosen[0] and "stride" in chosen[1] and not continues:
        raise InputError("--stride is of windows. Choose --preset notebook, or a --max-len")
    return NetworkOptions.from_dict(chosen[0]) if chosen[0] else None, TrainingOptions.from_dict(chosen[1])


MIN_STREAMS, MAX_STREAMS = 8, 128
STREAM_CHARACTERS = 65_536  # of the text for each stream: small texts get few, so that an epoch has many steps


def count_windows(characters: int, max_len: int, stride: int) -> int:
    """Return the number of windows in a text of so many characters, each with the character after it."""
    return len(range(0, characters - max_len, stride))


def choose_streams(characters: int) -> int:
    """Return the number of parallel streams, a power of two, for a training text of so many characters."""
    wanted = max(1, characters // STREAM_CHARACTERS)
    power: int = 1 << (wanted.bit_length() - 1)
    return min(max(power, MIN_STREAMS), MAX_STREAMS)


OVERRIDES = ("temperature", "length", "stop", "top_k", "top_p")
"""Options that a seed may set for itself, instead of those of its job."""


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(Options):
    """How many texts to sample from each seed, and how."""

    temperatures: tuple[float, ...] = (1.0,)  # 0 is greedy decoding, 1 what the model learned
    samples: int = 1  # texts for each seed and temperature
    length: int = 400  # new characters of each text, at most
    stop: tuple[str, ...] = ()  # a text ends before the first of these that it holds
    keep_stop: bool = False  # it ends after it
    top_k: int | None = None  # top-k sampling: from the k likeliest characters
    top_p: float | None = None  # nucleus sampling: from the likeliest of these that reach the probability p
    logprobs: bool = False  # report the log probability of every character
    unknown: str = ERROR  # policy for characters in seeds that the model does not know
    precision: str = AUTO  # of matrix products
    rng_seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperatures", check_temperatures(self.temperatures))
        object.__setattr__(self, "stop", _check_stops(self.stop))
        check_integer("samples", self.samples, 1, MAX_SAMPLES)
        check_integer("length", self.length, 1, MAX_LENGTH)
        if self.top_k is not None:
            check_integer("top-k", self.top_k, 1, MAX_TOP_K)
        if self.top_p is not None:
            is_number = isinstance(self.top_p, int | float) and not isinstance(self.top_p, bool)
            if not (is_number and 0 < self.top_p <= 1):
                raise InputError(f"top-p must be a number above 0 and at most 1. Received: {self.top_p!r}")
        check_choice("unknown", self.unknown, UNKNOWN)
        check_choice("precision", self.precision, PRECISIONS)
        check_integer("rng-seed", self.rng_seed, 0, MAX_RNG_SEED)

    def texts(self, values: Mapping[str, Any]) -> int:
        """Return the rows of a seed with these values of its own; cheaper than `overridden`, which checks them."""
        own = values.get("temperature")
        temperatures = self.temperatures if own is None else (own,) if isinstance(own, int | float) else own
        return len(temperatures) * self.samples

    def overridden(self, values: Mapping[str, Any]) -> Self:
        """Return these options with a seed's own values: some of `OVERRIDES`, one temperature or several.

        Raises:
            InputError: an option that is not of these, or out of its bounds.
        """
        if not values:
            return self
        if unknown := values.keys() - set(OVERRIDES):
            raise InputError(f"A seed cannot choose {', '.join(sorted(unknown))}. Expected: {', '.join(OVERRIDES)}")
        named = {"temperatures" if name == "temperature" else name: value for name, value in values.items()}
        return replace(self, **{name: value for name, value in named.items() if value is not None})


def _check_stops(stops: str | Iterable[str]) -> tuple[str, ...]:
    if not isinstance(stops, str | list | tuple):
        raise InputError(f"stop must be a text, or several. Received: {stops!r}")
    stops = (stops,) if isinstance(stops, str) else tuple(stops)
    if len(stops) > MAX_STOPS:
        raise InputError(f"Expected at most {MAX_STOPS} stop strings. Received: {len(stops):,}")
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= MAX_STOP:
            raise InputError(f"A stop string must have 1 to {MAX_STOP:,} characters. Received: {stop!r:.80}")
        check_encodable(f"The stop string {stop!r:.80}", stop)
    return stops
