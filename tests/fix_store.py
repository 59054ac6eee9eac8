"""An empty store, and jobs in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from charrnn.jobs.files import FileRef
from charrnn.jobs.leases import Leases
from charrnn.jobs.settings import Settings
from charrnn.jobs.specs import PART_WAVES, GenerateSpec, TrainSpec
from charrnn.jobs.store import Store
from charrnn.options import BATCHES, NetworkOptions, SamplingOptions, TrainingOptions

PART_ROWS = PART_WAVES * min(BATCHES)
NO_FILE = FileRef(name="none", size=0, sha256="0")

AddJob = Callable[..., int]


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = Store.open(settings)
    yield store
    store.close()


@pytest.fixture
def leases(store: Store) -> Leases:
    return Leases(store, lease_s=30)


def generate_spec(*, num_seeds: int = 1, batch: int = 16) -> GenerateSpec:
    return GenerateSpec(
        model="speeches",
        version=1,
        seeds=NO_FILE,
        num_seeds=num_seeds,
        rows=num_seeds,
        characters=400 * num_seeds,
        sampling=SamplingOptions(),
        batch=batch,
        part_rows=PART_WAVES * batch,
    )


def train_spec() -> TrainSpec:
    return TrainSpec(
        model="speeches",
        corpus=NO_FILE,
        characters=9999,
        held_out=NO_FILE,
        held_out_characters=500,
        vocabulary="\nab",
        network=NetworkOptions(),
        training=TrainingOptions(),
        start=None,
    )


@pytest.fixture
def add_job(store: Store) -> AddJob:
    """Add a job straight to the store -> its id. `parts` asks for a generate job of so many parts."""

    def add(*, parts: int = 1, train: bool = False) -> int:
        spec = train_spec() if train else generate_spec(num_seeds=PART_ROWS * parts)
        with store.write() as connection:
            job, _ = store.add_job(connection, spec, None)
        return job

    return add
