"""Jobs as tables and facts for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from charrnn.errors import counted
from charrnn.jobs.job.part import RunningPart, SamplingProgress
from charrnn.jobs.job.report import ReportSummary
from charrnn.jobs.job.requests import with_options
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import JobState, Priority
from charrnn.jobs.job.tallies import SKETCH
from charrnn.jobs.job.views import Engine, Event, Job, JobStatus
from charrnn.options import count_windows
from charrnn.sampling.defaults import CPU
from charrnn.training.progress import EpochMetrics, Preview
from charrnn.training.progress import Progress as TrainingProgress
from producer.output import console
from producer.output.plot import curve

if TYPE_CHECKING:
    from charrnn.jobs.upkeep.pruning import Pruned

SHOWN_TEMPERATURES = 10  # of a job, on one line
PHASES = {"loading": "loading", "compiling": "compiling, once for this size", "writing": "writing"}


def jobs(rows: Iterable[Job]) -> None:
    console.table(
        ("job", "kind", "state", "model", "done", "label", "user", "submitted"),
        (
            (
                j.id,
                j.kind,
                console.state(f"{j.state}{', unreadable' if j.unreadable else ''}"),
                j.name,
                _done(j),
                j.label,
                j.submitted_by,
                console.when(j.created_at),
            )
            for j in rows
        ),
        optional=("user", "submitted", "kind", "label"),
    )


def events(rows: Iterable[Event]) -> None:
    console.table(
        ("event", "time", "who", "what"),
        ((e.id, console.when(e.at), e.actor, with_options(e.words)) for e in rows),
        optional=("event",),
    )


def _done(job: Job) -> Text:
    if job.kind == TrainSpec.QUEUE:
        return Text()
    done = Text(f"{job.rows_done:,} of {counted(job.rows_total, 'row')}")
    return done.append(f", {job.rows_failed:,} failed", console.STATES["failed"]) if job.rows_failed else done


def status(job: JobStatus) -> None:
    """Print one job, one fact per line."""
    spec = None if job.unreadable else job.spec
    lines: list[tuple[str, object]] = [
        ("job", job.id),
        ("label", job.label),
        ("submitted by", job.submitted_by),
        ("schedule", job.schedule),
        ("kind", job.kind),
        (
            "state",
            console.state(f"{job.state}, being cancelled" if job.cancel_requested and not job.ended else job.state),
        ),
        ("key", job.key),
        ("priority", Priority(job.priority).name.lower() if job.priority else None),
        ("after", f"job {job.after}" if job.after else None),
        ("model", job.name),
        ("submitted", console.when(job.created_at)),
        ("started", console.when(job.started_at)),
        ("ended", console.when(job.finished_at)),
        ("waiting for", job.waiting_for),
        ("error", job.error),
        ("unreadable", job.unreadable),
    ]
    if isinstance(spec, GenerateSpec):
        lines += [("rows", _done(job)), ("characters", f"{job.characters:,}"), ("sampling", sampling_line(spec))]
    lines += [("in progress", line) for line in map(progress_line, job.progress)]
    lines += [("time left", line) for line in map(_time_left, job.progress)]
    lines += [("engine", line) for line in engine_lines(job.engines)]
    lines += _report_facts(job.report) if job.report else []
    lines += [("training", training_line(spec))] if isinstance(spec, TrainSpec) else []
    lines += [("epoch", epoch_line(epoch)) for epoch in job.history]
    lines += [("writes", preview_line(preview)) for epoch in job.history[-1:] for preview in epoch.previews]
    console.facts(lines)


def engine_lines(engines: Sequence[Engine]) -> Iterator[str]:
    """Yield what did the work of a job, and that it was not finished as it was begun, if so."""
    if len(engines) == 1:
        yield engines[0].name
        return
    for engine in engines:
        yield f"{engine.name}: {counted(engine.commits, 'commit')}"
    if engines:
        yield "several engines did this job: its results may differ from those of a single engine"


def sampling_line(spec: GenerateSpec) -> str:
    s = spec.sampling
    temperatures = ", ".join(f"{temperature:g}" for temperature in s.temperatures[:SHOWN_TEMPERATURES])
    more = ", …" if len(s.temperatures) > SHOWN_TEMPERATURES else ""
    plain = spec.num_seeds * len(s.temperatures) * s.samples * s.length
    own = "" if spec.characters == plain else " (some seeds have options of their own)"
    stop = f", stop at {', '.join(map(repr, s.stop))}{' (kept)' if s.keep_stop else ''}" if s.stop else ""
    limits = "".join(f", {name} {limit:,}" for name, limit in (("top-k", s.top_k), ("top-p", s.top_p)) if limit)
    return (
        f"{counted(spec.num_seeds, 'seed')} x {counted(len(s.temperatures), 'temperature')} "
        f"({temperatures}{more}) x {counted(s.samples, 'sample')} "
        f"of {counted(s.length, 'character')}{own}{stop}{limits}, {counted(spec.batches[CPU], 'slot')}, "
        f"{s.precision}, rng-seed {s.rng_seed}"
    )


def _report_facts(report: ReportSummary) -> Iterator[tuple[str, str]]:
    """Yield the facts of the sampling so far."""
    seconds = {"in the queue": report.queue_seconds, **vars(report.seconds)}
    yield "throughput", f"{report.characters_per_second:,} characters/s on one device"
    yield "batch", f"{counted(report.batch, 'slot')}, {report.fill:.0%} utilization"
    yield "seconds", ", ".join(f"{spent:,.1f} {phase}" for phase, spent in seconds.items())
    if report.self_check:
        yield "self-check", console.printable(report.self_check)
    for texts in report.temperatures:
        nats = f"{texts.nats_per_char:.3f} nats/char, " if texts.nats_per_char is not None else ""
        where = "other" if texts.temperature is None else f"at {texts.temperature:g}"
        share = f"about {texts.distinct_share:.0%}" if texts.rows > SKETCH else f"{texts.distinct_share:.1%}"
        known = "" if texts.compared == texts.rows else f" of the {texts.compared:,} long enough to tell"
        novel = f", {texts.novel_share:.1%}{known} not in the training text" if texts.novel_share is not None else ""
        length = f"{texts.mean_length:,.0f} characters on average"
        yield where, f"{nats}{share} of {counted(texts.rows, 'text')} distinct{novel}, {length}"
        if (longest := texts.longest_copy) is not None:
            text = longest.text if len(longest.text) == longest.characters else f"{longest.text}…"
            where = f"in row {longest.row:,}, from byte {longest.place:,} of the training text"
            size = f"{counted(longest.characters, 'character')} (median of all texts {texts.median_copy:,})"
            yield "longest copy", f"{size}, {where}: {console.printable(text)}"


def training_line(spec: TrainSpec) -> str:
    n, t = spec.network, spec.training
    start = f", from {spec.start}" if spec.start else ""
    windows = f" in {count_windows(spec.characters, n.max_len, t.stride):,} windows of {n.max_len}" if n.max_len else ""
    recurrent = f" and {n.recurrent_dropout:g} recurrent" if n.recurrent_dropout else ""
    lines = ", each line a text of its own" if n.lines else "" if n.max_len else ", read as one continuous text"
    rows = f", batches of {t.batch} x {n.max_len or t.unroll} characters" if t.batch else ""
    limit = f" or {t.max_minutes:g} minutes" if t.max_minutes is not None else ""
    source = f" ({spec.validation_source})" if spec.validation_source else ""
    left_out = f", {spec.left_out_characters:,} left out as copies of it" if spec.left_out_characters else ""
    files = f"{counted(spec.num_sources, 'file')} of {console.size(spec.source_bytes)}: " if spec.source_bytes else ""
    return (
        f"{files}{spec.characters:,} characters{windows}{lines}, "
        f"{spec.validation_characters:,} for validation{source}{left_out}, "
        f"up to {counted(t.epochs, 'epoch')}{limit}, {n.layers} x {n.cell.upper()}({n.units}), "
        f"dropout {n.dropout:g}{recurrent}{rows}{start}, rng-seed {t.rng_seed}"
    )


def epoch_line(epoch: EpochMetrics) -> str:
    return f"{epoch.epoch}: loss {epoch.train_loss:.4f}, val_loss {loss_text(epoch.val_loss)}"


def loss_text(nats: float) -> str:
    """Return a cross-entropy in nats and bits per character, and its perplexity."""
    return f"{nats:.4f} nats/char ({nats / math.log(2):.3f} bits, perplexity {math.exp(min(nats, 700.0)):.2f})"


def preview_line(preview: Preview) -> str:
    return console.printable(f"{preview.temperature:g}: {preview.seed}|{preview.text}")


def plot(job: JobStatus) -> None:
    """Print the loss curve of a training job."""
    if job.kind != TrainSpec.QUEUE:
        console.note(f"job {job.id} is not a training job, so it has no loss curve")
    elif not job.history:
        console.note(f"job {job.id} has not finished an epoch yet")
    for line in curve(job.history):
        console.out.print(Text(line))


def progress_line(part: RunningPart) -> str:
    attempt = f" (attempt {part.attempt})" if part.attempt > 1 else ""
    work, writing = part.progress.work, ", writing" if part.progress.phase == "writing" else ""
    if part.progress.waits is not None:
        return f"part {part.part}: waiting: {part.progress.waits}"
    if isinstance(work, TrainingProgress):
        loss = f", val_loss {work.val_loss:.4f}" if work.val_loss else ""
        return (
            f"epoch {work.epoch} of {work.epochs}, step {work.step:,} of {work.steps:,}, "
            f"loss {work.train_loss:.4f}{loss}{', evaluating' if work.evaluating else writing}{attempt}"
        )
    if isinstance(work, SamplingProgress):
        return (
            f"part {part.part}: {counted(work.rows, 'row')}, {counted(work.characters, 'character')}{writing}{attempt}"
        )
    return f"part {part.part}: {PHASES.get(part.progress.phase or '', 'starting')}{attempt}"


def _time_left(part: RunningPart) -> str | None:
    work = part.progress.work
    seconds = work.remaining_s if isinstance(work, TrainingProgress) else None
    return None if seconds is None else f"{console.duration(seconds)}, or less if training stops early"


def characters(job: JobStatus) -> int:
    """Return the characters sampled so far by finished and running parts."""
    return job.characters + sum(part.progress.work.characters for part in job.progress if part.progress.work)


def _training_result(job: JobStatus) -> str:
    """Return the lowest validation loss, its epoch if that is not the last one, and an early end."""
    best, last = min(job.history, key=lambda epoch: epoch.val_loss), job.history[-1]
    kept = f", of epoch {best.epoch}" if best is not last else ""
    epochs = spec.training.epochs if isinstance(spec := job.known_spec, TrainSpec) else last.epoch
    ended = f"; ended after epoch {last.epoch} of {epochs}" if last.epoch < epochs else ""
    return f"validation loss {loss_text(best.val_loss)}{kept}{ended}"


def ended(job: JobStatus, name: str | None = None) -> None:
    """Print how a followed job ended."""
    finished_at = job.finished_at or job.created_at
    seconds = (finished_at - (job.started_at or finished_at)) / 1000
    facts = counted(characters(job), "character") if job.rows_total else ""
    if job.history and job.state == JobState.DONE:
        facts = f"{job.name}, {_training_result(job)}"
    failed = f", {counted(job.rows_failed, 'row')} failed" if job.rows_failed else ""
    failed += f", by {len(job.engines)} different engines (see status)" if len(job.engines) > 1 else ""
    failed += ", self-check failed (see status)" if job.report and job.report.failed_self_check else ""
    reason = f": {job.error}" if job.error else ""
    console.note(
        f"{name or f'job {job.id}'}: {job.state} in {seconds:.1f} s{', ' if facts else ''}{facts}{failed}{reason}"
    )


def pruned(found: Pruned, *, dry_run: bool) -> None:
    verb = "would delete" if dry_run else "deleted"
    console.note(
        f"{verb} {counted(found.jobs, 'job')} and {counted(found.files, 'file')} of {console.size(found.bytes)}"
    )
    if found.aside:
        aside = "would set aside" if dry_run else "set aside"
        console.note(
            f"{aside} {counted(found.aside, 'file')} without a row in the database; a prune a week later deletes them"
        )
