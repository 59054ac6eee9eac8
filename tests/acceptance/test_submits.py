"""Submits that are killed store all of the job or nothing, and submits that race store one job."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from charrnn.jobs.client import Client
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.rows.seeds import read_seeds
from charrnn.jobs.settings import Settings
from tests.fixtures.processes import COMMAND
from tests.fixtures.store import each_database

pytestmark = each_database

SEEDS = 3000
KILLS = 4


@pytest.fixture
def seeds_file(tmp_path: Path) -> Path:
    path = tmp_path / "seeds.txt"
    path.write_text("".join(f"{'ab' * (number % 9)}a\n" for number in range(SEEDS)))
    return path


def start(settings: Settings, model: str, seeds_file: Path, *options: str) -> subprocess.Popen[str]:
    """Start a submit of many parts; each part is a row of the store and a notification."""
    names = {"HOME": settings.home, "STORE_URL": settings.store_url, "FILES_URL": settings.files_url}
    environment = {**os.environ, **{f"CHARRNN_{name}": str(value) for name, value in names.items()}}
    command = [*COMMAND, "submit", "-m", model, "--seeds", str(seeds_file), "--part-rows", "1", *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def submitted(client: Client) -> list[int]:
    return [job.id for job in client.jobs(limit=100) if job.kind == GenerateSpec.QUEUE]


def check_whole(client: Client, job: int) -> None:
    spec = GenerateSpec.from_dict(client.status(job).stored_spec)
    with open(client.connections.files.verified_path(spec.seeds), "rb") as file:
        assert sum(1 for _ in read_seeds(file)) == SEEDS
    assert len(client.connections.store.parts(job, limit=2 * SEEDS)) == spec.parts == SEEDS


def test_a_submit_that_is_killed_leaves_all_of_the_job_or_nothing(
    settings: Settings, client: Client, model: str, seeds_file: Path
) -> None:
    began = time.monotonic()
    with start(settings, model, seeds_file) as undisturbed:
        assert undisturbed.wait(100) == 0
    moment = time.monotonic() - began  # time of the next kill; it varies around the commit on any machine
    stored: list[bool] = []
    while len(stored) < KILLS or len(set(stored)) < 2:
        before = len(submitted(client))
        with start(settings, model, seeds_file) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            process.kill()
        stored.append(len(submitted(client)) > before)
        moment *= random.uniform(0.8, 1.0) if stored[-1] else random.uniform(1.0, 1.3)
    for job in submitted(client):
        check_whole(client, job)  # Catches: parts in a separate transaction; a job before its seeds


def test_racing_submits_with_one_key_return_one_job(
    settings: Settings, client: Client, model: str, seeds_file: Path
) -> None:
    processes = [start(settings, model, seeds_file, "--key", "once") for _ in range(4)]
    ids = {process.communicate(timeout=100)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    (job,) = submitted(client)
    assert ids == {str(job)}
    check_whole(client, job)
    assert len(list(client.connections.files.list("seeds"))) == 1  # Catches: leftover seeds of the losers
