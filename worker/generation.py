"""A part of a generate job: sample its rows into its part file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from charrnn.jobs import registry
from charrnn.jobs.files import FileRef, Files
from charrnn.jobs.leases import Part
from charrnn.jobs.reports import Tallies
from charrnn.jobs.rows import JobRow, compress, decode_seeds, part_rows, result
from charrnn.jobs.specs import GenerateSpec
from worker.heartbeat import Heartbeat, Watch
from worker.loaded import LoadedModels

if TYPE_CHECKING:
    from charrnn.model import Model
    from charrnn.slots import Report, Row, Text

logger = logging.getLogger(__name__)

_loaded = LoadedModels()


def generate(heartbeat: Heartbeat, part: Part, spec: GenerateSpec, watch: Watch) -> None:
    """Sample, write, commit.

    Raises:
        Interrupted, LeaseLostError: from `watch`, between two calls of the sampler.
    """
    started, name = time.monotonic(), f"{spec.model}@{spec.version}"
    files = Files(heartbeat.settings.files_root)
    model = _loaded.get(files, FileRef(**registry.resolve(heartbeat.store, name).files))
    rows = list(part_rows(spec, decode_seeds(files.read(spec.seeds)), part.first_row, part.rows))
    loading = time.monotonic() - started

    from charrnn.model import in_order
    from charrnn.slots import Report

    report, tallies = Report(spec.batch), Tallies()

    def on_call(_: Report) -> None:
        watch.progress = {"rows": report.rows, "characters": report.characters}
        watch.check()

    sampled = model.sample_rows(
        _sampler_rows(model, rows), spec.batch, precision=spec.sampling.precision, report=report, on_call=on_call
    )
    lines = _result_lines(rows, in_order(sampled), model, name, tallies)
    output = files.put(f"jobs/{part.job}/{part.number}-{part.token}.jsonl.zst", compress(lines))
    seconds = {"loading": loading, "compiling": report.compile_seconds, "sampling": report.seconds}
    seconds["writing"] = time.monotonic() - started - sum(seconds.values())
    facts = {**_facts(report, spec), "seconds": seconds, "temperatures": tallies.to_dict()}
    heartbeat.leases.complete(part, output=output, characters=report.characters, report=facts)
    logger.info("job %d part %d: %d rows in %.1f s", part.job, part.number, part.rows, time.monotonic() - started)


def _facts(report: Report, spec: GenerateSpec) -> dict[str, Any]:
    return {
        "parts": 1,
        "batch": report.batch,
        "precision": spec.sampling.precision,
        "steps": report.steps,
        "slot_steps": report.slot_steps,
        "characters": report.characters,
    }


def _sampler_rows(model: Model, rows: Iterable[JobRow]) -> Iterator[Row]:
    from charrnn.randomness import seed_name

    for row in rows:
        seed = row.seed
        name = seed_name(seed.id, seed.seed, seed.occurrence)
        yield model.row(name, seed.seed, row.temperature, row.sample, row.sampling)


def _result_lines(
    rows: Iterable[JobRow], texts: Iterable[Text], model: Model, name: str, tallies: Tallies
) -> Iterator[dict[str, Any]]:
    for row, text in zip(rows, texts, strict=True):
        written = model.vocabulary.decode(text.ids.tolist())
        tallies.at(repr(row.temperature)).add(written, text.nats_per_char)
        logprobs = text.logprobs if row.sampling.logprobs else None
        yield result(row, name, written, text.finish_reason, text.nats_per_char, logprobs)
