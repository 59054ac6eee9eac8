"""Job handles and typed rows of the Python client."""

from __future__ import annotations

import json

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
