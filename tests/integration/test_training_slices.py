"""Slices of a training job on a real store: memory, disk and store agree at the end of each slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

import charrnn.training.trainer
from charrnn.errors import UnreachableError
from charrnn.jobs.client import Client
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import Part
from charrnn.jobs.job.specs import TrainSpec
from charrnn.jobs.job.states import JobState, PartState
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.tables import workers
from charrnn.options import NetworkOptions, TrainingOptions
from tests.fixtures.client import train
from tests.fixtures.store import AddJob
from worker.child import Child
from worker.parts import training
from worker.parts.training import KeptTrainings
from worker.parts.watch import Interrupted, Watch


@pytest.fixture
def child(settings: Settings) -> Iterator[Child]:
    """A worker child that checks for waiting jobs after each step."""
    child = Child(replace(settings, slice_s=0.0, lease_s=600.0), "owner", "cpu", ["train", "generate"])
    yield child
    child.connections.close()


@pytest.fixture
def kept() -> KeptTrainings:
    return KeptTrainings()


@pytest.fixture
def client(settings: Settings, text_file: Path) -> Iterator[Client]:
    """A client with a training job of three steps."""
    text_file.write_text(text_file.read_text()[:2000])
    client = Client(settings)
    train(client, "speeches", [text_file], NetworkOptions(units=8), TrainingOptions(epochs=1))
    yield client
    client.close()


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[charrnn.training.trainer.Trainer]:
    """The trainers that were created."""
    made = []

    class Counted(charrnn.training.trainer.Trainer):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(charrnn.training.trainer, "Trainer", Counted)
    return made  # type: ignore[return-value]


def run(child: Child, kept: KeptTrainings) -> None:
    """Claim the training job and work on it, as the task of a notification does."""
    part = child.leases.claim("train", child.owner, "cpu")
    assert part is not None
    assert isinstance(part.spec, TrainSpec)
    try:
        training.train(child, part, part.spec, Watch(part, child.settings), kept)
    except Interrupted:
        child.leases.release(part)


@pytest.mark.parametrize("passed", [0, 1])
def test_a_training_can_be_interrupted_while_its_text_is_hashed_and_read(
    client: Client,
    child: Child,
    kept: KeptTrainings,
    built: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    passed: int,
) -> None:
    # Catches: hashing or encoding a text, of gigabytes perhaps, without a check
    countdown = iter(range(passed))

    def check(watch: Watch) -> None:
        if next(countdown, None) is None:
            raise Interrupted

    monkeypatch.setattr(Watch, "check", check)
    run(child, kept)
    assert built == []
    assert client.connections.store.parts(1)[0].state == PartState.QUEUED


def checkpoint(client: Client) -> FileRef:
    (part,) = client.connections.store.parts(1)
    assert part.checkpoint is not None
    return part.checkpoint


def test_a_training_job_that_yielded_its_device_continues_from_memory(
    client: Client, child: Child, kept: KeptTrainings, add_job: AddJob, built: list[Any]
) -> None:
    add_job()  # waits, so that the training job gives its device back after each slice
    for step in (1, 2):
        run(child, kept)
        assert [trainer.checkpoint.step for trainer in built] == [step]  # Catches: a new trainer for each slice


def test_work_that_another_worker_completed_is_not_repeated(
    client: Client, child: Child, kept: KeptTrainings, add_job: AddJob, built: list[Any]
) -> None:
    add_job()
    run(child, kept)
    left = checkpoint(client)
    copied = client.connections.files.put("jobs/1/checkpoint-of-another", [client.connections.files.read(left)])
    part = child.leases.claim("train", "another worker", "cpu")
    assert part is not None
    child.leases.checkpoint(part, copied, [], "cpu", "float32")
    child.leases.release(part)
    run(child, kept)
    assert len(built) == 2  # Catches: a worker that continues from its memory, regardless of the store


def test_a_checkpoint_that_is_not_committed_changes_nothing(
    client: Client, child: Child, kept: KeptTrainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = child.leases.checkpoint
    committed: list[FileRef] = []

    def commit_once(part: Part, saved: FileRef, history: Any, *engine: str) -> None:
        if committed:
            raise ConnectionError
        committed.append(saved)
        commit(part, saved, history, *engine)

    monkeypatch.setattr(child.leases, "checkpoint", commit_once)
    with pytest.raises(ConnectionError):
        run(child, kept)
    assert checkpoint(client) == committed[0]
    # Catches: a checkpoint deleted or overwritten before the next is committed
    client.connections.files.verified_path(committed[0])


def test_an_epoch_is_shown_before_the_checkpoint_that_holds_it(
    client: Client, child: Child, kept: KeptTrainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Catches: losses that come a minute late
    child.settings = replace(child.settings, slice_s=99.0)

    def no_checkpoint(*_: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(child.leases, "checkpoint", no_checkpoint)
    with pytest.raises(ConnectionError):
        run(child, kept)
    (epoch,) = client.status(1).history
    assert len(epoch.previews) == 4
    (part,) = client.connections.store.parts(1)
    assert part.checkpoint is None


def test_a_waiting_job_names_the_job_that_its_worker_does(client: Client, leases: Leases, add_job: AddJob) -> None:
    waiting = add_job()
    seen = {"host": "here", "pid": 1, "device": "cpu", "queues": ["train", "generate"], "seen_at": NOW}
    with client.connections.store.write() as connection:
        connection.execute(insert(workers).values(owner="life/0", **seen))
    assert client.status(waiting).waiting_for == "a worker is about to claim it"
    leases.claim("train", "life/0", "cpu")
    # Catches: a training worker reported as about to claim the job
    assert "busy with job 1" in (client.status(waiting).waiting_for or "")
    with client.connections.store.write() as connection:
        connection.execute(insert(workers).values(owner="life/1", **seen))
    # Catches: the work of one worker counted for another
    assert client.status(waiting).waiting_for == "a worker is about to claim it"
    client.connections.store.forget_worker("life", drained=False)
    assert "no live worker serves generate" in (client.status(waiting).waiting_for or "")


def test_a_finished_training_job_leaves_no_checkpoint(
    client: Client, child: Child, kept: KeptTrainings, settings: Settings
) -> None:
    client.connections.files.put("jobs/1/checkpoint-of-a-killed-attempt", [b"..."])
    run(child, kept)
    assert client.status(1).state == JobState.DONE
    assert not (Path(settings.files_location) / "jobs" / "1").exists()


def test_a_broker_that_is_away_at_the_end_leaves_no_old_version(
    client: Client, child: Child, kept: KeptTrainings, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise UnreachableError("the broker does not answer")

    monkeypatch.setattr("worker.parts.training.ring_missing", away)
    for _ in range(2):
        train(client, "speeches", [text_file], NetworkOptions(units=8), TrainingOptions(epochs=1), margin=5.0, keep=1)
    while any(job.state != JobState.DONE for job in client.jobs()):
        run(child, kept)
    # Catches: the last cleanup step left out when another service does not answer
    assert [version.version for version in client.models.list()] == [1, 3]
