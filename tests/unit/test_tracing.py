"""Traces: what turns them on, and what a `traceparent` is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from charrnn.jobs import tracing

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
