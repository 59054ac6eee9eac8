"""An empty store on each database, and jobs in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.jobs.files import FileRef
from charrnn.jobs.leases import Leases
from charrnn.jobs.lifecycle import NewJob
from charrnn.jobs.lifecycle import add_job as insert_job
from charrnn.jobs.settings import Settings
from charrnn.jobs.specs import GenerateSpec, TrainSpec
from charrnn.jobs.store import Store
from charrnn.options import BATCHES, NetworkOptions, SamplingOptions, TrainingOptions

PART_ROWS = 50 * min(BATCHES)
NO_FILE = FileRef(name="none", size=0, sha256="0")

AddJob = Callable[..., int]


DATABASES = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}  # → the fixture that makes an empty one

each_database = pytest.mark.parametrize("store_url", DATABASES, indirect=True)
"""The tests of a file with this mark run on every database."""


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.sqlite'}"


@pytest.fixture
def store_url(request: pytest.FixtureRequest) -> str:
    """Of an empty database: SQLite, unless the test runs on each."""
    url: str = request.getfixturevalue(DATABASES[getattr(request, "param", "sqlite")])
    return url


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
        part_rows=PART_ROWS,
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
    """Add a job straight to the store -> its id. `parts` asks for a generate job of so many parts, `facts` are
    NewJob's."""

    def add(*, parts: int = 1, train: bool = False, awaits: int | None = None, **facts: Any) -> int:
        spec = train_spec() if train else generate_spec(num_seeds=PART_ROWS * parts)
        if awaits is not None and isinstance(spec, GenerateSpec):
            spec, facts = replace(spec, version=None), facts | {"after": awaits}
        with store.write() as connection:
            return insert_job(connection, NewJob(spec=spec, **facts)).id

    return add
