"""A part of a generate job: sample its rows into its part file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.jobs import registry
from charrnn.jobs.files import FileRef, Files
from charrnn.jobs.leases import Part
from charrnn.jobs.rows import JobRow, compress, decode_seeds, part_rows, result
from charrnn.jobs.specs import GenerateSpec
from worker.heartbeat import Heartbeat, Watch

if TYPE_CHECKING:
    from charrnn.model import Model
    from charrnn.sampling import Report, Row, Text

logger = logging.getLogger(__name__)


def generate(heartbeat: Heartbeat, part: Part, spec: GenerateSpec, watch: Watch) -> None:
    """Sample, write, commit.

    Raises:
        Interrupted, LeaseLostError: from `watch`, between two calls of the sampler.
    """
    from charrnn.model import in_order
    from charrnn.sampling import Report

    started, name = time.monotonic(), f"{spec.model}@{spec.version}"
    files = Files(heartbeat.settings.files_root)
    model = _load(files.checked(FileRef(**registry.resolve(heartbeat.store, name).files)))
    rows = list(part_rows(spec, decode_seeds(files.read(spec.seeds)), part.first_row, part.rows))
    report = Report(spec.batch)

    def on_call(report: Report) -> None:
        watch.progress = {"rows": report.rows, "characters": report.characters}
        watch.check()

    sampled = model.sample_rows(_sampler_rows(model, spec, rows), spec.batch, report=report, on_call=on_call)
    lines = _result_lines(rows, in_order(sampled), model, name)
    output = files.put(f"jobs/{part.job}/{part.number}-{part.token}.jsonl.zst", compress(lines))
    seconds = time.monotonic() - started
    heartbeat.leases.complete(part, output=output, characters=report.characters, report=_facts(report, seconds))
    logger.info("job %d part %d: %d rows in %.1f s", part.job, part.number, part.rows, seconds)


@lru_cache(maxsize=2)
def _load(folder: Path) -> Model:
    from charrnn.model import load

    return load(folder)


def _sampler_rows(model: Model, spec: GenerateSpec, rows: Iterable[JobRow]) -> Iterator[Row]:
    from charrnn.randomness import seed_name

    for row in rows:
        seed = row.seed
        name = seed_name(seed.id, seed.seed, seed.occurrence)
        yield model.row(name, seed.seed, row.temperature, row.sample, spec.sampling)


def _result_lines(rows: Iterable[JobRow], texts: Iterable[Text], model: Model, name: str) -> Iterator[dict[str, Any]]:
    for row, text in zip(rows, texts, strict=True):
        yield result(row, name, model.vocabulary.decode(text.ids), text.nats_per_char)


def _facts(report: Report, seconds: float) -> dict[str, Any]:
    return {
        "batch": report.batch,
        "steps": report.steps,
        "fill": round(report.fill, 4),
        "characters": report.characters,
        "seconds": round(seconds, 3),
    }
