"""Who submitted each job: the user of the process or the one that a setting names, or who added the schedule."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import InputError
from charrnn.jobs.client import Client
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.requests import GenerateRequest, TrainRequest
from charrnn.jobs.job.schedule import Schedule, SkippedError, Slot
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.lifecycle import NewJob
from charrnn.jobs.submit.submitted import store_job
from charrnn.options import SamplingOptions
from tests.fixtures.client import submit, train
from tests.fixtures.nights import Add, Nights
from tests.fixtures.plans import add_many_jobs, plans
from tests.fixtures.store import AddJob, each_database, generate_spec

pytestmark = each_database

SAMPLING = SamplingOptions(temperatures=(0.5,), length=10)


@pytest.fixture
def ada(settings: Settings) -> Iterator[Client]:
    """A client of the same store for another person."""
    with Client(replace(settings, user="ada")) as client:
        yield client


def test_a_job_is_of_the_user_and_host_that_submitted_it(client: Client, model: str) -> None:
    job = submit(client, model, ["a"], SAMPLING).id or 0
    # Catches: a job without a submitter
    assert client.job(job).submitted_by == f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"


def test_a_setting_names_who_submits(ada: Client, model: str, text_file: Path) -> None:
    jobs = [submit(ada, model, ["a"], SAMPLING).id, train(ada, "poems", [text_file]).id]
    # Catches: a setting that is not used; a training job without a submitter
    assert [ada.job(job or 0).submitted_by for job in jobs] == ["ada", "ada"]


def test_an_idempotency_key_keeps_the_first_submitter(client: Client, ada: Client, model: str) -> None:
    first = submit(client, model, ["a"], SAMPLING, key="k")
    again = submit(ada, model, ["a"], SAMPLING, key="k")
    assert (again.id, again.existed) == (first.id, True)
    assert ada.job(again.id or 0).submitted_by != "ada"


def test_jobs_are_listed_by_user(client: Client, ada: Client, model: str) -> None:
    others, hers = (submit(each, model, ["a"], SAMPLING).id for each in (client, ada))
    # Catches: a filter that is not passed on
    assert [job.id for job in client.jobs(user="ada")] == [hers]
    assert others in [job.id for job in client.jobs()]
    assert client.jobs(user="nobody") == []
    with pytest.raises(InputError, match="The user's name"):
        client.jobs(user="a\0")


def test_the_jobs_of_a_user_among_10_000_are_found_by_an_index(client: Client, add_job: AddJob) -> None:
    store = client.connections.store
    job = add_job(submitted_by="ada")
    add_many_jobs(store, add_job(submitted_by="bob"))
    (plan,) = plans(store, lambda: store.jobs(20, submitted_by="ada"))
    # Catches: a list that reads the jobs of all others
    assert ("jobs_by_submitter" in plan, "Seq Scan" in plan, "TEMP B-TREE" in plan) == (True, False, False)
    assert [found.id for found in client.jobs(user="ada")] == [job]


@pytest.mark.parametrize("then", [False, True])
def test_the_jobs_of_a_schedule_are_of_the_one_who_added_it(
    nights: Nights, ada: Client, model: str, text_file: Path, then: bool
) -> None:
    following: dict[str, Any] = {"then": GenerateRequest(model=None, sampling=SAMPLING)} if then else {}
    hers = Nights(ada)

    request = TrainRequest(model="poems", paths=(str(text_file),))
    hers.schedules.add(Schedule(name="nightly", cron=Cron("0 3 * * *", "UTC"), request=request, **following))
    nights.schedules.edit("nightly", overlap="queue")  # by somebody else
    (slot,) = nights.at("2026-01-01T03:00")
    # Catches: the worker that submits the job taken for the person; a job after the training without a submitter
    assert [nights.client.job(job).submitted_by for job in slot.jobs] == ["ada"] * (1 + then)
    assert nights.schedules.show("nightly").added_by == "ada"


def test_the_slot_of_a_schedule_that_was_removed_gets_no_job(nights: Nights, add: Add) -> None:
    add()
    nights.schedules.remove("nightly")
    before = len(nights.client.jobs())
    # Catches: a job without a submitter
    with pytest.raises(SkippedError, match="no longer due"):
        store_job(nights.client.connections, NewJob(spec=generate_spec()), Slot("nightly", 0))
    assert len(nights.client.jobs()) == before
