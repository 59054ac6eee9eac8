"""Deleting: rows and files together, and never what somebody still needs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from charrnn.errors import InputError, NotFoundError
from charrnn.jobs.client import Client
from charrnn.jobs.pruning import FOLDERS, GRACE_S
from charrnn.jobs.seeds import Seed
from charrnn.jobs.tables import jobs
from charrnn.options import SamplingOptions
from tests.fix_client import DoPart
from tests.fix_store import each_database

pytestmark = each_database

DAY_S = 86_400


def submit(client: Client, model: str) -> int:
    return client.submit(model, [Seed("a")], SamplingOptions()).id or 0


def names(client: Client) -> set[str]:
    return {file.name for folder in FOLDERS for file in client.files.list(folder)}


def make_old(client: Client, job: int, days: float) -> None:
    with client.store.write() as connection:
        ended = jobs.c.finished_at - round(days * DAY_S * 1000)
        connection.execute(update(jobs).where(jobs.c.id == job).values(finished_at=ended))


def make_files_old(client: Client) -> None:
    for name in names(client):
        path, old = Path(client.files.url) / name, time.time() - GRACE_S - 60
        os.utime(path, (old, old))


def test_a_deleted_job_takes_its_results_and_seeds_along(client: Client, model: str, do_part: DoPart) -> None:
    before = names(client)
    job, other = submit(client, model), submit(client, model)
    do_part()
    kept = names(client)
    client.delete(job)
    with pytest.raises(NotFoundError):
        client.status(job)
    assert client.status(other)["id"] == other
    # Catches: seeds that two jobs share, deleted with one of them
    assert len(kept - names(client)) == 2
    assert names(client) > before


def test_a_job_in_work_is_not_deleted(client: Client, model: str) -> None:
    job = submit(client, model)
    before = names(client)
    with pytest.raises(InputError, match="End it first"):
        client.delete(job)
    assert names(client) == before


def test_old_jobs_are_pruned_and_young_and_running_ones_are_not(client: Client, model: str, do_part: DoPart) -> None:
    old, young, running = (submit(client, model) for _ in range(3))
    do_part()
    do_part()
    make_old(client, old, days=31)
    make_old(client, young, days=29)
    counted = client.prune(30 * DAY_S, dry_run=True)
    assert (counted.jobs, counted.files) == (1, 1)
    assert client.status(old)["id"] == old
    assert client.prune(30 * DAY_S).jobs == 1
    assert {job["id"] for job in client.jobs()} == {1, young, running}  # 1 is the training that the model came from


def test_the_training_and_the_texts_of_a_version_stay(client: Client, model: str) -> None:
    make_files_old(client)
    kept = names(client)
    assert len(kept) == 2
    client.cancel(1)  # it never ran: the fixture stored its version
    assert client.prune(0.0).jobs == 0
    assert names(client) == kept


def test_what_no_row_names_is_swept_after_a_day(client: Client, model: str, text_file: Path) -> None:
    text_file.write_text(text_file.read_text() + "more of it\n")
    job = client.train("other", [text_file]).id or 0
    client.cancel(job)
    client.delete(job)
    client.files.put("jobs/99/0-1.jsonl.zst", [b"of a worker that was killed"])
    client.files.put("seeds/x.jsonl.zst", [b"of a submit that was killed"])
    waiting = submit(client, model)
    young = names(client)
    client.prune(DAY_S)
    assert names(client) == young  # Catches: a file deleted that a submit in progress is about to name
    make_files_old(client)
    swept = client.prune(DAY_S)
    gone = young - names(client)
    assert {name.partition("/")[0] for name in gone} == {"jobs", "seeds", "corpora"}
    assert swept.files == len(gone) == 3
    assert client.files.checked(client.submit(model, [], SamplingOptions()).spec.seeds)
    assert client.status(waiting)["state"] == "queued"
