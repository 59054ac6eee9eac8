"""The end of a part in a worker: committed files are kept, others are deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from charrnn.errors import LeaseLostError, UnreachableError
from charrnn.jobs.client import Client
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import Part
from charrnn.jobs.job.report import Seconds
from charrnn.jobs.rows.seeds import Seed
from charrnn.jobs.settings import Settings
from charrnn.options import SamplingOptions
from tests.fixtures.client import submit
from tests.fixtures.store import each_database, sampled
from worker.child import Child
from worker.parts import generation
from worker.parts.watch import Watch

pytestmark = each_database

SECONDS = Seconds(loading=0.0, compiling=0.0, sampling=2.0, writing=0.5)


@pytest.fixture
def child(settings: Settings) -> Iterator[Child]:
    child = Child(settings, "owner", "cpu", ["generate"])
    yield child
    child.connections.close()


def begin(client: Client, model: str, child: Child) -> tuple[Part, FileRef]:
    """Return a claimed part and its written file."""
    submit(client, model, [Seed("a")], SamplingOptions())
    part = child.leases.claim("generate", "owner", "cpu")
    assert part is not None
    return part, client.connections.files.put(f"jobs/{part.job}/0-{part.token}.jsonl.zst", [b"rows"])


def commit(child: Child, part: Part, output: FileRef) -> None:
    report = sampled(part, steps=10, slot_steps=160, characters=100, seconds=SECONDS)
    generation.commit(child, part, Watch(part, child.settings), output, report)


def test_a_commit_whose_answer_is_lost_is_not_undone(
    client: Client, model: str, child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, output = begin(client, model, child)
    complete, answers = child.leases.complete_rows, iter([False])

    def lose_the_first_answer(*arguments: Any, **facts: Any) -> None:
        complete(*arguments, **facts)
        if not next(answers, True):
            raise UnreachableError("the connection went after the commit")

    monkeypatch.setattr(child.leases, "complete_rows", lose_the_first_answer)
    commit(child, part, output)
    # Catches: the file deleted as if the lease were lost
    assert client.connections.files.read(output) == b"rows"
    assert (client.status(part.job).state, client.status(part.job).rows_done) == ("done", 1)
    assert client.connections.store.speeds("speeches") == {"cpu": pytest.approx(160 / 2.5 / 0.45)}  # from slot_steps


def test_the_file_of_a_lease_that_was_lost_is_deleted(client: Client, model: str, child: Child) -> None:
    # Catches: files left behind that nobody will read
    part, output = begin(client, model, child)
    child.leases.requeue("owner")
    again = child.leases.claim("generate", "other", "cpu")
    assert again is not None
    with pytest.raises(LeaseLostError):
        commit(child, part, output)
    assert list(client.connections.files.list(f"jobs/{part.job}")) == []


def test_leftovers_of_an_earlier_lease_are_deleted(client: Client, model: str, child: Child) -> None:
    begin(client, model, child)  # its worker dies between its file and its commit
    child.leases.requeue("owner")
    again = child.leases.claim("generate", "owner", "cpu")
    assert again is not None
    commit(child, again, client.connections.files.put(f"jobs/{again.job}/0-{again.token}.jsonl.zst", [b"rows"]))
    # Catches: duplicated rows for people who open the folder itself
    assert [file.name for file in client.connections.files.list(f"jobs/{again.job}")] == [
        f"jobs/{again.job}/0-2.jsonl.zst"
    ]
