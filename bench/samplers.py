"""The contestants of `bench/sampling.py`, which runs this file once for each, in a process of its own.

A turn is a batch size and a number of steps; it is answered with the characters that were sampled and the seconds.
The work is the same for all: 2 x LSTM(512), vocabulary 90, random weights; each row starts from one character,
each step draws from the softmax at temperature 1, and what was drawn is the next input.

Each in the fastest of the forms that its users would choose. Where that depends on the batch size, such as the
number of threads, all of them are timed before the first turn of that size:

- charrnn: `charrnn.sampling.sampler.sample`, so planning and collecting texts count; compiling does not.
- Keras: a stateful model, `predict_on_batch` (`predict` takes 2 to 40 times as long), NumPy draws.
- the notebook: its `generate`, which reads a window of 20 characters for each one, one text at a time.
- PyTorch: `nn.LSTM`, or its arithmetic written out, which at small sizes is faster; of few rows with one thread or
  all. It draws by inverting the distribution function: `torch.multinomial` is never faster, and with it a step of
  1024 rows in bfloat16 takes 11 % longer. bfloat16 is the whole model.
- NumPy: the same loop, in place.

The ceilings are the network's four matrix products for each character, and nothing else. The "ragged" and "static"
contestants are the same sampler on rows of other lengths, "rows" samples the same rows in batches of several sizes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from players import serve

UNITS, LAYERS, VOCABULARY = 512, 2, 90
STEPS = 16  # turns are multiples of it: the product's steps a call
PRODUCTS = ((UNITS, 4 * UNITS),) * 3 + ((UNITS, VOCABULARY),)  # the first layer's one-hot input is looked up
WINDOW = 20  # the notebook's max_len
DROPOUT = 0.2
FEW = 8  # rows, of which one thread may be faster than all
TRIAL_SECONDS = 0.3  # of each form

LENGTH = 200  # of equal rows; uniform ones have 1 to 400
ENDLESS = 4000  # at most, of a row that ends at a newline
ENDING = 1 / 60  # probability of a newline at each step
NEWLINE = 0
ROWS = 256  # that are sampled in batches of several sizes
ROW_BATCHES = (16, 64, 256, 1024)
PEAKED = 3.0  # times the dense kernel: choices are open, but not all alike

Run: TypeAlias = Callable[[int], dict[str, Any] | None]
"""Plays so many steps; what it says beyond batch x steps characters."""

Runs: TypeAlias = Mapping[str, Run]
"""The forms of a contestant, by name."""


Change: TypeAlias = Callable[[np.ndarray], np.ndarray]


def initial(**changes: Change) -> tuple[Any, dict[str, np.ndarray]]:
    """The network and its weights; `changes` are of the dense layer's."""
    from charrnn.network.network import initial_weights
    from charrnn.options import NetworkOptions

    network = NetworkOptions(layers=LAYERS, units=UNITS)
    weights = initial_weights(network, VOCABULARY, 0)
    return network, weights | {f"dense.{name}": change(weights[f"dense.{name}"]) for name, change in changes.items()}


def row(key: int, length: int, temperature: float = 1.0, stop: tuple[tuple[int, ...], ...] = ()) -> Any:
    from charrnn.sampling.slots import Row

    return Row(seed=(key % VOCABULARY,), temperature=temperature, length=length, key=key, stop=stop)


def charrnn_sampler(batch: int, precision: str) -> Runs:
    from charrnn.sampling.sampler import sample

    network, weights = initial()

    def run(steps: int) -> dict[str, Any]:
        rows = [row(key, steps) for key in range(batch)]
        return {"characters": size_of(sample(network, weights, rows, batch, precision=precision))}

    return {"": run}


def size_of(texts: Iterable[Any]) -> int:
    return sum(len(text.ids) for text in texts)


def charrnn_ragged(batch: int, lengths: str, static: bool = False) -> Runs:
    """Plays so many rows a slot. `static` batches wait for their longest row, and the slots of the others idle."""
    from charrnn.network.network import cast_kernels
    from charrnn.sampling.sampler import sample
    from charrnn.sampling.slots import Report

    network, weights = initial(**ENDINGS) if lengths == "geometric" else initial()
    weights = dict(cast_kernels(network, weights, "bfloat16"))  # once, and not for each static batch

    def run(rows_a_slot: int) -> dict[str, Any]:
        rows, report = ragged_rows(lengths, batch * rows_a_slot), Report(batch)
        waves = [rows[first : first + batch] for first in range(0, len(rows), batch)] if static else [rows]
        texts = [sample(network, weights, wave, batch, precision="bfloat16", report=report) for wave in waves]
        return {"characters": sum(map(size_of, texts)), "fill": report.fill}

    return {"": run}


ENDINGS: dict[str, Change] = {
    "kernel": np.zeros_like,
    "bias": lambda bias: np.log(
        np.where(np.arange(len(bias)) == NEWLINE, ENDING, (1 - ENDING) / (len(bias) - 1)), dtype=np.float32
    ),
}
"""The dense layer with which a row ends after 60 characters in the mean, whatever came before."""


def ragged_rows(lengths: str, count: int) -> list[Any]:
    if lengths == "geometric":
        return [row(key, ENDLESS, stop=((NEWLINE,),)) for key in range(count)]
    uniform = np.random.default_rng(0).integers(1, 2 * LENGTH, size=count, endpoint=True)
    return [row(key, LENGTH if lengths == "equal" else int(uniform[key])) for key in range(count)]


def charrnn_rows(batch: int, precision: str) -> Runs:
    """Samples the same rows, so many characters each, in batches of every size up to `batch`, and compares."""
    from charrnn.sampling.sampler import sample

    network, weights = initial(kernel=lambda kernel: PEAKED * kernel)

    def run(length: int) -> dict[str, Any]:
        rows = [row(key, length, temperature=(0.5, 1.0)[key % 2]) for key in range(ROWS)]
        found: list[set[bytes]] = [set() for _ in rows]
        for size in (size for size in ROW_BATCHES if size <= batch):
            for text in sample(network, weights, rows, size, precision=precision):
                found[text.index].add(np.asarray(text.ids, np.int32).tobytes())
        return {"equal": sum(len(texts) == 1 for texts in found) / ROWS}

    return {"": run}


def keras_sampler(batch: int) -> Runs:
    import keras

    one_hot, rng = np.eye(VOCABULARY, dtype=np.float32), np.random.default_rng(0)

    def build(jit_compile: bool) -> Run:
        layers = [
            keras.layers.LSTM(UNITS, return_sequences=layer < LAYERS - 1, stateful=True) for layer in range(LAYERS)
        ]
        dense = keras.layers.Dense(VOCABULARY, activation="softmax")
        model = keras.Sequential([keras.Input(batch_shape=(batch, 1, VOCABULARY)), *layers, dense])
        model.set_weights(list(initial()[1].values()))
        model.compile(jit_compile=jit_compile)

        def run(steps: int) -> None:
            ids = np.zeros(batch, np.int64)
            for _ in range(steps):
                ids = drawn(model.predict_on_batch(one_hot[ids][:, None]), rng)

        return run

    return {"XLA": build(True), "no XLA": build(False)}


def drawn(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(B, V) -> ids (B,)"""
    cumulative = probabilities.cumsum(axis=1)
    numbers = rng.random((len(cumulative), 1), np.float32) * cumulative[:, -1:]
    ids: np.ndarray = (cumulative[:, :-1] <= numbers).sum(axis=1)
    return ids


def notebook_generate(batch: int) -> Runs:
    import keras

    model = keras.Sequential([keras.Input((WINDOW, VOCABULARY))])
    for layer in range(LAYERS):
        model.add(keras.layers.LSTM(UNITS, return_sequences=layer < LAYERS - 1))
        model.add(keras.layers.Dropout(DROPOUT))
    model.add(keras.layers.Dense(VOCABULARY, activation="softmax"))
    model.compile(loss="categorical_crossentropy", optimizer="rmsprop")
    rng = np.random.default_rng(0)

    def run(steps: int) -> None:
        ids = [0] * WINDOW
        for _ in range(steps):
            x = np.zeros((batch, WINDOW, VOCABULARY), np.float32)
            x[0, np.arange(WINDOW), ids[-WINDOW:]] = 1.0
            logits = np.log(model.predict(x, verbose=0)[0].astype(np.float64)) / 1.0  # the temperature
            weights = np.exp(logits)
            ids.append(int(rng.multinomial(1, weights / weights.sum()).argmax()))

    return {"": run}


def torch_sampler(batch: int, dtype: str) -> Runs:
    import torch
    from torch import nn

    device, kind = torch_device(), getattr(torch, dtype)
    lstm = nn.LSTM(VOCABULARY, UNITS, num_layers=LAYERS).to(device, kind)
    dense = nn.Linear(UNITS, VOCABULARY).to(device, kind)

    def run(step: Callable[[Any, Any], tuple[Any, Any]], steps: int) -> None:
        ids, state, texts = torch.zeros(batch, dtype=torch.long, device=device), None, []
        for _ in range(steps):
            outputs, state = step(ids, state)
            cumulative = torch.softmax(dense(outputs).float(), -1).cumsum(-1)
            numbers = torch.rand(batch, 1, device=device) * cumulative[:, -1:]
            ids = (cumulative[:, :-1] <= numbers).sum(-1)
            texts.append(ids)
        torch.stack(texts).cpu()

    forms = {"nn.LSTM": torch_layer(lstm), "written out": torch_cells(lstm)}
    return torch_threads(batch, {name: partial(run, step) for name, step in forms.items()})


def torch_layer(lstm: Any) -> Callable[[Any, Any], tuple[Any, Any]]:
    """A step of `nn.LSTM`: ids and state -> outputs and state."""
    import torch

    one_hot = torch.eye(VOCABULARY).to(lstm.weight_ih_l0)

    def step(ids: Any, state: Any) -> tuple[Any, Any]:
        outputs, state = lstm(one_hot[ids][None], state)
        return outputs[0], state

    return step


def torch_cells(lstm: Any) -> Callable[[Any, Any], tuple[Any, Any]]:
    """The same step written out, with the first layer's product looked up."""
    import torch
    from torch.nn import functional

    table = lstm.weight_ih_l0.detach().t() + (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()
    bias = (lstm.bias_ih_l1 + lstm.bias_hh_l1).detach()

    def cell(gates: Any, memory: Any) -> tuple[Any, Any]:
        i, f, g, o = gates.chunk(4, 1)
        memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(memory), memory

    def step(ids: Any, state: Any) -> tuple[Any, Any]:
        h0, c0, h1, c1 = state or [table.new_zeros(len(ids), UNITS)] * 4
        h0, c0 = cell(functional.embedding(ids, table) + functional.linear(h0, lstm.weight_hh_l0), c0)
        h1, c1 = cell(functional.linear(h0, lstm.weight_ih_l1, bias) + functional.linear(h1, lstm.weight_hh_l1), c1)
        return h1, (h0, c0, h1, c1)

    return step


def torch_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def torch_threads(batch: int, runs: Runs) -> Runs:
    """Each with as many threads as PyTorch takes by itself, and for few rows also with one."""
    import torch

    def run(inner: Run, threads: int, steps: int) -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            inner(steps)

    return {
        f"{name}, {threads} threads": partial(run, inner, threads)
        for threads in sorted({1 if batch <= FEW else default_threads(), default_threads()})
        for name, inner in runs.items()
    }


@cache
def default_threads() -> int:
    """As many as PyTorch takes by itself: read once, before any are set."""
    import torch

    threads: int = torch.get_num_threads()
    return threads


def numpy_sampler(batch: int) -> Runs:
    rng = np.random.default_rng(0)
    # Gates in the order i, f, o, g. Kernels and biases of the first three, which are sigmoids, are halved
    # beforehand: sigmoid(z) = (1 + tanh(z / 2)) / 2, so that one tanh goes over all four.
    table, kernel, first, second = (
        (rng.normal(0, 0.04, (rows, 4 * UNITS)) * np.repeat((0.5, 0.5, 0.5, 1.0), UNITS)).astype(np.float32)
        for rows in (VOCABULARY, UNITS, UNITS, UNITS)
    )
    dense = rng.normal(0, 0.04, (UNITS, VOCABULARY)).astype(np.float32)
    (gates, product), (h0, c0, h1, c1) = (
        np.zeros((2, batch, 4 * UNITS), np.float32),
        np.zeros((4, batch, UNITS), np.float32),
    )

    def cell(h: np.ndarray, memory: np.ndarray) -> None:
        np.add(gates, product, out=gates)
        np.tanh(gates, out=gates)
        sigmoids = gates[:, : 3 * UNITS]
        sigmoids *= 0.5
        sigmoids += 0.5
        i, f, o, g = np.split(gates, 4, axis=1)
        memory *= f
        memory += np.multiply(i, g, out=g)
        np.multiply(np.tanh(memory, out=h), o, out=h)

    def run(steps: int) -> None:
        ids = np.zeros(batch, np.int64)
        for _ in range(steps):
            np.take(table, ids, axis=0, out=gates, mode="clip")  # without a mode it copies once more
            np.matmul(h0, first, out=product)
            cell(h0, c0)
            np.matmul(h0, kernel, out=gates)
            np.matmul(h1, second, out=product)
            cell(h1, c1)
            logits = h1 @ dense
            logits -= logits.max(axis=1, keepdims=True)
            ids = drawn(np.exp(logits, out=logits), rng)

    return {"": run}


def tensorflow_products(batch: int, dtype: str) -> Runs:
    import tensorflow as tf

    kernels = [tf.cast(tf.random.normal(shape), dtype) for shape in PRODUCTS]
    h = tf.cast(tf.random.normal((batch, UNITS)), dtype)

    @tf.function  # type: ignore[untyped-decorator]
    def multiply(h: Any, kernels: Sequence[Any]) -> Any:
        # Inputs that differ, and a sum of one entry of each product: else most of them would be optimised away.
        inputs = [h * (1 + number) for number in range(STEPS)]
        return tf.add_n([tf.matmul(values, kernel)[0, 0] for values in inputs for kernel in kernels])

    def run(steps: int) -> None:
        for _ in range(steps // STEPS):
            entries = multiply(h, kernels)
        entries.numpy()

    return {"": run}


def torch_products(batch: int, dtype: str) -> Runs:
    import torch
    from torch.nn import functional

    device, kind = torch_device(), getattr(torch, dtype)
    h = torch.randn(batch, UNITS, device=device).to(kind)
    kernels = [torch.randn(shape, device=device).to(kind) for shape in PRODUCTS]
    products = [torch.empty(batch, width, device=device, dtype=kind) for _, width in PRODUCTS]
    transposed = [kernel.t().contiguous() for kernel in kernels]

    def mm(steps: int) -> None:
        for _ in range(steps):
            for kernel, product in zip(kernels, products, strict=True):
                torch.mm(h, kernel, out=product)
        products[-1][0, 0].item()

    def linear(steps: int) -> None:
        for _ in range(steps):
            for kernel in transposed:
                product = functional.linear(h, kernel)
        product[0, 0].item()

    return torch_threads(batch, {"mm": mm, "linear": linear})


CONTESTANTS: dict[str, Callable[[int], Runs]] = {
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
RAGGED: dict[str, Callable[[int], Runs]] = {
    "charrnn equal": partial(charrnn_ragged, lengths="equal"),
    "charrnn uniform": partial(charrnn_ragged, lengths="uniform"),
    "static uniform": partial(charrnn_ragged, lengths="uniform", static=True),
    "charrnn geometric": partial(charrnn_ragged, lengths="geometric"),
    "static geometric": partial(charrnn_ragged, lengths="geometric", static=True),
}
EQUAL_ROWS: dict[str, Callable[[int], Runs]] = {
    f"rows {precision}": partial(charrnn_rows, precision=precision) for precision in ("float32", "bfloat16")
}
ALL = CONTESTANTS | RAGGED | EQUAL_ROWS


def fastest(runs: Runs) -> tuple[str, Run]:
    """The form that takes least for its steps, and its name."""

    def seconds(run: Run) -> float:
        run(STEPS)  # compiles, and wakes threads
        taken, started = [], time.perf_counter()
        while time.perf_counter() - started < TRIAL_SECONDS:
            before = time.perf_counter()
            run(STEPS)
            taken.append(time.perf_counter() - before)
        return min(taken)  # what else runs slows some calls down

    return min(runs.items(), key=lambda item: seconds(item[1]) if len(runs) > 1 else 0.0)


def player(name: str) -> Callable[[int, int], dict[str, Any]]:
    # Now, so that a process is ready when its library is. The product's lets others have some of a GPU's memory.
    import_module(next((library for library in ("torch", "numpy") if library in name), "charrnn.network.backend"))
    chosen = cache(lambda batch: fastest(ALL[name](batch)))

    def play(batch: int, steps: int) -> dict[str, Any]:
        form, run = chosen(batch)
        started = time.perf_counter()
        more = run(steps) or {}
        return {"characters": batch * steps, "seconds": time.perf_counter() - started, "form": form, **more}

    return play


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=ALL)
    serve(partial(player, parser.parse_args().name))


if __name__ == "__main__":
    main()
