"""Options of networks, training and sampling, with their bounds.

The library takes these options and jobs carry them, so both refuse the same input with the same message. Pure Python:
the producer imports this module without TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import prod
from typing import Any, Self

from charrnn.checks import (
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_temperatures,
    check_type,
    did_you_mean,
)
from charrnn.errors import InputError, counted
from charrnn.network.cells import CELLS
from charrnn.text.documents import check_encodable

PRECISIONS = (AUTO, FLOAT32, BFLOAT16) = ("auto", "float32", "bfloat16")
UNKNOWN = (ERROR, DROP, REPLACE) = ("error", "drop", "replace")
GROW = "grow"
UNKNOWN_IN_TEXT = (GROW, *UNKNOWN)
KEEPS_NETWORK = "A model that is fine-tuned keeps its network"
NO_VALIDATION = "none"  # instead of a file: reserve no text
MAX_LAYERS = 8
MAX_UNITS = 4096
MAX_UNROLL = 1024  # characters; the graph and the memory of a training step grow with it
MAX_BATCH = 4096
MAX_EPOCHS = 10_000
MAX_SAMPLES = 1_000_000
MAX_TOP_K = 65_536  # the maximum size of a vocabulary
MAX_STOPS = 100
MAX_STOP = 1000  # characters
MAX_LENGTH = 1_000_000  # characters
MAX_RNG_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base class of all options: conversion to and from JSON-ready dictionaries.

    Raises:
        InputError: a field is unknown or out of range.
    """

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def names(cls) -> set[str]:
        return {field.name for field in fields(cls)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        if unknown := values.keys() - cls.names():
            raise no_option(cls.__name__, unknown, cls.names())
        return cls(**values)


def no_option(what: str, unknown: Iterable[str], known: Iterable[str]) -> InputError:
    """Return the error about unknown options, with the known one that the first of them is nearest to."""
    names = sorted(map(str, unknown))
    hint = did_you_mean(names[0], sorted(known))
    return InputError(f"{what} has no option {', '.join(names)}{hint and f'. {hint}'}")


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Options):
    """The architecture of a network, except for the size of its vocabulary.

    Raises:
        InputError: a field is out of range.
    """

    cell: str = "lstm"
    layers: int = 2
    units: int = 512  # in each layer
    dropout: float = 0.1  # dropout rate of the outputs of each layer during training, at least 0 and below 1
    recurrent_dropout: float = 0.0  # the same of the recurrent kernels
    max_len: int | None = None  # characters in its window; None: it carries its state and sees all characters before
    lines: bool = False  # each line is a text of its own: a newline begins it, from a zero state

    def __post_init__(self) -> None:
        check_choice("cell", self.cell, list(CELLS))
        check_integer("layers", self.layers, 1, MAX_LAYERS)
        check_integer("units", self.units, 1, MAX_UNITS)
        for name, rate in (("dropout", self.dropout), ("recurrent_dropout", self.recurrent_dropout)):
            check_number(name, rate)
            if rate >= 1.0:
                raise InputError(f"{name} must be below 1. Received: {rate}")
        if self.max_len is not None:
            check_integer("max_len", self.max_len, 1, MAX_UNROLL)
        check_flag("lines", self.lines)
        if self.lines and self.max_len is not None:
            raise InputError("lines applies only to streams. Leave out `max_len`, or `preset` notebook")

    def num_weights(self, vocabulary_size: int) -> int:
        """Return the number of weights."""
        return sum(map(prod, self.weight_shapes(vocabulary_size).values()))

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
    """The settings of a training run.

    Raises:
        InputError: a field is out of range.
    """

    epochs: int = 10  # maximum
    patience: int = 2  # early stopping: epochs without a lower validation loss
    max_minutes: float | None = None  # maximum training time in minutes; None: no limit
    batch: int | None = None  # parallel streams, or windows; None: chosen by the length of the text
    unroll: int = 64  # characters of truncated backpropagation through time
    stride: int = 3  # characters from the start of one window to that of the next
    precision: str = "auto"  # of matrix multiplication; auto: bfloat16 where the device multiplies it faster
    preview_temperatures: tuple[float, ...] = (0.2, 0.5, 1.0, 1.2)
    rng_seed: int = 0

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs, 1, MAX_EPOCHS)
        check_integer("patience", self.patience, 1, MAX_EPOCHS)
        if self.max_minutes is not None:
            check_number("max_minutes", self.max_minutes)
            if not self.max_minutes:
                raise InputError("max_minutes must be above 0. Received: 0")
        if self.batch is not None:
            check_integer("batch", self.batch, 1, MAX_BATCH)
        check_integer("unroll", self.unroll, 1, MAX_UNROLL)
        check_integer("stride", self.stride, 1, MAX_LENGTH)
        check_choice("precision", self.precision, PRECISIONS)
        object.__setattr__(self, "preview_temperatures", check_temperatures(self.preview_temperatures))
        check_integer("rng_seed", self.rng_seed, 0, MAX_RNG_SEED)

    def choose_batch_size(self, network: NetworkOptions, num_characters: int) -> int:
        """Return the batch size: the streams or windows in one step over a training text of this length.

        Raises:
            InputError: the text is shorter than one batch.
        """
        if network.max_len is not None:
            batch, needed = self.batch or NOTEBOOK_BATCH, network.max_len + 1
            what = f"one window of {counted(network.max_len, 'character')}, and the next character"
        else:
            batch = self.batch or choose_streams(num_characters)
            needed = batch * self.unroll + 1
            what = f"{counted(batch, 'stream')} of {counted(self.unroll, 'character')}, and the next character"
        if num_characters < needed:
            raise InputError(
                f"Without the validation text and copies of it, the training text has "
                f"{counted(num_characters, 'character')}, fewer than one batch. Expected at least {needed:,} ({what}). "
                f"Add text, or reserve less of it for validation"
            )
        return batch


NOTEBOOK_BATCH = 128
PRESETS: dict[str, dict[str, Any]] = {
    "notebook": {
        "units": 512,
        "dropout": 0.2,
        "max_len": 20,
        "batch": NOTEBOOK_BATCH,
        "precision": "float32",
    }
}
"""The options that each preset sets; the others are the defaults. `notebook` follows ml4a's
recurrent_neural_networks.ipynb, on which this project is based."""


def chosen_options(preset: str | None, options: Mapping[str, Any], *, continues: bool = False) -> dict[str, Any]:
    """Combine the options of a preset with explicit ones, which take precedence.

    Args:
        preset: a key of `PRESETS`, or None.
        options: fields of `NetworkOptions` and `TrainingOptions`; None values count as left out.
        continues: whether a model is fine-tuned, which determines the network.

    Raises:
        InputError: an option is unknown, out of range, or applies to the other way of training (streams or windows).
    """
    if preset is not None:
        check_choice("preset", preset, list(PRESETS))
    given = {name: value for name, value in options.items() if value is not None}
    chosen = {**(PRESETS[preset] if preset else {}), **given}
    split_options(chosen)
    if "max_len" in chosen and "unroll" in chosen:
        raise InputError(
            "unroll applies only to streams. `max_len` is the number of characters of a window: leave out `unroll`"
        )
    if "max_len" not in chosen and "stride" in chosen and not continues:
        raise InputError("stride applies only to windows. Set `max_len`, or use `preset` notebook")
    if continues and NetworkOptions.names() & chosen.keys():
        raise InputError(
            f"{KEEPS_NETWORK}. Leave out `cell`, `units`, `layers`, `dropout`, `recurrent_dropout`, `max_len`, `lines` "
            f"and `preset`"
        )
    return chosen


def split_options(options: Mapping[str, Any]) -> tuple[NetworkOptions, TrainingOptions]:
    """Return options in one mapping as those of the network and those of the training.

    Raises:
        InputError: an option is unknown or out of range.
    """
    known = NetworkOptions.names() | TrainingOptions.names()
    if unknown := options.keys() - known:
        raise no_option("A training", unknown, known)
    network = {name: value for name, value in options.items() if name in NetworkOptions.names()}
    rest = {name: value for name, value in options.items() if name not in network}
    return NetworkOptions.from_dict(network), TrainingOptions.from_dict(rest)


MIN_STREAMS, MAX_STREAMS = 8, 128
STREAM_CHARACTERS = 65_536  # per stream: small texts get few streams, so that an epoch has many steps


def count_windows(num_characters: int, max_len: int, stride: int) -> int:
    """Return the number of windows in a text of this length. Each has `max_len` characters and one that follows."""
    return len(range(0, num_characters - max_len, stride))


def choose_streams(num_characters: int) -> int:
    """Return the number of parallel streams, a power of two from 8 to 128, for a training text of this length."""
    proportional = max(1, num_characters // STREAM_CHARACTERS)
    power: int = 1 << (proportional.bit_length() - 1)
    return min(max(power, MIN_STREAMS), MAX_STREAMS)


OVERRIDES = ("temperature", "length", "stop", "top_k", "top_p")
"""Options that a seed may set for itself. They replace those of its job."""


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(Options):
    """The settings of sampling, and how many texts to sample from each seed.

    Raises:
        InputError: a field is out of range.
    """

    temperatures: tuple[float, ...] = (1.0,)  # 0 is greedy decoding, 1 the learned distribution
    samples: int = 1  # texts for each seed and temperature
    length: int = 400  # maximum number of new characters in each text
    stop: tuple[str, ...] = ()  # stop strings: a text ends before the first one that occurs in it
    keep_stop: bool = False  # a text ends after its stop string instead
    top_k: int | None = None  # top-k sampling: only the k most likely characters
    top_p: float | None = None  # nucleus sampling: of these, only the most likely that together reach probability p
    logprobs: bool = False  # report the natural log probability of every character
    unknown: str = ERROR  # policy for characters in seeds that are outside the vocabulary
    precision: str = AUTO  # of matrix multiplication
    rng_seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperatures", check_temperatures(self.temperatures))
        object.__setattr__(self, "stop", _check_stops(self.stop))
        check_integer("samples", self.samples, 1, MAX_SAMPLES)
        check_integer("length", self.length, 1, MAX_LENGTH)
        if self.top_k is not None:
            check_integer("top_k", self.top_k, 1, MAX_TOP_K)
        if self.top_p is not None:
            is_number = isinstance(self.top_p, int | float) and not isinstance(self.top_p, bool)
            if not (is_number and 0 < self.top_p <= 1):
                raise InputError(f"top_p must be a number above 0 and at most 1. Received: {self.top_p!r}")
        check_flag("keep_stop", self.keep_stop)
        check_flag("logprobs", self.logprobs)
        check_choice("unknown", self.unknown, UNKNOWN)
        check_choice("precision", self.precision, PRECISIONS)
        check_integer("rng_seed", self.rng_seed, 0, MAX_RNG_SEED)

    def texts(self, values: Mapping[str, Any]) -> int:
        """Return the number of rows of a seed with these options of its own.

        This is cheaper than `with_overrides`, which checks the options.
        """
        own = values.get("temperature")
        temperatures = self.temperatures if own is None else (own,) if isinstance(own, int | float) else own
        return len(temperatures) * self.samples

    def with_overrides(self, values: Mapping[str, Any]) -> Self:
        """Return these options with some replaced by a seed's own.

        Args:
            values: by names in `OVERRIDES`, with one or several temperatures. None values count as left out.

        Raises:
            InputError: an option is not in `OVERRIDES` or is out of range.
        """
        if not values:
            return self
        check_type("values", values, Mapping, "a mapping, such as {'length': 80}")
        if unknown := values.keys() - set(OVERRIDES):
            raise InputError(f"A seed cannot set {', '.join(sorted(unknown))}. Expected: {', '.join(OVERRIDES)}")
        named = {"temperatures" if name == "temperature" else name: value for name, value in values.items()}
        return replace(self, **{name: value for name, value in named.items() if value is not None})


def _check_stops(stops: str | Iterable[str]) -> tuple[str, ...]:
    if not isinstance(stops, str | list | tuple):
        raise InputError(f"stop must be a string or several strings. Received: {stops!r}")
    stops = (stops,) if isinstance(stops, str) else tuple(stops)
    if len(stops) > MAX_STOPS:
        raise InputError(f"Expected at most {MAX_STOPS} stop strings. Received: {len(stops):,}")
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= MAX_STOP:
            raise InputError(f"A stop string must have 1 to {MAX_STOP:,} characters. Received: {stop!r:.80}")
        check_encodable(f"The stop string {stop!r:.80}", stop)
    return stops
