"""Benchmark of the terminal: how long a person waits for help, for a list, for a completion, and for a first text.

    python bench/terminal.py

Commands run as whole processes, in turns, beside an empty Python program. The texts come from a worker that has the
model loaded. The last line is JSON with medians in seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.cpu import CpuMeter, family_seconds
from bench.harness import COMMAND, make_parser, print_result
from bench.pipeline import stack, train

SAMPLE = ("sample", "bench", "the ", "-l", "400")
COMPLETE = {"_CHARRNN_JOBS_COMPLETE": "complete_bash", "COMP_WORDS": "charrnn-jobs status ", "COMP_CWORD": "2"}
SMOKE = {"units": 16, "minutes": 0.01, "rounds": 1}  # replaces the options


def times(*command: str, **environment: str) -> tuple[float, float]:
    """Run a command. Return the seconds until its first character, and until its end."""
    started = time.perf_counter()
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE) as process:
        assert process.stdout  # noqa: S101  # it is a pipe
        process.stdout.read(1)
        first = time.perf_counter() - started
        process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return first, time.perf_counter() - started


def play() -> dict[str, float]:
    """Return what each command takes in this round."""
    first, all_400 = times(COMMAND, *SAMPLE)
    return {
        "python_s": times(sys.executable, "-c", "pass")[1],
        "help_s": times(COMMAND, "--help")[1],
        "jobs_s": times(COMMAND, "jobs")[1],
        "completion_s": times(COMMAND, **COMPLETE)[1],
        "sample_first_s": first,
        "sample_400_characters_s": all_400,
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--minutes", type=float, default=0.5, help="of training")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    if options.smoke:
        vars(options).update(SMOKE)
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder, stack(Path(folder)):
        train(Path(folder), options.units, options.minutes)
        times(COMMAND, *SAMPLE)  # loads the model and compiles
        meter = CpuMeter(family_seconds)
        rounds = [play() for _ in range(options.rounds)]
        figures = {name: round(median(each[name] for each in rounds), 3) for name in rounds[0]}
        figures["cpu_share_of_others"] = round(meter.read().others, 3)
    for name, seconds in figures.items():
        print(f"{name:26}{seconds:8.3f}")
    print_result(figures)


if __name__ == "__main__":
    main()
