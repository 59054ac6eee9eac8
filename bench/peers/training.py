"""Peers of `bench/training.py`, which starts this program once for each.

A peer builds its network, warms up, and then takes turns: it reads a number of steps and answers with the seconds
that they took and the mean loss. The work is the same for all peers: the same random characters in the same
batches, and whole training steps, which are forward, dropout, cross-entropy, backward and Adam. In addition, the
product clips the gradients and averages the weights. It drops the same outputs at all characters of a step, which takes
fewer random numbers.

Each peer runs in the fastest configuration that its users would choose:

- Keras: `fit` of one-hot, LSTM, dropout, LSTM, dropout, dense; `jit_compile` left at "auto".
- PyTorch: `nn.LSTM` with time first and fused Adam. bfloat16 runs once by autocast, with weights and optimizer in
  float32 as in the product, and once with the whole model in bfloat16.

The ceilings are TensorFlow's and PyTorch's own matrix product of 1024x1024 by 1024x2048.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from bench.harness import serve

WARM_UP = 2  # steps; the first compiles
PRODUCTS = 10  # per measurement, so that waiting for a device does not count
PRODUCT_SHAPES = (1024, 1024), (1024, 2048)
PRODUCT_GFLOP = 2 * 1024 * 1024 * 2048 / 1e9
PRODUCT_SECONDS = 0.5

Play: TypeAlias = Callable[[int], dict[str, float]]
"""Runs a number of steps. Returns the seconds that they took, and their mean loss."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """The network that each peer trains, and the amount of text."""

    batch: int = 128
    unroll: int = 100
    units: int = 512
    layers: int = 2
    vocabulary: int = 90
    dropout: float = 0.2
    steps: int = 64  # steps that the text is long enough for

    @property
    def characters(self) -> int:
        """Return the characters per step."""
        return self.batch * self.unroll

    @property
    def flops(self) -> int:
        """Return the operations of training on one character: 3 (forward, gradients of the inputs, gradients of the
        weights) x 2 (multiply, add) x the entries of the kernels. The first layer's product with a one-hot row does
        not count, since it can be looked up."""
        square = self.units * 4 * self.units
        recurrent, inputs, dense = self.layers * square, (self.layers - 1) * square, self.units * self.vocabulary
        return 3 * 2 * (recurrent + inputs + dense)

    def ids(self) -> np.ndarray:
        size = self.characters * self.steps + 1
        return np.random.default_rng(0).integers(self.vocabulary, size=size, dtype=np.uint8)

    def batches(self) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets, each of shape (steps, batch, unroll), int32, as the product reads them."""
        ids = self.ids().astype(np.int32)
        shape = (self.batch, self.steps, self.unroll)
        return ids[:-1].reshape(shape).swapaxes(0, 1), ids[1:].reshape(shape).swapaxes(0, 1)

    def arguments(self) -> list[str]:
        return [f"--{name}={value}" for name, value in asdict(self).items()]


def charrnn_run(work: Work, precision: str) -> Play:
    from charrnn.options import NetworkOptions, TrainingOptions
    from charrnn.text.corpus import Corpus
    from charrnn.text.vocabulary import Vocabulary
    from charrnn.training.trainer import Trainer

    ids = work.ids()
    vocabulary = Vocabulary("".join(map(chr, range(32, 32 + work.vocabulary))))
    network = NetworkOptions(layers=work.layers, units=work.units, dropout=work.dropout)
    options = TrainingOptions(batch=work.batch, unroll=work.unroll, precision=precision)
    trainer = Trainer(Corpus(vocabulary, ids, ids[: work.unroll + 1], 0), network, options)

    def play(steps: int) -> dict[str, float]:
        before, last = trainer.checkpoint.epoch_loss, trainer.checkpoint.step + steps
        started = time.perf_counter()
        trainer.run(lambda progress: progress.step == last)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "loss": (trainer.checkpoint.epoch_loss - before) / steps}

    return play


def keras_fit(work: Work) -> Play:
    import keras
    import tensorflow as tf

    model = _keras_model(work)
    model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data = tf.data.Dataset.from_tensor_slices(work.batches()).repeat().prefetch(1)

    def play(steps: int) -> dict[str, float]:
        started: list[float] = []  # at the first batch, since only steps are compared
        clock = keras.callbacks.LambdaCallback(
            on_train_batch_begin=lambda batch, logs: started.append(time.perf_counter())
        )
        history = model.fit(data, steps_per_epoch=steps, verbose=0, callbacks=[clock], shuffle=False).history
        return {"seconds": time.perf_counter() - started[0], "loss": history["loss"][0]}

    return play


def _keras_model(work: Work) -> Any:
    import keras

    inputs = keras.Input((work.unroll,), dtype="int32")
    values = keras.ops.one_hot(inputs, work.vocabulary)
    for _ in range(work.layers):
        values = keras.layers.LSTM(work.units, return_sequences=True)(values)
        values = keras.layers.Dropout(work.dropout)(values)
    return keras.Model(inputs, keras.layers.Dense(work.vocabulary)(values))


def torch_lstm(work: Work, *, dtype: str = "float32", autocast: bool = False) -> Play:
    import torch
    from torch.nn import functional

    device, chosen = "cuda" if torch.cuda.is_available() else "cpu", getattr(torch, dtype)
    lstm, dropout, dense = network = _torch_network(work).to(device, chosen)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    inputs, targets = (torch.tensor(ids.swapaxes(1, 2), device=device).long() for ids in work.batches())
    played = 0

    def step(number: int) -> Any:
        with torch.autocast(device, torch.bfloat16) if autocast else nullcontext():
            outputs, _ = lstm(functional.one_hot(inputs[number], work.vocabulary).to(chosen))
            logits = dense(dropout(outputs)).flatten(0, 1).float()
            loss = functional.cross_entropy(logits, targets[number].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    def play(steps: int) -> dict[str, float]:
        nonlocal played
        started = time.perf_counter()
        loss = sum(step(number) for number in range(played, played + steps)).item() / steps
        played += steps
        return {"seconds": time.perf_counter() - started, "loss": loss}

    return play


def _torch_network(work: Work) -> Any:
    from torch import nn

    lstm = nn.LSTM(work.vocabulary, work.units, num_layers=work.layers, dropout=work.dropout)
    return nn.ModuleList([lstm, nn.Dropout(work.dropout), nn.Linear(work.units, work.vocabulary)])


def tensorflow_products(work: Work) -> Play:
    import tensorflow as tf

    def multiply(dtype: str) -> None:
        for _ in range(PRODUCTS):
            product = tf.matmul(*operands[dtype])
        product[0, 0].numpy()

    operands = {name: [tf.cast(tf.random.normal(shape), name) for shape in PRODUCT_SHAPES] for name in DTYPES}
    return partial(_products, multiply)


def torch_products(work: Work) -> Play:
    import torch

    def multiply(dtype: str) -> None:
        for _ in range(PRODUCTS):
            product = torch.matmul(*operands[dtype])
        product[0, 0].item()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    normal = [torch.randn(shape, device=device) for shape in PRODUCT_SHAPES]
    operands = {name: [values.to(getattr(torch, name)) for values in normal] for name in DTYPES}
    return partial(_products, multiply)


DTYPES = ("float32", "bfloat16")


def _products(multiply: Callable[[str], None], steps: int) -> dict[str, float]:
    """Return GFLOP/s in each precision. A turn takes the same time, whatever the steps."""
    return {dtype: _gflops(partial(multiply, dtype)) for dtype in DTYPES}


def _gflops(multiply: Callable[[], None]) -> float:
    count, seconds, started = 0, 0.0, time.perf_counter()
    while seconds < PRODUCT_SECONDS:
        multiply()
        count, seconds = count + PRODUCTS, time.perf_counter() - started
    return PRODUCT_GFLOP * count / seconds


PEERS: dict[str, Callable[[Work], Play]] = {
    "charrnn float32": partial(charrnn_run, precision="float32"),
    "keras float32": keras_fit,
    "torch float32": torch_lstm,
    "charrnn bfloat16": partial(charrnn_run, precision="bfloat16"),
    "torch bfloat16 autocast": partial(torch_lstm, autocast=True),
    "torch bfloat16 model": partial(torch_lstm, dtype="bfloat16"),
    "ceiling tensorflow": tensorflow_products,
    "ceiling torch": torch_products,
}


def build(name: str, work: Work) -> Play:
    play = PEERS[name](work)
    play(WARM_UP)
    return play


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", choices=PEERS, nargs="+", metavar="NAME")
    for field in fields(Work):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    options = vars(parser.parse_args())
    names = options.pop("names")
    serve(names, partial(build, work=Work(**options)))


if __name__ == "__main__":
    main()
