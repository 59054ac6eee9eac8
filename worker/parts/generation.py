"""The work on a part of a generate job: sample its rows and write them to its part file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from charrnn.errors import InputError, LeaseLostError, SeedError, counted
from charrnn.jobs.faults import crash_point
from charrnn.jobs.files.files import Files
from charrnn.jobs.files.layout import part_file, part_prefix
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import BadRows, Part, PartProgress, SamplingProgress
from charrnn.jobs.job.report import PASSED, Report, Seconds
from charrnn.jobs.job.sizing import MAX_PART_MEMORY, MAX_PART_ROWS, device_kind, row_memory
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.job.tallies import Tallies
from charrnn.jobs.job.version import Version
from charrnn.jobs.rows.rows import JobRow, SeedRows, stored_seeds
from charrnn.jobs.rows.seeds import to_json
from charrnn.jobs.store import registry
from worker.child import Child
from worker.devices import engine_device
from worker.logs import about
from worker.parts.copies import load_copies
from worker.parts.lines import LineWriter
from worker.parts.watch import COMPILING, WORKING, WRITING, Watch

if TYPE_CHECKING:
    from charrnn.model import Model
    from charrnn.sampling.slots import Report as Sampled
    from charrnn.sampling.tasks import Row

logger = logging.getLogger(__name__)

MOST_BAD = 64  # runs of bad rows that one attempt reports: each makes two parts more
SO_HAVE_OTHERS = ". The seeds of the next rows have such characters too"


class BadSeedsError(Exception):
    """Rows of a part cannot be sampled."""

    def __init__(self, found: Sequence[BadRows]) -> None:
        super().__init__(found[0].reason)
        self.found = found


def generate(child: Child, part: Part, spec: GenerateSpec, watch: Watch) -> None:
    """Sample the rows of a part, write its part file and commit it.

    Raises:
        Interrupted, LeaseLostError: raised by `watch` between two calls of the sampler.
        BadSeedsError: the model lacks characters of seeds.
        InputError: the part is larger than a part may be.
    """
    started, files = time.monotonic(), child.files
    version = watch.retry(lambda: _version(child, spec))
    load = partial(load_copies, child, version, check=watch.check)
    loaded = watch.retry(lambda: child.models.get(files, version.files, load))
    model = loaded.model
    seeds = watch.retry(lambda: read_seeds(files, part, spec, watch))
    loading = time.monotonic() - started
    watch.trace.passed("load")
    watch.enter(COMPILING)

    from charrnn.sampling.slots import Report as Sampled

    batch = spec.batches[device_kind(child.device)]
    report, tallies = Sampled(batch), Tallies()
    characters = sum(len(rows) * rows.sampling.length for rows in seeds)

    def on_call(_: Sampled) -> None:
        watch.progress = PartProgress(work=SamplingProgress(rows=report.rows, characters=report.characters))
        watch.remaining_s = (characters / max(report.characters, 1) - 1.0) * report.seconds
        watch.enter(WORKING)
        watch.check()

    rows = sampler_rows(model, chain.from_iterable(seeds))
    options: dict[str, Any] = {"precision": spec.sampling.precision, "report": report, "on_call": on_call}
    with LineWriter(chain.from_iterable(seeds), loaded, spec.name, tallies) as lines:
        try:
            for texts in model.sample_calls(rows, batch, **options):
                lines.add(texts)
        except SeedError as error:
            raise BadSeedsError(find_bad_rows(model, seeds)) from error
        watch.trace.passed("compile", report.compile_seconds)
        watch.trace.passed("sample")
        child.record_self_check(self_check := _self_check(child, report, spec))
        watch.enter(WRITING)
        chunks = lines.finish(watch.check)  # kept in memory, so that writing can be retried
    crash_point("sampled", part.number)
    output = watch.retry(lambda: files.put(part_file(part.job, part.number, part.token), chunks))
    writing = time.monotonic() - started - loading - report.compile_seconds - report.seconds
    seconds = Seconds(loading=loading, compiling=report.compile_seconds, sampling=report.seconds, writing=writing)
    crash_point("written", part.number)
    watch.trace.passed("write")
    commit(child, part, watch, output, _part_report(part, report, spec, seconds, tallies, self_check))
    watch.trace.passed("commit")
    took = time.monotonic() - started
    done = about(part, "done", rows=part.rows, seconds=round(took, 3))
    logger.info("job %d part %d: %s in %.1f s", part.job, part.number, counted(part.rows, "row"), took, extra=done)


def _version(child: Child, spec: GenerateSpec) -> Version:
    with child.store.read() as connection:
        return registry.resolve(connection, spec.name)


def read_seeds(files: Files, part: Part, spec: GenerateSpec, watch: Watch) -> list[SeedRows]:
    """Return the seeds of a part. Seeds that submit refuses are refused here too: anyone may have written to the store.

    Raises:
        InputError: the part has too many rows, or they would take too much memory.
    """
    if part.rows > MAX_PART_ROWS:
        raise InputError(f"The part has {part.rows:,} rows. Expected at most {MAX_PART_ROWS:,}")
    found, memory = [], 0
    for rows in stored_seeds(files, spec, part):
        found.append(rows)
        line = len(to_json(vars(rows.seed)))
        memory += len(rows) * row_memory(line, rows.sampling.length, logprobs=rows.sampling.logprobs)
        watch.check()
        if memory > MAX_PART_MEMORY:
            raise InputError(f"The rows of the part take more than {MAX_PART_MEMORY >> 20} MiB of memory")
    return found


def _self_check(child: Child, sampled: Sampled, spec: GenerateSpec) -> str:
    """Return the result of the self-checks of what sampled a part."""
    if not sampled.depends_on:
        return PASSED
    where = f"{engine_device(child.device)}, {spec.sampling.precision}, {counted(sampled.batch, 'slot')}"
    return f"failed ({where}): texts may depend on {' and on '.join(sorted(sampled.depends_on))}"


def _part_report(
    part: Part, sampled: Sampled, spec: GenerateSpec, seconds: Seconds, tallies: Tallies, self_check: str
) -> Report:
    return Report(
        parts=part.span,
        batch=sampled.batch,
        precision=spec.sampling.precision,
        steps=sampled.steps,
        slot_steps=sampled.slot_steps,
        free_slot_steps=sampled.steps * sampled.batch - sampled.slot_steps,
        characters=sampled.characters,
        seconds=seconds,
        temperatures=tallies,
        self_check=self_check,
    )


def commit(child: Child, part: Part, watch: Watch, output: FileRef, report: Report) -> None:
    """Complete the part, then delete the files that nobody will read.

    If the part belongs to another worker now, this attempt's own file is deleted. A commit whose answer was lost is
    tried again; it then finds that the part has ended, and that this lease ended it.

    Raises:
        LeaseLostError: the part belongs to another worker now.
    """
    kind = device_kind(child.device)
    try:
        watch.retry(lambda: child.leases.complete_rows(part, output, report, engine_device(child.device)))
    except LeaseLostError:
        if not child.leases.committed(part):
            child.files.delete(output.name)
            raise
    if (speed := report.measured_speed(kind)) is not None:
        child.record_speed(part.spec.model, kind, speed)
    if part.token > 1:  # the worker of an earlier lease may have died between writing its file and committing it
        for file in child.files.list_prefix(part_prefix(part.job, part.number)):
            if file.name != output.name:
                child.files.discard(file.name)


def find_bad_rows(model: Model, seeds: Iterable[SeedRows]) -> list[BadRows]:
    """Return the first MOST_BAD runs of rows whose seeds have characters that the model lacks."""
    found: list[BadRows] = []
    for rows in seeds:
        try:
            model.row("", rows.seed.seed, 0.0, 0, rows.sampling)
        except SeedError as error:
            first, reason, last = rows.start + rows.first, f"{type(error).__name__}: {error}", found[-1:]
            if last and last[0].first_row + last[0].rows == first:
                reason = f"{last[0].reason.removesuffix(SO_HAVE_OTHERS)}{SO_HAVE_OTHERS}"
                found[-1] = BadRows(first_row=last[0].first_row, rows=last[0].rows + len(rows), reason=reason)
            elif len(found) == MOST_BAD:
                break
            else:
                found.append(BadRows(first_row=first, rows=len(rows), reason=reason))
    return found


def sampler_rows(model: Model, rows: Iterable[JobRow]) -> Iterator[Row]:
    """Yield the sampler's row for each row of a job."""
    from charrnn.sampling.randomness import seed_name

    for row in rows:
        seed = row.seed
        name = seed_name(seed.id, seed.seed, seed.occurrence)
        yield model.row(name, seed.seed, row.temperature, row.sample, row.sampling)
