"""Benchmark of one GPU: sampling by batch size, and training, with PyTorch beside it and the card's matrix products.

    CUDA_VISIBLE_DEVICES=0 python bench/gpu.py --torch-python PATH
    python bench/gpu.py --smoke

PATH is a Python with PyTorch for CUDA, whose step runs in a CUDA graph. Peers run in processes of their own and take
turns; figures are medians over the rounds. The ceiling of a precision and batch size is the faster of the product's
backend and PyTorch doing the step's matrix products and nothing else. Figures of sampling are of the whole sampler: the
host plans the calls and collects the texts of two batches in turn.

Then the same rows are sampled again, in other slots, from other steps on, and with half the slots: the share of equal
texts must be 100%, but for the last. On a machine without a GPU all of it runs on the CPU. The last line is JSON.
"""

from __future__ import annotations

import argparse
import sys
from statistics import median

from bench.harness import Peers, make_parser, print_result
from bench.peers.forms import UNITS
from bench.peers.gpu import EQUAL, GPU, TRAINING
from bench.peers.sampling import ALL, PEERS
from bench.sampling import Result, batch_sizes, play, print_table

BATCHES = (256, 1024, 4096, 8192, 16384)
TRAINED = 128  # rows of a training step, of 64 characters each
OURS = ("charrnn float32", "charrnn bfloat16", *GPU)
SMOKE = {
    "units": 16,
    "rounds": 1,
    "seconds": 0.01,
    "batches": [16],
    "equal_batch": 16,
    "trained": 2,
    "training_steps": 4,
}


def equal_texts(peers: Peers, batch: int) -> dict[str, dict[str, float]]:
    """Return by precision and way the share of rows whose texts are equal."""
    found = {}
    for name in EQUAL:
        with peers.playing([name]) as (player,):
            found[name.split()[-1]] = player.turn(batch, 1).answer["equal"]
    return found


def trained(peers: Peers, options: argparse.Namespace) -> dict[str, float]:
    """Return by precision the characters that are trained on in a second."""
    found = {}
    for name in TRAINING:
        with peers.playing([name]) as (player,):
            player.turn(options.trained, 1)  # compiles
            answers = [player.turn(options.trained, options.training_steps * 16).answer for _ in range(options.rounds)]
        found[name.split()[-1]] = median(answer["characters"] / answer["seconds"] for answer in answers)
    return found


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--torch-python", default=sys.executable, help="a Python with PyTorch for CUDA")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="seconds per turn")
    parser.add_argument("--batches", type=batch_sizes, default=list(BATCHES), metavar="B,B,...")
    parser.set_defaults(units=UNITS, equal_batch=4096, trained=TRAINED, training_steps=100)
    options = parser.parse_args()
    if options.smoke:
        vars(options).update(SMOKE)
    return options


def main() -> None:
    options = parse()
    names = [*OURS, *(name for name in PEERS if "torch" in name)]
    with Peers(options, ALL, ["bench.peers.sampling", f"--units={options.units}"]) as peers:
        turns, facts = play(peers, options, names)
        equal, training = equal_texts(peers, options.equal_batch), trained(peers, options)
    result = Result(turns, {}, {})
    print_table(result, options.batches, facts)
    for precision, shares in equal.items():
        print(f"equal texts in {precision}: " + ", ".join(f"{share:.2%} {way}" for way, share in shares.items()))
    for precision, speed in training.items():
        print(f"training in {precision}, {options.trained} x 64 characters a step: {speed:,.0f} characters/s")
    largest = max(options.batches)
    sampled = {name: {str(size): result.rate(name, size) for size in options.batches} for name in turns}
    share = result.share("charrnn bfloat16", largest)
    print_result({"characters_per_s": sampled, "share_bfloat16": share, "equal": equal, "training": training})


if __name__ == "__main__":
    main()
