"""Which files of a host a schedule may read: a worker reads them, and not the person who added it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from charrnn.errors import InputError
from charrnn.jobs.client import Client
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.requests import GenerateRequest, Request, TrainRequest
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.settings import Settings
from tests.fixtures.client import train
from tests.fixtures.store import each_database

AddSchedule = Callable[[str, Request], None]

pytestmark = each_database

REFUSED = "is not below a folder that CHARRNN_CORPUS_ROOTS allows schedules to read. Allowed folders: "


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """A text in a folder that is a root, and a link there that leads out of it to another text."""
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text.txt").write_text("ab\n" * 5_000)
    (tmp_path / "open" / "link.txt").symlink_to(tmp_path / "closed" / "text.txt")
    return tmp_path / "open"


@pytest.fixture
def add_with_roots(settings: Settings) -> Iterator[AddSchedule]:
    clients: list[Client] = []

    def add(roots: str, request: Request) -> None:
        clients.append(Client(replace(settings, corpus_roots=roots)))
        clients[-1].schedules.add(Schedule(name=f"n{len(clients)}", cron=Cron("0 3 * * *"), request=request))

    yield add
    for client in clients:
        client.close()


def reads(path: Path) -> tuple[Request, Request]:
    """Return a training and a sampling request that read a file."""
    return TrainRequest(model="poems", paths=(str(path),)), GenerateRequest(model="speeches", seeds=str(path))


@pytest.mark.usefixtures("model")
def test_a_schedule_reads_only_files_below_the_roots(add_with_roots: AddSchedule, opened: Path) -> None:
    for request in reads(opened / "text.txt"):
        add_with_roots(f"s3://bucket, {opened}/", request)
        with pytest.raises(InputError, match=REFUSED):  # Catches: roots compared as mere string prefixes
            add_with_roots(f"{opened}/te", request)
    for path in (opened / "link.txt", opened / ".." / "closed" / "text.txt"):
        for request in reads(path):  # Catches: a path that is not resolved
            with pytest.raises(InputError, match=REFUSED):
                add_with_roots(str(opened), request)


@pytest.mark.usefixtures("model")
def test_without_roots_the_store_of_one_user_is_open_and_that_of_a_team_is_closed(
    add_with_roots: AddSchedule, opened: Path, settings: Settings
) -> None:
    for request in reads(opened / "text.txt"):
        if settings.store_url.startswith("postgresql"):
            with pytest.raises(InputError, match=f"{REFUSED}none"):
                add_with_roots("", request)
        else:
            add_with_roots("", request)


def test_a_person_reads_with_their_own_rights(settings: Settings, opened: Path) -> None:
    client = Client(replace(settings, corpus_roots=""))
    assert train(client, "poems", [opened / "text.txt"], dry_run=True).id is None
    client.close()
