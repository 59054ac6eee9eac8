"""Sizes that fit a text: network, batch and regularization, chosen by its number of characters. Pure Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charrnn.checks import check_choice
from charrnn.errors import InputError
from charrnn.options import NetworkOptions, TrainingOptions, split_options

SIZES = (AUTO_SIZE, TINY, SMALL, BASE, LARGE) = ("auto", "tiny", "small", "base", "large")
NETWORKS: dict[str, dict[str, Any]] = {
    TINY: {"layers": 2, "units": 96},
    SMALL: {"layers": 2, "units": 192},
    BASE: {"layers": 2, "units": 384},
    LARGE: {"layers": 2, "units": 512},
}


def fit(
    options: Mapping[str, Any],
    num_characters: int,
    *,
    size: str = AUTO_SIZE,
    lines: bool = False,
    start: NetworkOptions | None = None,
) -> tuple[NetworkOptions, TrainingOptions]:
    """Return the options of a training on a text: the explicit ones, and those that fit the text.

    Args:
        options: explicit fields of `NetworkOptions` and `TrainingOptions`, as `chosen_options` returns them.
        num_characters: length of the training text.
        size: one of SIZES. "auto" chooses the network by the length of the text.
        lines: whether each line is a text of its own.
        start: the network of a model to fine-tune.

    Raises:
        InputError: an option is unknown or out of range, or options exclude each other.
    """
    check_choice("size", size, SIZES)
    if "max_len" in options:  # windows, as in the notebook, whose sizes are fixed
        if size != AUTO_SIZE:
            raise InputError("size applies only to streams. Leave out size, max-len and the preset notebook")
        return split_options(options)
    network, training = split_options({**fitting(num_characters, size), **options, "lines": lines})
    return start or network, training


def fitting(num_characters: int, size: str) -> dict[str, Any]:
    return {}
