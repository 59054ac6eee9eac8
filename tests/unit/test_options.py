"""Options of network, training and sampling: their bounds, error messages and JSON."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from charrnn.errors import InputError
from charrnn.options import (
    MAX_BATCH,
    MAX_EPOCHS,
    MAX_LAYERS,
    MAX_LENGTH,
    MAX_RNG_SEED,
    MAX_SAMPLES,
    MAX_UNITS,
    MAX_UNROLL,
    NetworkOptions,
    Options,
    SamplingOptions,
    TrainingOptions,
    choose_streams,
    chosen_options,
    split_options,
)
from charrnn.sizes import fit

INTEGERS = [
    (NetworkOptions, "layers", 1, MAX_LAYERS),
    (NetworkOptions, "units", 1, MAX_UNITS),
    (TrainingOptions, "epochs", 1, MAX_EPOCHS),
    (TrainingOptions, "patience", 1, MAX_EPOCHS),
    (TrainingOptions, "batch", 1, MAX_BATCH),
    (TrainingOptions, "unroll", 1, MAX_UNROLL),
    (NetworkOptions, "max_len", 1, MAX_UNROLL),
    (TrainingOptions, "rng_seed", 0, MAX_RNG_SEED),
    (SamplingOptions, "samples", 1, MAX_SAMPLES),
    (SamplingOptions, "length", 1, MAX_LENGTH),
    (SamplingOptions, "rng_seed", 0, MAX_RNG_SEED),
]


@pytest.mark.parametrize(("options", "name", "low", "high"), INTEGERS)
def test_the_bounds_of_a_whole_number_are_inclusive(options: type[Options], name: str, low: int, high: int) -> None:
    assert [getattr(options(**{name: value}), name) for value in (low, high)] == [low, high]


@pytest.mark.parametrize(("options", "name", "low", "high"), INTEGERS)
def test_a_whole_number_beyond_its_bounds_is_refused(options: type[Options], name: str, low: int, high: int) -> None:
    for value in (low - 1, high + 1):
        with pytest.raises(InputError, match=f"must be a whole number from {low} to {high:,}. Received: {value}"):
            options(**{name: value})


@pytest.mark.parametrize("value", [1.0, "1", True, None])
def test_values_of_other_types_are_not_whole_numbers(value: Any) -> None:
    with pytest.raises(InputError, match="layers must be a whole number"):
        NetworkOptions(layers=value)


def test_errors_name_the_field_and_suggest_the_nearest() -> None:
    for values, hint in (({"epoch": 2}, "epochs"), ({"unit": 8}, "units")):
        with pytest.raises(InputError, match=rf"^A training has no option \w+\. Did you mean {hint}\?$"):
            split_options(values)  # Catches: names of one of the two classes alone
    with pytest.raises(InputError, match=r"^SamplingOptions has no option lenght\. Did you mean length\?$"):
        SamplingOptions.from_dict({"lenght": 2})
    with pytest.raises(InputError, match=r"^rng_seed must be"):
        SamplingOptions(rng_seed=-1)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "1", True, None])
def test_a_temperature_is_a_finite_number_of_at_least_zero(value: Any) -> None:
    with pytest.raises(InputError, match="temperature must be a finite number of at least 0"):
        SamplingOptions(temperatures=(1.0, value))


def test_a_temperature_too_large_for_a_float_is_refused() -> None:
    # Catches: math.isfinite's OverflowError, a traceback instead of a message
    with pytest.raises(InputError, match="temperature must be a finite number"):
        SamplingOptions(temperatures=(10**400,))


def test_temperature_zero_is_allowed() -> None:
    assert SamplingOptions(temperatures=(0,)).temperatures == (0,)


def test_at_least_one_temperature_is_needed() -> None:
    with pytest.raises(InputError, match="Expected 1 to 1,000 temperatures. Received: 0"):
        SamplingOptions(temperatures=())


def test_a_repeated_temperature_is_refused() -> None:
    # Catches: two rows with one random stream, whose equal texts count as two
    with pytest.raises(InputError, match=r"Temperatures must be distinct\. Received: \[1\.0, 0\.5, 1\.0\]"):
        SamplingOptions(temperatures=(1, 0.5, 1.0))


@pytest.mark.parametrize("value", [-0.1, 1.0, 2.0, float("nan"), "0.2"])
def test_dropout_is_a_share_below_one(value: Any) -> None:
    with pytest.raises(InputError, match="dropout must be"):
        NetworkOptions(dropout=value)


def test_no_dropout_is_allowed() -> None:
    assert NetworkOptions(dropout=0.0).dropout == 0.0


@pytest.mark.parametrize(
    "options",
    [
        NetworkOptions(layers=3, units=7, dropout=0.5),
        TrainingOptions(epochs=4, rng_seed=MAX_RNG_SEED),
        SamplingOptions(temperatures=(0.2, 1.0), samples=3, length=9, stop=("a",), top_p=0.5, rng_seed=5),
    ],
)
def test_options_are_read_back_from_json(options: Options) -> None:
    # Catches: temperatures that come back as a list, unequal to those that were sent
    assert type(options).from_dict(json.loads(json.dumps(options.to_dict()))) == options


def test_an_option_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="SamplingOptions has no option beams, top_q"):
        SamplingOptions.from_dict({"top_q": 1, "length": 5, "beams": 2})


def test_options_from_json_are_checked() -> None:
    with pytest.raises(InputError, match="units must be"):
        NetworkOptions.from_dict({"units": 0})


def test_a_training_text_of_exactly_one_batch_is_enough() -> None:
    assert TrainingOptions().choose_batch_size(NetworkOptions(), 513) == 8
    assert TrainingOptions().choose_batch_size(NetworkOptions(max_len=20), 21) == 128


@pytest.mark.parametrize(("max_len", "characters", "expected"), [(None, 512, "513 (8 streams"), (20, 20, "21 (one")])
def test_a_training_text_shorter_than_one_batch_is_refused(max_len: int | None, characters: int, expected: str) -> None:
    # Catches: not counting the character that the last step predicts
    match = re.escape(f"has {characters} characters, fewer than one batch. Expected at least {expected}")
    with pytest.raises(InputError, match=match):
        TrainingOptions().choose_batch_size(NetworkOptions(max_len=max_len), characters)


def test_larger_texts_get_more_streams() -> None:
    assert [choose_streams(characters) for characters in (600, 100_000, 3_000_000, 10**9)] == [8, 8, 32, 128]


def test_a_preset_sets_only_options_that_were_left_out() -> None:
    chosen = chosen_options("notebook", {"units": 64, "dropout": None, "epochs": 3, "stride": None})
    network, training = split_options(chosen)
    assert network == NetworkOptions(units=64, dropout=0.2, max_len=20)
    assert training == TrainingOptions(epochs=3, batch=128, precision="float32")


def test_options_that_are_left_out_are_not_chosen() -> None:
    assert chosen_options(None, {"units": None, "epochs": 2}) == {"epochs": 2}


def test_a_step_without_windows_is_refused() -> None:
    with pytest.raises(InputError, match="stride applies only to windows"):
        chosen_options(None, {"stride": 1})


def test_a_model_of_windows_is_fine_tuned_with_another_stride() -> None:
    assert chosen_options(None, {"stride": 1}, continues=True) == {"stride": 1}


def test_an_unroll_of_windows_is_refused() -> None:
    with pytest.raises(InputError, match="unroll applies only to streams"):
        chosen_options("notebook", {"unroll": 5})


def test_one_temperature_is_accepted_like_several() -> None:
    assert TrainingOptions(preview_temperatures=1).preview_temperatures == (1.0,)  # type: ignore[arg-type]


def test_a_fine_tuned_model_keeps_its_network() -> None:
    before = NetworkOptions(units=64)
    assert fit({}, 10_000, start=before)[0] == before
    with pytest.raises(InputError, match="keeps its network"):
        chosen_options(None, {"units": 5}, continues=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stop": ("",)}, "A stop string must have 1 to 1,000 characters. Received: ''"),
        ({"stop": ("a" * 1001,)}, "A stop string must have"),
        ({"stop": ("a",) * 101}, "at most 100 stop strings"),
        ({"stop": (5,)}, "A stop string must have"),
        ({"stop": 5}, "stop must be a string or several strings"),
        ({"top_k": 0}, "top_k must be a whole number from 1"),
        ({"top_k": 1.5}, "top_k must be a whole number"),
        ({"top_p": 0}, "top_p must be a number above 0 and at most 1. Received: 0"),
        ({"top_p": 1.01}, "top_p must be a number above 0"),
        ({"top_p": float("nan")}, "top_p must be a number above 0"),
        ({"top_p": "0.5"}, "top_p must be a number above 0 and at most 1. Received: '0.5'"),
        ({"temperatures": "0.5"}, "temperature must be a number or several numbers. Received: '0.5'"),
        ({"temperatures": None}, "temperature must be a number or several numbers. Received: None"),
        ({"unknown": "ignore"}, "unknown must be one of error, drop, replace"),
        ({"precision": "int8"}, "precision must be one of auto, float32, bfloat16"),
        ({"temperatures": [t / 100 for t in range(1, 10_001)]}, "Expected 1 to 1,000 temperatures. Received: 10,000"),
        ({"length": MAX_LENGTH + 1}, "length must be a whole number from 1 to 1,000,000"),
    ],
)
def test_invalid_sampling_options_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SamplingOptions(**values)


def test_a_seed_s_options_are_checked_as_the_job_s() -> None:
    options = SamplingOptions(temperatures=(0.5, 1.0), length=9, top_k=5)
    assert options.with_overrides({}) is options
    assert options.with_overrides({"temperature": 0.7, "stop": ["a", "b"], "top_k": None}) == SamplingOptions(
        temperatures=(0.7,), length=9, stop=("a", "b"), top_k=5
    )
    with pytest.raises(InputError, match="A seed cannot set samples. Expected: temperature, length"):
        options.with_overrides({"samples": 5})
    with pytest.raises(InputError, match="temperature must be a finite number"):
        options.with_overrides({"temperature": [1, "hot"]})
