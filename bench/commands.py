"""Benchmark of whole commands: `submit` of many seeds and `results` of many rows."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from pydoc_data.topics import topics
from statistics import median

from bench.figures import say
from bench.stack import MODEL, QUEUE, CommandRun, Size, Stack, together
from charrnn.jobs.connections import Connections
from charrnn.jobs.files.files import Files
from charrnn.jobs.job.part import Part
from charrnn.jobs.job.report import Report, Seconds
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.job.tallies import Tallies
from charrnn.jobs.rows.rows import ResultLine, compress, result, stored_rows
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.leases import Leases

TEXT_LENGTH = 400  # characters per result
BATCH = 256  # slots


def make_words(length: int) -> str:
    """Return random words of Python's language reference, each as frequent as there."""
    words = " ".join(topics[name] for name in sorted(topics)).split()
    text = " ".join(random.Random(1).choices(words, k=length // 4))
    return text[:length]


def write_seeds(path: Path, size: Size) -> None:
    """Write distinct lines of 20 to 40 characters, each beginning with a whole word."""
    words, draw = make_words(size.words), random.Random(2)
    lines: set[str] = set()
    while len(lines) < size.rows:
        start = words.index(" ", draw.randrange(len(words) - 200)) + 1
        line = words[start : start + draw.randint(20, 40)].strip()
        if len(line) >= 20:
            lines.add(line)
    path.write_text("".join(f"{line}\n" for line in lines))


def submit(stack: Stack, seeds: Path, *options: str) -> tuple[int, CommandRun]:
    """Submit one row per seed. Return the job and the run of its command."""
    ran = stack.run("submit", "-m", MODEL, "--rng-seed", "1", "--seeds", str(seeds), "--seeds-format", "text", *options)
    return int(ran.output), ran


def longest_message(stack: Stack) -> int:
    """Return the size in bytes of the longest doorbell in the queue."""
    with stack.bells() as (client, key):
        count = int(client.llen(key))
        return max(len(text) for first in range(0, count, 10_000) for text in client.lrange(key, first, first + 9_999))


def clear(stack: Stack, jobs: Sequence[int]) -> None:
    """Cancel jobs and delete their doorbells."""
    for job in jobs:
        stack.client.cancel(job)
    with stack.bells() as (client, key):
        client.delete(key)


def submit_figures(stack: Stack, seeds: Path) -> tuple[dict[str, float], int]:
    """Measure `submit`. Return the figures, and a job whose parts have the size that the product chose."""
    ran = [submit(stack, seeds) for _ in range(stack.size.rounds)]
    figures = {
        "submit_rows_per_s": stack.size.rows / median(one.seconds for _, one in ran),
        "submit_peak_mb": max(one.peak_mb for _, one in ran),
        "message_bytes": float(longest_message(stack)),
    }
    *others, job = [job for job, _ in ran]
    clear(stack, others)
    say(f"submit, rows/s ({times([one for _, one in ran])})", *with_name(figures, "submit_rows_per_s"))
    say("  peak, MB", *with_name(figures, "submit_peak_mb"))
    say(f"  longest of {stack.num_parts(job):,} messages, bytes", *with_name(figures, "message_bytes"))
    return figures, job


def times(ran: Sequence[CommandRun]) -> str:
    wall = ", ".join(f"{one.seconds:.1f}" for one in ran)
    return f"{wall} s; CPU {', '.join(f'{one.cpu_seconds:.1f}' for one in ran)} s"


def with_name(figures: dict[str, float], name: str) -> tuple[float, str]:
    return figures[name], name


def fill(number: int, settings: Settings, num_words: int, start: Barrier) -> int:
    """Claim parts while any wait, and write the output that a worker would. Return the number of parts."""
    connections, words, draw = Connections(settings), make_words(num_words), random.Random(number)
    files, leases = connections.files, Leases(connections.store, settings.lease_s)
    start.wait()
    count = 0
    while (part := leases.claim(QUEUE, f"bench:{number}", "cpu")) is not None:
        lines = compress(result_lines(files, part, words, draw))
        output = files.put(f"jobs/{part.job}/{part.number}-{part.token}.jsonl.zst", lines)
        leases.complete_rows(part, output, make_report(part.rows, 0.0, Tallies()), "cpu")
        count += 1
    connections.close()
    return count


def make_report(rows: int, seconds: float, tallies: Tallies) -> Report:
    """Return a worker's report of a part sampled in `seconds`. It gives a speed too, unless the part was short."""
    steps = rows * TEXT_LENGTH // BATCH
    return Report(
        parts=1,
        batch=BATCH,
        precision="bfloat16",
        steps=steps,
        slot_steps=steps * BATCH,
        free_slot_steps=0,
        characters=rows * TEXT_LENGTH,
        seconds=Seconds(loading=0.01, compiling=0.0, sampling=seconds, writing=0.0),
        temperatures=tallies,
    )


def result_lines(files: Files, part: Part, words: str, draw: random.Random) -> Iterator[ResultLine]:
    spec = part.spec
    assert isinstance(spec, GenerateSpec)  # noqa: S101  # the queue holds only such parts
    for row in stored_rows(files, spec, part):
        start = draw.randrange(len(words) - TEXT_LENGTH)
        yield result(row, spec.name, words[start : start + TEXT_LENGTH], "length", draw.random())


def export_figures(stack: Stack, job: int, formats: Sequence[str]) -> dict[str, float]:
    """Fill a job and measure `results`: JSON Lines in rounds, other formats once. Return the figures."""
    together(fill, os.cpu_count() or 1, stack.settings, stack.size.words)
    if (done := stack.num_rows_done(job)) != stack.size.rows:
        raise SystemExit(f"job {job} has {done:,} rows, expected {stack.size.rows:,}")
    ran = [export(stack, job, "jsonl") for _ in range(stack.size.rounds)]
    figures = {
        "export_rows_per_s": stack.size.rows / median(one.seconds for one in ran),
        "export_peak_mb": max(one.peak_mb for one in ran),
    }
    say(f"results, rows/s ({times(ran)})", *with_name(figures, "export_rows_per_s"))
    say("  peak, MB", *with_name(figures, "export_peak_mb"))
    for name in formats:
        one = export(stack, job, name)
        say(f"  as {name}, rows/s ({times([one])}; peak {one.peak_mb:.0f} MB)", stack.size.rows / one.seconds)
    middle = stack.size.rows // 2
    one = export(stack, job, "jsonl", "--rows", f"{middle}:{middle + 100}")
    say(f"  100 rows starting at row {middle:,}, seconds (peak {one.peak_mb:.0f} MB)", one.seconds)
    return figures


def export(stack: Stack, job: int, format: str, *options: str) -> CommandRun:
    path = stack.settings.home / f"texts.{format}"
    ran = stack.run("results", str(job), "-o", str(path), *options)
    path.unlink()
    return ran
