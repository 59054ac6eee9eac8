"""A client of an empty store, and a model in it that nobody trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from charrnn.jobs import registry
from charrnn.jobs.client import Client
from charrnn.jobs.leases import Leases
from charrnn.jobs.rows import compress, result, stored_rows
from charrnn.jobs.settings import Settings
from charrnn.jobs.specs import GenerateSpec
from charrnn.options import NetworkOptions, TrainingOptions
from tests.fix_store import NO_FILE

DoPart = Callable[..., int]


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    client = Client(settings)
    yield client
    client.close()


@pytest.fixture
def model(client: Client, text_file: Path) -> str:
    """A model that knows a, b and the newline."""
    job = client.train("speeches", [text_file], NetworkOptions(), TrainingOptions())
    new = registry.NewVersion(
        model="speeches",
        files=NO_FILE,
        characters="\nab",
        network={"layers": 2, "units": 1},
        held_out_nats=1.0,
        precision="bfloat16",
    )
    with client.store.write() as connection:
        registry.add_version(connection, job.id or 0, new)
    return "speeches"


@pytest.fixture
def do_part(client: Client) -> DoPart:
    """Do the next waiting part as a worker does, but for the model -> its number. `error`: give it up instead."""

    def do(error: str | None = None) -> int:
        leases = Leases(client.store, 30)
        part = leases.claim("generate", "worker")
        assert part is not None
        assert isinstance(part.spec, GenerateSpec)
        if error is not None:
            leases.fail(part, error, permanent=True)
            return part.number
        rows = stored_rows(client.files, part.spec, part)
        lines = compress(result(row, part.spec.name, f"text {row.number % 3}", "length", 1.0) for row in rows)
        output = client.files.put(f"jobs/{part.job}/{part.number}-{part.token}.jsonl.zst", lines)
        leases.complete(part, output=output)
        return part.number

    return do
