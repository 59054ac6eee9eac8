"""Damaged cells of the database, which hide no other row and stop no other work."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, select, text, update

from charrnn.errors import DamagedError, InputError
from charrnn.jobs.client import Client
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.json_object import to_document
from charrnn.jobs.job.requests import TrainRequest
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.rows.seeds import Seed
from charrnn.jobs.settings import Settings
from charrnn.jobs.store import tables
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.tables import jobs, models, parts, reports, schedules, versions, workers
from charrnn.options import SamplingOptions
from producer.commands.doctor import examine
from producer.output import jobs as render
from producer.output import models as render_models
from producer.output import schedules as render_schedules
from producer.web.report import job_report
from tests.fixtures.client import DoPart, submit, train
from tests.fixtures.store import each_database, life

pytestmark = each_database

like_another = pytest.mark.slow("test_more_damaged_jobs_than_a_claim_tries")  # "[]" is read like "7"
CELLS = ["{", "7", '{"seeds": 1}', "{}", pytest.param("[]", marks=like_another)]
"""Damaged documents. PostgreSQL stores only those that are JSON."""

each_cell = pytest.mark.parametrize("cell", CELLS)


def damage(client: Client, column: Column[Any], cell: str, **where: object) -> None:
    """Write a cell as a bad disk or a foreign program does."""
    store = client.connections.store
    if store.url.startswith("postgres"):
        try:
            json.loads(cell)
        except ValueError:
            pytest.skip("PostgreSQL refuses what is not JSON")
        cell = f"'{cell}'::json"
    else:
        cell = f"'{cell}'"
    condition = " and ".join(f"{name} = {value!r}" for name, value in where.items())
    with store.write() as connection:
        connection.execute(text(f"update {column.table.name} set {column.name} = {cell} where {condition}"))  # noqa: S608


def submit_one(client: Client, model: str, **facts: Any) -> int:
    return submit(client, model, [Seed("a"), Seed("b")], SamplingOptions(), part_rows=1, **facts).id or 0


@each_cell
def test_a_damaged_job_is_shown_as_damaged_and_others_normally(
    client: Client, model: str, cell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Catches: JSON that is parsed for all rows at once; a spec that is parsed where it is only shown
    damaged, whole = submit_one(client, model), submit_one(client, model)
    before = to_document(client.job(whole))
    damage(client, jobs.c.spec, cell, id=damaged)
    listed = {job.id: job for job in client.jobs()}
    assert to_document(listed[whole]) == before
    assert f"job {damaged} cannot be read: it is damaged in the database" in (listed[damaged].unreadable or "")
    render.jobs(listed.values())
    assert capsys.readouterr().out.count("queued, unreadable") == 1
    render.status(client.status(damaged))
    assert f"job {damaged} cannot be read" in capsys.readouterr().out.replace("\n", " ")
    with pytest.raises(DamagedError, match=f"job {damaged} cannot be read"):
        list(client.results(damaged))
    assert list(client.results(whole)) == []


@each_cell
def test_workers_skip_a_damaged_job(client: Client, model: str, do_part: DoPart, cell: str) -> None:
    # Catches: a claim that raises, is rolled back and finds the same job first again
    damaged, whole = submit_one(client, model), submit_one(client, model)
    damage(client, jobs.c.spec, cell, id=damaged)
    do_part()
    do_part()
    assert (client.job(whole).state, client.job(damaged).state) == ("done", "queued")
    assert Leases(client.connections.store, 30).claim("generate", "worker", "cpu") is None
    client.cancel(damaged)
    client.delete(damaged)
    assert [job.id for job in client.jobs()] == [whole, 1]


def test_more_damaged_jobs_than_a_claim_tries(
    client: Client, model: str, do_part: DoPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Catches: only the first candidates tried, all of which may be damaged
    monkeypatch.setattr("charrnn.jobs.store.turns.CANDIDATES", 2)
    damaged, whole = [submit_one(client, model) for _ in range(4)], submit_one(client, model)
    for job in damaged:
        damage(client, jobs.c.spec, "{}", id=job)
    do_part()
    assert client.job(whole).state == "running"


@each_cell
def test_a_damaged_report_costs_no_rows(client: Client, model: str, do_part: DoPart, cell: str) -> None:
    job = submit_one(client, model)
    do_part()
    damage(client, reports.c.report, cell, job=job)
    assert client.status(job).report is None
    do_part()
    assert (client.job(job).state, len(list(client.results(job)))) == ("done", 2)


@pytest.mark.parametrize("name", ["parts", "batch", "steps", "seconds", "temperatures"])
def test_a_report_with_a_value_of_another_type_is_left_out(
    client: Client, model: str, do_part: DoPart, name: str
) -> None:
    # Catches: TypeError of the sums in summarize
    job = submit_one(client, model)
    do_part()
    with client.connections.store.write() as connection:
        report = connection.execute(select(reports.c.report).where(reports.c.job == job)).scalar_one()
        connection.execute(update(reports).where(reports.c.job == job).values(report=report | {name: None}))
    assert client.status(job).report is None


@each_cell
def test_the_other_parts_of_a_job_with_a_damaged_part_are_read(
    client: Client, model: str, do_part: DoPart, cell: str
) -> None:
    # Catches: rows that are left out silently, or given as failed
    job = submit_one(client, model)
    do_part()
    do_part()
    damage(client, parts.c.output, cell, job=job, number=0)
    assert len(list(client.results(job, rows=(1, 2)))) == 1
    with pytest.raises(DamagedError, match=f"job {job}, part 0 cannot be read"):
        list(client.results(job))


@each_cell
def test_a_damaged_checkpoint_or_progress_restarts_the_part(client: Client, model: str, cell: str) -> None:
    leases = Leases(client.connections.store, 30)
    damage(client, parts.c.checkpoint, cell, job=1)
    part = leases.claim("train", "worker", "cpu")
    assert part is not None
    assert part.checkpoint is None
    damage(client, parts.c.progress, cell, job=1)
    assert client.status(1).progress[0].progress.work is None


@each_cell
def test_a_damaged_version_is_shown_as_damaged_and_not_used(
    client: Client, model: str, cell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(client, versions.c.files, cell, model=model)
    (listed,) = client.models.list()
    assert f"{model}@1 cannot be read" in (listed.unreadable or "")
    render_models.models([listed])
    assert "cannot be read" in capsys.readouterr().out.replace("\n", " ")
    with pytest.raises(DamagedError, match=f"{model}@1 cannot be read"):
        submit_one(client, model)


def test_a_network_that_is_not_json_is_not_one_of_the_default_size(client: Client, model: str) -> None:
    # Catches: a damaged document that reads as an object without fields, all of which have defaults
    damage(client, versions.c.network, "{", model=model)
    assert f"{model}@1 cannot be read" in (client.models.list()[0].unreadable or "")


def test_a_text_that_is_not_utf_8_hides_no_row(client: Client, model: str) -> None:
    # Catches: an error of the driver, for which the store "does not answer"
    if client.connections.store.url.startswith("postgres"):
        pytest.skip("PostgreSQL refuses what is not UTF-8")
    job = submit_one(client, model, label="nightly")
    damage(client, jobs.c.label, "' || cast(x'6eff' as text) || '", id=job)
    assert [job.label for job in client.jobs()] == ["n\ufffd", None]


@pytest.mark.parametrize("name", ["name", "size", "sha256"])
def test_a_file_with_a_field_of_another_type_is_damaged(client: Client, model: str, text_file: Path, name: str) -> None:
    # Catches: TypeError where the path is made
    cell = json.dumps({"name": "a", "size": 1, "sha256": "0"} | {name: None})
    damage(client, models.c.validation, cell, name=model)
    with pytest.raises(DamagedError, match=f"the model {model} cannot be read"):
        train(client, model, [text_file], dry_run=True)


def test_a_blob_in_the_place_of_a_text_hides_no_row(client: Client, model: str) -> None:
    # Catches: TypeError of json.dumps, for bytes
    if client.connections.store.url.startswith("postgres"):
        pytest.skip("PostgreSQL refuses what is not a text")
    job = submit_one(client, model, label="nightly")
    with client.connections.store.write() as connection:
        connection.execute(text(f"update jobs set label = x'6eff' where id = {job}"))  # noqa: S608
        connection.execute(text(f"update events set action = x'6eff', actor = x'ff' where job = {job}"))  # noqa: S608
    assert [found["label"] for found in to_document(client.jobs())] == ["n\ufffd", None]
    assert [(event.actor, event.words) for event in client.events(1)] == [("\ufffd", f"n\ufffd: job {job}")]
    assert "n\ufffd" in job_report(client, job)  # Catches: TypeError of a template


@each_cell
def test_a_damaged_schedule_is_shown_as_damaged_and_others_run(
    client: Client, model: str, text_file: Path, cell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    request = TrainRequest(model="nightly", paths=(str(text_file),))
    for name in ("broken", "whole"):
        client.schedules.add(Schedule(name=name, cron=Cron("0 3 * * *", "UTC"), request=request))
    damage(client, schedules.c.request, cell, name="broken")
    broken, whole = client.schedules.list()
    assert (broken.unreadable is None, whole.unreadable) == (False, None)
    render_schedules.schedules([broken, whole])
    render_schedules.schedule(client.schedules.show("broken"), client.schedules.hooks.allowed)
    assert "schedule broken cannot be read" in capsys.readouterr().out.replace("\n", " ")
    with client.connections.store.write() as connection:
        connection.execute(update(schedules).values(next_at=0))
    client.schedules.tick()
    assert client.schedules.list()[1].last is not None


@pytest.mark.parametrize(("column", "cell"), [("cron", "x"), ("timezone", "x"), ("next_at", "x"), ("deadline_s", "x")])
def test_a_schedule_that_never_runs_is_reported(
    client: Client, model: str, text_file: Path, column: str, cell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Catches: a damaged schedule that stops without a word
    if client.connections.store.url.startswith("postgres") and column in ("next_at", "deadline_s"):
        pytest.skip("PostgreSQL refuses text in a column of numbers")
    request = TrainRequest(model="nightly", paths=(str(text_file),))
    client.schedules.add(Schedule(name="broken", cron=Cron("0 3 * * *", "UTC"), request=request))
    with client.connections.store.write() as connection:
        connection.execute(text(f"update schedules set {column} = '{cell}'"))  # noqa: S608
    render_schedules.schedules(client.schedules.list())
    assert "never" in capsys.readouterr().out
    (finding,) = [check for check in examine(client) if check.name == "schedule broken"]
    assert finding.detail.startswith("it does not run: schedule broken cannot be read")


def show_models(client: Client) -> None:
    render_models.models(client.models.list())


def read_results(client: Client) -> None:
    list(client.results(2))


SCALARS: dict[str, tuple[str, Callable[[Client], None]]] = {
    "a part's state": ("update parts set state = 'weird'", read_results),
    "a part's first row": ("update parts set first_row = 'x' where job = 2 and number = 1", read_results),
    "a version's time": ("update versions set created_at = 1e300", show_models),
}


@pytest.mark.parametrize("kind", SCALARS)
def test_a_scalar_that_is_damaged_is_no_traceback(client: Client, model: str, do_part: DoPart, kind: str) -> None:
    if client.connections.store.url.startswith("postgres"):
        pytest.skip("PostgreSQL refuses values of another type")
    assert submit_one(client, model) == 2
    do_part()
    statement, read = SCALARS[kind]
    with client.connections.store.write() as connection:
        connection.execute(text("pragma ignore_check_constraints = on"))
        connection.execute(text(statement))
    with suppress(DamagedError):  # or it is shown as unreadable
        read(client)


PARTS_DAMAGED = {
    "a part without rows": "update parts set rows = 0 where number = 1",
    "a part of fewer than no rows": "update parts set rows = -1 where number = 1",
    "the last part without rows": "update parts set rows = 0 where number = 2",
    "a part that is gone": "delete from parts where number = 1",
    "the last part is gone": "delete from parts where number = 2",
    "a part that begins later": "update parts set first_row = 2 where number = 1",
    "another part's file": "update parts set output = (select output from parts where first_row = 0 and rows = 3) "
    "where number = 1",
    "no file": "update parts set output = null where number = 1",
}


@pytest.mark.parametrize("kind", PARTS_DAMAGED)
def test_results_are_never_other_rows_than_asked_for(client: Client, model: str, do_part: DoPart, kind: str) -> None:
    # Catches: rows twice, for ever or not at all, with exit code 0, where the database is damaged
    seeds = [Seed("a") for _ in range(9)]
    job = submit(client, model, seeds, SamplingOptions(), part_rows=3).id or 0
    for _ in range(3):
        do_part()
    assert len(list(client.results(job))) == 9
    with client.connections.store.write() as connection:
        connection.execute(text(PARTS_DAMAGED[kind]))
    found: list[int] = []
    with pytest.raises(DamagedError, match=f"The database is damaged at job {job}: "):
        found.extend(json.loads(line)["row"] for line in client.results(job))
    assert found == list(range(len(found)))


def test_results_of_another_job_are_not_delivered(client: Client, model: str, do_part: DoPart) -> None:
    first, second = submit_one(client, model), submit_one(client, model)
    for _ in range(4):
        do_part()
    with client.connections.store.write() as connection:
        foreign = connection.execute(select(parts.c.output).where(parts.c.job == first, parts.c.number == 0)).scalar()
        connection.execute(update(parts).where(parts.c.job == second, parts.c.number == 0).values(output=foreign))
    with pytest.raises(DamagedError, match=f"part 0 names jobs/{first}/0-1.jsonl.zst, which does not have its row 0"):
        list(client.results(second))


def test_missing_parts_are_found_by_an_inspection(client: Client, model: str, do_part: DoPart) -> None:
    damaged, _ = submit_one(client, model), submit_one(client, model)
    lost = {finding.problem for finding in client.inspect() if finding.loss}
    with client.connections.store.write() as connection:
        connection.execute(text(f"delete from parts where job = {damaged} and number = 1"))  # noqa: S608
    found = {finding.problem for finding in client.inspect() if finding.loss}
    assert found - lost == {f"job {damaged}: its parts do not have each of its rows once"}


@each_cell
def test_the_queues_of_a_damaged_worker_are_written_again(client: Client, cell: str) -> None:
    store = client.connections.store
    store.record_heartbeat(life("host-1-a/0", ("train",)))
    damage(client, workers.c.queues, cell, pid=1)
    assert [worker.queues for worker in client.workers()] == [()]
    store.record_heartbeat(life("host-1-a/0", ("train",)))
    assert [worker.queues for worker in client.workers()] == [("train",)]


def test_a_self_check_that_is_too_long_is_unknown(client: Client) -> None:
    # Catches: a page of workers that one worker fills
    store = client.connections.store
    store.record_heartbeat(replace(life("host-1-a/0", ("train",)), self_check="passed"))
    with store.write() as connection:
        connection.execute(update(workers).values(self_check=401 * "x"))
    assert [worker.self_check for worker in client.workers()] == [None]


@each_cell
@pytest.mark.parametrize("column", [jobs.c.spec, models.c.validation, versions.c.files], ids=str)
def test_prune_keeps_files_that_a_damaged_row_may_name(
    client: Client, model: str, cell: str, column: Column[Any]
) -> None:
    # Catches: files of a version that are deleted since the row that names them cannot be read
    orphan = client.connections.files.put("seeds/orphan", [b"of a submit that was killed"])
    os.utime(Path(client.connections.files.url) / orphan.name, (0, 0))
    damage(client, column, cell, **({"id": 1} if column.table is jobs else {column.table.c[0].name: model}))
    assert client.prune(0.0).aside == 0
    assert client.connections.files.read(orphan)


@each_cell
def test_a_damaged_dependent_job_does_not_fail_its_training_job(
    client: Client, model: str, do_part: DoPart, cell: str, text_file: Path
) -> None:
    training = train(client, "other", [text_file]).id or 0
    waiting = submit(client, None, [Seed("a")], SamplingOptions(), after=training).id or 0
    damage(client, jobs.c.spec, cell, id=waiting)
    client.cancel(training)
    assert client.job(training).state == "cancelled"
    assert (client.job(waiting).state, client.job(waiting).error is None) == ("failed", False)


def test_an_empty_database_beside_the_files_of_a_store_is_refused(settings: Settings, client: Client) -> None:
    # Catches: "There is no job 7", and a store that begins again, for a database that was truncated or lost
    client.connections.claim_files()
    with client.connections.store.write() as connection:
        tables.metadata.drop_all(connection)
    later = Client(settings)
    with pytest.raises(InputError, match="The database .* is empty or missing, but the files belong to the store"):
        later.jobs()
    later.close()


def test_a_database_file_of_zero_length_is_refused(settings: Settings, client: Client) -> None:
    if client.connections.store.url.startswith("postgres"):
        pytest.skip("PostgreSQL has no such file")
    client.connections.claim_files()
    path = Path(client.connections.store.url.removeprefix("sqlite:///"))
    client.close()
    for beside in path.parent.glob(f"{path.name}-*"):
        beside.unlink()
    os.truncate(path, 0)
    later = Client(settings)
    with pytest.raises(InputError, match="The database .* is empty or missing, but the files belong to the store"):
        later.jobs()
    later.close()


@pytest.mark.parametrize("column", ["generate", "train"])
@each_cell
def test_a_damaged_job_stops_no_submit(client: Client, model: str, text_file: Path, cell: str, column: str) -> None:
    submit_one(client, model)
    damaged = {"generate": 2, "train": 1}[column]
    values = {"rows_done": 2, "characters": 9} if column == "generate" else {"state": "done", "parts_left": 0}
    steps = {"learning_rate": 0.1, "train_loss": 1.0, "val_loss": 1.0}
    with client.connections.store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == damaged).values(**values))
        for epoch in (1, 2):
            connection.execute(tables.metrics.insert().values(job=1, epoch=epoch, step=9 * epoch, at=epoch, **steps))
    damage(client, jobs.c.spec, cell, id=damaged)
    assert submit_one(client, model) > damaged  # Catches: an estimate that reads all earlier jobs
    assert train(client, model, [text_file]).id is not None
