"""Benchmark of the whole pipeline: throughput of rows from submit to export, beside the sampler alone.

    python bench/pipeline.py
    python bench/pipeline.py --smoke

A stack of its own (`charrnn-jobs up` in a temporary home) trains 2 x LSTM(512) for some seconds on Python's language
reference. In each round a job of 20,000 rows is submitted, sampled by the worker and exported. The clock runs from
before the submit to after the export; the worker has compiled its sampler before. Then this process samples the same
rows in another order with the sampler alone, while the worker idles. `share_of_sampler` is the median of the rounds'
ratios, since the speed of a shared machine varies with time. `equal_rows` is the share of rows with equal texts:
another process, order, neighbors or parts must change no row.

The time that a worker takes to load a version that it does not hold is measured too. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.cpu import CpuMeter, family_seconds
from bench.harness import COMMAND, make_parser, print_result, write_topics

if TYPE_CHECKING:
    from charrnn.model import Model

MAX_START_S = 120.0
LOADS = 5
WARM_UP_ROWS = 256
SMOKE = {"units": 16, "minutes": 0.01, "rounds": 1, "rows": 20, "length": 20}  # replaces the options


def run(*arguments: str) -> str:
    return subprocess.run([COMMAND, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@contextmanager
def stack(home: Path) -> Iterator[None]:
    """Run a broker and a worker in that home until the block ends."""
    os.environ["CHARRNN_HOME"] = str(home)
    with open(home / "up.log", "w") as log:
        process = subprocess.Popen([COMMAND, "up"], stderr=log)
    try:
        deadline = time.monotonic() + MAX_START_S
        while not any(check["name"].startswith("worker ") for check in doctor()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((home / "up.log").read_text())
            time.sleep(0.5)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def doctor() -> list[dict[str, Any]]:
    found = subprocess.run([COMMAND, "doctor", "--json"], check=False, stdout=subprocess.PIPE, text=True)
    checks: list[dict[str, Any]] = json.loads(found.stdout)
    return checks


def train(home: Path, units: int, minutes: float) -> None:
    """Train a model. Its weights do not matter for the speed, but its texts must differ."""
    text = home / "topics.txt"
    write_topics(text)
    network = ("--units", str(units))
    run("train", "bench", str(text), *network, "--max-minutes", str(minutes), "--rng-seed", "1", "--wait")


def write_seeds(home: Path, count: int) -> Path:
    """Write seeds: beginnings of the text's lines, cut at random lengths."""
    lines = [line for line in (home / "topics.txt").read_text().split("\n") if line.strip()]
    draw = random.Random(1)
    path = home / "seeds.txt"
    path.write_text("".join(f"{draw.choice(lines)[: draw.randint(5, 30)].rstrip() or 'The'}\n" for _ in range(count)))
    return path


SUBMIT = ("submit", "-m", "bench", "--rng-seed", "1", "--wait")


def warm_up(home: Path, seeds: Path) -> None:
    """Make the worker load the version and compile its sampler."""
    few = home / "few.txt"
    few.write_text("".join(seeds.read_text().splitlines(keepends=True)[:WARM_UP_ROWS]))
    run(*SUBMIT, "-l", "20", "--seeds", str(few))


def pipeline(seeds: Path, length: int, texts: Path) -> tuple[float, dict[str, Any]]:
    """Return the throughput from submit to export in characters/s, and the job's status."""
    started = time.perf_counter()
    job = run(*SUBMIT, "-l", str(length), "--seeds", str(seeds))
    run("results", job, "-o", str(texts))
    seconds = time.perf_counter() - started
    status: dict[str, Any] = json.loads(run("status", job, "--json"))
    return status["characters"] / seconds, status


def load_model() -> tuple[Model, list[float]]:
    """Return the version, and the seconds of each of LOADS loads."""
    import charrnn.model  # noqa: F401  # before the clock starts: importing TensorFlow is not part of loading a version
    from charrnn.jobs.connections import Connections
    from charrnn.jobs.settings import Settings
    from charrnn.jobs.store.registry import resolve
    from worker.parts.model_cache import ModelCache

    settings = Settings.from_env(os.environ)
    connections = Connections(settings)
    with connections.store.read() as connection:
        reference = resolve(connection, "bench").files
    files = connections.files
    connections.close()
    seconds = []
    for _ in range(LOADS):
        started = time.perf_counter()
        model = ModelCache().get(files, reference).model
        seconds.append(time.perf_counter() - started)
    return model, seconds


def sample_alone(model: Model, spec: dict[str, Any], seeds: Sequence[str]) -> tuple[float, list[str]]:
    """Return the sampler's throughput in characters/s on the same rows, shuffled, and their texts in job order."""
    from charrnn.options import SamplingOptions
    from charrnn.sampling.randomness import seed_name
    from charrnn.sampling.slots import Report

    sampling = SamplingOptions.from_dict(spec["sampling"])
    rows, seen = [], Counter[str]()
    for seed in seeds:
        rows.append(model.row(seed_name(None, seed, seen[seed]), seed, sampling.temperatures[0], 0, sampling))
        seen[seed] += 1
    order = list(range(len(rows)))
    random.Random(2).shuffle(order)
    report, texts = Report(spec["batches"]["cpu"]), [""] * len(rows)
    shuffled = (rows[index] for index in order)
    for text in model.sample_rows(shuffled, report.batch, precision=sampling.precision, report=report):
        texts[order[text.index]] = model.vocabulary.decode(text.ids.tolist())
    return report.characters / report.seconds, texts


def play(home: Path, options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Yield the figures of each round."""
    seeds, exported = write_seeds(home, options.rows), home / "texts.jsonl"
    warm_up(home, seeds)
    model, loads = load_model()
    print(f"loading a version of {model.size / 1e6:.0f} MB: {min(loads) * 1e3:.0f} to {max(loads) * 1e3:.0f} ms")
    for number in range(1, options.rounds + 1):
        meter = CpuMeter(family_seconds)
        through, status = pipeline(seeds, options.length, exported)
        alone, texts = sample_alone(model, status["spec"], seeds.read_text().splitlines())
        used = meter.read().share
        rows = [json.loads(line)["text"] for line in exported.read_text().splitlines()]
        equal = sum(row == text for row, text in zip(rows, texts, strict=True)) / len(rows)
        report = status["report"]
        phases = ", ".join(f"{spent:.1f} {phase}" for phase, spent in report["seconds"].items())
        print(f"round {number}: {through:,.0f} characters/s ({phases}), batch utilization {report['fill']:.1%}")
        print(f"  the sampler alone: {alone:,.0f} characters/s; {equal:.2%} of rows equal; {used:.0%} of the CPU used")
        yield {
            "share_of_sampler": through / alone,
            "equal_rows": equal,
            "characters_per_second": through,
            "sampler_characters_per_second": alone,
            "load_seconds": median(loads),
        }


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--length", type=int, default=200, help="characters per row")
    parser.add_argument("--rounds", type=int, default=3)
    parser.set_defaults(units=512, minutes=0.5)
    options = parser.parse_args()
    if options.smoke:
        vars(options).update(SMOKE)
    return options


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder, stack(Path(folder)):
        train(Path(folder), options.units, options.minutes)
        rounds = list(play(Path(folder), options))
    figures = {name: round(median(figures[name] for figures in rounds), 4) for name in rounds[0]}
    print_result(figures | {"rounds": len(rounds), "rows": options.rows, "length": options.length})


if __name__ == "__main__":
    main()
