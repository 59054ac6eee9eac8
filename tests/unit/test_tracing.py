"""Traces: what turns them on, and what a `traceparent` is."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from charrnn.jobs import tracing
from charrnn.jobs.tracing.session import Session

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        (ENDPOINT, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "none", **ENDPOINT}, None),
        ({"OTEL_TRACES_EXPORTER": "", **ENDPOINT}, "otlp"),
        ({"OTEL_SDK_DISABLED": "true", **ENDPOINT}, None),
        ({"OTEL_SDK_DISABLED": "false", **ENDPOINT}, "otlp"),
        ({"OTEL_SERVICE_NAME": "texts"}, None),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", **ENDPOINT}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_EXPORTER": "console"}, "console"),
    ],
)
def test_the_standard_variables_turn_traces_on(environ: dict[str, str], expected: str | None) -> None:
    assert tracing.exporter(environ) == expected


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER must be otlp, console or none. Received: 'zipkin'"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **ENDPOINT}, "the protocol of OTLP must be http/protobuf"),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", **ENDPOINT},
            "Received: 'grpc'",
        ),
    ],
)
def test_what_cannot_be_done_is_said_and_costs_nothing_else(
    environ: dict[str, str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert tracing.exporter(environ) is None
    assert said in caplog.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PARENT, PARENT),
        (None, None),
        ("", None),
        (f"{PARENT}-x", None),
        (PARENT.upper(), None),
        (PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), None),
        (PARENT.replace("00f067aa0ba902b7", "0" * 16), None),
        (f"{PARENT}\n", None),
    ],
)
def test_a_traceparent_is_taken_only_if_it_is_one(text: str | None, expected: str | None) -> None:
    # Catches: a value of the environment, or of the database, that is stored or sent unseen
    assert tracing.checked(text) == expected


@pytest.mark.parametrize("module", ["charrnn.jobs.client", "producer.cli", "worker.__main__"])
def test_nothing_is_imported_while_traces_are_off(module: str) -> None:
    code = f"""if True:
        import {module}, sys
        from charrnn.jobs import tracing
        assert not tracing.is_on()
        assert list(tracing.iterate("export", iter([1]), lambda: 1 / 0, "rows")) == [1]
        print([name for name in sys.modules if name.startswith("opentelemetry")])"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_installation_without_the_extra_works_and_says_what_to_install() -> None:
    code = """if True:
        import sys
        sys.modules["opentelemetry"] = None  # as if it were not installed
        import logging; logging.basicConfig(format="%(message)s")
        from charrnn.jobs import tracing
        print(tracing.is_on(), tracing.traced("submit")(lambda: 3)())"""
    environ = {**os.environ, **ENDPOINT}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "3"]
    said = "no traces: they require OpenTelemetry. Install the extra: pip install '.[otel]'"
    assert done.stderr.splitlines() == [said]  # Catches: a message for each span


@pytest.mark.parametrize(
    "variable",
    [
        "OTEL_BSP_MAX_QUEUE_SIZE=0",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=99999",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=-1",
        "OTEL_PYTHON_TRACER_PROVIDER=nonsense",
    ],
)
def test_a_wrong_value_of_a_variable_turns_traces_off_and_fails_nothing(variable: str) -> None:
    code = """if True:
        import logging
        from charrnn.jobs import tracing
        handler = logging.StreamHandler()
        handler.addFilter(tracing.plain)
        logging.basicConfig(format="%(message)s", handlers=[handler])
        print(tracing.traced("submit")(lambda: 3)(), tracing.is_on())"""
    environ = {**os.environ, **ENDPOINT, **dict([variable.split("=")])}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "False"]  # Catches: an error of OpenTelemetry that ends a submit
    assert done.stderr.splitlines()[-1].startswith("no traces: a variable that begins with OTEL_ has a wrong value: ")
    assert "Traceback" not in done.stderr


class _Collector(BaseHTTPRequestHandler):
    """A collector that answers with a redirect and 64 MiB."""

    def do_POST(self) -> None:
        self.send_response(307)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        with suppress(OSError):  # the client has closed its end
            for _ in range(64):
                self.wfile.write(bytes(1 << 20))

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def collector() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Collector) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
        server.shutdown()
        thread.join()


def test_the_answer_of_a_collector_is_not_read_and_not_followed(collector: str) -> None:
    with Session() as session:
        answer = session.post(collector, data=b"spans", timeout=10)
    # Catches: an answer of 6 GB that a submit keeps in memory
    assert (answer.status_code, answer.content) == (307, b"")


@pytest.mark.parametrize(
    ("url", "headers"),
    [("http://127.0.0.1:9", {"Authorization": "secret\r\nX: y"}), ("ftp://someone:secret@127.0.0.1", {})],
)
def test_no_secret_of_the_collector_is_quoted(url: str, headers: dict[str, str]) -> None:
    with Session() as session, pytest.raises(ValueError, match="the endpoint or a header is not valid") as caught:
        session.post(url, headers=headers)
    assert "secret" not in str(caught.value)


def test_what_opentelemetry_logs_becomes_one_short_line() -> None:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(tracing.plain)
    loggers = [logging.getLogger(name) for name in (tracing.HEADERS, "opentelemetry.sdk", "charrnn")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        loggers[0].warning("Header format invalid!: %s", "Authorization=secret")
        try:
            raise ValueError("of a span")
        except ValueError:
            loggers[1].exception("Exception while exporting %s", "x" * 10_000)
        loggers[2].warning("of ours: %s", "x" * 1000)
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    headers, error, ours = text.getvalue().splitlines()  # Catches: a traceback
    assert headers == "WARNING traces: the headers have an invalid form"
    assert error.startswith("WARNING traces: Exception while exporting xxx")
    assert error.endswith("xxx (ValueError)")
    assert (len(error) < 300, len(ours)) == (True, 1017)
