"""Two releases in one fleet: each does what it can read, and leaves the rest to the other.

A job of a newer release is one of this release whose stored spec was given a field that nobody knows yet.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy import Connection, select, text, update

from charrnn.errors import InputError
from charrnn.jobs.client import Client
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.report import Report
from charrnn.jobs.job.specs import SPEC_VERSION
from charrnn.jobs.job.states import JobState, PartState
from charrnn.jobs.job.version import Gate, NewVersion
from charrnn.jobs.queue import BELLS
from charrnn.jobs.store import lifecycle, registry
from charrnn.jobs.store.database import NOW, upsert
from charrnn.jobs.store.deletion.named_files import shared_files
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.store import Store
from charrnn.jobs.store.tables import jobs, parts, reports, workers
from charrnn.jobs.store.turns import needed_by
from charrnn.options import NetworkOptions
from producer.commands.doctor import examine
from producer.output import jobs as render
from tests.fixtures.store import NO_FILE, AddJob, each_database, generate_spec, sampled, train_spec

pytestmark = each_database

NEWER = SPEC_VERSION + 1
OUTPUT = FileRef(name="jobs/1/0-1.jsonl.zst", size=1, sha256="1")


def make_newer(store: Store, job: int, spec_version: int, **fields: Any) -> None:
    """Make a stored job one of a newer release: with these fields in its spec."""
    with store.write() as connection:
        spec = connection.execute(select(jobs.c.spec).where(jobs.c.id == job)).scalar_one()
        connection.execute(update(jobs).where(jobs.c.id == job).values(spec=spec | (fields or {"mirostat": 5})))
        connection.execute(update(parts).where(parts.c.job == job).values(spec_version=spec_version))


def show_life(store: Store, *, release: str | None = None, spec_version: int | None = None) -> None:
    seen = {"host": "here", "pid": 1, "device": "cpu", "queues": ["train", "generate"], "seen_at": NOW}
    with store.write() as connection:
        upsert(connection, workers, owner="here-1-a/0", release=release, spec_version=spec_version, **seen)


@pytest.mark.parametrize("marked", [False, True], ids=["by its content", "by its version"])
def test_a_job_that_cannot_be_read_stays_queued_and_blocks_no_other(
    store: Store, leases: Leases, add_job: AddJob, marked: bool
) -> None:
    unread, readable = [add_job() for _ in range(25)], add_job()
    for job in unread:
        make_newer(store, job, NEWER if marked else SPEC_VERSION)
    assert leases.waits("generate")
    part = leases.claim("generate", "a", "cpu")
    # Catches: a spec that is parsed after its part was leased, so that the claim rolls back; only the first page read
    assert part is not None
    assert part.job == readable
    assert leases.claim("generate", "a", "cpu") is None
    assert not leases.waits("generate")  # Catches: a training job that yields its device to nobody, again and again
    assert {store.job(job).state for job in unread} == {JobState.QUEUED}
    assert store.parts(unread[0])[0].attempts == 0


def test_a_spec_that_is_damaged_blocks_no_other_job(store: Store, leases: Leases, add_job: AddJob) -> None:
    damaged, readable = add_job(), add_job()
    document = "x{" if store.engine.dialect.name == "sqlite" else "[1]"  # PostgreSQL stores JSON only
    with store.write() as connection:
        connection.execute(text("update jobs set spec = :spec where id = :job"), {"spec": document, "job": damaged})
    part = leases.claim("generate", "a", "cpu")
    assert part is not None
    assert part.job == readable  # Catches: a column that the driver parses, which ends the query


def test_a_checkpoint_that_cannot_be_read_blocks_no_job(store: Store, leases: Leases, add_job: AddJob) -> None:
    # One of a newer form has a newer version, and is left to others; one that is damaged means a new start.
    damaged, other = add_job(train=True), add_job(train=True)
    with store.write() as connection:
        connection.execute(update(parts).where(parts.c.job == damaged).values(checkpoint={"segments": 2}))
    claimed = [leases.claim("train", "a", "cpu"), leases.claim("train", "b", "cpu")]
    assert [(part.job, part.checkpoint) for part in claimed if part] == [(damaged, None), (other, None)]


def test_workers_of_two_releases_do_the_jobs_that_they_can_read(
    store: Store, store_url: str, leases: Leases, add_job: AddJob
) -> None:
    newer, plain = add_job(), add_job(parts=3)
    make_newer(store, newer, NEWER)
    mine = leases.claim("generate", "this release", "cpu")
    assert mine is not None
    assert mine.job == plain
    command = [sys.executable, "-m", "tests.programs.first_release", store_url, str(store.now())]
    program = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    # Catches: a column that older programs cannot leave out; a part without the version that its job needs
    assert (program.returncode, program.stderr) == (0, "")
    assert json.loads(program.stdout) == [plain, plain]
    leases.complete_rows(mine, OUTPUT, sampled(mine), "cpu")
    assert (store.job(plain).state, store.job(newer).state) == (JobState.DONE, JobState.QUEUED)
    assert [(worker.release, worker.spec_version) for worker in store.workers(60_000)] == [(None, 1)]


INSERT_JOB = """
insert into jobs (kind, priority, submitted_by, state, spec, model, parts_total, parts_left, rows_total, rows_done,
  rows_failed, characters, cancel_requested, created_at)
select kind, priority, submitted_by, state, spec, model, parts_total, parts_left, rows_total, rows_done,
  rows_failed, characters, cancel_requested, created_at from jobs where id = :job returning id
"""
INSERT_PART = """
insert into parts (job, number, spec_version, state, first_row, rows, frame_offset, frame_row, attempts, token)
values (:job, 0, 1, 'queued', 0, 1, 0, 0, 0, 0)
"""


def test_a_program_of_the_first_release_submits_and_deletes_jobs(store: Store, leases: Leases, add_job: AddJob) -> None:
    done = add_job()
    part = leases.claim("generate", "a", "cpu")
    assert part is not None
    leases.complete_rows(part, OUTPUT, sampled(part), "cpu")
    with store.write() as connection:
        template = add_job_row(connection, done)
        connection.execute(
            text(INSERT_PART), {"job": template}
        )  # Catches: a new column without a default of the server
        connection.execute(text("delete from parts where job = :job"), {"job": done})
        # Catches: a new table whose rows keep older programs from deleting a job
        connection.execute(text("delete from jobs where id = :job"), {"job": done})
    claimed = leases.claim("generate", "a", "cpu")
    assert claimed is not None
    assert claimed.job == template


def add_job_row(connection: Connection, job: int) -> int:
    """Copy a job with the columns of the first release, as one that is queued. Return its id."""
    copied = int(connection.execute(text(INSERT_JOB), {"job": job}).scalar_one())
    connection.execute(
        text("update jobs set state = 'queued', parts_left = 1, rows_done = 0 where id = :job"), {"job": copied}
    )
    return copied


def test_the_spec_version_of_a_job_is_computed_from_its_content(store: Store, add_job: AddJob) -> None:
    training = add_job(train=True)
    spec, awaiting = generate_spec(), generate_spec()
    object.__setattr__(awaiting, "version", None)
    with store.write() as connection:
        registry.freeze_validation(connection, "speeches", NO_FILE)
        registry.import_version(connection, _version(NetworkOptions(cell="gru")))

        def needed(since: dict[str, int], *, options: tuple[str, ...] = (), after: int | None = None) -> int:
            return needed_by(connection, awaiting if after else spec, after, options, since)

        assert needed({}) == 1
        assert needed({"SamplingOptions.top_p": 2}) == 1  # it has its default
        assert needed({"SamplingOptions.length": 2, "GenerateSpec.part_rows=800": 3}) == 3
        assert needed({"Seed.top_p": 2}) == 1
        assert needed({"Seed.top_p": 2}, options=("top_p",)) == 2  # Catches: seeds whose options are not looked at
        assert needed({"NetworkOptions.cell=gru": 2}) == 2  # Catches: a version that an older worker cannot load
        assert needed({"NetworkOptions.cell=gru": 2}, after=training) == 1
        assert needed({"NetworkOptions.cell=lstm": 2}, after=training) == 2  # Catches: a version that is yet to be made
        assert needed_by(connection, train_spec(), None, (), {"TrainSpec.vocabulary": 2}) == 2


def _version(network: NetworkOptions) -> NewVersion:
    facts = {"model": "speeches", "files": NO_FILE, "characters": "ab", "val_loss": 1.0, "precision": "float32"}
    return NewVersion(**facts, network=network)  # type: ignore[arg-type]


def test_a_training_job_ends_without_reading_the_jobs_that_wait_for_it(
    store: Store, leases: Leases, add_job: AddJob
) -> None:
    training = add_job(train=True)
    waiting = add_job(awaits=training)
    make_newer(store, waiting, NEWER)
    part = leases.claim("train", "a", "cpu")
    assert part is not None
    with store.write() as connection:
        registry.freeze_validation(connection, "speeches", NO_FILE)
    assert leases.complete_training(part, _version(NetworkOptions())) is None  # Catches: a spec that is parsed there
    assert store.job(training).state == JobState.DONE
    stored = store.job(waiting).stored_spec
    assert (stored["version"], stored["sampling"]["precision"], stored["mirostat"]) == (1, "float32", 5)


def test_a_checkpoint_raises_what_its_part_needs(store: Store, leases: Leases, add_job: AddJob) -> None:
    add_job(train=True)
    part = leases.claim("train", "a", "cpu")
    assert part is not None
    with store.write() as connection:
        connection.execute(update(parts).values(spec_version=0))
    leases.checkpoint(part, OUTPUT, [], "cpu", "float32")
    with store.read() as connection:
        # Catches: a checkpoint of this release that an older worker would resume from
        assert connection.execute(select(parts.c.spec_version)).scalar_one() == 1


def test_a_part_can_be_added_to_the_report_of_a_newer_release(store: Store, leases: Leases, add_job: AddJob) -> None:
    job = add_job(parts=2)
    first, second = leases.claim("generate", "a", "cpu"), leases.claim("generate", "a", "cpu")
    assert first is not None
    assert second is not None
    leases.complete_rows(first, OUTPUT, sampled(first), "cpu")
    with store.write() as connection:
        report = connection.execute(select(reports.c.report)).scalar_one()
        report |= {"joules": 5, "seconds": report["seconds"] | {"waiting": 1.0}}
        connection.execute(update(reports).values(report=report))
    leases.complete_rows(second, OUTPUT, sampled(second), "cpu")  # Catches: a report that refuses unknown fields
    assert store.job(job).state == JobState.DONE
    assert isinstance(store.report(job), Report)
    gate = {"promoted": True, "margin": 0.0, "by": "ann", "comparison": None}
    assert Gate.from_dict(gate) == Gate(promoted=True)


def test_notifications_are_sent_for_what_another_worker_can_read(store: Store, leases: Leases, add_job: AddJob) -> None:
    make_newer(store, add_job(parts=2), NEWER)
    show_life(store, release="0.1.0", spec_version=SPEC_VERSION)
    assert leases.waiting(BELLS) == {}
    show_life(store, release="9.0.0", spec_version=NEWER)
    assert leases.waiting(BELLS) == {"generate": 2}  # Catches: a count of what this process alone can read


def test_status_and_doctor_show_which_jobs_wait_for_which_release(
    client: Client, store: Store, add_job: AddJob, capsys: pytest.CaptureFixture[str]
) -> None:
    newer, odd = add_job(), add_job()
    make_newer(store, newer, NEWER)
    make_newer(store, odd, SPEC_VERSION)
    show_life(store, release="0.1.0", spec_version=None)  # as an older program's row
    reason = f"no live worker that serves generate reads spec version {NEWER}: the newest, of release 0.1.0, reads 1"
    assert reason in (client.status(newer).waiting_for or "")
    assert "a worker that can read its spec" in (client.status(odd).waiting_for or "")
    found = {check.name: check for check in examine(client)}
    assert f"1 job waiting: {reason}" in found["releases"].detail
    assert "release 0.1.0" in found["worker 1"].detail
    render.status(client.status(newer))  # Catches: a traceback, or an error instead of the facts of the job
    assert "was stored by a newer release" in " ".join(capsys.readouterr().out.split())
    show_life(store, release="9.0.0", spec_version=NEWER)
    assert "releases" not in {check.name for check in examine(client)}


def test_jobs_of_a_newer_release_are_listed_cancelled_and_deleted_and_their_files_kept(
    client: Client, store: Store, add_job: AddJob
) -> None:
    job = add_job()
    image = {"name": "seeds/images", "size": 1, "sha256": "1"}
    make_newer(store, job, NEWER, images=image)
    assert [found.id for found in client.jobs()] == [job]
    with store.read() as connection:
        named = {file.name for file in shared_files(connection) if isinstance(file, FileRef)}
    assert "seeds/images" in named  # Catches: prune deletes files in unknown fields
    with pytest.raises(InputError, match="A newer release stored it"):
        client.job(job).spec  # noqa: B018
    with store.write() as connection:
        lifecycle.cancel_job(connection, job)
    assert store.parts(job)[0].state == PartState.CANCELLED
    client.delete(job)  # Catches: a spec that is read before its files are deleted
    assert client.jobs() == []
