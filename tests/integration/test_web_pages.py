"""The pages on every database: they show what is stored, all of it as text, and say what does not answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import delete, insert, update

from charrnn.jobs.client import Client
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.requests import GenerateRequest, TrainRequest
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.rows.formats import FORMATS
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.tables import aliases, jobs, metrics, previews, schedules
from charrnn.options import SamplingOptions
from producer.web.report import job_report
from tests.fixtures.client import DoPart, do_parts, submit, train
from tests.fixtures.store import each_database
from tests.fixtures.web import Page, serve, visible

pytestmark = each_database

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>{{1234*8765}}{% raw %}\u202e\x00\x1b[31m'\"&"
SAMPLING = SamplingOptions(temperatures=(0.5, 1.0), samples=4)


def test_a_job_shows_progress_failures_and_why_it_waits(
    client: Client, model: str, page: Page, do_part: DoPart
) -> None:
    job = submit(client, model, ["a", "b"], SAMPLING, part_rows=4, label="two seeds").id
    waiting = visible(page.ok(f"/jobs/{job}"))
    assert "queued" in waiting
    assert "no live worker serves generate" in waiting
    do_part()
    do_part("the disk is broken")
    shown = visible(page.ok(f"/jobs/{job}"))
    assert "4 of 16 rows, 4 failed" in shown
    assert "4 rows from row 4, after 1 attempt: the disk is broken" in shown
    assert "worker attempt failed 1 the disk is broken" in shown
    assert f"{client.connections.settings.person} submitted" in shown
    assert "4 failed" in visible(page.ok("/?with_failures=1"))
    failed = visible(page.ok(f"/jobs/{job}/texts?failed=1"))
    assert (failed.count("the disk is broken"), "text 0" in failed) == (4, False)
    parts = visible(page.ok(f"/jobs/{job}/parts"))
    assert "the disk is broken" in parts
    assert "Part 3" in visible(page.ok(f"/jobs/{job}/parts?row=12"))
    assert page.get("/jobs/999").status == 404
    for wrong in ("99999999999", "9" * 5000, "\u0661", "-1", "x"):
        assert page.get(f"/jobs/{quote(wrong)}").status == 404


def test_the_grid_shows_each_cell_and_leads_to_all_its_texts(client: Client, model: str, page: Page) -> None:
    job = submit(client, model, ["a", "b"], SAMPLING).id
    do_parts(client, "text ")
    grid = visible(page.ok(f"/jobs/{job}/texts"))
    for row in range(16):  # three of four samples in each cell
        assert (f"text {row} " in grid) == (row % 4 < 3)
    cell = visible(page.ok(f"/jobs/{job}/texts?seed=1&temperature=0"))
    assert [row for row in range(16) if f"text {row} " in cell] == [8, 9, 10, 11]
    one_temperature = visible(page.ok(f"/jobs/{job}/texts?temperature=1"))
    assert [row for row in range(16) if f"text {row} " in one_temperature] == [4, 5, 6, 7, 12, 13, 14, 15]
    for wrong in ("seed=2", "temperature=2", "seed=x"):
        assert page.get(f"/jobs/{job}/texts?{wrong}").status == 400


def test_a_job_with_seeds_of_their_own_options_is_a_list(
    client: Client, model: str, page: Page, tmp_path: Path
) -> None:
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text('{"seed": "a"}\n{"seed": "b", "temperature": 0.7}\n')
    job = client.submit(GenerateRequest(model=model, sampling=SAMPLING, seeds=str(seeds))).id
    do_parts(client, "text ")
    shown = visible(page.ok(f"/jobs/{job}/texts"))
    assert "text 0 " in shown
    assert "temperature 0.7" in shown


@pytest.mark.parametrize("format", FORMATS)
def test_a_download_is_the_export(client: Client, model: str, page: Page, format: str) -> None:
    job = submit(client, model, ["a", "b"], replace(SAMPLING, samples=2000)).id
    do_parts(client, "text ")
    answer = page.get(f"/jobs/{job}/results.{format}")
    assert answer.headers["content-disposition"] == f'attachment; filename="job-{job}.{format}"'
    if format == "jsonl":
        assert answer.body == b"".join(client.results(job or 0))
    elif format == "parquet":
        import io

        import pyarrow.parquet

        assert pyarrow.parquet.read_table(io.BytesIO(answer.body)).num_rows == 8000
    else:
        assert answer.body.count(b"text ") == 8000
    assert page.get(f"/jobs/{job}/results.exe").status == 400


def test_hostile_texts_stay_texts_on_every_page(client: Client, model: str, page: Page, text_file: Path) -> None:
    job = submit(client, model, ["a"], replace(SAMPLING, logprobs=True), label="<b>label").id or 0
    do_parts(client, HOSTILE, [-9.0, -0.1] * 40)
    training = train(client, "speeches", [text_file]).id or 0
    with client.connections.store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == training).values(label=HOSTILE[:20], error="<i>error</i>"))
        epoch = {"job": training, "epoch": 1, "step": 1, "learning_rate": 1.0, "train_loss": 1.0, "val_loss": 2.0}
        connection.execute(insert(metrics).values(**epoch))
        text = {"job": training, "epoch": 1, "temperature": 0.5, "seed": "<u>", "text": HOSTILE.replace("\x00", "")}
        connection.execute(insert(previews).values(**text))
    for path in (
        "/",
        f"/jobs/{job}",
        f"/jobs/{job}/texts",
        f"/jobs/{job}/texts?seed=0",
        f"/jobs/{training}",
        f"/jobs/{job}/report.html",
        f"/jobs/{training}/report.html",
    ):
        html = page.ok(path)
        for wrong in ("<script>alert", "<img", "<b>", "<i>", "<u>", "10816010", "\u202e", "\x1b", "\x00"):
            assert wrong not in html.split("</style>")[-1], (path, wrong)
    assert "&lt;script&gt;alert(1)" in page.ok(f"/jobs/{training}")


def test_models_and_schedules_are_shown(client: Client, model: str, page: Page, text_file: Path) -> None:
    schedule = Schedule(name="nightly", cron=Cron("0 3 * * *", "UTC"), request=GenerateRequest(model=model))
    client.schedules.add(schedule)
    assert "speeches@1" in visible(page.ok("/models"))
    assert "speeches@1" in visible(page.ok("/models/speeches"))
    assert "1.0000 nats/char" in visible(page.ok("/models/speeches@1"))
    assert visible(page.ok("/compare?a=speeches@1&b=speeches")).count("1.0000 nats/char") == 2
    assert "nightly" in visible(page.ok("/schedules"))
    assert "submit speeches" in visible(page.ok("/schedules/nightly"))
    assert "No worker is running" in visible(page.ok("/workers"))
    for missing in ("/models/none", "/models/speeches@9", "/schedules/none"):
        assert page.get(missing).status == 404
    refused = page.get("/compare?a=speeches")
    assert (refused.status, "/compare?a=names@1&amp;b=names@2" in refused.text) == (400, True)


@pytest.fixture
def writable(client: Client) -> Iterator[Page]:
    with serve(client, allow_writes=True) as page:
        yield page


def test_a_job_is_submitted_cancelled_and_retried(client: Client, model: str, writable: Page) -> None:
    fields = {
        "model": model,
        "seeds": "a\r\nb\r\n",
        "temperature": "0.5, 1",
        "samples": "2",
        "length": "5",
        "label": "x",
    }
    preview = writable.post("/submit", fields | {"preview": ""})
    assert "8 rows from speeches@1" in visible(preview.text)
    warned = writable.post("/submit", fields | {"temperature": "7", "preview": ""})
    assert "nearly random" in visible(warned.text)  # Catches: a warning that only the server's log has
    assert client.jobs(1)[0].kind == "train"  # nothing was stored
    unknown = fields | {"seeds": "a¤"}
    assert "--unknown drop" in visible(writable.post("/submit", unknown | {"preview": ""}).text)
    dropped = writable.post("/submit", unknown | {"unknown": "drop", "preview": ""}).text
    assert "4 rows from speeches@1" in visible(dropped)  # Catches: a form that cannot do what its error asks for
    assert '<select name="unknown"' in dropped
    assert "<option selected>drop</option>" in dropped  # Catches: a choice that is lost between preview and submit
    sent = writable.post("/submit", fields | {"submit": ""})
    job = client.jobs(1)[0]
    assert (sent.status, sent.headers["location"]) == (303, f"/jobs/{job.id}")
    assert (job.rows_total, job.label) == (8, "x")
    assert "Cancel job" in visible(writable.ok(f"/jobs/{job.id}/cancel"))
    assert client.job(job.id).state == "queued"  # Catches: a link that changes something
    assert writable.post(f"/jobs/{job.id}/cancel", {}).status == 303
    assert client.job(job.id).state == "cancelled"
    assert writable.post(f"/jobs/{job.id}/retry", {}).status == 303
    assert client.job(job.id).state == "queued"
    assert writable.get(f"/jobs/{job.id}/explode").status == 404
    for wrong in ({"samples": "many"}, {"temperature": "hot"}, {"model": "none"}, {"stop": "\\q"}, {"unknown": "x"}):
        refused = writable.post("/submit", fields | wrong | {"submit": ""})
        assert refused.status == 400
        assert 'role="alert"' in refused.text
    assert len(client.jobs(10)) == 2


def test_versions_are_promoted_and_schedules_paused_resumed_and_run(client: Client, model: str, writable: Page) -> None:
    client.schedules.add(Schedule(name="nightly", cron=Cron("0 3 * * *", "UTC"), request=GenerateRequest(model=model)))
    for verb, paused in (("pause", True), ("resume", False)):
        assert writable.post(f"/schedules/nightly/{verb}", {}).headers["location"] == "/schedules/nightly"
        assert client.schedules.show("nightly").paused == paused
    assert writable.post("/schedules/nightly/run", {}).status == 303
    assert client.jobs(1)[0].schedule == "nightly"
    again = client.models.promote("speeches@1", "staging")
    with client.connections.store.write() as connection:
        connection.execute(delete(aliases).where(aliases.c.alias == "champion"))
    assert "Promote speeches@1?" in visible(writable.ok("/models/speeches@1/promote"))
    assert writable.post("/models/speeches@1/promote", {}).status == 303
    assert client.models.show("speeches").name == again


def test_the_report_is_one_file_that_needs_nothing_else(client: Client, model: str) -> None:
    job = submit(client, model, ["a", "b"], SAMPLING, label="for a colleague").id or 0
    do_parts(client, "text ")
    html = job_report(client, job)
    assert not re.search(r"(src|href)=(?!\"data:)|<script|@import|url\((?!\"?data:)", html)
    assert '<meta http-equiv="Content-Security-Policy" content="default-src' in html.replace("&#39;", "'")
    assert "for a colleague" in html
    assert "text 14" in html
    assert len(html) < 300_000


def test_pages_say_that_the_store_is_away_and_work_without_a_broker(
    client: Client, model: str, settings: Settings, page: Page
) -> None:
    away = replace(settings, redis_url="redis://127.0.0.1:1/0")
    with Client(away) as offline, serve(offline) as other:
        assert "speeches" in other.ok("/")
    gone = replace(settings, store_url="postgresql://127.0.0.1:1/none")
    with Client(gone) as offline, serve(offline) as other:
        answer = other.get("/")
        assert answer.status == 503
        assert "does not answer" in visible(answer.text)


def test_an_open_page_sees_a_job_end_and_is_not_asked_again(client: Client, model: str, page: Page) -> None:
    job = submit(client, model, ["a"], SAMPLING).id
    do_parts(client)
    events = page.get(f"/events/jobs/{job}")  # ends, since the job has
    assert events.headers["content-type"].startswith("text/event-stream")
    assert events.text.endswith("event: ended\ndata: ended\n\n")
    assert "done" in events.text


def test_a_seed_leads_to_the_form_with_its_options(client: Client, model: str, writable: Page) -> None:
    job = submit(client, model, ["a¤"], replace(SAMPLING, unknown="drop")).id
    do_parts(client)
    (link,) = re.findall(r'href="(/submit\?[^"]+)"', writable.ok(f"/jobs/{job}/texts?seed=0"))
    form = writable.ok(unescape(link))
    assert "a¤</textarea>" in form
    assert "<option selected>drop</option>" in form  # Catches: a link to a form that refuses the seed


def test_a_seed_that_json_escapes_is_read_back(client: Client, model: str, page: Page) -> None:
    job = submit(client, model, ["a\nb"], SamplingOptions()).id
    do_parts(client)
    assert json.loads(page.get(f"/jobs/{job}/results.jsonl").body)["seed"] == "a\nb"
    assert '<bdi class="seed">a\nb</bdi>' in page.ok(f"/jobs/{job}/texts")


def test_a_stream_of_what_is_gone_ends_with_the_reason(client: Client, model: str, page: Page) -> None:
    events = page.get("/events/jobs/999").text  # Catches: a stream that is read for ever
    assert "There is no job 999" in visible(events)
    assert events.endswith("event: ended\ndata: ended\n\n")


def test_too_many_pages_are_told_so(client: Client, model: str, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.web.feeds.MAX_FRAGMENTS", 0)
    refused = page.get("/events/jobs/1")
    assert (refused.status, refused.headers["retry-after"]) == (503, "60")


def test_a_schedule_in_trouble_is_told_on_the_first_page(client: Client, model: str, page: Page) -> None:
    client.schedules.add(Schedule(name="nightly", cron=Cron("0 3 * * *", "UTC"), request=GenerateRequest(model=model)))
    assert "failed or" not in visible(page.ok("/"))
    with client.connections.store.write() as connection:
        connection.execute(update(schedules).values(next_at=1))
    assert "1 schedule failed or is late" in visible(page.ok("/"))
    assert "is late" in visible(page.ok("/schedules"))


def test_a_schedule_shows_both_of_its_jobs(client: Client, model: str, page: Page, text_file: Path) -> None:
    train_request = TrainRequest(model=model, paths=(str(text_file),))
    then = GenerateRequest(model=model)
    client.schedules.add(Schedule(name="nightly", cron=Cron("0 3 * * *", "UTC"), request=train_request, then=then))
    slot = client.schedules.run("nightly")
    shown = visible(page.ok("/schedules/nightly"))
    assert "--then submit speeches" in shown
    assert "then: queued" in shown
    for path in ("/schedules", "/schedules/nightly"):
        assert {f"/jobs/{job}" for job in slot.jobs} <= set(re.findall(r"/jobs/\d+", page.ok(path)))
    with client.connections.store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id.in_(slot.jobs)).values(state="done", parts_left=0))
        connection.execute(update(jobs).where(jobs.c.id == slot.then_job).values(rows_failed=1, error="no ink"))
    for path, state in ("/schedules", "failed"), ("/schedules/nightly", "then: failed"):
        shown = visible(page.ok(path))  # Catches: a run whose sampling failed, which is shown as done
        assert state in shown
        assert "1 row failed: no ink" in shown
