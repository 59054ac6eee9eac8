"""What the way through the queue costs: rows from submit to export, beside the sampler alone.

    python bench/pipeline.py

A stack of its own (`charrnn-jobs up` in a temporary home) trains 2 x LSTM(512) for some seconds on Python's language
reference, then a job of 20,000 rows is submitted, sampled by the worker, and exported: the clock runs from before the
submit to after the export, of a worker that has compiled its sampler. Then this process samples the same rows, in
another order, with the sampler alone. `share_of_sampler` is the ratio of the two rates, `equal_rows` the share of
rows with equal texts: another process, order, neighbours and parts must change none.

Switching is measured too: how long a worker takes to load a version that it does not hold. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pydoc_data.topics import topics
from typing import TYPE_CHECKING, Any

from players import busy_seconds, own_seconds

if TYPE_CHECKING:
    from charrnn.model import Model

COMMAND = str(Path(sys.executable).with_name("charrnn-jobs"))
MAX_START_S = 120.0
LOADS = 5


def run(*arguments: str) -> str:
    return subprocess.run([COMMAND, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@contextmanager
def stack(home: Path) -> Iterator[None]:
    """Broker and worker in that home, while the block runs."""
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


def train(home: Path) -> None:
    """A model whose weights are of no consequence for the speed, but whose texts differ."""
    text = home / "topics.txt"
    text.write_text("\n".join(topics[name] for name in sorted(topics)))
    run("train", "bench", str(text), "--max-minutes", "0.5", "--rng-seed", "1", "--wait")


def write_seeds(home: Path, count: int) -> Path:
    """Openings of the text's lines, cut where chance has it."""
    lines = [line for line in (home / "topics.txt").read_text().split("\n") if line.strip()]
    draw = random.Random(1)
    path = home / "seeds.txt"
    path.write_text("".join(f"{draw.choice(lines)[: draw.randint(5, 30)].rstrip() or 'The'}\n" for _ in range(count)))
    return path


def pipeline(home: Path, seeds: Path, length: int) -> tuple[float, dict[str, Any]]:
    """Seconds from submit to export, and the job's status."""
    submit = ("submit", "-m", "bench", "-l", str(length), "--rng-seed", "1", "--wait", "--seeds")
    warm_up = home / "warm-up.txt"
    warm_up.write_text("".join(seeds.read_text().splitlines(keepends=True)[:256]))
    run(*submit, str(warm_up))
    started = time.perf_counter()
    job = run(*submit, str(seeds))
    run("results", job, "-o", str(home / "texts.jsonl"))
    seconds = time.perf_counter() - started
    status: dict[str, Any] = json.loads(run("status", job, "--json"))
    return seconds, status


def load_model(home: Path) -> tuple[Model, list[float]]:
    """The version, and how long each of some loads took."""
    import charrnn.model  # noqa: F401  # TensorFlow's own import is not the version's loading
    from charrnn.jobs.files import FileRef, Files
    from charrnn.jobs.registry import resolve
    from charrnn.jobs.settings import Settings
    from charrnn.jobs.store import Store
    from worker.loaded import LoadedModels

    settings = Settings.from_env(os.environ)
    store = Store.open(settings)
    reference = FileRef(**resolve(store, "bench").files)
    store.close()
    seconds = []
    for _ in range(LOADS):
        started = time.perf_counter()
        model = LoadedModels().get(Files(settings.files_root), reference)
        seconds.append(time.perf_counter() - started)
    return model, seconds


def sample_alone(model: Model, spec: dict[str, Any], seeds: Sequence[str]) -> tuple[float, list[str]]:
    """Characters/s of the sampler on the same rows in another order, and the texts in the job's order."""
    from charrnn.jobs.rows import Seed, store_seeds
    from charrnn.options import SamplingOptions
    from charrnn.randomness import seed_name
    from charrnn.slots import Report

    sampling = SamplingOptions.from_dict(spec["sampling"])
    rows = [
        model.row(seed_name(None, seed.seed, seed.occurrence), seed.seed, sampling.temperatures[0], 0, sampling)
        for seed in store_seeds(map(Seed, seeds))
    ]
    order = list(range(len(rows)))
    random.Random(2).shuffle(order)
    report, texts = Report(spec["batch"]), [""] * len(rows)
    shuffled = (rows[index] for index in order)
    for text in model.sample_rows(shuffled, spec["batch"], precision=sampling.precision, report=report):
        texts[order[text.index]] = model.vocabulary.decode(text.ids.tolist())
    return report.characters / report.seconds, texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--length", type=int, default=400, help="characters of each row")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        home = Path(folder)
        with stack(home):
            train(home)
            seeds = write_seeds(home, options.rows)
            seconds, status = pipeline(home, seeds, options.length)
        model, loads = load_model(home)
        busy, own, started = busy_seconds(), own_seconds(os.getpid()), time.monotonic()
        alone, texts = sample_alone(model, status["spec"], seeds.read_text().splitlines())
        available = (time.monotonic() - started) * len(os.sched_getaffinity(0))
        others = (busy_seconds() - busy - own_seconds(os.getpid()) + own) / available
        rows = [json.loads(line) for line in (home / "texts.jsonl").read_text().splitlines()]
    through = status["characters"] / seconds
    report = status["report"]
    phases = ", ".join(f"{spent:.1f} {phase}" for phase, spent in report["seconds"].items())
    print(f"through the queue: {through:,.0f} characters/s, {seconds:.1f} s from submit to export ({phases})")
    print(f"{report['batch']} slots, {report['precision']}, {report['fill']:.1%} full, {report['parts']} parts")
    print(f"the sampler alone: {alone:,.0f} characters/s; others used {others:.1%} of the CPU")
    print(f"loading a version of {model.size / 1e6:.0f} MB: {min(loads) * 1e3:.0f} to {max(loads) * 1e3:.0f} ms")
    figures = {
        "share_of_sampler": through / alone,
        "equal_rows": sum(row["text"] == text for row, text in zip(rows, texts, strict=True)) / len(rows),
        "characters_per_second": through,
        "sampler_characters_per_second": alone,
        "load_seconds": sorted(loads)[LOADS // 2],
        "cpu_share_of_others": max(0.0, others),
    }
    rounded = {name: round(value, 4) for name, value in figures.items()}
    print(json.dumps(rounded | {"rows": len(rows), "characters": status["characters"], "batch": report["batch"]}))


if __name__ == "__main__":
    main()
