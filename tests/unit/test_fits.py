"""Sizes that fit a text."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from charrnn.errors import InputError
from charrnn.options import NetworkOptions, TrainingOptions
from charrnn.sizes import FITS, UNITS, fit, warn_of_size


def test_larger_texts_get_larger_networks_and_less_dropout() -> None:
    fits = [fit({}, characters) for characters in (2_000, 30_000, 100_000, 1_000_000, 100_000_000)]
    units, dropout = [network.units for network, _ in fits], [network.dropout for network, _ in fits]
    assert units == sorted(units)
    assert len(set(units)) == len(UNITS)
    assert dropout == sorted(dropout, reverse=True)
    assert [training.batch for _, training in fits] == sorted(training.batch or 0 for _, training in fits)


@pytest.mark.parametrize("characters", [9, 20, 100, 299, 1_000, *(int(row.characters) for row in FITS[:-1]), 10**10])
@pytest.mark.parametrize("lines", [True, False])
def test_any_text_has_a_batch(characters: int, *, lines: bool) -> None:
    network, training = fit({}, characters, lines=lines)
    training.choose_batch_size(network, characters)  # raises if the text is shorter than one batch
    assert network.lines == lines


def test_explicit_options_take_precedence() -> None:
    network, training = fit({"units": 7, "dropout": 0.0, "epochs": 3, "unroll": 64}, 500)
    assert (network.units, network.dropout, training.epochs, training.unroll) == (7, 0.0, 3, 64)
    assert training.batch == 1  # Catches: a batch that fits another unroll
    training.choose_batch_size(network, 500)


@pytest.mark.parametrize("size", UNITS)
def test_a_size_determines_the_network_alone(size: str) -> None:
    network, training = fit({}, 30_000, size=size)
    assert network.units == UNITS[size]
    assert training == fit({}, 30_000)[1]


def test_a_text_to_memorize_has_no_dropout_and_many_steps() -> None:
    network, training = fit({}, 299, reserved=False)
    assert network.dropout == network.recurrent_dropout == 0.0
    assert training.epochs * (299 // ((training.batch or 0) * training.unroll)) >= 1_000
    assert training.patience == training.epochs  # Catches: a training that ends while it still learns


def test_a_window_has_the_sizes_of_the_notebook() -> None:
    assert fit({"max_len": 20}, 2_000) == (NetworkOptions(max_len=20), TrainingOptions())
    with pytest.raises(InputError, match="size applies only to streams"):
        fit({"max_len": 20}, 2_000, size="tiny")
    with pytest.raises(InputError, match="size must be one of auto, tiny, small, base, large"):
        fit({}, 2_000, size="huge")


@pytest.mark.parametrize(
    ("characters", "lines", "warned"), [(999, True, True), (1_700, True, False), (1_700, False, True)]
)
def test_a_very_small_text_is_warned_of(
    characters: int,
    lines: bool,
    warned: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_of_size(characters, 0, lines=lines)
    assert caplog.text.count("Expect words that look like its words") == warned


@pytest.mark.parametrize(
    ("characters", "reserved", "advised"),
    [
        (137, 136, True),
        (900, 99, True),
        (901, 99, False),
        (30_000, 10_000, False),
        (30_000, 10_001, True),
        (900, 0, False),
    ],
)
def test_a_text_that_can_spare_no_validation_text_is_warned_of(
    characters: int, reserved: int, advised: bool, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_size(characters, reserved, lines=True)
    text = f"{reserved:,} of {characters + reserved:,} characters are reserved for validation. To train on all"
    assert caplog.text.count(text) == caplog.text.count("use `validation` none") == advised


def test_a_model_of_windows_is_fine_tuned_in_its_way() -> None:
    # Catches: windows with the few streams of a small text
    before = NetworkOptions(max_len=20)
    assert fit({"epochs": 3}, 2_000, start=before) == (before, TrainingOptions(epochs=3))


def test_the_size_of_a_model_to_fine_tune_stays() -> None:
    with pytest.raises(InputError, match="keeps its network. Leave out `size`"):
        fit({}, 2_000, size="large", start=NetworkOptions())


def test_the_documentation_has_the_table() -> None:
    written = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    for row in FITS:
        characters = "more" if math.isinf(row.characters) else f"{row.characters:,}"
        rates = (f"{row.dropout:g}", f"{row.recurrent_dropout:g}")
        cells = (f"`{row.size}`", UNITS[row.size], *rates, row.batch, row.unroll, row.epochs, row.patience)
        assert f"| {characters} | {' | '.join(map(str, cells))} |" in written
