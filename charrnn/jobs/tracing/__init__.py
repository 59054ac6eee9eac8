"""Traces of jobs for OpenTelemetry: spans of the submit, of each part, and of an export.

They are off, and nothing is imported for them, unless the standard variables of OpenTelemetry turn them on. A job is
stored with the `traceparent` of its submit (W3C Trace Context), by which workers on other hosts find its trace.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import ParamSpec, TypeVar

logger = logging.getLogger(__name__)

EXPORTERS = ("otlp", "console")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")  # the first one comes first
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
TRACEPARENT = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

MAX_SAID = 200  # characters of a message of OpenTelemetry, which may quote the answer of a collector
HEADERS = "opentelemetry.util.re"  # the logger of what reads the variables with headers, and quotes their secrets

P = ParamSpec("P")
T = TypeVar("T")
Attributes = Mapping[str, str | int]


@dataclass(frozen=True)
class Phase:
    """A phase of a part: its name, its begin and its end in nanoseconds since 1970."""

    name: str
    begin: int
    end: int


def exporter(environ: Mapping[str, str]) -> str | None:
    """Return where spans go, otlp or console, or None if traces are off."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    named = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if named == "none" or not (named or any(environ.get(name) for name in ENDPOINTS)):
        return None
    protocol = next((environ[name] for name in PROTOCOLS if environ.get(name)), PROTOCOL)
    if named and named not in EXPORTERS:
        logger.warning("no traces: OTEL_TRACES_EXPORTER must be otlp, console or none. Received: %.80r", named)
    elif named != "console" and protocol != PROTOCOL:
        logger.warning("no traces: the protocol of OTLP must be %s. Received: %.80r", PROTOCOL, protocol)
    else:
        return named or "otlp"
    return None


def plain(record: logging.LogRecord) -> bool:
    """Make what OpenTelemetry logs one short line, without tracebacks and secrets. This is a filter of handlers."""
    if record.name.startswith("opentelemetry."):
        said = record.getMessage() if record.name != HEADERS else "the headers have an invalid form"
        caught = record.exc_info[1] if record.exc_info else None
        why = f" ({type(caught).__name__})" if caught is not None else ""
        record.msg, record.args = "traces: %s%s", (said[:MAX_SAID], why)
        record.exc_info, record.exc_text, record.levelname = None, None, "WARNING"
    return True


@cache
def _spans() -> ModuleType | None:
    """Return the module that makes spans, or None if traces are off or cannot be made."""
    if exporter(os.environ) is None:
        return None
    try:
        from charrnn.jobs.tracing import spans

        spans.provider()  # which reads the variables of OpenTelemetry
    except ImportError:
        logger.warning("no traces: they require OpenTelemetry. Install the extra: pip install '.[otel]'")
        return None
    except Exception as error:  # of any type, for a value that OpenTelemetry does not take
        reason = f"{type(error).__name__}: {error}"
        logger.warning("no traces: a variable that begins with OTEL_ has a wrong value: %.200s", reason)
        return None
    return spans


def is_on() -> bool:
    """Return whether spans are made."""
    return _spans() is not None


def traced(name: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function that runs in a span of its own, below the one that the variable TRACEPARENT names, if any."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        def run(*arguments: P.args, **options: P.kwargs) -> T:
            if (spans := _spans()) is None:
                return function(*arguments, **options)
            with spans.current(name, _inherited()):
                return function(*arguments, **options)

        run.__doc__, run.__name__ = function.__doc__, function.__name__
        return run

    return decorate


def annotate(**attributes: str | int) -> None:
    """Add attributes to the current span."""
    if spans := _spans():
        spans.annotate(attributes)


def traceparent() -> str | None:
    """Return the `traceparent` to store with a job: that of the current span, or else of the environment."""
    spans = _spans()
    return (spans.traceparent() if spans else None) or _inherited()


def _inherited() -> str | None:
    return checked(os.environ.get("TRACEPARENT"))


def checked(traceparent: str | None) -> str | None:
    """Return a `traceparent`, or None for what is not one."""
    return traceparent if traceparent and TRACEPARENT.fullmatch(traceparent) else None


def iterate(
    name: str, items: Iterator[T], parent: Callable[[], str | None], count: str, **attributes: str | int
) -> Iterator[T]:
    """Return an iterator over the items. While it is read, a span runs.

    Args:
        parent: returns the `traceparent` of the span above; called if traces are on.
        count: the name of the attribute with the number of items.
    """
    return items if (spans := _spans()) is None else _spanned(spans, name, items, parent(), count, attributes)


def _spanned(
    spans: ModuleType, name: str, items: Iterator[T], parent: str | None, count: str, attributes: Attributes
) -> Iterator[T]:
    read = 0
    with spans.detached(name, parent, attributes) as span:
        try:
            for item in items:
                read += 1
                yield item
        finally:
            span.set_attribute(f"charrnn.{count}", read)


def record(
    name: str, parent: str | None, phases: Sequence[Phase], attributes: Attributes, error: str | None = None
) -> None:
    """Record a span that has ended, with a span for each of its phases. It lasts from the first to the last of them.

    Args:
        error: the type of the error that ended it, if any.
    """
    if spans := _spans():
        spans.record(name, parent, phases, attributes, error)


def flush() -> None:
    """Send the spans that wait to be sent."""
    if spans := _spans():
        spans.flush()
