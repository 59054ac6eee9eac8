"""Job handles and typed rows of the Python client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from charrnn.errors import InputError, NotFinishedError
from charrnn.jobs import Client, GenerateRequest, SamplingOptions, Settings
from tests.fixtures.client import DoPart

REQUEST = GenerateRequest(model="speeches", sampling=SamplingOptions(temperatures=(0.5, 1.0)))


@pytest.mark.usefixtures("model")
def test_a_job_is_waited_for_and_its_rows_are_read(client: Client, do_part: DoPart) -> None:
    job = client.submit(REQUEST, ["a", "b"])
    with pytest.raises(NotFinishedError):
        job.wait(timeout_s=0)
    assert list(job.rows()) == []
    do_part()
    status = job.wait()
    assert (status.id, status.succeeded, job.status().state) == (job.id, True, "done")
    rows = list(job.rows())
    assert [(row.row, row.seed, row.temperature, row.version) for row in rows] == [
        (0, "a", 0.5, "speeches@1"),
        (1, "a", 1.0, "speeches@1"),
        (2, "b", 0.5, "speeches@1"),
        (3, "b", 1.0, "speeches@1"),
    ]
    assert [row.row for row in job.rows(where=["temperature=0.5"], limit=1)] == [0]
    assert [row.text for row in rows] == [json.loads(line)["text"] for line in client.results(status.id)]


@pytest.mark.usefixtures("model")
def test_a_job_is_cancelled(client: Client) -> None:
    job = client.submit(REQUEST, ["a"])
    assert [job.cancel(), job.cancel(), job.wait().state] == [True, False, "cancelled"]


@pytest.mark.usefixtures("model")
def test_a_dry_run_has_no_job_to_wait_for(client: Client) -> None:
    # Catches: the newest job, which is what `status` means without an id
    client.submit(REQUEST, ["a"])
    with pytest.raises(InputError, match="A dry run stores no job"):
        client.submit(REQUEST, ["a"], dry_run=True).status()


def test_a_client_reads_the_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_HOME", str(settings.home))
    monkeypatch.setenv("CHARRNN_STORE_URL", settings.store_url)
    monkeypatch.setenv("CHARRNN_FILES_URL", settings.files_url)
    with Client() as client:
        assert client.connections.settings.store_url == settings.store_url
        assert client.jobs() == []


@pytest.mark.usefixtures("model")
def test_a_misspelled_filter_is_refused(client: Client) -> None:
    # Catches: all rows, without a word
    job = client.submit(REQUEST, ["a"])
    with pytest.raises(TypeError, match="unknown filters: limt"):
        job.rows(limt=5)  # type: ignore[call-arg]


@pytest.mark.usefixtures("model")
def test_a_closed_client_says_so(settings: Settings) -> None:
    # Catches: connections that are opened again, and that nobody closes
    with Client(settings) as client:
        job = client.submit(REQUEST, ["a"])
    client.close()
    for call in (job.status, client.jobs, lambda: client.submit(REQUEST, ["a"]), lambda: client.models.list()):
        with pytest.raises(InputError, match="The client is closed. Create another one"):
            call()


@pytest.mark.usefixtures("model")
def test_arguments_of_another_type_are_refused_by_name(client: Client) -> None:
    other: Any = client
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: other.submit({"model": "speeches"}), "request must be a GenerateRequest. Received: {'model'"),
        (lambda: other.train(REQUEST), "request must be a TrainRequest. Received: GenerateRequest"),
        (lambda: other.submit(REQUEST, key=5), "The key must be a string. Received: 5"),
        (lambda: other.jobs(label=5), "The label must be a string. Received: 5"),
        (lambda: other.wait(1, timeout_s="a"), "timeout_s must be a number of seconds. Received: 'a'"),
    ]
    for call, message in calls:
        with pytest.raises(InputError, match=message):
            call()
