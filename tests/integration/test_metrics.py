"""Metrics of a real store, broker and folder of files: what they show, cost and survive."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update

from charrnn.errors import LeaseLostError
from charrnn.jobs.client import Client
from charrnn.jobs.connections import Connections
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.report import Seconds
from charrnn.jobs.job.requests import Request
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.job.states import ENDED_JOBS, OUT_OF_MEMORY, JobState, SlotState
from charrnn.jobs.job.version import CHAMPION
from charrnn.jobs.store import counters
from charrnn.jobs.store.counters import Series
from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.scheduled.duties import MAINTAIN, claim_round
from charrnn.jobs.store.tables import aliases, jobs, models, parts, schedules, slots, versions, workers
from charrnn.jobs.upkeep.metrics import scrape as scraping
from charrnn.jobs.upkeep.metrics.definitions import COUNTER, DEFINITIONS
from charrnn.jobs.upkeep.metrics.readings import MAX_MODELS, OTHERS
from charrnn.jobs.upkeep.metrics.scrape import OPENMETRICS, Exposition
from charrnn.release import release
from tests.fixtures.history import History, add_history
from tests.fixtures.metrics import Scraped, scrape
from tests.fixtures.plans import plans, statements
from tests.fixtures.processes import until
from tests.fixtures.store import NO_FILE, AddJob, each_database, life, sampled
from tests.fixtures.web import serve

pytestmark = each_database

ROOT = Path(__file__).parents[2]
HOUR_MS = 3_600_000
HISTORY = History(ended=9000, parts=4, unended=500, waiting=2, leased=200, workers=200)


@pytest.fixture
def connections(client: Client) -> Connections:
    client.connections.probe()
    return client.connections


def test_a_new_store_has_zeros_that_rise(connections: Connections) -> None:
    found = scrape(connections)
    assert found.of("charrnn_up") == {f'charrnn_up{{service="{name}"}}': 1 for name in ("store", "broker", "files")}
    assert set(found.of("charrnn_jobs").values()) == {0}
    assert len(found.of("charrnn_jobs")) == 10
    # Catches: a counter that begins at 1, of which `increase` does not see the first count
    assert len(found.of("charrnn_parts_failed_total")) == len(counters.REASONS)
    assert set(found.of("charrnn_attempts_failed_total").values()) == {0}
    assert found[f'charrnn_build_info{{release="{release()}"}}'] == 1
    assert 0 < found['charrnn_disk_free_bytes{disk="files"}'] <= found['charrnn_disk_size_bytes{disk="files"}']


def test_jobs_parts_and_workers_are_counted(connections: Connections, add_job: AddJob, leases: Leases) -> None:
    store = connections.store
    training = add_job(train=True)
    add_job(parts=3)
    add_job(parts=4, awaits=training)
    assert leases.claim("generate", "owner", "cpu")
    store.record_heartbeat(life("owner"))
    store.record_heartbeat(replace(life("other"), device="GPU-1", queues=("generate",)))
    connections.queue.ring("generate", 2)
    claim_round(store, MAINTAIN, 0)
    found = scrape(connections)
    assert found['charrnn_jobs{kind="generate",state="running"}'] == 1
    assert found['charrnn_jobs{kind="train",state="queued"}'] == 1
    states = {state: found[f'charrnn_parts{{queue="generate",state="{state}"}}'] for state in ("queued", "leased")}
    assert states == {"queued": 2, "leased": 1}
    assert found['charrnn_parts{queue="generate",state="blocked"}'] == 4  # Catches: an alert while a training runs
    assert found[f'charrnn_workers{{device="gpu",release="{release()}"}}'] == 1
    assert found['charrnn_queue_workers{queue="train"}'] == 1
    assert found['charrnn_queue_workers{queue="generate"}'] == 2
    assert found['charrnn_notifications{queue="generate"}'] == 2
    assert 0 <= found["charrnn_maintenance_age_seconds"] < 60


def test_workers_whose_self_check_failed_are_counted_by_device(connections: Connections) -> None:
    name, failed = "charrnn_self_check_failed", "failed (NVIDIA H200, bfloat16, 8192 slots): texts may depend on ..."
    cpus, gpus = ["passed", failed, failed], ["passed", None, failed, 401 * "x"]
    for device, results in ("cpu", cpus), ("0", gpus):
        for number, result in enumerate(results):
            worker = replace(life(f"{device}/{number}"), device=device, self_check=result)
            connections.store.record_heartbeat(worker)
    # Catches: "passed", no result yet or a damaged one as a failure; workers of one kind counted as another's
    assert scrape(connections).of(name) == {f'{name}{{device="cpu"}}': 2, f'{name}{{device="gpu"}}': 1}
    connections.store.record_heartbeat(replace(life("0/2"), device="0", self_check="passed"))
    assert scrape(connections)[f'{name}{{device="gpu"}}'] == 0  # Catches: an alert that never ends


def test_the_oldest_job_waits_since_it_could_begin(connections: Connections, add_job: AddJob, leases: Leases) -> None:
    training = add_job(train=True)
    waits = add_job(awaits=training)
    with connections.store.write() as connection:
        old = jobs.c.created_at - HOUR_MS
        connection.execute(update(jobs).where(jobs.c.id == waits).values(created_at=old))
    assert scrape(connections)['charrnn_oldest_waiting_seconds{queue="generate"}'] == 0
    with connections.store.write() as connection:
        ended = update(jobs).where(jobs.c.id == training)
        connection.execute(ended.values(state="done", parts_left=0, finished_at=jobs.c.created_at))
        connection.execute(update(jobs).where(jobs.c.id == waits).values(version=1))
    # Catches: the hour for which the training ran, counted as an hour without a worker
    assert scrape(connections)['charrnn_oldest_waiting_seconds{queue="generate"}'] < 600
    alone = add_job()
    with connections.store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == alone).values(created_at=old))
    assert 3600 <= scrape(connections)['charrnn_oldest_waiting_seconds{queue="generate"}'] < 4200
    assert leases.claim("generate", "owner", "cpu")
    assert leases.claim("generate", "owner", "cpu")
    assert scrape(connections)['charrnn_oldest_waiting_seconds{queue="generate"}'] == 0


def test_counters_are_exactly_what_was_committed(
    connections: Connections, add_job: AddJob, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "SHARDS", 1)  # so that rows are added to, and not only inserted
    job = add_job(parts=3)
    seconds = Seconds(loading=0.05, compiling=0.1, sampling=20.0, writing=0.0)
    for _ in range(2):
        part = leases.claim("generate", "owner", "cpu")
        assert part
        leases.complete_rows(part, NO_FILE, sampled(part, characters=700, seconds=seconds), "gpu")
    lost = leases.claim("generate", "owner", "cpu")
    assert lost
    leases.requeue("owner")
    with pytest.raises(LeaseLostError):
        leases.complete_rows(lost, NO_FILE, sampled(lost, characters=700), "gpu")
    found, ended = scrape(connections), connections.store.job(job)
    # Catches: counts in a transaction of their own, which those of rejected work would survive
    assert found['charrnn_characters_total{device="gpu",model="_others"}'] == 1400 == ended.characters
    assert found['charrnn_rows_total{device="gpu",model="_others"}'] == ended.rows_done
    assert found['charrnn_parts_done_total{queue="generate"}'] == 2
    assert found['charrnn_attempts_failed_total{reason="process_died"}'] == 1
    assert found['charrnn_phase_seconds_sum{device="gpu",phase="sampling"}'] == 40
    buckets = {
        bound: found[f'charrnn_phase_seconds_bucket{{device="gpu",le="{bound}",phase="sampling"}}']
        for bound in ("10.0", "30.0", "+Inf")
    }
    assert buckets == {"10.0": 0, "30.0": 2, "+Inf": 2}
    assert found['charrnn_phase_seconds_bucket{device="gpu",le="0.1",phase="compiling"}'] == 2  # a bound is included


def test_failures_are_counted_by_reason(connections: Connections, add_job: AddJob, leases: Leases) -> None:
    def claim() -> Any:
        part = leases.claim("generate", "owner", "cpu")
        assert part
        return part

    add_job(parts=5)
    leases.fail(claim(), "ValueError: no", permanent=True)
    leases.fail(claim(), "hung: no progress for 120 s while working")
    claim()
    leases.requeue("owner", OUT_OF_MEMORY)
    claim()
    with connections.store.write() as connection:
        connection.execute(update(parts).where(parts.c.lease_until.is_not(None)).values(lease_until=1))
    assert leases.expire() == 1
    found = scrape(connections)
    attempts = {key: value for key, value in found.of("charrnn_attempts_failed_total").items() if value}
    names = ("lease_expired", "out_of_memory", "hung", "error")
    assert attempts == {f'charrnn_attempts_failed_total{{reason="{name}"}}': 1 for name in names}
    failed = {key: value for key, value in found.of("charrnn_parts_failed_total").items() if value}
    assert failed == {'charrnn_parts_failed_total{reason="error"}': 1}


def test_the_newest_models_are_named_and_others_are_together(connections: Connections) -> None:
    shown = {"characters": "ab", "files": {}, "network": {}, "gate": {}, "skipped": 0, "precision": "float32"}
    with connections.store.write() as connection:
        for number in range(MAX_MODELS + 2):
            name = f"m{number}"
            connection.execute(insert(models).values(name=name, validation={}, created_at=number))
            connection.execute(insert(versions).values(model=name, version=1, val_loss=1.5, **shown))
            connection.execute(insert(aliases).values(model=name, alias=CHAMPION, version=1))
            counters.add(connection, {Series(counters.ROWS, name, "cpu"): 10})
    found = scrape(connections)
    rows = found.of("charrnn_rows_total")
    assert len(rows) == MAX_MODELS + 1  # Catches: a series for each model ever made
    assert rows[f'charrnn_rows_total{{device="cpu",model="{OTHERS}"}}'] == 20
    assert found['charrnn_champion_validation_loss_nats{model="m51"}'] == 1.5
    assert 'charrnn_champion_validation_loss_nats{model="m1"}' not in found


@pytest.fixture
def add_slot(client: Client, connections: Connections, sample: Request) -> Callable[..., None]:
    """Add a schedule with one slot in this state, an hour ago, whose job is in `job_state`."""

    def add(name: str, state: SlotState, job: int | None = None, job_state: str = "done", **facts: Any) -> None:
        client.schedules.add(Schedule(name=name, cron=Cron("0 3 * * *", "UTC"), request=sample))
        with connections.store.write() as connection:
            now = connection.execute(select(NOW)).scalar_one()
            connection.execute(insert(slots).values(schedule=name, at=now - HOUR_MS, state=state, job=job))
            if facts:
                connection.execute(update(schedules).where(schedules.c.name == name).values(**facts))
            if job:
                ended = {"state": job_state, "parts_left": 0, "finished_at": now}
                connection.execute(update(jobs).where(jobs.c.id == job).values(**ended))

    return add


def test_schedules_show_success_failure_and_lateness(
    connections: Connections, add_job: AddJob, add_slot: Callable[..., None]
) -> None:
    add_slot("good", SlotState.SUBMITTED, add_job())
    add_slot("bad", SlotState.SUBMITTED, add_job(), "failed")
    add_slot("refused", SlotState.FAILED)
    add_slot("same", SlotState.UNCHANGED)
    add_slot("then", SlotState.SUBMITTED, add_job())
    add_slot("wrote", SlotState.SUBMITTED, add_job())
    add_slot("stopped", SlotState.SUBMITTED, add_job(), "cancelled")  # its sampling job fails with it
    for name, state in (("then", "done"), ("wrote", "failed"), ("stopped", "failed")):
        following = {"state": state, "parts_left": 0, "finished_at": 1}
        job = add_job()
        with connections.store.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job).values(**following))
            connection.execute(update(slots).where(slots.c.schedule == name).values(then_job=job))
    add_slot("late", SlotState.DUE)
    add_slot("new", SlotState.SKIPPED, next_at=1)
    add_slot("paused", SlotState.FAILED, paused=True)
    found = scrape(connections)
    failed = {key.split('"')[1]: value for key, value in found.of("charrnn_schedule_failed").items()}
    assert failed == {"good": 0, "bad": 1, "refused": 1, "same": 0, "then": 0, "wrote": 1, "stopped": 0}
    success = {key.split('"')[1] for key in found.of("charrnn_schedule_last_success_timestamp_seconds")}
    assert success == {"good", "same", "then"}
    overdue = {key.split('"')[1]: value for key, value in found.of("charrnn_schedule_overdue_seconds").items()}
    assert {name for name, value in overdue.items() if value} == {"late", "new"}
    assert overdue.keys() == {"good", "bad", "refused", "same", "then", "wrote", "stopped", "late", "new"}
    assert 3600 <= overdue["late"] < 4200


JOB_ENDS = [*((state, 0) for state in ENDED_JOBS), (JobState.DONE, 2), None]  # None: it was deleted, or never was


def test_metrics_and_checks_agree_on_the_verdict_of_every_run(
    client: Client, connections: Connections, add_job: AddJob, add_slot: Callable[..., None]
) -> None:
    # Catches: a rule of the one that the other lacks, since one is SQL and the other is not
    for number, ends in enumerate(product(JOB_ENDS, JOB_ENDS)):
        ids = [None if end is None else add_job() for end in ends]
        add_slot(f"s{number}", SlotState.SUBMITTED)
        with connections.store.write() as connection:
            named = {"job": ids[0] or 10**6, "then_job": ids[1]}
            connection.execute(update(slots).where(slots.c.schedule == f"s{number}").values(**named))
            for job, end in zip(ids, ends, strict=True):
                if end is not None:
                    facts = {"state": end[0], "rows_failed": end[1], "parts_left": 0, "finished_at": 1}
                    connection.execute(update(jobs).where(jobs.c.id == job).values(**facts))
    found = scrape(connections)
    failed = {key.split('"')[1] for key, value in found.of("charrnn_schedule_failed").items() if value}
    success = {key.split('"')[1] for key in found.of("charrnn_schedule_last_success_timestamp_seconds")}
    runs = {schedule.name: schedule.last and schedule.last.decisive for schedule in client.schedules.list()}
    assert failed == client.schedules.find_troubles().keys()
    assert failed == {name for name, run in runs.items() if run and run.verdict == JobState.FAILED}
    assert success == {name for name, run in runs.items() if run and run.verdict == JobState.DONE}
    assert (len(runs), len(failed), len(success)) == (25, 14, 3)


def test_a_scrape_is_one_transaction_of_nine_queries_and_reads_no_ended_part(
    connections: Connections, add_job: AddJob, add_slot: Callable[..., None]
) -> None:
    add_slot("good", SlotState.SUBMITTED, add_job())
    add_history(connections.store, add_job(), HISTORY)
    render = partial(Exposition(connections).render, "")
    assert statements(connections.store, render) == ["BEGIN", *["SELECT"] * 9]
    assert statements(connections.store, render) == []  # Catches: one reading for each client
    for plan in plans(connections.store, lambda: Exposition(connections).render("")):
        read = [line for line in plan.splitlines() if re.search(r"SCAN (parts|jobs)|Seq Scan on (parts|jobs)", line)]
        # Catches: a count of all parts; a count of jobs that reads their rows and not the index alone
        assert all(re.search("parts_leased|jobs_by_turn|COVERING INDEX", line) for line in read), plan


def test_what_does_not_answer_is_down_and_hides_nothing_else(connections: Connections, tmp_path: Path) -> None:
    settings = connections.settings
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for change, down in (
        ({"redis_url": f"redis://127.0.0.1:{port}/0"}, "broker"),
        ({"files_url": str(tmp_path / "not mounted")}, "files"),
        ({"store_url": f"postgresql://a@127.0.0.1:{port}/a"}, "store"),
    ):
        others = Connections(replace(settings, **change))  # type: ignore[arg-type]
        found = scrape(others)
        up = {key.split('"')[1]: value for key, value in found.of("charrnn_up").items()}
        assert up == {name: float(name != down) for name in ("store", "broker", "files")}
        assert (len(found.of("charrnn_jobs")) == 10) == (down != "store")
        assert (len(found.of("charrnn_notifications")) == 2) == (down != "broker")
        others.close()


def test_what_hangs_is_down_and_is_not_asked_again(
    connections: Connections, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scraping, "PATIENCE_S", 2.0)
    monkeypatch.setattr(scraping, "FRESH_S", 0.0)
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # it accepts, and says nothing
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        hanging = stack.enter_context(closing(Connections(replace(connections.settings, redis_url=url))))
        exposition = Exposition(hanging)

        def answered() -> Scraped | None:
            found = Scraped(exposition.render(OPENMETRICS)[0].decode())
            return found if found['charrnn_up{service="store"}'] else None

        for _ in range(2):
            found = until(answered, "an answer of the store")  # its first connection may take seconds too
            assert found['charrnn_up{service="broker"}'] == 0
        silent.settimeout(5)
        with silent.accept()[0]:
            silent.settimeout(0.2)
            with pytest.raises(TimeoutError):  # Catches: a further thread and connection for each scrape
                silent.accept()
    assert caplog.text.count("broker is down") == 1  # Catches: a line in the log for each scrape


def test_damaged_cells_hide_only_their_own_values(connections: Connections, add_job: AddJob) -> None:
    store = connections.store
    add_job()
    store.record_heartbeat(life("owner"))
    with store.write() as connection:
        connection.execute(update(workers).values(release='a"b\n\\' * 99))
        connection.execute(text("update workers set queues = '7'"))
        if store.engine.dialect.name == "sqlite":
            connection.execute(insert(models).values(name="m", validation={}))
            connection.execute(text("insert into rounds values ('maintain', 'yesterday')"))
            connection.execute(text("insert into counters values ('rows', x'ff00', 'cpu', '', 0, 'many')"))
    found = scrape(connections)
    assert found['charrnn_up{service="store"}'] == 1
    assert found['charrnn_jobs{kind="generate",state="queued"}'] == 1
    assert found['charrnn_queue_workers{queue="generate"}'] == 0
    assert sum(found.of("charrnn_workers").values()) == 1


def documented() -> Iterator[tuple[str, ...]]:
    for line in (ROOT / "docs" / "metrics.md").read_text().splitlines():
        if line.startswith("| `charrnn_"):
            yield tuple(cell.strip() for cell in line.strip("|").split("|"))


def test_the_documented_metrics_are_the_metrics(
    connections: Connections, add_job: AddJob, leases: Leases, model: str, add_slot: Callable[..., None]
) -> None:
    add_slot("good", SlotState.SUBMITTED, add_job())
    connections.store.record_heartbeat(life("owner"))
    claim_round(connections.store, MAINTAIN, 0)
    add_job()
    while part := leases.claim("generate", "owner", "cpu"):
        leases.complete_rows(part, NO_FILE, sampled(part), "cpu")
    families = {family.name: family for family in scrape(connections).families}
    shown = {
        (
            f"`{definition.name}`",
            families[name].type,
            ", ".join(f"`{label}`" for label in families[name].samples[0].labels if label != "le"),
            families[name].documentation,
        )
        for definition in DEFINITIONS
        for name in [definition.name.removesuffix("_total") if definition.kind == COUNTER else definition.name]
    }
    assert set(documented()) == shown  # Catches: a metric without a line in the document, and a line without a metric
    assert len(families) == len(DEFINITIONS)


@pytest.mark.usefixtures("connections")
def test_the_page_serves_metrics_to_those_who_have_the_token(client: Client) -> None:
    token = "correct-horse-battery-staple"  # noqa: S105  # of this test
    with serve(client, token=token) as page:
        assert page.get("/metrics").status == 401
        plain = page.get("/metrics", Authorization=f"Bearer {token}")
        assert (plain.status, plain.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert Scraped(plain.text, open_metrics=False)['charrnn_up{service="store"}'] == 1
        # Catches: prometheus-client's reading of this header, which raises an error
        for accept in (f"{OPENMETRICS}; version=abc", "text/plain; version=x", "*/*", f"{OPENMETRICS};version=1.0.0"):
            answer = page.get("/metrics", Authorization=f"Bearer {token}", Accept=accept)
            assert answer.status == 200
            Scraped(answer.text, open_metrics=OPENMETRICS in accept)
