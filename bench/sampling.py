"""Benchmark of sampling throughput, beside Keras, NumPy, PyTorch and the machine's own matrix products.

    python bench/sampling.py --torch-python PATH
    python bench/sampling.py --smoke

PATH is a Python with PyTorch, as in `training.py`. The peers (see `peers/sampling.py`) run in processes of their
own and take turns. The number of steps is chosen so that each turn takes a second or two. Figures are medians over the
rounds.

A character takes four matrix products: U entries times the two recurrent kernels and the second layer's kernel, all
U x 4U, and times the dense layer's kernel, U x V. The ceiling of a precision and batch size is the throughput of the
faster of TensorFlow and PyTorch doing these products and nothing else. For one row it is no upper bound: NumPy
multiplies one row faster than both.

Then rows of very unequal length are sampled in bfloat16, at least 50 per slot. Uniform lengths are 1 to 400 characters,
which the sampler knows beforehand. Geometric lengths have a mean of 60 and end at a newline, which the sampler cannot
foresee. "static" is the same sampler on one batch after another, each until its longest row has ended. `ragged_share`
is the throughput relative to rows of equal length. Finally 256 rows are sampled in batches of 16, 64, 256 and 1024
slots, and the share of rows that are equal in all of them is measured.

A run is valid if PyTorch at B = 1024 reaches 70% of the float32 and 60% of the bfloat16 ceiling, and other processes
(and other guests of the host) used at most 5% of the CPU during the turns. It runs on Linux only, since it reads /proc.
The last line is JSON, which `plot.py` draws.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeAlias

from bench.harness import MAX_OTHERS, Answer, Peers, Player, Turn, make_parser, others_share, print_result
from bench.peers.forms import STEPS, UNITS
from bench.peers.product import LENGTH, ROW_BATCHES
from bench.peers.sampling import ALL, EQUAL_ROWS, PEERS, RAGGED

BATCHES = (1, 8, 64, 256, 1024)
MIN_TORCH_SHARE = {"float32": 0.7, "bfloat16": 0.6}  # of the ceiling; on a busy machine PyTorch's threads collapse
LARGE = 1024  # batch size at which the shares of the ceiling are measured
PRODUCT = 256  # largest batch size of the product
SMOKE = {  # replaces the options
    "units": 16,
    "rounds": 1,
    "seconds": 0.01,
    "batches": [1, 16],
    "ragged_rounds": 1,
    "ragged_batch": 16,
    "ragged_rows": 1,
    "row_batch": 16,
    "row_length": STEPS,
}
LIBRARIES = ("keras", "numpy", "torch")


def num_steps(player: Player, batch: int, seconds: float) -> int:
    """Return the number of steps that fill a turn of this many seconds."""
    player.turn(batch, STEPS)  # compiles, and chooses the fastest form
    steps = STEPS
    while (taken := player.turn(batch, steps).answer["seconds"]) < seconds / 4:
        steps *= 4
    calls: int = math.ceil(steps * seconds / taken / STEPS)
    return calls * STEPS


Turns: TypeAlias = dict[str, dict[int, list[Turn]]]
"""The turns of each peer and batch size, one per round."""


def play(peers: Peers, options: argparse.Namespace, names: Iterable[str] = PEERS) -> tuple[Turns, dict[str, Answer]]:
    """Return the turns and the facts of some peers."""
    with peers.playing(names) as playing:
        players = {player.name: player for player in playing}
        # The notebook generates one text at a time.
        pairs = [(batch, name) for batch in options.batches for name in players if batch == 1 or "notebook" not in name]
        steps = {(batch, name): num_steps(players[name], batch, options.seconds) for batch, name in pairs}
        turns: Turns = {name: {batch: [] for batch, other in pairs if other == name} for name in players}
        for number in range(1, options.rounds + 1):
            for batch, name in pairs:
                turns[name][batch].append(players[name].turn(batch, steps[batch, name]))
            print(f"round {number} of {options.rounds}", flush=True)
        return turns, {name: player.facts for name, player in players.items()}


def play_ragged(peers: Peers, options: argparse.Namespace) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {name: [] for name in RAGGED}
    with peers.playing(RAGGED) as players:
        for player in players:
            player.turn(options.ragged_batch, 1)  # compiles
        for number in range(1, options.ragged_rounds + 1):
            for player in players:
                turns[player.name].append(player.turn(options.ragged_batch, options.ragged_rows))
            print(f"ragged round {number} of {options.ragged_rounds}", flush=True)
    return turns


def equal_rows(peers: Peers, options: argparse.Namespace) -> dict[str, float]:
    """Return the share of rows that are equal at all batch sizes, by precision."""
    shares = {}
    for name in EQUAL_ROWS:
        with peers.playing([name]) as (player,):
            turn = player.turn(options.row_batch, options.row_length)
        shares[name.split()[-1]] = turn.answer["equal"]
    return shares


def rate(turns: Sequence[Turn]) -> float | None:
    """Return the median throughput in characters/s."""
    return median(turn.answer["characters"] / turn.answer["seconds"] for turn in turns) if turns else None


def ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours and theirs else None


@dataclass(frozen=True)
class Result:
    """The figures of a run. A figure is None if PyTorch or its batch size was not measured."""

    turns: Turns
    ragged: dict[str, list[Turn]]
    equal: dict[str, float]

    def rate(self, name: str, batch: int) -> float | None:
        return rate(self.turns[name].get(batch, ()))

    def best(self, kinds: str | Iterable[str], batch: int, dtype: str = "") -> float | None:
        """Return the throughput of the fastest peer of these kinds, which are the first words of their names."""
        kinds = {kinds} if isinstance(kinds, str) else set(kinds)
        names = [name for name in self.turns if name.split()[0] in kinds and name.endswith(dtype)]
        return max(filter(None, (self.rate(name, batch) for name in names)), default=None)

    def share(self, name: str, batch: int) -> float | None:
        """Return a peer's share of the ceiling."""
        return ratio(self.rate(name, batch), self.best("ceiling", batch, name.split()[-1]))

    def share_of(self, kind: str, dtype: str) -> float | None:
        return ratio(self.best(kind, LARGE, dtype), self.best("ceiling", LARGE, dtype))

    def ragged_ratio(self, name: str, other: str) -> float | None:
        return ratio(rate(self.ragged[name]), rate(self.ragged[other]))

    @property
    def others(self) -> float:
        played = [turns for batches in self.turns.values() for turns in batches.values()]
        return others_share(turn for turns in (*played, *self.ragged.values()) for turn in turns)

    def objections(self) -> list[str]:
        """Return the reasons why the run is void; empty if it is valid."""
        found = []
        for dtype, expected in MIN_TORCH_SHARE.items():
            share = self.share_of("torch", dtype)
            if share is None:
                found.append(f"PyTorch was not measured in {dtype} at B = {LARGE}")
            elif share < expected:
                found.append(f"PyTorch reached {share:.0%} of the {dtype} ceiling, expected {expected:.0%}")
        if self.others > MAX_OTHERS:
            found.append(f"other processes used {self.others:.1%} of the CPU, expected at most {MAX_OTHERS:.0%}")
        return found

    def to_dict(self) -> dict[str, Any]:
        ours, bfloat16 = self.best("charrnn", 1), "bfloat16"
        measured = {
            **{f"ceiling_share_{dtype}_b{LARGE}": self.share_of("charrnn", dtype) for dtype in MIN_TORCH_SHARE},
            **{f"torch_share_of_ceiling_{dtype}_b{LARGE}": self.share_of("torch", dtype) for dtype in MIN_TORCH_SHARE},
            f"ratio_torch_bfloat16_b{LARGE}": ratio(
                self.best("charrnn", LARGE, bfloat16), self.best("torch", LARGE, bfloat16)
            ),
            "ratio_best_peer_b1": ratio(ours, self.best(LIBRARIES, 1)),
            "ratio_torch_b1": ratio(ours, self.best("torch", 1)),
            "ratio_notebook": ratio(self.best("charrnn", PRODUCT, bfloat16), self.best("notebook", 1)),
            "ragged_share": self.ragged_ratio("charrnn uniform", "charrnn equal"),
            "ragged_vs_static": self.ragged_ratio("charrnn uniform", "static uniform"),
            "ragged_share_geometric": self.ragged_ratio("charrnn geometric", "charrnn equal"),
            "ragged_vs_static_geometric": self.ragged_ratio("charrnn geometric", "static geometric"),
            **{f"equal_rows_{dtype}": share for dtype, share in self.equal.items()},
            "cpu_share_of_others": self.others,
        }
        rounded = {name: None if value is None else round(value, 4) for name, value in measured.items()}
        return rounded | {"valid": not self.objections(), **self.medians()}

    def medians(self) -> dict[str, Any]:
        rates = {
            name: {batch: round(rate(turns) or 0) for batch, turns in self.turns[name].items()} for name in self.turns
        }
        ragged = {name: round(rate(turns) or 0) for name, turns in self.ragged.items()}
        return {"characters_per_second": rates, "ragged_characters_per_second": ragged, "forms": self.forms()}

    def forms(self) -> dict[str, dict[int, str]]:
        """Return the fastest form at each batch size, for the peers that have several forms."""
        chosen = {
            name: {batch: turns[0].answer["form"] for batch, turns in self.turns[name].items()} for name in self.turns
        }
        return {name: forms for name, forms in chosen.items() if any(forms.values())}


def print_table(result: Result, batches: Sequence[int], facts: Mapping[str, Answer]) -> None:
    print("\nthroughput in characters/s, and share of the ceiling")
    print(f"{'peer':28}" + "".join(f"{f'B = {batch:,}':>16}" for batch in batches) + "  library")
    for name in result.turns:
        cells = "".join(f"{cell(result, name, batch):>16}" for batch in batches)
        print(f"{name:28}{cells}  {facts[name]['library']}")
    for name, forms in result.forms().items():
        print(f"{name}: " + "; ".join(f"B = {batch:,} {form}" for batch, form in forms.items()))


def cell(result: Result, name: str, batch: int) -> str:
    found, share = result.rate(name, batch), result.share(name, batch)
    return f"{found:,.0f} {share or 0:4.0%}" if found else ""


def print_ragged(result: Result, options: argparse.Namespace) -> None:
    print(f"\nrows of unequal length, bfloat16, B = {options.ragged_batch}, {options.ragged_rows} rows per slot")
    print(f"{'peer':28}{'characters/s':>16}{'share of equal':>16}{'utilization':>13}{'others':>8}")
    for name, turns in result.ragged.items():
        share, utilization = result.ragged_ratio(name, "charrnn equal") or 0, turns[0].answer["fill"]
        print(f"{name:28}{rate(turns) or 0:>16,.0f}{share:>16.1%}{utilization:>13.1%}{others_share(turns):>8.1%}")
    sizes = [str(size) for size in ROW_BATCHES if size <= options.row_batch]
    shares = ", ".join(f"{share:.1%} in {dtype}" for dtype, share in result.equal.items())
    print(f"rows that are equal in batches of {', '.join(sizes)}: {shares}")


def batch_sizes(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--torch-python", default=sys.executable, help="a Python with PyTorch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="seconds per turn")
    parser.add_argument("--batches", type=batch_sizes, default=list(BATCHES), metavar="B,B,...")
    parser.add_argument("--ragged-rounds", type=int, default=3)
    parser.add_argument("--ragged-batch", type=int, default=64)
    parser.add_argument("--ragged-rows", type=int, default=50, help="rows per slot")
    parser.set_defaults(units=UNITS, row_batch=max(ROW_BATCHES), row_length=LENGTH)
    options = parser.parse_args()
    if options.smoke:
        vars(options).update(SMOKE)
    return options


def main() -> None:
    options = parse()
    with Peers(options, ALL, ["bench.peers.sampling", f"--units={options.units}"]) as peers:
        turns, facts = play(peers, options)
        result = Result(turns, play_ragged(peers, options), equal_rows(peers, options))
    print_table(result, options.batches, facts)
    print_ragged(result, options)
    print(f"other processes used {result.others:.1%} of the CPU")
    for objection in result.objections():
        print(f"void: {objection}")
    print_result(result.to_dict())


if __name__ == "__main__":
    main()
