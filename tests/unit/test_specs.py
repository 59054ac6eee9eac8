"""Specs of jobs: their stored form, names and batch size."""

from __future__ import annotations

import json

import pytest

from charrnn.errors import InputError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.requests import GenerateRequest, TrainRequest
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec, check_name
from charrnn.options import NetworkOptions, SamplingOptions, TrainingOptions

GENERATE = GenerateSpec(
    model="speeches",
    version=3,
    seeds=FileRef(name="seeds/a.jsonl.zst", size=10, sha256="aa"),
    num_seeds=5,
    rows=60,
    characters=540,
    sampling=SamplingOptions(temperatures=(0.2, 1.0, 1.5), samples=4, length=9, rng_seed=11),
    batches={"cpu": 64, "gpu": 256},
    part_rows=3200,
    gpu_rows=25600,
)
TRAIN = TrainSpec(
    model="speeches",
    corpus=FileRef(name="corpora/a.txt", size=10, sha256="aa"),
    characters=9999,
    vocabulary="\nab",
    start="speeches@1",
    validation=FileRef(name="validation/b.txt", size=1, sha256="bb"),
    validation_characters=500,
    network=NetworkOptions(layers=1, units=32, dropout=0.0),
    training=TrainingOptions(epochs=2, rng_seed=12),
)


@pytest.mark.parametrize("spec", [GENERATE, TRAIN], ids=["generate", "train"])
def test_a_spec_is_read_back_from_json(spec: GenerateSpec | TrainSpec) -> None:
    # Catches: any field that is left out or read into another field
    assert type(spec).from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize("name", ["a", "7", "speeches", "my-model_2.1", "a" * 64])
def test_a_name_valid_in_paths_and_urls_is_accepted(name: str) -> None:
    check_name("The model's name", name)


@pytest.mark.parametrize(
    "name", ["", "A", "é", ".hidden", "..", "-flag", "a/b", "a@3", "a b", "a\n", "a" * 65, "a:b", "²"]
)
def test_any_other_name_is_refused(name: str) -> None:
    # Catches: match instead of fullmatch ("a\n", "a/b"); \w or str.isalnum (é, ²)
    with pytest.raises(InputError, match=r"The model's name .* is not valid\. Expected 1 to 64 of a-z"):
        check_name("The model's name", name)


def test_a_random_seed_is_set_in_one_place() -> None:
    # Catches: a random seed in the options that is replaced by a drawn one
    with pytest.raises(InputError, match="Set rng_seed of the request"):
        GenerateRequest(model="speeches", sampling=SamplingOptions(rng_seed=7))
    with pytest.raises(InputError, match="Set rng_seed of the request"):
        TrainRequest(model="speeches", paths=(), options={"rng_seed": 7})
