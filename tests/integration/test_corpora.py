"""Corpora in a bucket are found, copied and read like those in a folder, if the settings allow their location."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from charrnn.errors import InputError, TextError, UnreachableError
from charrnn.jobs.client import Client
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.requests import TrainRequest
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.job.specs import TrainSpec
from charrnn.jobs.job.states import JobState
from charrnn.jobs.schedules import Schedules
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.tables import jobs
from charrnn.jobs.submit.submitted import Submitted
from charrnn.options import NetworkOptions, TrainingOptions
from tests.fixtures.client import train
from tests.fixtures.model import make_text
from tests.fixtures.s3 import FaultyProxy

NAMES = ("a.txt", "b.txt", "deep/c.txt", "deep/d.txt")

OpenClient = Callable[[str], Client]


@pytest.fixture
def open_client(settings: Settings) -> Iterator[OpenClient]:
    """Open a client that may read below these roots."""
    clients = []

    def open_client(roots: str) -> Client:
        clients.append(Client(replace(settings, corpus_roots=roots)))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


def write(url: str, text: str | bytes) -> None:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a few texts and a file that is not a text."""
    folder = tmp_path / "texts"
    for number, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make_text(100 + 20 * number, rng_seed=number)[::-1] + str(number))
    (folder / "notes.md").write_text("no text to train on")
    return folder


def upload(folder: Path, url: str) -> None:
    for path in folder.rglob("*.*"):
        write(f"{url}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def train_on(client: Client, *paths: str | Path) -> Submitted[TrainSpec]:
    return train(client, "speeches", paths, NetworkOptions(), TrainingOptions())


def test_a_folder_of_a_bucket_is_read_as_one_of_the_disk(open_client: OpenClient, bucket: str, folder: Path) -> None:
    upload(folder, bucket)
    client = open_client(bucket)
    local, remote = train_on(client, folder).spec, train_on(client, f"{bucket}/").spec
    # Catches: a validation text that depends on where the copies lie
    assert (remote.corpus, remote.validation) == (local.corpus, local.validation)
    assert remote.sources == tuple(f"{bucket}/{name}" for name in NAMES)


def test_each_file_is_read_once(open_client: OpenClient, bucket: str, folder: Path) -> None:
    upload(folder, bucket)
    client = open_client(f"{bucket}/deep, {bucket}")
    spec = train_on(client, bucket, f"{bucket}/deep", f"{bucket}/a.txt", f"{bucket}/notes.md").spec
    assert spec.sources == tuple(f"{bucket}/{name}" for name in (*NAMES, "notes.md"))


def test_a_whole_bucket_beside_files_of_the_disk(open_client: OpenClient, bucket: str, folder: Path) -> None:
    write(f"{bucket}/z.txt", make_text(200, rng_seed=9))
    root = bucket.rpartition("/")[0]
    spec = train_on(open_client(root), root, folder).spec
    assert spec.sources == (*(str(folder / name) for name in NAMES), f"{bucket}/z.txt")


def test_validation_text_of_a_bucket_is_below_the_roots_too(open_client: OpenClient, bucket: str, folder: Path) -> None:
    # Catches: roots that are checked for the training text alone
    upload(folder, bucket)
    validation = [f"{bucket}/a.txt"]
    with pytest.raises(InputError, match="not below a root"):
        train(open_client(""), "speeches", [folder / "b.txt"], NetworkOptions(), validation=validation)
    spec = train(open_client(bucket), "speeches", [folder / "b.txt"], NetworkOptions(), validation=validation).spec
    assert spec.validation.sha256 == hashlib.sha256((folder / "a.txt").read_bytes()).hexdigest()


def test_a_key_is_not_used_as_a_path(open_client: OpenClient, bucket: str) -> None:
    # Catches: normalized names, which refer to other files or to none
    for number, key in enumerate(("deep/a.txt", "deep//a.txt", "deep/./b.txt", "deep/../c.txt")):
        write(f"{bucket}/{key}", make_text(100, rng_seed=number))
    spec = train_on(open_client(bucket), f"{bucket}/deep").spec
    expected = ["deep/../c.txt", "deep/./b.txt", "deep//a.txt", "deep/a.txt"]
    assert spec.sources == tuple(f"{bucket}/{key}" for key in expected)
    texts = sum(len(make_text(100, rng_seed=number)) for number in range(4))
    assert abs(spec.characters + spec.validation_characters - texts) < 10


def test_without_a_place_for_copies_a_training_is_refused(
    open_client: OpenClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Catches: an operating-system error, which ends a scheduler
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "none"))
    with pytest.raises(UnreachableError, match="Cannot create a temporary folder"):
        train_on(open_client(""), folder)


@pytest.mark.parametrize("roots", ["", "{}/deep", "{}/a.tx", "s3://other", "s3:"], ids=repr)
@pytest.mark.parametrize("named", ["{}/a.txt", "{}/deep/../a.txt"])
def test_urls_outside_the_allowed_roots_are_refused(
    open_client: OpenClient, faulty_bucket: tuple[str, FaultyProxy], roots: str, named: str
) -> None:
    # Catches: roots compared as mere string prefixes; a request to the bucket before the check of the roots
    bucket, proxy = faulty_bucket
    with pytest.raises(InputError, match="is not below a root that CHARRNN_CORPUS_ROOTS allows. Allowed roots: "):
        train_on(open_client(roots.format(bucket)), named.format(bucket))
    assert proxy.requests == 0


def test_a_folder_without_texts_is_reported(open_client: OpenClient, bucket: str) -> None:
    write(f"{bucket}/notes.md", "no text to train on")
    with pytest.raises(TextError, match=f"{bucket}: no such file, and no .txt file below it"):
        train_on(open_client(bucket), bucket)


def test_an_error_in_a_text_names_its_url(open_client: OpenClient, bucket: str) -> None:
    write(f"{bucket}/a.txt", b"a line\nand \xff")
    with pytest.raises(TextError, match=f"^{bucket}/a.txt: line 2, byte 5: 0xff"):
        train_on(open_client(bucket), bucket)


@pytest.mark.parametrize("fault", [503, 403, "half"])
def test_a_failing_bucket_stores_nothing(
    open_client: OpenClient, faulty_bucket: tuple[str, FaultyProxy], folder: Path, fault: int | str
) -> None:
    bucket, proxy = faulty_bucket
    upload(folder, bucket)
    client = open_client(bucket)
    proxy.fault = fault  # type: ignore[assignment]
    with pytest.raises(UnreachableError, match=bucket.rpartition("/")[0]):
        train_on(client, bucket)
    proxy.fault = None
    assert client.jobs() == []
    assert train_on(client, bucket).spec.num_sources == len(NAMES)


def test_a_schedule_reads_a_bucket_at_each_run(open_client: OpenClient, bucket: str, folder: Path) -> None:
    upload(folder, bucket)
    client = open_client(bucket)
    schedules = Schedules(client.connections, lambda: 0)
    request = TrainRequest(model="speeches", paths=(bucket,), rng_seed=None)
    schedules.add(Schedule(name="nightly", cron=Cron("0 3 * * *", "UTC"), request=request.absolute()))
    sources = []
    for name in ("e.txt", "f.txt"):
        sources.append(TrainSpec.from_dict(client.status(schedules.run("nightly").job).stored_spec).num_sources)
        write(f"{bucket}/{name}", make_text(100, rng_seed=ord(name[0])))
        with client.connections.store.write() as connection:
            connection.execute(jobs.update().values(state=JobState.DONE, parts_left=0))
    assert sources == [len(NAMES), len(NAMES) + 1]
