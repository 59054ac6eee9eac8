"""Peers of `bench/sampling.py`, which starts this program once for each.

A turn is a batch size and a number of steps. Its answer has the number of sampled characters and the seconds. The work
is the same for all peers: 2 x LSTM(512), vocabulary 90, random weights. Each row starts from one character. Each
step draws a character from the softmax at temperature 1, which is the next input.

Each peer runs in the fastest of the forms that its users would choose. If that depends on the batch size, as the
number of threads does, all forms are timed before the first turn of that size:

- charrnn: `charrnn.sampling.sampler.sample`. Planning and collecting texts count; compiling does not.
- Keras: a stateful model with `predict_on_batch` (`predict` takes 2 to 40 times as long); NumPy draws.
- the notebook: its `generate`, which reads a window of 20 characters for each new one, and generates one text at a
  time.
- PyTorch: `nn.LSTM`, or its arithmetic written out, which is faster at small batch sizes; for few rows with one thread
  or all. It draws by inverting the distribution function: `torch.multinomial` is never faster, and with it a step of
  1024 rows in bfloat16 takes 11% longer. In bfloat16 the whole model is bfloat16.
- NumPy: the same loop, in place.

The ceilings are the network's four matrix products for each character, and nothing else. The "uniform", "geometric" and
"static" peers are the same sampler on rows of unequal length. "rows" samples the same rows at several batch
sizes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from typing import TypeAlias

from bench.harness import Answer, serve
from bench.peers.forms import STEPS, UNITS, Forms, Run
from bench.peers.gpu import EQUAL, GPU, TRAINING
from bench.peers.libraries import keras_sampler, notebook_generate, numpy_sampler, tensorflow_products
from bench.peers.product import charrnn_ragged, charrnn_rows, charrnn_sampler
from bench.peers.pytorch import torch_products, torch_sampler

TRIAL_SECONDS = 0.3  # per form

Peer: TypeAlias = Callable[[int, int], Forms]
"""Builds the forms for a batch size and a number of units per layer."""

PEERS: dict[str, Peer] = {
    "charrnn float32": partial(charrnn_sampler, precision="float32"),
    "keras float32": keras_sampler,
    "notebook float32": notebook_generate,
    "numpy float32": numpy_sampler,
    "torch float32": partial(torch_sampler, dtype="float32"),
    "ceiling tensorflow float32": partial(tensorflow_products, dtype="float32"),
    "ceiling torch float32": partial(torch_products, dtype="float32"),
    "charrnn bfloat16": partial(charrnn_sampler, precision="bfloat16"),
    "torch bfloat16": partial(torch_sampler, dtype="bfloat16"),
    "ceiling tensorflow bfloat16": partial(tensorflow_products, dtype="bfloat16"),
    "ceiling torch bfloat16": partial(torch_products, dtype="bfloat16"),
}
RAGGED: dict[str, Peer] = {
    "charrnn equal": partial(charrnn_ragged, lengths="equal"),
    "charrnn uniform": partial(charrnn_ragged, lengths="uniform"),
    "static uniform": partial(charrnn_ragged, lengths="uniform", static=True),
    "charrnn geometric": partial(charrnn_ragged, lengths="geometric"),
    "static geometric": partial(charrnn_ragged, lengths="geometric", static=True),
}
EQUAL_ROWS: dict[str, Peer] = {
    f"rows {precision}": partial(charrnn_rows, precision=precision) for precision in ("float32", "bfloat16")
}
ALL = PEERS | RAGGED | EQUAL_ROWS | GPU | EQUAL | TRAINING


def fastest(runs: Forms) -> tuple[str, Run]:
    """Return the name of the fastest form, and the form."""

    def seconds(run: Run) -> float:
        run(STEPS)  # compiles, and starts threads
        taken, started = [], time.perf_counter()
        while time.perf_counter() - started < TRIAL_SECONDS:
            before = time.perf_counter()
            run(STEPS)
            taken.append(time.perf_counter() - before)
        return min(taken)  # the minimum, because other work slows down some calls

    return min(runs.items(), key=lambda item: seconds(item[1]) if len(runs) > 1 else 0.0)


def build(name: str, units: int) -> Callable[[int, int], Answer]:
    # Imported now, so that a process is ready when its library is. The product's backend leaves GPU memory to others.
    import_module(next((library for library in ("torch", "numpy") if library in name), "charrnn.backend.ops"))
    chosen = cache(lambda batch: fastest(ALL[name](batch, units)))

    def play(batch: int, steps: int) -> Answer:
        form, run = chosen(batch)
        started = time.perf_counter()
        more = run(steps) or {}
        return {"characters": batch * steps, "seconds": time.perf_counter() - started, "form": form, **more}

    return play


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", choices=ALL, nargs="+", metavar="NAME")
    parser.add_argument("--units", type=int, default=UNITS, help="units per layer")
    options = parser.parse_args()
    serve(options.names, partial(build, units=options.units))


if __name__ == "__main__":
    main()
