"""Documents that each release stored, frozen: later releases read them, and write the same ones for the same values.

Folder N has what the release with spec version N stored, and `names.json`, the fields, options and choices that came
with it. After adding to `SINCE`, freeze the new version: `python -m tests.data.golden`
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.report import Report, Seconds
from charrnn.jobs.job.requests import GenerateRequest, TrainRequest
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import Priority
from charrnn.jobs.job.tallies import Tallies
from charrnn.jobs.job.version import Comparison, Gate
from charrnn.network.cells import CELLS
from charrnn.options import OVERRIDES, PRECISIONS, UNKNOWN, NetworkOptions, SamplingOptions, TrainingOptions

FOLDER = Path(__file__).parent
VERSIONS = sorted(int(path.name) for path in FOLDER.iterdir() if path.name.isdecimal())

CLASSES = (
    TrainSpec,
    GenerateSpec,
    TrainRequest,
    GenerateRequest,
    NetworkOptions,
    TrainingOptions,
    SamplingOptions,
    FileRef,
)
CHOICES = {
    "NetworkOptions.cell": tuple(CELLS),
    "TrainingOptions.precision": PRECISIONS,
    "SamplingOptions.precision": PRECISIONS,
    "SamplingOptions.unknown": UNKNOWN,
}


def known_names() -> set[str]:
    """Return all fields, options and choices that specs of this release can have."""
    names = {f"{kind.__name__}.{field.name}" for kind in CLASSES for field in fields(kind)}
    names |= {f"{name}={choice}" for name, choices in CHOICES.items() for choice in choices}
    return names | {f"Seed.{option}" for option in OVERRIDES} | {"Checkpoint"}


def read(version: int, name: str) -> Any:
    return json.loads((FOLDER / str(version) / f"{name}.json").read_text())


NETWORK = NetworkOptions(cell="gru", layers=1, units=32, dropout=0.25, max_len=20)
TRAINING = TrainingOptions(
    epochs=3,
    patience=1,
    max_minutes=2.5,
    batch=8,
    unroll=32,
    stride=2,
    precision="float32",
    preview_temperatures=(0.5,),
)
SAMPLING = SamplingOptions(
    temperatures=(0.0, 1.5),
    samples=2,
    length=9,
    stop=("\n",),
    keep_stop=True,
    top_k=5,
    top_p=0.5,
    logprobs=True,
    unknown="drop",
    precision="bfloat16",
)
FILE = FileRef(name="corpora/a.txt", size=10, sha256="aa")
TRAIN_SPEC = TrainSpec(
    model="speeches",
    corpus=FILE,
    characters=9999,
    validation=FILE,
    validation_characters=500,
    vocabulary="\nab",
    network=NETWORK,
    training=TRAINING,
    start="speeches@1",
    sources=("a.txt",),
    num_sources=1,
    margin=0.5,
    keep=3,
)
GENERATE_SPEC = GenerateSpec(
    model="speeches",
    version=3,
    seeds=FILE,
    num_seeds=5,
    rows=20,
    characters=180,
    sampling=SAMPLING,
    batches={"cpu": 16, "gpu": 256},
    part_rows=800,
    gpu_rows=1600,
)
TRAIN_REQUEST = TrainRequest(
    model="speeches", paths=("/a.txt",), options={"units": 4, "epochs": 2}, size="tiny", rng_seed=1
)
GENERATE_REQUEST = GenerateRequest(model="speeches", sampling=SAMPLING, seeds="/seeds.txt", priority=Priority.HIGH)
GATE = Gate(promoted=True, margin=0.5, comparison=Comparison(champion=2, nats=1.0, champion_nats=2.0, left_out=3))


def report() -> Report:
    tallies = Tallies()
    tallies.at("0.5").add("seed ", "text", 1.5)
    seconds = Seconds(loading=0.5, compiling=0.25, sampling=2.0, writing=0.125)
    facts = {"parts": 1, "batch": 16, "precision": "float32", "steps": 10, "slot_steps": 80}
    facts |= {"free_slot_steps": 80, "characters": 4, "self_check": "passed"}
    return Report(**facts, seconds=seconds, temperatures=tallies)  # type: ignore[arg-type]


DOCUMENTS = {
    "train_spec": TRAIN_SPEC,
    "generate_spec": GENERATE_SPEC,
    "train_request": TRAIN_REQUEST,
    "generate_request": GENERATE_REQUEST,
    "report": report(),
    "gate": GATE,
}
"""A value for each document that is stored in a database, with as many fields as possible away from their defaults."""
