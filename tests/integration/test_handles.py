"""Job handles and typed rows of the Python client."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import InputError, NotFinishedError
from charrnn.jobs import Client, Cron, GenerateRequest, SamplingOptions, Schedule, Settings
from tests.fixtures.client import DoPart

NO_ID = "must be a whole number from 0 to 2,147,483,647. Received: "
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
    with pytest.raises(TypeError, match=r"^rows\(\) got an unexpected keyword argument 'limt'. Did you mean limit\?$"):
        job.rows(limt=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^jobs\(\) got an unexpected keyword argument 'sate'. Did you mean state\?$"):
        client.jobs(sate="done")  # type: ignore[call-arg]
    with pytest.raises(
        TypeError, match=r"^edit\(\) got an unexpected keyword argument 'overlp'. Did you mean overlap\?$"
    ):
        client.schedules.edit("nightly", overlp="queue")


@pytest.mark.usefixtures("model")
def test_a_closed_client_says_so(settings: Settings) -> None:
    # Catches: connections that are opened again, and that nobody closes, also through what the client returned
    with Client(settings) as client:
        job, models = client.submit(REQUEST, ["a"]), client.models
        assert models.list()
    client.close()
    calls = (job.status, client.jobs, lambda: client.submit(REQUEST, ["a"]), lambda: client.models.list())
    for call in (*calls, models.list, client.schedules.list):
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
        (lambda: other.submit(GenerateRequest(), ["a"], after=True), f"after {NO_ID}True"),
        *((lambda v=value: other.job(v), f"job_id {NO_ID}{value!r}") for value in ("1", None, True, 2**31)),
        (lambda: other.status("1"), f"job_id {NO_ID}'1'"),
        (lambda: other.wait(None), f"job_id {NO_ID}None"),
        (lambda: other.rows(None), f"job_id {NO_ID}None"),
        (lambda: other.cancel(True), f"job_id {NO_ID}True"),
        (lambda: other.retry([1]), rf"job_id {NO_ID}\[1\]"),
        (lambda: other.delete(2**63), f"job_id {NO_ID}{2**63}"),
        (lambda: other.jobs("x"), "limit must be a whole number from 0 to .* Received: 'x'"),
        (lambda: other.jobs(-1), "limit must be a whole number from 0 to .* Received: -1"),
        (lambda: other.jobs(before="x"), f"before {NO_ID}'x'"),
        (lambda: other.jobs(with_failures="no"), "with_failures must be true or false. Received: 'no'"),
        (lambda: other.events(None), "limit must be a whole number from 0 to .* Received: None"),
        (lambda: other.events(job="1"), f"job {NO_ID}'1'"),
        (lambda: other.prune("x"), "older_than_s must be a finite number of at least 0. Received: 'x'"),
        (lambda: other.prune(-1), "older_than_s must be a finite number of at least 0. Received: -1"),
        (lambda: other.validation_openings("speeches", 1, "x"), "rng_seed must be a whole number .* Received: 'x'"),
        (lambda: Client(other), "settings must be Settings. Received: <charrnn.jobs.client.Client"),
        (lambda: other.models.import_version(7), "path must be a string or a Path. Received: 7"),
        (lambda: other.schedules.add("nightly"), "schedule must be a Schedule. Received: 'nightly'"),
        (lambda: other.schedules.edit("nightly", then=REQUEST), "`then` is the sampling that follows a new request"),
        (lambda: other.schedules.find_troubles(7), "names must be a string or several strings. Received: 7"),
        (lambda: other.schedules.find_troubles(late_ms="x"), "late_ms must be a finite number .* Received: 'x'"),
    ]
    for call, message in calls:
        with pytest.raises(InputError, match=message):
            call()


@pytest.mark.usefixtures("model")
def test_filters_of_another_type_are_refused_by_name(client: Client) -> None:
    # Catches: an error of islice; "no", which counts as true; rows that are asked for from the end
    job: Any = client.submit(REQUEST, ["a"])
    for filters, message in (
        ({"limit": "x"}, "limit must be a whole number from 0 to .* Received: 'x'"),
        ({"limit": -1}, "limit must be a whole number from 0 to .* Received: -1"),
        ({"rows": "x"}, r"rows must be two numbers, such as \(100, 200\) or \(100, None\). Received: 'x'"),
        ({"rows": 5}, r"rows must be two numbers, such as .* Received: 5"),
        ({"rows": ("a", 2)}, "the first of rows must be a whole number from 0 to .* Received: 'a'"),
        ({"rows": (0, -2)}, "the second of rows must be a whole number from 0 to .* Received: -2"),
        ({"failed": "no"}, "failed must be true or false. Received: 'no'"),
        ({"novel": 1}, "novel must be true or false. Received: 1"),
        ({"distinct": None}, "distinct must be true or false. Received: None"),
        ({"follow": "no"}, "follow must be true or false. Received: 'no'"),
    ):
        with pytest.raises(InputError, match=message):
            job.rows(**filters)
    assert list(job.rows(rows=[0, None], limit=0)) == []


def test_a_change_that_is_refused_allows_no_hook(client: Client, model: str, tmp_path: Path) -> None:
    (tmp_path / "seeds.txt").write_text("a\n")
    request = GenerateRequest(model=model, seeds=str(tmp_path / "seeds.txt"))
    client.schedules.add(Schedule(name="nightly", cron=Cron("@daily"), request=request))
    other: Any = client.schedules
    folder = client.connections.settings.hooks  # that of all tests
    before = sorted(folder.glob("*"))
    for change, message in (
        ({"on_success": 7}, "The hook `on_success` must be a string. Received: 7"),
        ({"always": []}, r"always must be true or false. Received: \[\]"),
    ):
        with pytest.raises(InputError, match=message):
            other.edit("nightly", **{"on_failure": "refused-change"} | change)
    assert sorted(folder.glob("*")) == before
