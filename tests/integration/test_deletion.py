"""Models that are deleted with all their versions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from charrnn.errors import InputError, NotFoundError
from charrnn.jobs.client import Client
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.requests import GenerateRequest, TrainRequest
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.job.version import NewVersion
from charrnn.jobs.store import registry
from charrnn.jobs.store.deletion.named_files import shared_files
from charrnn.jobs.store.tables import aliases, jobs, speeds, versions
from charrnn.options import NetworkOptions, SamplingOptions
from tests.fixtures.client import submit, train
from tests.fixtures.store import NO_FILE, each_database

pytestmark = each_database

SAMPLING = SamplingOptions()


VERSION = NewVersion(
    model="speeches",
    files=NO_FILE,
    characters="\nab",
    network=NetworkOptions(units=1),
    val_loss=1.0,
    precision="float32",
)


def add_version(client: Client, model: str, val_loss: float) -> int:
    new = replace(VERSION, model=model, val_loss=val_loss)
    with client.connections.store.write() as connection:
        return registry.import_version(connection, new)


@pytest.fixture
def put_away(client: Client, model: str) -> Callable[[], None]:
    """Delete the model "speeches" with its champion, after the job that trained it has ended."""

    def delete() -> None:
        with client.connections.store.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == 1).values(state="done", version=1, parts_left=0))
        assert client.models.delete_all(model) == ["speeches@1"]

    return delete


def test_a_model_is_deleted_with_its_champion_and_aliases(client: Client, model: str) -> None:
    client.cancel(1)
    assert add_version(client, model, 2.0) == 2
    client.models.promote("speeches@2", "staging")
    assert client.models.delete_all(model) == ["speeches@1", "speeches@2"]
    assert client.models.list() == []
    with client.connections.store.read() as connection:
        for table in (aliases, versions, speeds):
            assert connection.execute(table.select()).all() == []
    with pytest.raises(NotFoundError, match="Model speeches has no version"):
        client.models.show(model)
    with pytest.raises(NotFoundError):
        client.models.delete_all(model)


def test_a_training_is_deleted_with_its_text_once_no_version_came_from_it(client: Client, tmp_path: Path) -> None:
    texts = tmp_path / "first.txt", tmp_path / "second.txt"
    for text in texts:
        text.write_text(f"{text}\n" * 100)
    first = train(client, "speeches", [texts[0]])
    ended(client, first.id or 0, 1)
    second = train(client, "speeches", [texts[1]], start="speeches@1")
    ended(client, second.id or 0, 2)
    client.models.promote("speeches@2")
    client.models.delete("speeches@1")
    # Catches: a version that exists and whose first text nobody can tell any more
    for job, reason in ((first, "job 2 has fine-tuned speeches@1"), (second, "on which text speeches@2 was trained")):
        with pytest.raises(InputError, match=f"cannot be deleted: .*{reason}"):
            client.delete(job.id or 0)
        assert client.prune(0.0).jobs == 0
    client.models.delete_all("speeches")
    with pytest.raises(InputError, match="job 2 has fine-tuned speeches@1. Delete that one first"):
        client.delete(first.id or 0)
    client.delete(second.id or 0)
    client.delete(first.id or 0)
    with client.connections.store.read() as connection:  # Catches: a private text that cannot be deleted
        assert list(shared_files(connection)) == []


def ended(client: Client, job: int, version: int) -> None:
    """End a training job as its worker does, with a version."""
    new = replace(VERSION, model=client.job(job).model)
    with client.connections.store.write() as connection:
        registry.add_version(connection, job, new)
        done = {"state": "done", "version": version, "parts_left": 0, "finished_at": 1}
        connection.execute(update(jobs).where(jobs.c.id == job).values(**done))


def test_the_only_version_is_deleted_with_its_model(client: Client, put_away: Callable[[], None]) -> None:
    with pytest.raises(InputError, match=r"the only version of speeches. Delete the model: .* delete speeches --all"):
        client.models.delete("speeches@1")
    put_away()


def test_a_model_in_training_has_no_version_yet(client: Client, text_file: Path) -> None:
    job = train(client, "speeches", [text_file]).id
    with pytest.raises(NotFoundError, match=f"no version until job {job} has trained it.*charrnn-jobs wait {job}"):
        client.models.show("speeches")


def test_its_jobs_stay_and_its_numbers_are_not_used_again(
    client: Client, model: str, put_away: Callable[[], None]
) -> None:
    job = submit(client, model, ["a"], SAMPLING).id or 0
    client.cancel(job)
    put_away()
    assert client.job(job).name == "speeches@1"
    assert add_version(client, model, 3.0) == 2  # Catches: results that name a version of another model
    assert client.models.show(model).name == "speeches@2"  # Catches: a gate that compares with what is gone


def test_a_name_that_is_used_again_is_a_new_model(
    client: Client, model: str, put_away: Callable[[], None], tmp_path: Path
) -> None:
    # Catches: the validation text, or the lines, of the model that was deleted
    before = client.job(1).stored_spec
    put_away()
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{first}{second}ara\n" for first in "abcdefghijklmnop" for second in "aeiouyrstlmn"))
    spec = train(client, model, [names], NetworkOptions(lines=True)).spec
    assert (before["network"]["lines"], spec.network.lines) == (False, True)
    assert spec.validation.sha256 != before["validation"]["sha256"]


def test_what_is_needed_is_named(client: Client, model: str, text_file: Path) -> None:
    job = submit(client, model, ["a"], SAMPLING).id
    other = train(client, "other", [text_file], start="speeches").id
    request = TrainRequest(model="third", paths=(str(text_file),), start="speeches@1")
    for name, needs in (("nightly", GenerateRequest(model="speeches@champion")), ("weekly", request)):
        client.schedules.add(Schedule(name=name, cron=Cron("@daily"), request=needs))
    client.schedules.add(
        Schedule(name="unrelated", cron=Cron("@daily"), request=TrainRequest(model="x", paths=(str(text_file),)))
    )
    expected = f"speeches is needed by job 1, job {job}, job {other}, the schedule nightly, the schedule weekly. Cancel"
    with pytest.raises(InputError, match=expected):
        client.models.delete_all(model)
    for unfinished in (1, job, other):
        client.cancel(unfinished or 0)
    with pytest.raises(InputError, match="needed by the schedule nightly, the schedule weekly"):
        client.models.delete_all(model)
    for name in ("nightly", "weekly"):
        client.schedules.remove(name)
    assert client.models.delete_all(model) == ["speeches@1"]


def test_a_damaged_version_is_deleted_too(client: Client, model: str) -> None:
    client.cancel(1)
    with client.connections.store.write() as connection:
        connection.execute(update(versions).values(files={"name": 7}))
    assert client.models.delete_all(model) == ["speeches@1"]


def test_a_misspelled_name_is_not_deleted(client: Client, model: str) -> None:
    with pytest.raises(NotFoundError, match="There is no model 'speches'. Did you mean speeches?"):
        client.models.delete_all("speches")
    with pytest.raises(InputError, match="is not valid"):
        client.models.delete_all("speeches@1")


def test_the_loss_of_a_rollback_is_told(client: Client, model: str, caplog: pytest.LogCaptureFixture) -> None:
    client.cancel(1)
    for val_loss in (0.9, 0.8, 0.7):
        add_version(client, model, val_loss)
    client.models.promote("speeches@1", "old")
    client.models.delete("speeches@2")
    assert caplog.messages == []  # Catches: a warning about a version that no rollback would return to next
    client.models.delete("speeches@3")
    assert caplog.messages == ["speeches@3 was the previous champion: a rollback now returns to speeches@1"]
    assert client.models.rollback(model) == "speeches@1"
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        client.models.promote("speeches@4")
        client.models.promote("speeches@4", "old")
        client.models.delete("speeches@1")
    assert caplog.messages == ["speeches@1 was the previous champion: a rollback now has no version to return to"]
