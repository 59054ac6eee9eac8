"""The model's folder, and the library's own sampling."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import charrnn
import charrnn.jobs
from charrnn.errors import InputError, ModelFileError
from charrnn.model import Model
from charrnn.options import NetworkOptions
from tests.fixtures.model import random_model


def test_a_saved_model_writes_the_same_texts(untrained_model: Model, tmp_path: Path) -> None:
    untrained_model.save(tmp_path / "model")
    options: dict[str, Any] = {"temperature": [0.0, 0.7], "samples": 2, "length": 30, "rng_seed": 7}
    expected = list(untrained_model.sample(["the ", "a "], **options))
    assert list(charrnn.load(tmp_path / "model").sample(["the ", "a "], **options)) == expected
    assert [(s.seed, s.temperature, s.sample) for s in expected[:4]] == [
        ("the ", 0.0, 0),
        ("the ", 0.0, 1),
        ("the ", 0.7, 0),
        ("the ", 0.7, 1),
    ]
    assert {len(sample.text) for sample in expected} == {30}


def test_a_text_of_a_list_is_one_line_unless_it_shall_stop_elsewhere() -> None:
    model = random_model(NetworkOptions(units=24, lines=True))
    line, *_ = lines = list(model.sample(["", "the "], length=500, samples=4, rng_seed=7))
    assert {sample.finish_reason for sample in lines} == {"stop"}
    assert not any("\n" in sample.text for sample in lines)
    longer = next(model.sample([""], length=500, stop="\0", rng_seed=7))
    assert longer.text.startswith(line.text + "\n")
    assert next(model.sample(["\n"], length=500, rng_seed=7)).text != ""  # one newline before a line is enough


def test_equal_seeds_get_texts_of_their_own(untrained_model: Model) -> None:
    first, second = untrained_model.sample(["the ", "the "], length=40, rng_seed=1)
    assert first.text != second.text  # Catches: the occurrence left out of seed_name


def test_without_an_rng_seed_the_texts_differ_from_call_to_call(untrained_model: Model) -> None:
    texts = {next(untrained_model.sample(["the "], length=40)).text for _ in range(3)}
    assert len(texts) == 3


def test_a_string_is_one_seed(untrained_model: Model) -> None:
    # Catches: a text for each character of the seed
    assert [sample.seed for sample in untrained_model.sample("the old", length=3)] == ["the old"]


def test_without_seeds_the_text_starts_a_new_line(untrained_model: Model) -> None:
    # Catches: a TypeError for the shortest call
    assert list(untrained_model.sample(rng_seed=1)) == list(untrained_model.sample([""], rng_seed=1))


def test_an_empty_seed_starts_a_new_line(untrained_model: Model) -> None:
    empty, line = (next(untrained_model.sample([seed], length=20, temperature=0)) for seed in ("", "\n"))
    assert (empty.seed, empty.text) == ("", line.text)


def test_a_text_may_be_limited_and_end_at_a_stop_string(untrained_model: Model) -> None:
    options: dict[str, Any] = {"length": 60, "samples": 20, "rng_seed": 3}
    whole = [sample.text for sample in untrained_model.sample("the", **options)]
    stopped = list(untrained_model.sample("the", stop=["e", "\n", "é"], **options))  # é is outside the vocabulary
    assert [sample.text for sample in stopped] == [re.split("[e\n]", text)[0] for text in whole]
    assert {sample.finish_reason for sample in stopped} == {"stop"}
    assert [len(sample.logprobs) for sample in stopped] == [len(sample.text) for sample in stopped]
    likeliest = next(untrained_model.sample("the", temperature=0, length=60)).text
    assert next(untrained_model.sample("the", top_k=1, length=60)).text == likeliest
    assert next(untrained_model.sample("thé", temperature=0, unknown="replace", length=60)).text == likeliest


def test_log_probabilities_have_the_reported_mean(untrained_model: Model) -> None:
    sample = next(untrained_model.sample("the", length=200, temperature=1.5))
    assert -np.mean(sample.logprobs) == pytest.approx(sample.nats_per_char, abs=1e-3)


def test_options_that_would_have_no_effect_are_refused(untrained_model: Model) -> None:
    with pytest.raises(InputError, match="sample\\(\\) has no option logprobs, temperatures. Pass"):
        untrained_model.sample("the", temperatures=(0.2, 0.5), logprobs=True)
    with pytest.raises(InputError, match="sample\\(\\) has no option beams"):
        untrained_model.sample("the", beams=5)


def test_arguments_of_another_type_are_refused_by_name(untrained_model: Model, tmp_path: Path) -> None:
    model: Any = untrained_model
    train: Any = charrnn.train
    file = tmp_path / "notes.txt"
    file.touch()
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: model.sample([1]), "seeds must be a string or several strings. Received: 1"),
        (lambda: model.sample([b"x"]), "seeds must be a string or several strings. Received: b'x'"),
        (lambda: model.sample(None), "seeds must be a string or several strings. Received: None"),
        (lambda: model.sample("the", lenght=5), r"sample\(\) has no option lenght. Did you mean length\?"),
        (lambda: model.sample("the", temperatur=5), r"sample\(\) has no option temperatur. Did you mean temperature\?"),
        (lambda: model.save(None), "path must be a string or a Path. Received: None"),
        (lambda: model.save(file), "notes.txt: the folder cannot be created: File exists. Expected a new folder"),
        (lambda: model.save(file / "model"), "model: the folder cannot be created: Not a directory"),
        (lambda: charrnn.load(model), "path must be a string or a Path. Received: <Model: "),
        (lambda: train(b"text.txt"), "paths must be a path or several paths. Received: b'text.txt'"),
        (lambda: train(file, validation=Any), "validation must be a path or several paths. Received: "),
        (lambda: train(file, encoding=Any), "encoding must be a string. Received: "),
        (lambda: train(file, start=Any), "start must be a Model, as charrnn.load returns it. Received: "),
    ]
    for call, message in calls:
        with pytest.raises(InputError, match=message):
            call()


def test_a_model_says_what_it_is(untrained_model: Model) -> None:
    shown = r"<Model: \w+, \d+ layers? of \d+ units, \d+ characters in the vocabulary>"
    assert re.fullmatch(shown, repr(untrained_model))
    assert {"Model", "load", "train"} <= set(dir(charrnn))
    assert {"Client", "Seed"} <= set(dir(charrnn.jobs))


def test_an_unknown_precision_is_refused(folder: Path) -> None:
    (folder / "metrics.json").write_text('{"sampling_precision": "int8"}')
    refused(folder, "metrics.json: sampling_precision must be one of float32, bfloat16")


def test_bad_seeds_and_numbers_are_refused_before_the_first_text(untrained_model: Model) -> None:
    with pytest.raises(InputError, match="outside the vocabulary: 'é'"):
        untrained_model.sample(["café"])
    with pytest.raises(InputError, match="temperature must be"):
        untrained_model.sample(["the"], temperature=float("nan"))
    with pytest.raises(InputError, match="length must be"):
        untrained_model.sample(["the"], length=0)


@pytest.fixture
def folder(untrained_model: Model, tmp_path: Path) -> Path:
    untrained_model.save(tmp_path / "model")
    return tmp_path / "model"


def refused(folder: Path, match: str) -> None:
    with pytest.raises(ModelFileError, match=match):
        charrnn.load(folder)


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "model.safetensors", "metrics.json"])
def test_a_missing_or_truncated_file_is_refused_by_name(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(folder, name)
    path.unlink()
    refused(folder, name)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "dense.bias": np.zeros(3, np.float32)}, folder / "model.safetensors")
    refused(folder, "do not match the network: 'dense.bias'")


def test_weights_of_another_type_or_name_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["other"] = weights.pop("dense.bias").astype(np.float64)
    save_file(weights, folder / "model.safetensors")
    refused(folder, "'other' has type 'F64'. Expected F32")


@pytest.mark.parametrize(
    ("network", "match"),
    [
        ({"units": 10**9}, "units must be"),
        ({"units": "24"}, "units must be"),
        ({"exec": 1}, "unknown fields"),
    ],
)
def test_a_configuration_out_of_bounds_is_refused_before_weights_are_read(
    folder: Path, network: dict[str, Any], match: str
) -> None:
    (folder / "config.json").write_text(json.dumps({"format": 1, "network": network}))
    refused(folder, match)


def test_a_vocabulary_out_of_order_is_refused(folder: Path) -> None:
    (folder / "vocabulary.json").write_text('{"characters": "ba"}')
    refused(folder, "sorted order")


def test_a_model_of_lines_without_a_newline_is_refused(tmp_path: Path) -> None:
    # Catches: a traceback at the first sample of a model that others made
    random_model(NetworkOptions(units=24, lines=True)).save(tmp_path)
    document = json.loads((tmp_path / "vocabulary.json").read_text())
    changed = document["characters"].replace("\n", "\x01")
    (tmp_path / "vocabulary.json").write_text(json.dumps({"characters": changed}))
    with pytest.raises(ModelFileError, match="the vocabulary has no newline"):
        charrnn.load(tmp_path)
