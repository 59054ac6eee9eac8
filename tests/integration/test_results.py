"""Results: every selected row in order, while the job runs and afterwards."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import duckdb
import polars
import pytest

from charrnn.errors import InputError, ModelFileError
from charrnn.jobs.client import Client
from charrnn.jobs.files.bucket import Bucket
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.rows import seeds as seeds_module
from charrnn.jobs.rows.seeds import Seed
from charrnn.options import SamplingOptions
from tests.fixtures.client import DoPart, submit
from tests.fixtures.store import each_database

pytestmark = each_database

SAMPLING = SamplingOptions(temperatures=(0.5, 1.0), samples=2)
SEEDS = [Seed("a" * (1 + number % 9)) for number in range(25)]
ROWS = 100


@pytest.fixture
def job(client: Client, model: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """A job of 100 rows in 15 parts, with seeds in many frames."""
    monkeypatch.setattr(seeds_module, "FRAME_SIZE", 200)
    return submit(client, model, SEEDS, SAMPLING, part_rows=7).id or 0


def read(client: Client, job: int, **wanted: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.results(job, **wanted)]


def numbers(client: Client, job: int, **wanted: Any) -> list[int]:
    return [row["row"] for row in read(client, job, **wanted)]


def finish(do_part: DoPart, parts: int = 15) -> None:
    for _ in range(parts):
        do_part()


def test_every_row_is_returned_once_and_in_order(client: Client, job: int, do_part: DoPart) -> None:
    finish(do_part)
    found = read(client, job)
    assert [row["row"] for row in found] == list(range(ROWS))
    assert [row["seed"] for row in found] == [seed.text for seed in SEEDS for _ in range(4)]


def test_part_files_of_a_bucket_are_read_several_at_once_and_in_order(
    client: Client, job: int, do_part: DoPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(do_part)
    files = client.connections.files
    monkeypatch.setattr(files.storage, "parallel_reads", Bucket.parallel_reads)
    begun, read_file = [threading.Event() for _ in range(15)], files.read

    def read_beside_the_next(reference: FileRef) -> bytes:
        if found := re.match(r"jobs/\d+/(\d+)-", reference.name):
            number = int(found[1])
            begun[number].set()
            assert number == 14 or begun[number + 1].wait(60)  # Catches: one file after the other
        return read_file(reference)

    monkeypatch.setattr(files, "read", read_beside_the_next)
    assert numbers(client, job) == list(range(ROWS))

    def refuse(reference: FileRef) -> bytes:
        raise ModelFileError(f"{reference.name} is missing")

    monkeypatch.setattr(files, "read", refuse)
    with pytest.raises(ModelFileError, match=f"jobs/{job}/0-1"):  # Catches: a file that cannot be read and is left out
        numbers(client, job)


def test_the_finished_rows_of_a_running_job_are_returned(client: Client, job: int, do_part: DoPart) -> None:
    assert numbers(client, job) == []
    do_part()
    do_part(error="broken")
    do_part()
    assert numbers(client, job) == list(range(21))
    assert [row["error"] for row in read(client, job)] == [None] * 7 + ["broken"] * 7 + [None] * 7


@pytest.mark.parametrize("wanted", [(0, None), (0, 1), (6, 8), (7, 14), (13, 13), (99, None), (95, 200), (100, None)])
def test_rows_can_be_chosen_by_number(
    client: Client, job: int, do_part: DoPart, wanted: tuple[int, int | None]
) -> None:
    finish(do_part)
    # Catches: a part too few or too many at either end; a row of the previous part
    assert numbers(client, job, rows=wanted) == list(range(ROWS))[wanted[0] : wanted[1]]


def test_only_the_parts_that_are_wanted_are_read(client: Client, job: int, do_part: DoPart) -> None:
    finish(do_part)
    for part in client.connections.store.parts(job)[1:]:
        assert part.output is not None
        client.connections.files.delete(part.output.name)
    assert len(numbers(client, job, rows=(0, 7))) == 7
    with pytest.raises(ModelFileError, match=r"1-1\.jsonl\.zst is missing"):
        numbers(client, job, rows=(0, 8))


def test_rows_can_be_chosen_by_value(client: Client, job: int, do_part: DoPart) -> None:
    do_part(error="broken")
    finish(do_part, 14)
    assert numbers(client, job, where=["temperature=0.5", "sample=1"]) == list(range(1, ROWS, 4))
    assert numbers(client, job, failed=True) == list(range(7))
    assert numbers(client, job, failed=True, rows=(5, 50)) == [5, 6]
    assert len(numbers(client, job, distinct=True)) == 9 * 3  # of each seed three texts
    assert numbers(client, job, where=["error=null"], limit=2) == [7, 8]
    assert numbers(client, job, where="sample=1") == list(range(1, ROWS, 2))  # Catches: a condition for each character
    with pytest.raises(InputError, match="where must be a string or several strings. Received: 7"):
        numbers(client, job, where=7)
    with pytest.raises(InputError, match="Did you mean temperature"):
        client.results(job, where=["temprature=1"])


def test_following_waits_for_each_row_in_order(client: Client, job: int, do_part: DoPart) -> None:
    lines = client.results(job, follow=True)
    first, second = threading.Event(), []

    def follow() -> None:
        for line in lines:
            second.append(json.loads(line)["row"])
            first.set()

    thread = threading.Thread(target=follow)
    thread.start()
    do_part()
    assert first.wait(200)
    finish(do_part, 14)
    thread.join(200)
    assert second == list(range(ROWS))  # Catches: a follower that skips rows that are not done


def test_following_a_cancelled_job_ends(client: Client, job: int, do_part: DoPart) -> None:
    do_part()
    client.cancel(job)
    assert numbers(client, job, follow=True) == list(range(7))


def test_more_parts_than_a_page(client: Client, model: str, do_part: DoPart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.jobs.store.store.PAGE", 4)
    job = submit(client, model, SEEDS, SAMPLING, part_rows=10).id or 0
    finish(do_part, 10)
    assert numbers(client, job) == list(range(ROWS))


def test_data_tools_open_the_folder_of_part_files(client: Client, job: int, do_part: DoPart) -> None:
    finish(do_part)
    parts = f"{client.connections.files.url}/jobs/{job}/*.jsonl.zst"
    assert sorted(polars.read_ndjson(parts)["row"]) == list(range(ROWS))
    found = duckdb.read_json(parts)
    assert found.aggregate("count(*), sum(row), count(distinct seed)").fetchall() == [(ROWS, sum(range(ROWS)), 9)]
