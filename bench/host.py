"""Benchmark of what the host does for each sampled character while a device computes the next ones.

    python bench/host.py
    python bench/host.py --batch 256 --steps 16

No network is computed: ids are drawn beforehand. Rates are characters per second of CPU time of one thread, and the
figures are medians of the rounds:

- plan and collect: `Slots` with the inputs of each call but its random numbers. Rows have seeds of 20 characters and
  texts of 300 to 500. With a stop string, the texts end after 60 characters on average, and 400 at most.
- random numbers: `uniforms` for the same calls, as on a CPU.
- counters: the same for a GPU, which hashes them itself.
- rows: from the seeds of a job to the rows of the sampler.
- lines: from sampled texts of 400 characters to compressed result lines, in the order of the rows, without a search for
  copies. The texts are pieces of Python's language reference, since lines of noise would compress as no text does.

The device has to wait for whatever is slower than itself: plan, collect, counters and rows are between its calls,
lines are in a thread beside it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from bench.harness import make_parser, print_result, write_topics

if TYPE_CHECKING:
    from charrnn.jobs.rows.rows import SeedRows
    from charrnn.sampling.plan import Plan
    from charrnn.sampling.texts import Texts
    from worker.parts.model_cache import LoadedVersion

CHARACTERS = 90  # vocabulary of the planned calls
SEED, MEAN, MEAN_STOPPED = 20, 400, 60  # characters of a seed, of a text, and of one that a stop string ends
SAMPLES, TEMPERATURES = 2, (0.5, 1.0)
TARGETS = {"plan_collect": 100, "plan_collect_stop": 25, "lines": 25}  # million characters/s
SMOKE = {"batch": 32, "calls": 60, "rounds": 1, "rows": 40}  # replaces the options


def calls(options: argparse.Namespace, *, stopped: bool) -> Iterator[tuple[Plan, int, float]]:
    """Plan and collect calls. Yield the plan of each, its number of characters, and the seconds that it took."""
    from charrnn.sampling.slots import Report, Slots
    from charrnn.sampling.tasks import Row

    rng = np.random.default_rng(0)
    lengths = rng.integers(MEAN - 100, MEAN + 100, 4096, endpoint=True).tolist()
    stop = (chr(0),) if stopped else ()
    rows = [Row([1] * SEED, 1.0, MEAN if stopped else size, key, stop) for key, size in enumerate(lengths)]
    shape = (options.steps, options.batch)
    outputs = [rng.integers(1, CHARACTERS, shape, np.int32) for _ in range(4)]
    for ids in outputs if stopped else ():
        ids[rng.random(shape) < 1 / MEAN_STOPPED] = 0
    nats, report = rng.random(shape, np.float32), Report(options.batch)
    slots = Slots(enumerate(cycle(rows)), options.batch, options.steps)
    for ids in cycle(outputs):
        before, started = report.characters, time.thread_time()
        plan = slots.plan()
        _ = plan.key, plan.temperature, plan.limits(CHARACTERS)
        slots.collect(plan, ids, nats, report)
        yield plan, report.characters - before, time.thread_time() - started


def plan_rates(options: argparse.Namespace, *, stopped: bool) -> tuple[list[float], list[float], list[float]]:
    """Return the characters/s of each round of calls: of plan and collect, of random numbers, and of counters."""
    from charrnn.sampling.randomness import counters, uniforms

    made, rates, random_rates, counter_rates = calls(options, stopped=stopped), *(list[float]() for _ in range(3))
    for _ in range(4 * MEAN // options.steps):  # until rows end in every call, and not all of them in the same one
        next(made)
    for _ in range(options.rounds):
        characters, seconds, random_seconds, counter_seconds = 0, 0.0, 0.0, 0.0
        for _ in range(options.calls):
            plan, more, taken = next(made)
            characters, seconds = characters + more, seconds + taken
            made_of = plan.key, plan.times
            random_seconds += seconds_of(partial(uniforms, *made_of))
            counter_seconds += seconds_of(partial(counters, *made_of))
        rates.append(characters / seconds)
        random_rates.append(characters / random_seconds)
        counter_rates.append(characters / counter_seconds)
    return rates, random_rates, counter_rates


def sampled(rows: int) -> tuple[LoadedVersion, list[SeedRows], list[Texts]]:
    """Return a version, the seeds of a part, and texts for its rows as calls of the sampler would return them."""
    from charrnn.jobs.rows.rows import SeedRows
    from charrnn.jobs.rows.seeds import StoredSeed
    from charrnn.model import Model
    from charrnn.network.network import initial_weights
    from charrnn.options import NetworkOptions, SamplingOptions
    from charrnn.sampling.texts import Texts
    from charrnn.text.vocabulary import Vocabulary
    from worker.parts.model_cache import LoadedVersion

    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        write_topics(Path(folder) / "text")
        text = (Path(folder) / "text").read_text()
    vocabulary, network = Vocabulary.of(text), NetworkOptions(units=8, layers=1)
    version = LoadedVersion(Model(network, vocabulary, initial_weights(network, len(vocabulary), 0)), None)
    sampling = SamplingOptions(temperatures=TEMPERATURES, samples=SAMPLES)
    each = SAMPLES * len(TEMPERATURES)
    seeds = [
        SeedRows(StoredSeed(f"id{n}", f"the statement {n}", 0), sampling, n * each, 0, each)
        for n in range(rows // each)
    ]
    ids, rng = np.array(vocabulary.encode(text), np.uint16), np.random.default_rng(0)
    texts, size = [], MEAN * 32
    for first in range(0, len(seeds) * each, 32):
        index = np.arange(first, min(first + 32, len(seeds) * each))
        place, starts = int(rng.integers(len(ids) - size)), np.arange(len(index)) * MEAN
        nats = rng.random(size, np.float32)
        texts.append(Texts(rng.permutation(index), ids[place : place + size], nats, starts, starts + MEAN, index < 0))
    return version, seeds, texts


def seconds_of(function: Callable[[], object]) -> float:
    """Return the CPU seconds of this thread that a function takes."""
    started = time.thread_time()
    function()
    return time.thread_time() - started


def row_rates(options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Return the characters/s of each round: of rows, and of lines."""
    from charrnn.jobs.job.tallies import Tallies
    from charrnn.jobs.rows.rows import compress
    from worker.parts.generation import sampler_rows
    from worker.parts.lines import result_lines

    version, seeds, texts = sampled(options.rows)
    characters = sum(map(len, seeds)) * MEAN

    def make_rows() -> None:
        list(sampler_rows(version.model, chain.from_iterable(seeds)))

    def make_lines() -> None:
        list(compress(result_lines(chain.from_iterable(seeds), texts, version, "bench@1", Tallies())))

    rounds = [(seconds_of(make_rows), seconds_of(make_lines)) for _ in range(options.rounds)]
    return [characters / seconds for seconds, _ in rounds], [characters / seconds for _, seconds in rounds]


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--batch", type=int, default=8192, help="slots")
    parser.add_argument("--steps", type=int, default=64, help="of a call. The sampler makes 16; a GPU is to make more")
    parser.add_argument("--calls", type=int, default=20, help="in a round")
    parser.add_argument("--rows", type=int, default=20_000, help="in a round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if options.smoke:
        vars(options).update(SMOKE)
    return options


def main() -> None:
    options = parse()
    rates = {}
    rates["plan_collect"], rates["random_numbers"], rates["counters"] = plan_rates(options, stopped=False)
    rates["plan_collect_stop"], *_ = plan_rates(options, stopped=True)
    rates["rows"], rates["lines"] = row_rates(options)
    print(f"million characters/s of one core, {options.batch:,} slots, {options.steps} steps a call")
    for name, found in rates.items():
        figure, target = median(found) / 1e6, TARGETS.get(name)
        verdict = f"   target: {target}{'' if figure >= target else ', MISSED'}" if target else ""
        print(f"{name:20}{figure:8.1f}{verdict}")
    print_result({f"{name}_chars_per_s": round(median(found)) for name, found in rates.items()})


if __name__ == "__main__":
    main()
