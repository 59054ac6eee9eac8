"""What people see: the only place that prints.

Results, ids and records go to standard output, everything else to standard error. Generated text is
untrusted: control characters never reach a terminal.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from charrnn.jobs.reports import SKETCH
from charrnn.jobs.specs import GenerateSpec, TrainSpec
from charrnn.jobs.states import ENDED_JOBS, JobState, Priority
from charrnn.options import count_windows
from producer.plot import curve

if TYPE_CHECKING:
    from charrnn.jobs.pruning import Pruned
    from charrnn.jobs.submission import Estimate, Submitted

SHOWN_TEMPERATURES = 10  # of a job, in one line
SHOWN_SOURCES = 10  # of a version, in one line
SHOWN_ROWS = 20  # of results on a terminal
LINE_S = 10.0  # between two lines of a followed job, where there is no terminal
PIPE_WIDTH = 200  # columns, so that a table's rows stay lines for grep

err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
out = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def note(message: str) -> None:
    """A line for the person, on standard error."""
    err.print(_printable_lines(message))


def fail(message: str) -> None:
    err.print(Text.assemble(("error: ", "bold red"), _printable_lines(message)))


def value(text: object) -> None:
    """A line for the next program, on standard output."""
    print(text, flush=True)


def records(rows: object) -> None:
    """JSON on standard output."""
    value(json.dumps(rows, ensure_ascii=False, indent=1))


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table on standard output; a number's column is aligned right."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    body = [list(row) for row in rows]
    for index, column in enumerate(columns):
        right = any(isinstance(row[index], int | float) for row in body)
        shown.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in body:
        shown.add_row(*map(_cell, row))
    out.print(shown)


def facts(lines: Iterable[tuple[str, object]]) -> None:
    """A fact a line on standard output, without those that are not there."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    for name, fact in lines:
        if fact not in (None, ""):
            shown.add_row(Text(name, "bold"), _cell(fact))
    out.print(shown)


def _cell(cell: object) -> Text:
    if cell is None:
        return Text()
    return Text(f"{cell:,}" if isinstance(cell, int) else printable(str(cell)))


def when(milliseconds: int | None) -> str:
    """A database time as local time."""
    return f"{datetime.fromtimestamp(milliseconds / 1000):%Y-%m-%d %H:%M:%S}" if milliseconds else ""


def _printable_lines(message: str) -> Text:
    return Text("\n".join(map(printable, message.split("\n"))))


_SIGNS = {"\n": "⏎", "\r": "␍", "\t": "⇥", "\u00a0": " ", "\u202f": " "}  # French is full of the last two


def printable(text: str) -> str:
    """Text that is safe on a terminal, on one line."""
    return "".join(_SIGNS.get(c, c if c.isprintable() else "�") for c in text)


def jobs(rows: Iterable[Mapping[str, Any]]) -> None:
    table(
        ("job", "kind", "state", "model", "done", "label", "submitted"),
        ((j["id"], j["kind"], j["state"], _model(j), _done(j), j["label"], when(j["created_at"])) for j in rows),
    )


def _model(job: Mapping[str, Any]) -> str:
    return f"{job['model']}@{job['version']}" if job["version"] else job["model"]


def _done(job: Mapping[str, Any]) -> str:
    if job["kind"] == TrainSpec.QUEUE:
        return ""
    failed = f", {job['rows_failed']:,} failed" if job["rows_failed"] else ""
    return f"{job['rows_done']:,} of {job['rows_total']:,} rows{failed}"


def models(rows: Iterable[Mapping[str, Any]]) -> None:
    table(
        ("version", "aliases", "held out", "network", "characters", "stored"),
        (
            (
                _name(v),
                ", ".join(v["aliases"]),
                f"{v['held_out_nats']:.4f} nats",
                _network(v["network"]),
                len(v["characters"]),
                when(v["created_at"]),
            )
            for v in rows
        ),
    )


def version(found: Mapping[str, Any]) -> None:
    """One version, a fact a line."""
    training = found["training"] and TrainSpec.from_dict(found["training"])
    facts(
        [
            ("version", _name(found)),
            ("aliases", ", ".join(found["aliases"])),
            ("held out", _loss(found["held_out_nats"])),
            ("gate", f"{'passed' if found['gate']['promoted'] else 'not passed'}: {found['reason']}"),
            ("network", _network(found["network"])),
            ("characters", len(found["characters"])),
            ("sampled in", found["precision"]),
            ("stored", when(found["created_at"])),
            ("job", found["job"] or "none: it was imported"),
            ("training", training and _training(training)),
            ("corpus", training and _corpus(training)),
            ("release", found["release"]),
        ]
    )


def _corpus(training: TrainSpec) -> str:
    shown = ", ".join(training.sources[:SHOWN_SOURCES])
    more = training.num_sources - SHOWN_SOURCES
    return f"{shown}{f' and {more:,} more' if more > 0 else ''}; sha256 {training.corpus.sha256}"


def _name(version: Mapping[str, Any]) -> str:
    return f"{version['model']}@{version['version']}"


def _network(network: Mapping[str, Any]) -> str:
    return f"{network['layers']} x {network['cell'].upper()}({network['units']})"


def comparison(compared: Sequence[Mapping[str, Any]]) -> None:
    """Versions side by side, with their texts of the same seeds."""
    rows: list[tuple[str, ...]] = [("held out", *(_loss(version["held_out_nats"]) for version in compared))]
    for texts in zip(*(version["texts"] for version in compared), strict=True):
        rows.append((texts[0]["seed"], *(text["text"] for text in texts)))
    table(("", *(version["version"] for version in compared)), rows)


def schedules(rows: Iterable[Mapping[str, Any]]) -> None:
    table(
        ("schedule", "cron", "time zone", "submits", "last", "", "next"),
        (
            (
                s["name"],
                s["cron"],
                s["timezone"],
                _requested(s),
                when(s["last"] and s["last"]["at"]),
                s["last"] and _slot(s["last"]),
                "paused" if s["paused"] else when(s["next_at"]),
            )
            for s in rows
        ),
    )


def schedule(found: Mapping[str, Any]) -> None:
    """One schedule, a fact a line, and a table of its slots."""
    arguments = found["request"]["arguments"]
    paths = arguments.get("paths") or filter(None, [arguments.get("seeds")])
    facts(
        [
            ("schedule", found["name"] + (" (paused)" if found["paused"] else "")),
            ("cron", f"{found['cron']} in {found['timezone']}"),
            ("submits", _requested(found)),
            ("reads", ", ".join(paths)),
            ("overlap", found["overlap"]),
            ("catch up", found["catch_up"]),
            ("deadline", found["deadline_s"] and _duration(found["deadline_s"])),
            ("always", "also on an unchanged text" if found["always"] else None),
            *(("next", when(time)) for time in found["upcoming"]),
        ]
    )
    if found["slots"]:
        table(
            ("time", "state", "job", "version", "held out", "why"),
            (
                (
                    when(slot["at"]),
                    slot["state"],
                    "" if slot["job"] is None else str(slot["job"]),
                    _model(slot) if slot.get("version") else slot.get("job_state"),
                    _loss(slot["held_out_nats"]) if "held_out_nats" in slot else None,
                    slot.get("gate") or slot["reason"],
                )
                for slot in found["slots"]
            ),
        )


def _requested(schedule: Mapping[str, Any]) -> str:
    request = schedule["request"]
    verb = "train" if request["queue"] == TrainSpec.QUEUE else "submit"
    return f"{verb} {request['arguments']['model']}"


def _slot(slot: Mapping[str, Any]) -> str:
    return f"job {slot['job']}" if slot["job"] is not None else f"{slot['state']}: {slot['reason'] or ''}"


def status(job: Mapping[str, Any]) -> None:
    """One job, a fact a line."""
    spec = GenerateSpec.from_dict(job["spec"]) if job["kind"] == GenerateSpec.QUEUE else None
    lines: list[tuple[str, object]] = [
        ("job", job["id"]),
        ("label", job["label"]),
        ("kind", job["kind"]),
        ("state", job["state"]),
        ("key", job["key"]),
        ("priority", Priority(job["priority"]).name.lower() if job["priority"] else None),
        ("after", f"job {job['after']}" if job["after"] else None),
        ("model", _model(job)),
        ("submitted", when(job["created_at"])),
        ("started", when(job["started_at"])),
        ("ended", when(job["finished_at"])),
        ("waits", job["waiting_for"]),
        ("error", job["error"]),
    ]
    if spec:
        lines += [("rows", _done(job)), ("characters", f"{job['characters']:,}"), ("sampling", _sampling(spec))]
    lines += [("in work", line) for line in map(_progress_line, job["progress"])]
    lines += _report_facts(job["report"]) if spec and job["report"] else []
    lines += [("training", _training(TrainSpec.from_dict(job["spec"])))] if not spec else []
    lines += [("epoch", _epoch_line(epoch)) for epoch in job["history"]]
    lines += [("writes", _preview_line(preview)) for epoch in job["history"][-1:] for preview in epoch["previews"]]
    facts(lines)


def _sampling(spec: GenerateSpec) -> str:
    s = spec.sampling
    temperatures = ", ".join(f"{temperature:g}" for temperature in s.temperatures[:SHOWN_TEMPERATURES])
    more = ", …" if len(s.temperatures) > SHOWN_TEMPERATURES else ""
    plain = spec.num_seeds * len(s.temperatures) * s.samples * s.length
    own = "" if spec.characters == plain else " (some seeds have options of their own)"
    stop = f", stop at {', '.join(map(repr, s.stop))}{' (kept)' if s.keep_stop else ''}" if s.stop else ""
    limits = "".join(f", {name} {limit:,}" for name, limit in (("top-k", s.top_k), ("top-p", s.top_p)) if limit)
    return (
        f"{counted(spec.num_seeds, 'seed')} x {counted(len(s.temperatures), 'temperature')} ({temperatures}{more}) "
        f"x {counted(s.samples, 'sample')} "
        f"of {s.length:,} characters{own}{stop}{limits}, {spec.batch} slots, {s.precision}, rng-seed {s.rng_seed}"
    )


def _report_facts(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the sampler did so far."""
    seconds = {"in the queue": report["queue_seconds"], **report["seconds"]}
    yield "speed", f"{report['characters_per_second']:,} characters a second, of one device"
    yield "batch", f"{report['batch']} slots, {report['fill']:.0%} full"
    yield "seconds", ", ".join(f"{spent:,.1f} {phase}" for phase, spent in seconds.items())
    for texts in report["temperatures"]:
        nats = f"{texts['nats_per_char']:.3f} nats a character, " if texts["nats_per_char"] is not None else ""
        where = "elsewhere" if texts["temperature"] is None else f"at {texts['temperature']:g}"
        share = f"about {texts['distinct_share']:.0%}" if texts["rows"] > SKETCH else f"{texts['distinct_share']:.1%}"
        yield where, f"{nats}{share} of {texts['rows']:,} texts distinct"


def _training(spec: TrainSpec) -> str:
    n, t = spec.network, spec.training
    start = f", from {spec.start}" if spec.start else ""
    windows = f" in {count_windows(spec.characters, n.max_len, t.stride):,} windows of {n.max_len}" if n.max_len else ""
    limit = f" or {t.max_minutes:g} minutes" if t.max_minutes is not None else ""
    return (
        f"{spec.characters:,} characters{windows}, {spec.held_out_characters:,} held out, "
        f"{counted(t.epochs, 'epoch')}{limit}, {n.layers} x {n.cell.upper()}({n.units}), "
        f"dropout {n.dropout:g}{start}, rng-seed {t.rng_seed}"
    )


def _epoch_line(epoch: Mapping[str, Any]) -> str:
    return f"{epoch['epoch']}: {epoch['train_nats']:.4f} nats training, {_loss(epoch['held_out_nats'])} held out"


def _loss(nats: float) -> str:
    return f"{nats:.4f} nats ({nats / math.log(2):.3f} bits)"


def _preview_line(preview: Mapping[str, Any]) -> str:
    return printable(f"{preview['temperature']:g}: {preview['seed']}|{preview['text']}")


def counted(count: int, noun: str) -> str:
    """As "1 seed" or "1,000 seeds"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def plot(job: Mapping[str, Any]) -> None:
    """The losses of a training's epochs."""
    if job["kind"] != TrainSpec.QUEUE:
        note(f"job {job['id']} is no training: it has no losses to draw")
    elif not job["history"]:
        note(f"job {job['id']} has no epoch to draw yet")
    for line in curve(job["history"]):
        out.print(Text(line))


def _progress_line(progress: Mapping[str, Any]) -> str:
    attempt = f" (attempt {progress['attempt']})" if progress["attempt"] > 1 else ""
    if "waits" in progress:
        return f"part {progress['part']}: waits: {progress['waits']}"
    if "step" in progress:
        held_out = progress["held_out_nats"]
        loss = f", {held_out:.4f} held out" if held_out else ""
        return (
            f"epoch {progress['epoch']} of {progress['epochs']}, step {progress['step']:,} of {progress['steps']:,}, "
            f"{progress['train_nats']:.4f} nats{loss}{', evaluating' if progress['evaluating'] else ''}{attempt}"
        )
    if "rows" in progress:
        return f"part {progress['part']}: {progress['rows']:,} rows, {progress['characters']:,} characters{attempt}"
    return f"part {progress['part']}: starting{attempt}"


def _work(job: Mapping[str, Any]) -> tuple[float, float]:
    """Characters done and in all, to train on or to sample."""
    if job["kind"] == GenerateSpec.QUEUE:
        return characters(job), job["spec"]["characters"]
    for p in job["progress"]:
        if "step" in p:
            return p["characters"], p["characters"] / p["step"] * p["steps"]
    return 0.0, 1.0


def _headline(job: Mapping[str, Any]) -> str:
    if job["waiting_for"]:
        return f"{job['state']}: {job['waiting_for']}"
    if job["kind"] == TrainSpec.QUEUE or not job["rows_total"]:
        return _progress_line(job["progress"][0]) if job["progress"] else job["state"]
    rows = job["rows_done"] + sum(p.get("rows", 0) for p in job["progress"])
    return f"{rows:,} of {job['rows_total']:,} rows, {characters(job):,} characters"


def characters(job: Mapping[str, Any]) -> int:
    """Characters sampled so far, by finished and running parts."""
    return int(job["characters"] + sum(p.get("characters", 0) for p in job["progress"]))


@contextmanager
def follower(job_id: int) -> Iterator[Any]:
    """A function that shows a job's status: a live bar on a terminal, a line for each change elsewhere."""
    if err.is_terminal:
        with _live(job_id) as show:
            yield show
    else:
        yield _Lines(job_id)


@contextmanager
def _live(job_id: int) -> Iterator[Any]:
    columns = (BarColumn(24), _Speed(), TimeRemainingColumn(), TextColumn("{task.fields[headline]}"))
    with Progress(TextColumn(f"job {job_id}"), *columns, console=err, transient=True) as progress:
        task = progress.add_task("", total=1.0, headline="")

        epochs = _Epochs()

        def show(job: Mapping[str, Any]) -> None:
            epochs(job)
            done, total = _work(job)
            headline = escape(printable(_headline(job)))
            progress.update(task, completed=done, total=total, headline=headline)

        yield show


class _Speed(ProgressColumn):
    """Characters a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


class _Lines:
    """Prints a job's headline when it has changed, numbers every LINE_S seconds at most."""

    def __init__(self, job_id: int) -> None:
        self.job_id, self.last, self.at = job_id, "", 0.0
        self.epochs = _Epochs()

    def __call__(self, job: Mapping[str, Any]) -> None:
        self.epochs(job)
        headline, now = _headline(job), time.monotonic()
        due = _words(headline) != _words(self.last) or now - self.at >= LINE_S
        if job["state"] not in ENDED_JOBS and headline != self.last and due:
            note(f"job {self.job_id}: {headline}")
            self.last, self.at = headline, now


class _Epochs:
    """Prints each epoch of a training once: its losses, and what the model writes."""

    def __init__(self) -> None:
        self.shown = 0

    def __call__(self, job: Mapping[str, Any]) -> None:
        for epoch in job["history"][self.shown :]:
            note(f"epoch {_epoch_line(epoch)}")
            for preview in epoch["previews"]:
                note(f"  {_preview_line(preview)}")
        self.shown = len(job["history"])


def _words(headline: str) -> str:
    """A headline without its numbers."""
    return re.sub(r"[\d.,]+", "", headline)


def ended(job: Mapping[str, Any]) -> None:
    """How a followed job ended."""
    seconds = (job["finished_at"] - (job["started_at"] or job["finished_at"])) / 1000
    facts = f"{characters(job):,} characters" if job["rows_total"] else ""
    if job["history"] and job["state"] == JobState.DONE:
        best = min(epoch["held_out_nats"] for epoch in job["history"])
        facts = f"{_model(job)}, {_loss(best)} a character held out"
    failed = f", {job['rows_failed']:,} rows failed" if job["rows_failed"] else ""
    reason = f": {job['error']}" if job["error"] else ""
    note(f"job {job['id']}: {job['state']} in {seconds:.1f} s{', ' if facts else ''}{facts}{failed}{reason}")


def submitted_generate(job: Submitted[GenerateSpec], blank_lines: int) -> None:
    spec = job.spec
    head = f"job {job.id}" if job.id else "dry run"
    again = " (submitted before, with this key)" if job.existed else ""
    note(f"{head}{again}: {spec.rows:,} rows from {spec.name}: {printable(_sampling(spec))}")
    if blank_lines:
        note(f"{counted(blank_lines, 'blank line')} skipped")
    if job.id:
        note(f"follow: charrnn-jobs wait {job.id}     read: charrnn-jobs results {job.id}")
    elif job.estimate:
        _estimate(spec, job.estimate)


def _estimate(spec: GenerateSpec, estimate: Estimate) -> None:
    time = f"about {_duration(estimate.seconds)}" if estimate.seconds else "a time that is not known yet"
    note(
        f"nothing was stored; it would sample {spec.characters:,} characters at most, in "
        f"{counted(spec.parts, 'part')} of {counted(spec.part_rows, 'row')} and {time}"
    )
    note(f"its results would fill about {_size(estimate.result_bytes)}, as JSON Lines {_size(estimate.export_bytes)}")


def _duration(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} seconds"


def _size(count: float) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:.0f} bytes"


def pruned(found: Pruned, *, dry_run: bool) -> None:
    verb = "would delete" if dry_run else "deleted"
    note(f"{verb} {counted(found.jobs, 'job')} and {counted(found.files, 'file')} of {_size(found.bytes)}")


def submitted_train(job: Submitted[TrainSpec]) -> None:
    spec = job.spec
    note(f"{f'job {job.id}' if job.id else 'dry run'}: train {spec.model} on {_training(spec)}")
    if job.id:
        note(f"follow: charrnn-jobs wait {job.id}     then: charrnn-jobs submit -m {spec.model} --seeds FILE")


def results_table(lines: Iterable[bytes]) -> int:
    """Result lines for a person -> how many."""
    count = 0
    for line in lines:
        count += 1
        row = json.loads(line)
        head = Text.assemble(
            (f"row {row['row']}", "bold"), f"  temperature {row['temperature']:g}  sample {row['sample']}"
        )
        if row["error"]:
            out.print(head, Text(f" failed: {printable(row['error'])}", "red"))
            continue
        nats = row["nats_per_char"]
        out.print(head, " empty" if nats is None else f" {nats:.3f} nats a character")
        out.print(Text.assemble("  ", (printable(row["seed"]), "dim"), printable(row["text"])))
    return count


@contextmanager
def standard_output(*, live: bool = False) -> Iterator[BinaryIO]:
    """Where bytes go that a next program reads; `live`: each line at once."""
    try:
        if live:
            with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as file:
                yield file
        else:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has enough, as `head` does; what is buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def checks(rows: Iterable[tuple[str, bool, str]]) -> None:
    shown = Table(box=None, pad_edge=False, show_header=False)
    for name, ok, detail in rows:
        shown.add_row(Text("ok", "green") if ok else Text("no", "bold red"), name, _cell(detail))
    out.print(shown)
