"""A real worker and real commands send one trace for each job to a collector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.fixtures.fleet import make_fleet
from tests.fixtures.model import make_text
from tests.fixtures.processes import TINY
from tests.fixtures.traces import attributes, collecting

PHASES = ["claim", "load", "compile", "sample", "write", "commit"]


def children(spans: list[Any], parent: Any) -> list[Any]:
    found = [span for span in spans if span.parent_span_id == parent.span_id]
    return sorted(found, key=lambda span: (span.start_time_unix_nano, span.end_time_unix_nano))


def test_a_job_is_one_trace_from_submit_to_export(archive: Path) -> None:
    with collecting() as collector:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_RESOURCE_ATTRIBUTES": "team=texts"}
        variables["OTEL_BSP_SCHEDULE_DELAY"] = "600000"  # nothing is sent before a process ends
        with make_fleet("sqlite", archive, make_text(3), **variables) as fleet:
            fleet.start_workers(1)
            words = ("-m", "tiny", "--seeds", str(fleet.home / "seeds.txt"), "-n", "200", "-l", "50")
            job = int(fleet.ok("submit", *words, "--part-rows", "300", "--wait"))
            rows = fleet.ok("results", str(job), "-o", "-").splitlines()
            fleet.ok("train", "other", str(fleet.home / "seeds.txt"), *TINY, "--validation", "none", "--wait")
            fleet.stop_workers()  # Catches: the last spans, which end with the process that has them
        assert [json.loads(row)["row"] for row in rows] == list(range(600))

    submits, parts = collector.named("submit"), collector.named("part")
    submit = next(span for span in submits if attributes(span)["job"] == job)
    (export,) = collector.named("export")
    assert collector.services == {"charrnn-jobs"}
    assert (attributes(export)["rows"], export.parent_span_id) == (600, submit.span_id)
    own = [span for span in parts if attributes(span)["job"] == job]
    assert sorted(attributes(span)["part"] for span in own) == [0, 1]
    for part in own:
        assert (part.trace_id, part.parent_span_id) == (submit.trace_id, submit.span_id)
        facts = {"job": job, "attempt": 1, "rows": 300, "queue": "generate", "model": "tiny", "device": "cpu"}
        assert attributes(part).items() >= {**facts, "ended": "done"}.items()
        phases = children(collector.spans, part)
        assert [span.name for span in phases] == PHASES
        # One after the other, and nothing of the part outside of them
        ends = [span.end_time_unix_nano for span in phases]
        assert [span.start_time_unix_nano for span in phases] == [part.start_time_unix_nano, *ends[:-1]]
        assert ends[-1] == part.end_time_unix_nano
        assert phases[PHASES.index("sample")].end_time_unix_nano > phases[PHASES.index("sample")].start_time_unix_nano
    (training,) = [span for span in parts if attributes(span)["queue"] == "train"]
    assert [span.name for span in children(collector.spans, training)] == ["claim", "load", "train", "write", "commit"]
    assert training.trace_id != submit.trace_id
