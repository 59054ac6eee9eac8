"""Peers of `bench/gpu.py`, on the device that the backend finds: on a CPU too, where their figures mean nothing.

A turn is a batch size and a number of steps, as in `sampling.py`, whose network they have.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np

from bench.harness import Answer
from bench.peers.forms import VOCABULARY, Forms, product_shapes
from bench.peers.product import PEAKED, initial, row, size_of

TOP_K, TOP_P = 7, 0.9
EQUAL_LENGTH = 100  # characters of the rows whose texts are compared


def limited_sampler(batch: int, units: int, precision: str) -> Forms:
    """Sample rows with top-k and top-p, whose step sorts the probabilities."""
    from charrnn.sampling.sampler import GROUPS, sample

    network, weights = initial(units)

    def run(steps: int) -> Answer:
        rows = [replace(row(key, steps), top_k=TOP_K, top_p=TOP_P) for key in range(GROUPS * batch)]
        return {"characters": size_of(sample(network, weights, rows, batch, precision=precision))}

    return {"": run}


def products(batch: int, units: int, precision: str) -> Forms:
    """Compute the matrix products of the steps and nothing else: the ceiling of the device."""
    from charrnn.backend import ops

    rng, dtype = np.random.default_rng(0), ops.dtypes[precision]
    kernels = [ops.cast(ops.array(rng.normal(size=shape).astype(np.float32)), dtype) for shape in product_shapes(units)]
    start = ops.cast(ops.array(rng.normal(size=(batch, units)).astype(np.float32)), dtype)

    def call(h: Any, *kernels: Any) -> Any:
        def body(h: Any, _: tuple[()]) -> tuple[Any, tuple[()]]:
            # All of each product is needed for its maxima: XLA would leave out rows and columns that nothing needs.
            parts = [part for kernel in kernels[:-1] for part in ops.split(ops.matmul(h, kernel), 4, -1)]
            most = reduce(ops.maximum, parts)
            return most * ops.cast(1e-3, dtype) + ops.largest(ops.matmul(h, kernels[-1])), ()

        return ops.scan(body, h, (), STEPS)[0]

    run_call = ops.compile_graph(call)

    def run(steps: int) -> None:
        h = start
        for _ in range(steps // STEPS):
            h = run_call(h, *kernels)
        np.asarray(ops.cast(h, ops.float32))

    return {"": run}


STEPS = 16


def equal_texts(batch: int, units: int, precision: str) -> Forms:
    """Sample the same rows again, in other slots, from other steps on, and with half the slots.

    The answer has the share of rows whose texts are equal.
    """
    from charrnn.sampling import sampler

    network, weights = initial(units, kernel=lambda kernel: PEAKED * kernel)
    rows = [row(key, EQUAL_LENGTH, temperature=(0.5, 1.0)[key % 2]) for key in range(2 * batch)]

    def texts(rows: list[Any], slots: int) -> dict[int, bytes]:
        calls = sampler.sample(network, weights, rows, slots, precision=precision)
        return {rows[text.index].key: text.ids.tobytes() for call in calls for text in call}

    def run(steps: int) -> Answer:
        expected = texts(rows, batch)
        order = np.random.default_rng(0).permutation(len(rows))
        # One row more, and of another length, in front of all others: each begins at another step.
        late = [row(10**6 + number, 1 + number % 23) for number in range(batch)]
        others = {
            "again": texts(rows, batch),
            "other slots": texts([rows[number] for number in order], batch),
            "other steps": texts([*late, *rows], batch),
            "half the slots": texts(rows, batch // 2),
        }
        shares = {
            name: float(np.mean([found[key] == text for key, text in expected.items()]))
            for name, found in others.items()
        }
        return {"characters": 1, "equal": shares}

    return {"": run}


def training(batch: int, units: int, precision: str) -> Forms:
    """Train on batches of 128 x 64 characters, or of the given number of rows."""
    from charrnn.options import NetworkOptions, TrainingOptions
    from charrnn.text.corpus import Corpus
    from charrnn.text.vocabulary import Vocabulary
    from charrnn.training.trainer import Trainer

    unroll = 64
    ids = np.random.default_rng(0).integers(VOCABULARY, size=batch * unroll * 64 + 1, dtype=np.uint8)
    vocabulary = Vocabulary("".join(map(chr, range(32, 32 + VOCABULARY))))
    options = TrainingOptions(batch=batch, unroll=unroll, precision=precision, epochs=1000)
    trainer = Trainer(Corpus(vocabulary, ids, ids[: unroll + 1], 0), NetworkOptions(units=units), options)

    def run(steps: int) -> Answer:
        last = trainer.checkpoint.step + max(1, steps // STEPS)
        trainer.run(lambda progress: progress.step >= last)
        return {"characters": max(1, steps // STEPS) * batch * unroll}

    return {"": run}


GPU = {
    "charrnn limits bfloat16": partial(limited_sampler, precision="bfloat16"),
    "ceiling product float32": partial(products, precision="float32"),
    "ceiling product bfloat16": partial(products, precision="bfloat16"),
}
EQUAL = {f"equal {precision}": partial(equal_texts, precision=precision) for precision in ("bfloat16", "float32")}
TRAINING = {f"training {precision}": partial(training, precision=precision) for precision in ("bfloat16", "float32")}
