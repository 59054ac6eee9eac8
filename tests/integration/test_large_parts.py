"""A worker refuses parts that are larger than submit allows: anyone may have written what is stored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charrnn.errors import InputError
from charrnn.jobs.client import Client
from charrnn.jobs.job.part import Part
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.rows.seeds import Seed
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.leases import Leases
from charrnn.options import SamplingOptions
from tests.fixtures.client import submit
from worker.parts.generation import read_seeds
from worker.parts.watch import Interrupted, Watch


@pytest.fixture
def part(client: Client, model: str) -> Part:
    """A claimed part of 300 rows from three seeds."""
    submit(client, model, [Seed("a"), Seed("b"), Seed("ab" * 500)], SamplingOptions(samples=100, length=10))
    part = Leases(client.connections.store, 30).claim("generate", "a", "cpu")
    assert part is not None
    return part


def spec_of(part: Part) -> GenerateSpec:
    assert isinstance(part.spec, GenerateSpec)
    return part.spec


def test_the_seeds_of_a_part_have_all_its_rows(client: Client, settings: Settings, part: Part) -> None:
    seeds = read_seeds(client.connections.files, part, spec_of(part), Watch(part, settings))
    assert [len(rows) for rows in seeds] == [100, 100, 100]
    assert [row.number for rows in seeds for row in rows] == list(range(300))


def test_more_rows_than_a_part_may_have_are_refused(client: Client, settings: Settings, part: Part) -> None:
    large = replace(part, rows=20_000_000)
    with pytest.raises(InputError, match="The part has 20,000,000 rows. Expected at most 100,000"):
        read_seeds(client.connections.files, large, spec_of(part), Watch(part, settings))


def test_rows_that_take_too_much_memory_are_refused(client: Client, settings: Settings, part: Part) -> None:
    # Catches: a bound on the number of rows alone; 300 rows of a million characters take 4.8 GB
    long = replace(spec_of(part), sampling=replace(spec_of(part).sampling, length=1_000_000))
    with pytest.raises(InputError, match="The rows of the part take more than 512 MiB of memory"):
        read_seeds(client.connections.files, part, long, Watch(part, settings))


def test_a_part_that_is_cancelled_is_not_read_to_its_end(client: Client, settings: Settings, part: Part) -> None:
    watch = Watch(part, settings)
    watch.cancelled = True
    with pytest.raises(Interrupted):
        read_seeds(client.connections.files, part, spec_of(part), watch)
