"""Spans of OpenTelemetry. Imported only if traces are on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Thread

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from charrnn.jobs.tracing import Attributes, Phase, exporter
from charrnn.release import release

SERVICE = "charrnn-jobs"
FLUSH_S = 5.0
PROPAGATOR = TraceContextTextMapPropagator()


def open_exporter() -> SpanExporter:
    """Return what sends the spans. The one for OTLP reads the variables OTEL_EXPORTER_OTLP_* itself."""
    if exporter(os.environ) == "console":
        return ConsoleSpanExporter(out=sys.stderr)  # standard output has rows
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from charrnn.jobs.tracing.session import Session

    return OTLPSpanExporter(session=Session())


@cache
def provider() -> TracerProvider:
    """Return the provider of spans: the application's, if it has set one. It is made in the process that first uses it,
    since its thread does not survive a fork."""
    if isinstance(found := trace.get_tracer_provider(), TracerProvider):
        return found
    # Attributes given here would win over the variables.
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    name = {} if named else {"service.name": SERVICE}
    made = TracerProvider(resource=Resource.create({"service.version": release(), **name}))
    made.add_span_processor(BatchSpanProcessor(open_exporter()))
    return made


def _tracer() -> Tracer:
    return provider().get_tracer(SERVICE, release())


def _below(parent: str | None) -> Context | None:
    """Return the context of a `traceparent`; what is not one has no context, and the span begins a new trace."""
    return PROPAGATOR.extract({"traceparent": parent}) if parent else None


def _named(attributes: Attributes) -> dict[str, str | int]:
    return {f"charrnn.{name}": value for name, value in attributes.items()}


def _fail(span: Span, kind: str) -> None:
    """Mark a span as failed. Messages of errors are left out, since they can quote a seed."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, kind)


@contextmanager
def current(name: str, inherited: str | None) -> Iterator[None]:
    """Make a span the current one, below the current one, or if there is none below the inherited one."""
    above = None if trace.get_current_span().get_span_context().is_valid else _below(inherited)
    with detached(name, above, {}, SpanKind.PRODUCER) as span, trace.use_span(span, record_exception=False):
        yield


@contextmanager
def detached(
    name: str, parent: str | Context | None, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[Span]:
    """Yield a span that lasts as long as the block and is not the current one, as in a generator."""
    above = _below(parent) if isinstance(parent, str) else parent
    span = _tracer().start_span(name, above, kind, _named(attributes))
    try:
        yield span
    except GeneratorExit:  # the reader has enough
        raise
    except BaseException as error:
        _fail(span, type(error).__name__)
        raise
    finally:
        span.end()


def annotate(attributes: Attributes) -> None:
    """Add attributes to the current span."""
    trace.get_current_span().set_attributes(_named(attributes))


def traceparent() -> str | None:
    """Return the `traceparent` of the current span, or None if there is none."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def record(name: str, parent: str | None, phases: Sequence[Phase], attributes: Attributes, error: str | None) -> None:
    """Record a span that has ended, and its phases."""
    begin, end = phases[0].begin, phases[-1].end
    span = _tracer().start_span(name, _below(parent), SpanKind.CONSUMER, _named(attributes), start_time=begin)
    inside = trace.set_span_in_context(span)
    for phase in phases:
        _tracer().start_span(phase.name, inside, start_time=phase.begin).end(phase.end)
    if error is not None:
        _fail(span, error)
    span.end(end)


def flush() -> None:
    """Send the spans that wait to be sent. The SDK has no limit for that, so this waits for FLUSH_S at most."""
    thread = Thread(target=provider().force_flush, name="flush of traces", daemon=True)
    thread.start()
    thread.join(FLUSH_S)
