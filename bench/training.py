"""Benchmark of training throughput, beside Keras and PyTorch on the same machine and the same work.

    python bench/training.py --torch-python PATH
    python bench/training.py --smoke

PATH is a Python with PyTorch, which is no dependency of the product (`pip install torch==2.13.0 numpy` in a
virtual environment of its own). Without one, its ratios are null and the run is void.

The work is whole training steps of 2 x LSTM(512), vocabulary 90, batches of 128 x 100 characters, dropout 0.2. The
peers (see `peers/training.py`) run in processes of their own and take turns of a few steps each, while the
others wait. The figures are medians over the rounds. The ceiling is the best rate at which TensorFlow or PyTorch
multiplies matrices. A peer's share of it is

    characters/s x 3 x 2 x (layers U 4U + (layers - 1) U 4U + U V) / ceiling

with U units and V characters: three products with two operations per entry, for the recurrent kernels, the
inputs of all layers but the first, and the dense layer.

A run is valid if PyTorch reaches half of the float32 ceiling, if other processes (and other guests of the host)
used at most 5% of the CPU during the turns, and if every loss is that of guessing random characters. It runs on
Linux only, since it reads /proc. The last line is JSON.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench.harness import MAX_OTHERS, Answer, Peers, Turn, make_parser, others_share, print_result
from bench.peers.training import DTYPES, PEERS, WARM_UP, Work

MIN_TORCH_SHARE = 0.5  # of the float32 ceiling; on a busy machine PyTorch's threads collapse
LOSS_TOLERANCE = 0.1  # relative to ln V
SMOKE = {"rounds": 1, "steps": 1, "batch": 4, "unroll": 8, "units": 16}  # replaces the options


def play(options: argparse.Namespace, work: Work) -> tuple[dict[str, list[Turn]], dict[str, Answer]]:
    """Return the turns and the facts of each peer."""
    command = ["bench.peers.training", *work.arguments()]
    with Peers(options, PEERS, command) as peers, peers.playing(PEERS) as players:
        turns: dict[str, list[Turn]] = {player.name: [] for player in players}
        for number in range(1, options.rounds + 1):
            for player in players:
                turns[player.name].append(player.turn(options.steps))
            print(f"round {number} of {options.rounds}", flush=True)
        return turns, {player.name: player.facts for player in players}


def middle(turns: Sequence[Turn], name: str) -> float:
    value: float = median(turn.answer[name] for turn in turns)
    return value


@dataclass(frozen=True)
class Result:
    """The figures of a run. Ratios to PyTorch are None if it was not measured."""

    work: Work
    steps: int
    turns: dict[str, list[Turn]]

    def rates(self, name: str) -> list[float]:
        """Return the throughput in each round, in characters/s."""
        return [self.steps * self.work.characters / turn.answer["seconds"] for turn in self.turns[name]]

    def best_rate(self, prefix: str) -> float | None:
        """Return the median throughput of the fastest peer whose name begins with `prefix`."""
        medians = [median(self.rates(name)) for name in self.turns if name.startswith(prefix)]
        return max(medians, default=None)

    def ceiling(self, dtype: str) -> float:
        """Return the best rate of matrix multiplication, in GFLOP/s."""
        return max(middle(turns, dtype) for name, turns in self.turns.items() if name.startswith("ceiling"))

    def ratio(self, peer: str, dtype: str) -> float | None:
        ours, theirs = self.best_rate(f"charrnn {dtype}"), self.best_rate(f"{peer} {dtype}")
        return ours / theirs if ours and theirs else None

    def share(self, peer: str, dtype: str) -> float | None:
        """Return a peer's share of the ceiling."""
        rate = self.best_rate(f"{peer} {dtype}")
        return rate * self.work.flops / (1e9 * self.ceiling(dtype)) if rate else None

    @property
    def others(self) -> float:
        return others_share(turn for turns in self.turns.values() for turn in turns)

    @property
    def trained(self) -> list[str]:
        """Return the names of the peers that train: all but the ceilings."""
        return [name for name in self.turns if not name.startswith("ceiling")]

    def objections(self) -> list[str]:
        """Return the reasons why the run is void; empty if it is valid."""
        found, torch = [], self.share("torch", "float32")
        if torch is None:
            found.append("PyTorch was not measured")
        elif torch < MIN_TORCH_SHARE:
            found.append(f"PyTorch reached {torch:.0%} of the float32 ceiling, expected {MIN_TORCH_SHARE:.0%}")
        if self.others > MAX_OTHERS:
            found.append(f"other processes used {self.others:.1%} of the CPU, expected at most {MAX_OTHERS:.0%}")
        guessing = math.log(self.work.vocabulary)
        for name in self.trained:
            loss = middle(self.turns[name], "loss")
            if not abs(loss - guessing) < LOSS_TOLERANCE * guessing:
                found.append(f"{name} has a loss of {loss:.3f}, expected about {guessing:.3f}. Is its work the same?")
        return found

    def to_dict(self) -> dict[str, Any]:
        measured = {
            "ratio_keras_float32": self.ratio("keras", "float32"),
            "ratio_torch_float32": self.ratio("torch", "float32"),
            "ratio_torch_bfloat16": self.ratio("torch", "bfloat16"),
            "ceiling_share_float32": self.share("charrnn", "float32"),
            "ceiling_share_bfloat16": self.share("charrnn", "bfloat16"),
            "torch_share_of_ceiling_float32": self.share("torch", "float32"),
            "cpu_share_of_others": self.others,
            **{f"ceiling_gflops_{dtype}": self.ceiling(dtype) for dtype in DTYPES},
        }
        rates = {name: round(median(self.rates(name))) for name in self.trained}
        rounded = {name: None if value is None else round(value, 4) for name, value in measured.items()}
        run = {"rounds": min(map(len, self.turns.values())), "steps": self.steps, "work": asdict(self.work)}
        return rounded | {"valid": not self.objections(), "characters_per_second": rates, **run}


HEADINGS = ("peer", "chars/s", "min", "max", "charrnn / it", "loss", "others", "library")
ROW = "{:26}{:>9}{:>9}{:>9}{:>14}{:>8}{:>8}  {}"


def print_table(result: Result, facts: Mapping[str, Answer]) -> None:
    print("\n" + ROW.format(*HEADINGS))
    for name in result.trained:
        library = f"{facts[name]['library']}, {facts[name]['threads']} threads"
        print(ROW.format(name, *figures(result, name), library))
    for name in [name for name in result.turns if name not in result.trained]:
        rates = ", ".join(f"{middle(result.turns[name], dtype):,.0f} GFLOP/s {dtype}" for dtype in DTYPES)
        print(f"{name:26}{rates}; others {others_share(result.turns[name]):.1%}")
    print("min, max: over the rounds. others: share of the CPU that other processes used during the turns.")


def figures(result: Result, name: str) -> list[str]:
    _, dtype, *_ = name.split()
    rates, ours, turns = result.rates(name), result.best_rate(f"charrnn {dtype}") or math.nan, result.turns[name]
    speeds = [f"{rate:,.0f}" for rate in (median(rates), min(rates), max(rates))]
    return [
        *speeds,
        f"{ours / median(rates):.2f}",
        f"{middle(turns, 'loss'):.3f}",
        f"{others_share(turns):.1%}",
    ]


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--torch-python", default=sys.executable, help="a Python with PyTorch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="steps per peer and round")
    for name in ("batch", "unroll", "units"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Work, name))
    options = parser.parse_args()
    if options.smoke:
        vars(options).update(SMOKE)
    return options


def main() -> None:
    options = parse()
    # One step more than the turns take, so that no epoch ends during a turn, which would run a validation.
    steps = WARM_UP + options.rounds * options.steps + 1
    work = Work(batch=options.batch, unroll=options.unroll, units=options.units, steps=steps)
    turns, facts = play(options, work)
    result = Result(work, options.steps, turns)
    print_table(result, facts)
    for objection in result.objections():
        print(f"void: {objection}")
    print_result(result.to_dict())


if __name__ == "__main__":
    main()
