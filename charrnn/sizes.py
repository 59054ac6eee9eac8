"""Default options of a training, chosen by the length of its text: network, dropout, batch, epochs. Pure Python."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

from charrnn.checks import check_choice
from charrnn.errors import InputError, counted
from charrnn.options import KEEPS_NETWORK, NetworkOptions, TrainingOptions, split_options

SIZES = (AUTO_SIZE, TINY, SMALL, BASE, LARGE) = ("auto", "tiny", "small", "base", "large")
UNITS = {TINY: 128, SMALL: 192, BASE: 256, LARGE: 512}  # in each of 2 layers


class Fit(NamedTuple):
    """Default options for training texts of up to `characters` characters.

    Attributes:
        characters: maximum length of the text.
        size: size of the network.
        dropout: rate, of the outputs of a layer.
        recurrent_dropout: rate, of its recurrent kernel.
        batch: parallel streams. Small texts get few, so that an epoch has many steps.
        unroll: characters of truncated backpropagation through time.
        epochs: maximum. Small texts need more, since an epoch has few steps; most end early.
        patience: epochs without a lower validation loss.
    """

    characters: float
    size: str
    dropout: float
    recurrent_dropout: float
    batch: int
    unroll: int
    epochs: int
    patience: int


FITS = (
    Fit(5_000, TINY, 0.3, 0.3, 4, 16, 60, 8),
    Fit(15_000, TINY, 0.3, 0.3, 8, 32, 60, 8),
    Fit(60_000, SMALL, 0.3, 0.3, 16, 32, 40, 5),
    Fit(200_000, BASE, 0.3, 0.3, 32, 64, 30, 4),
    Fit(600_000, LARGE, 0.3, 0.3, 32, 64, 15, 3),
    Fit(2_000_000, LARGE, 0.17, 0.17, 32, 64, 10, 2),
    Fit(4_000_000, LARGE, 0.1, 0.1, 32, 64, 10, 2),
    Fit(10_000_000, LARGE, 0.1, 0.0, 64, 64, 10, 2),
    Fit(inf, LARGE, 0.1, 0.0, 128, 64, 10, 2),
)
LIST_UNROLL = 32  # of a list, most of whose lines are shorter
MIN_STEPS = 8  # in an epoch
MIN_UNROLL = 8  # characters; fewer teach no word
FEW, FEW_IN_LIST = 20_000, 1_000  # characters; with fewer, a warning tells what to expect
LITTLE, MUCH_RESERVED = 1_000, 0.25  # characters, and a share: a text that can spare no validation text
MEMORIZING_STEPS, MEMORIZED_STREAM = 2_500, 5_000  # steps, and characters of a stream, without a validation text

logger = logging.getLogger(__name__)


def fit(
    options: Mapping[str, Any],
    num_characters: int,
    *,
    size: str = AUTO_SIZE,
    lines: bool = False,
    reserved: bool = True,
    start: NetworkOptions | None = None,
) -> tuple[NetworkOptions, TrainingOptions]:
    """Return the options of a training: the explicit ones, and defaults by the length of the text for the others.

    Args:
        options: explicit fields of `NetworkOptions` and `TrainingOptions`, as `chosen_options` returns them.
        num_characters: length of the training text.
        size: one of SIZES. "auto" chooses the network by the length of the text.
        lines: whether each line is a text of its own.
        reserved: whether the validation text is left out of the training. If not, nothing keeps it from memorizing.
        start: the network of a model to fine-tune.

    Raises:
        InputError: an option is unknown or out of range, or options exclude each other.
    """
    check_choice("size", size, SIZES)
    if start and size != AUTO_SIZE:
        raise InputError(f"{KEEPS_NETWORK}. Leave out `size`")
    if "max_len" in options or (start and start.max_len is not None):  # windows, as in the notebook, with its sizes
        if size != AUTO_SIZE:
            raise InputError("size applies only to streams. Leave out `size`, or `max_len` and `preset` notebook")
        network, training = split_options(options)
        return start or network, training
    fitting = _fitting(options, num_characters, size, lines=lines, reserved=reserved)
    network, training = split_options({**fitting, **options, "lines": lines})
    return start or network, training


def _fitting(
    options: Mapping[str, Any], num_characters: int, size: str, *, lines: bool, reserved: bool
) -> dict[str, Any]:
    """Return the explicit options with defaults for the others."""
    found = next(row for row in FITS if num_characters <= row.characters)
    values = {
        "units": UNITS[found.size if size == AUTO_SIZE else size],
        "dropout": found.dropout if reserved else 0.0,
        "recurrent_dropout": found.recurrent_dropout if reserved else 0.0,
        # Each stream begins from a zero state, so its first characters cannot be memorized: one stream if possible.
        "batch": found.batch if reserved else min(found.batch, max(1, num_characters // MEMORIZED_STREAM)),
        "unroll": min(found.unroll, LIST_UNROLL) if lines else found.unroll,
        "epochs": found.epochs,
        "patience": found.patience,
        **options,
    }
    for name, least in (("batch", 1), ("unroll", MIN_UNROLL)):  # of a very small text, so that an epoch has some steps
        while name not in options and values[name] > least and _steps(values, num_characters) < MIN_STEPS:
            values[name] //= 2
    if not reserved and "epochs" not in options:
        values["epochs"] = max(found.epochs, MEMORIZING_STEPS // max(1, _steps(values, num_characters)))
    if not reserved and "patience" not in options:
        values["patience"] = values["epochs"]  # the loss of a nearly memorized text is noisy, so no early stopping
    return values


def _steps(values: Mapping[str, Any], num_characters: int) -> int:
    """Return the number of steps in an epoch."""
    steps: int = num_characters // (values["batch"] * values["unroll"])
    return steps


def warn_of_size(num_characters: int, num_reserved: int, *, lines: bool) -> None:
    """Log a warning if a training text is too small to learn words from, or too small to reserve part of it.

    Args:
        num_characters: length of the training text.
        num_reserved: characters of the text that were reserved for validation, but by nobody's request.
        lines: whether each line is a text of its own.
    """
    if num_characters < (FEW_IN_LIST if lines else FEW):
        logger.warning(
            "The training text has %s. Expect words that look like its words, and hardly any that make sense: whole "
            "words take about 100,000 characters, sentences 1,000,000",
            counted(num_characters, "character"),
        )
    total = num_characters + num_reserved
    if num_reserved and (total < LITTLE or num_reserved > MUCH_RESERVED * total):
        logger.warning(
            "%s of %s reserved for validation. To train on all of them, use `validation` none",
            f"{num_reserved:,}",
            f"{counted(total, 'character')} {'are' if num_reserved > 1 else 'is'}",
        )
