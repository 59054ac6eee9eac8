"""Deletion: rows and files together, and nothing that is still needed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from charrnn.errors import InputError, NotFoundError, UnreachableError
from charrnn.jobs.client import Client
from charrnn.jobs.files.layout import FOLDERS
from charrnn.jobs.files.storage import StoredFile
from charrnn.jobs.job.version import NewVersion
from charrnn.jobs.rows.seeds import Seed
from charrnn.jobs.store import registry
from charrnn.jobs.store.tables import jobs, parts, rounds, versions
from charrnn.jobs.upkeep.maintenance import tidy
from charrnn.jobs.upkeep.pruning import GRACE_S, Pruned
from charrnn.options import NetworkOptions, SamplingOptions
from producer.commands.doctor import examine
from tests.fixtures.client import DoPart, submit, train
from tests.fixtures.store import each_database

pytestmark = each_database

DAY_S = 86_400


def submit_one(client: Client, model: str) -> int:
    return submit(client, model, [Seed("a")], SamplingOptions()).id or 0


def names(client: Client) -> set[str]:
    return {file.name for folder in FOLDERS for file in client.connections.files.list(folder)}


def make_old(client: Client, job: int, days: float) -> None:
    with client.connections.store.write() as connection:
        ended = jobs.c.finished_at - round(days * DAY_S * 1000)
        connection.execute(update(jobs).where(jobs.c.id == job).values(finished_at=ended))


def make_files_old(client: Client) -> None:
    for name in names(client):
        path, old = Path(client.connections.files.url) / name, time.time() - GRACE_S - 60
        os.utime(path, (old, old))


def test_a_checkpoint_is_kept_only_until_its_job_cannot_be_retried(client: Client, model: str, do_part: DoPart) -> None:
    done, cancelled = submit_one(client, model), submit_one(client, model)
    do_part()
    client.cancel(cancelled)
    files = {
        job: client.connections.files.put(f"jobs/{job}/checkpoint-1-1.safetensors", [b"weights"])
        for job in (done, cancelled)
    }
    with client.connections.store.write() as connection:
        for job, file in files.items():
            connection.execute(update(parts).where(parts.c.job == job).values(checkpoint=file.to_dict()))
    make_files_old(client)
    client.prune(DAY_S)
    # Catches: keeping checkpoints named by any row; by no row
    assert names(client) & {file.name for file in files.values()} == {files[cancelled].name}


def test_deleting_a_job_deletes_its_results_and_seeds(client: Client, model: str, do_part: DoPart) -> None:
    before = names(client)
    job, other = submit_one(client, model), submit_one(client, model)
    do_part()
    kept = names(client)
    client.delete(job)
    with pytest.raises(NotFoundError):
        client.status(job)
    assert client.status(other).id == other
    # Catches: seeds of two jobs that are deleted with one of them
    assert len(kept - names(client)) == 2
    assert names(client) > before


def test_a_job_is_deleted_even_if_its_files_cannot_be_deleted(
    client: Client, model: str, do_part: DoPart, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Catches: an error after which the deletion cannot be repeated
    job = submit_one(client, model)
    do_part()
    kept = names(client)

    def cannot(_: str) -> None:
        raise UnreachableError("Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(client.connections.files, "delete_folder", cannot)
        client.delete(job)
    assert f"job {job} was deleted, but its files are left for a later prune: Read-only file system" in caplog.text
    assert names(client) == kept
    make_files_old(client)
    assert client.prune(DAY_S).aside == 2


def test_a_job_in_work_is_not_deleted(client: Client, model: str) -> None:
    job = submit_one(client, model)
    before = names(client)
    with pytest.raises(InputError, match="Cancel it first"):
        client.delete(job)
    assert names(client) == before


def test_old_jobs_are_pruned_and_young_and_running_ones_are_not(client: Client, model: str, do_part: DoPart) -> None:
    old, young, running = (submit_one(client, model) for _ in range(3))
    do_part()
    do_part()
    make_old(client, old, days=31)
    make_old(client, young, days=29)
    client.connections.files.put(f"jobs/{old}/0-9.jsonl.zst", [b"of a worker that was killed"])
    make_files_old(client)
    counted = client.prune(30 * DAY_S, dry_run=True)
    assert (counted.jobs, counted.files) == (1, 3)  # its seeds, its part file and what lies beside them
    assert client.status(old).id == old
    assert client.prune(30 * DAY_S) == counted
    assert client.prune(30 * DAY_S) == Pruned()
    assert {job.id for job in client.jobs()} == {1, young, running}  # 1 is the model's training job


def test_a_dry_run_counts_the_corpora_that_would_be_deleted(client: Client, text_file: Path) -> None:
    job = train(client, "other", [text_file]).id or 0
    client.cancel(job)
    make_old(client, job, days=31)
    make_files_old(client)
    counted = client.prune(30 * DAY_S, dry_run=True)
    assert (counted.jobs, counted.aside) == (1, 2)  # the corpus and the validation text of a model without a version
    assert client.prune(30 * DAY_S) == counted


def test_the_training_and_the_texts_of_a_version_stay(client: Client, model: str) -> None:
    make_files_old(client)
    kept = names(client)
    assert len(kept) == 2
    client.cancel(1)  # it never ran: the fixture stored its version
    assert client.prune(0.0).jobs == 0
    assert names(client) == kept


def test_files_without_a_row_are_swept_after_a_day(client: Client, model: str, text_file: Path) -> None:
    text_file.write_text(text_file.read_text() + "more of it\n")
    job = train(client, "other", [text_file]).id or 0
    client.cancel(job)
    client.delete(job)
    client.connections.files.put("jobs/99/0-1.jsonl.zst", [b"of a worker that was killed"])
    client.connections.files.put("seeds/x.jsonl.zst", [b"of a submit that was killed"])
    waiting = submit_one(client, model)
    young = names(client)
    client.prune(DAY_S)
    assert names(client) == young  # Catches: deleting a file that a submit in progress is about to name
    make_files_old(client)
    swept = client.prune(DAY_S)
    gone = young - names(client)
    assert {name.partition("/")[0] for name in gone} == {"jobs", "seeds", "corpora", "validation"}
    assert swept.aside == len(gone) == 4
    assert client.connections.files.verified_path(submit(client, model, None, SamplingOptions()).spec.seeds)
    assert client.status(waiting).state == "queued"


def test_results_with_a_row_are_kept_and_others_are_not(client: Client, model: str, do_part: DoPart) -> None:
    # Catches: orphans of killed workers that stay as long as their job
    ended, running = submit_one(client, model), submit_one(client, model)
    do_part()
    orphan, arriving = (f"jobs/{job}/0-9.jsonl.zst" for job in (ended, running))
    for name in (orphan, arriving):
        client.connections.files.put(name, [b"of a worker that was killed, or is about to commit it"])
    make_files_old(client)
    before = names(client)
    assert client.prune(30 * DAY_S, dry_run=True).aside == 1
    assert client.prune(30 * DAY_S).aside == 1
    assert before - names(client) == {orphan}
    assert len(list(client.results(ended))) == 1


def test_the_files_of_a_version_stay_and_those_of_none_do_not(client: Client, model: str, tmp_path: Path) -> None:
    source = tmp_path / "version"
    source.mkdir()
    (source / "config.json").write_text("{}")
    kept, gone = (client.connections.files.put_folder(f"models/{model}/{name}", source) for name in ("kept", "gone"))
    new = NewVersion(
        model=model, files=kept, characters="ab", network=NetworkOptions(), val_loss=1.0, precision="float32"
    )
    with client.connections.store.write() as connection:
        registry.import_version(connection, new)
    make_files_old(client)
    before = names(client)
    client.prune(DAY_S)
    assert before - names(client) == {f"{gone.name}/config.json"}


def test_a_file_rewritten_during_a_sweep_is_kept(client: Client, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: a corpus deleted while a training job with an equal text is being submitted
    again = [b"a text that an aborted submit left"]
    written = client.connections.files.put_content("corpora", ".txt", again)
    make_files_old(client)
    listing = client.connections.files.list

    def list_and_write(folder: str) -> Iterator[StoredFile]:
        yield from listing(folder)
        if folder == "corpora":
            client.connections.files.put_content("corpora", ".txt", again)

    monkeypatch.setattr(client.connections.files, "list", list_and_write)
    assert client.prune(DAY_S).aside == 0
    assert client.connections.files.read(written) == again[0]


def test_files_without_a_row_are_set_aside_for_a_week(
    client: Client, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Catches: files deleted at once; files that stay aside for ever
    files = client.connections.files
    orphan = files.put("seeds/orphan", [b"of a submit that was killed"])
    make_files_old(client)
    assert client.prune(DAY_S).aside == 1
    (aside,) = files.aside()
    assert (aside.original, Path(files.url, aside.name).read_bytes()) == (orphan.name, b"of a submit that was killed")
    shown = [check.detail for check in examine(client) if check.name == "set aside"]
    assert shown[0].startswith(f"1 file of 27 bytes in {files.url}/aside; prune deletes them from")
    assert client.prune(DAY_S) == Pruned()
    monkeypatch.setattr("charrnn.jobs.upkeep.pruning.ASIDE_S", -1.0)
    assert client.prune(DAY_S, dry_run=True) == client.prune(DAY_S) == Pruned(files=1, bytes=27)
    assert list(files.aside()) == []


def test_files_that_are_newer_than_the_database_are_not_pruned(client: Client, model: str) -> None:
    # Catches: the files of versions deleted that were made since the backup that the database was restored from
    file = client.connections.files.put(f"models/{model}/2-1/config.json", [b"made since the backup"])
    make_files_old(client)
    with client.connections.store.write() as connection:
        for column in (jobs.c.created_at, versions.c.created_at):
            connection.execute(update(column.table).values({column: column - round(3 * DAY_S * 1000)}))
    for dry_run in (True, False):
        with pytest.raises(InputError, match=f"Found 1 file newer than everything .*, such as {file.name}. Was the"):
            client.prune(0.0, dry_run=dry_run)
    assert client.connections.files.read(file)
    assert client.prune(DAY_S, accept_newer=True).aside == 1


def test_maintenance_deletes_jobs_after_their_retention_once_a_day(client: Client, model: str, do_part: DoPart) -> None:
    old, new, waiting = (submit_one(client, model) for _ in range(3))
    do_part()
    do_part()
    make_old(client, old, 8)
    make_old(client, new, 6)
    store, files = client.connections.store, client.connections.files
    tidy(store, files)  # Catches: jobs that are deleted although nobody asked for it
    assert {job.id for job in client.jobs()} >= {old, new, waiting}
    with store.write() as connection:
        connection.execute(delete(rounds))
    assert tidy(store, files, retention_days=7)
    with pytest.raises(NotFoundError):
        client.job(old)
    assert {new, waiting} <= {job.id for job in client.jobs()}
    assert list(files.list(f"jobs/{old}")) == []  # Catches: results that stay without their job
    make_old(client, new, 6)
    assert not tidy(store, files, retention_days=7)  # Catches: a look at all jobs in each round
