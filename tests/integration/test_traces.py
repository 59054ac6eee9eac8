"""Spans of submits and exports, in the trace that a job keeps."""

from __future__ import annotations

import time
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from sqlalchemy import select, update

from charrnn.errors import InputError
from charrnn.jobs.client import Client
from charrnn.jobs.rows.seeds import Seed
from charrnn.jobs.settings import Settings
from charrnn.jobs.store import tables
from charrnn.jobs.store.tables import jobs
from charrnn.jobs.tracing import TRACEPARENT, Phase, record
from charrnn.jobs.tracing import spans as module
from charrnn.options import SamplingOptions
from producer.export import traced
from tests.fixtures.client import DoPart, submit
from tests.fixtures.store import each_database
from tests.fixtures.traces import Spans
from worker.child import Child
from worker.parts.trace import PartTrace

pytestmark = each_database

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def submit_one(client: Client, model: str, seed: str = "a") -> int:
    return submit(client, model, [Seed(seed)], SamplingOptions()).id or 0


def stored(client: Client, job: int) -> str | None:
    return client.connections.store.traceparent(job)


def known(span: Any) -> dict[str, Any]:
    return {name.removeprefix("charrnn."): value for name, value in span.attributes.items()}


def test_a_submit_has_a_span_and_its_job_keeps_the_traceparent(client: Client, model: str, spans: Spans) -> None:
    before = len(spans.named("submit"))
    job = submit_one(client, model)
    span = spans.named("submit")[before]
    assert known(span) == {"job": job, "kind": "generate", "model": model, "parts": 1}
    parent = stored(client, job)
    assert parent is not None
    assert TRACEPARENT.fullmatch(parent)
    assert parent.startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")
    assert span.parent is None
    assert span.resource.attributes["service.name"] == "charrnn-jobs"


def test_the_trace_of_the_caller_goes_on(
    client: Client, model: str, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    of_environment = submit_one(client, model)
    tracer = module.provider().get_tracer("an application")
    with tracer.start_as_current_span("its own") as own:
        of_application = submit_one(client, model)
    assert stored(client, of_environment).startswith(PARENT[:36])  # type: ignore[union-attr]
    *_, first, second = spans.named("submit")
    assert first.parent is not None
    assert first.parent.span_id == int(PARENT[36:52], 16)
    assert second.parent is not None
    assert second.parent.span_id == own.get_span_context().span_id
    assert known(second)["job"] == of_application


def test_a_refused_submit_is_an_error_without_its_words(client: Client, model: str, spans: Spans) -> None:
    with pytest.raises(InputError):
        submit_one(client, model, "secret words that the model does not know")
    span = spans.named("submit")[-1]
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "InputError")  # type: ignore[index]
    assert "secret" not in span.to_json()  # Catches: an exception that is recorded with its message
    assert not trace.get_current_span().get_span_context().is_valid  # Catches: a span that stays the current one


def test_the_traceparent_is_kept_for_workers_even_if_traces_are_off(
    client: Client, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    assert stored(client, submit_one(client, model)) == PARENT
    monkeypatch.setenv("TRACEPARENT", "nonsense\n")
    assert stored(client, submit_one(client, model)) is None


def test_an_export_is_in_the_trace_of_its_job(client: Client, model: str, do_part: DoPart, spans: Spans) -> None:
    job = submit_one(client, model)
    do_part()
    assert len(list(traced(client, job, client.results(job)))) == 1
    (span,) = spans.named("export")
    assert known(span) == {"job": job, "rows": 1}
    submitted = spans.named("submit")[-1]
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == (submitted.context.trace_id, submitted.context.span_id)
    reader = traced(client, job, client.results(job))
    next(reader)
    reader.close()  # type: ignore[attr-defined]  # as when the reader of a pipe has enough
    assert spans.named("export")[-1].status.status_code == StatusCode.UNSET


def test_a_damaged_traceparent_in_the_database_begins_a_new_trace(client: Client, model: str, spans: Spans) -> None:
    job = submit_one(client, model)
    with client.connections.store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(traceparent="00-nonsense"))
    list(traced(client, job, iter([b"line"])))
    (span,) = spans.named("export")
    assert span.parent is None


def test_phases_lie_within_the_span_of_their_part(client: Client, spans: Spans) -> None:
    phases = [Phase("claim", 1000, 2000), Phase("load", 2000, 5000)]
    record("part", PARENT, phases, {"job": 7}, "MemoryError")
    (part,) = spans.named("part")
    assert (part.start_time, part.end_time, known(part)["job"]) == (1000, 5000, 7)
    assert part.status.description == "MemoryError"
    assert part.parent is not None
    assert part.parent.span_id == int(PARENT[36:52], 16)
    for phase in phases:
        (span,) = spans.named(phase.name)
        assert (span.start_time, span.end_time, span.parent) == (phase.begin, phase.end, part.context)


def test_no_job_shows_its_traceparent(client: Client, model: str, spans: Spans) -> None:
    job = submit_one(client, model)
    with client.connections.store.read() as connection:
        assert connection.execute(select(jobs.c.traceparent).where(jobs.c.id == job)).scalar_one()
    assert "traceparent" not in vars(client.job(job))


def test_a_failed_part_ends_in_the_phase_in_which_it_failed(
    client: Client, settings: Settings, model: str, spans: Spans
) -> None:
    job = submit_one(client, model)
    child = Child(settings, "here/0", "cpu", ("generate",))
    part = child.leases.claim("generate", child.owner, "cpu")
    assert part is not None
    failed = PartTrace()
    with failed.recorded(child, part):
        failed.claimed(time.time_ns() - 5_000_000)
        failed.passed("load")
        failed.passed("compile", seconds=9.0)  # more than has passed since
        failed.end("failed", MemoryError("secret words of a seed"))
    (span,) = spans.named("part")
    assert known(span).items() >= {"job": job, "part": 0, "device": "cpu", "ended": "failed"}.items()
    assert (span.status.description, "secret" in span.to_json()) == ("MemoryError", False)
    assert [len(spans.named(phase)) for phase in ("claim", "load", "compile", "failed")] == [1, 1, 1, 1]
    (claim,), (last,) = spans.named("claim"), spans.named("failed")
    assert (claim.end_time or 0) - (claim.start_time or 0) >= 5_000_000
    assert (claim.start_time, last.end_time) == (span.start_time, span.end_time)
    child.connections.close()


def test_a_trace_that_cannot_be_recorded_fails_no_part(
    client: Client, settings: Settings, model: str, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    job = submit_one(client, model)
    child = Child(settings, "here/0", "cpu", ("generate",))
    part = child.leases.claim("generate", child.owner, "cpu")
    assert part is not None
    with child.store.write() as connection:
        tables.metadata.drop_all(connection)
    recorded = PartTrace()
    with recorded.recorded(child, part):
        recorded.claimed(time.time_ns())
    assert f"job {job} part 0: no trace: " in caplog.text
    child.connections.close()
