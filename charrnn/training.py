"""Stream training: truncated backpropagation over parallel streams, from checkpoint to checkpoint.

Adam (Kingma and Ba 2015) under a cosine schedule (Loshchilov and Hutter 2017), gradients clipped
by their global norm (Pascanu et al. 2013). Data order, learning rate and dropout masks are
functions of (rng_seed, step), so a training resumed from a checkpoint ends in the same weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from charrnn import backend as ops
from charrnn.backend import Array
from charrnn.corpus import Corpus, Streams, choose_streams
from charrnn.errors import CharrnnError
from charrnn.evaluation import held_out_nats
from charrnn.model import Model
from charrnn.network import State, Weights, initial_weights, sequence, zero_state
from charrnn.options import UNROLL, NetworkOptions, TrainingOptions
from charrnn.text import choose_held_out, read_corpus

LEARNING_RATE = 2e-3  # at REFERENCE_UNITS
REFERENCE_UNITS = 512
MAX_LEARNING_RATE = 8e-3
FINAL_SHARE = 0.02  # of the learning rate, where the cosine ends
WARM_UP_STEPS = 50
CLIP_NORM = 1.0
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """One line of a training's history. Losses are nats per character."""

    epoch: int
    step: int
    train_nats: float
    held_out_nats: float


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training stands after a step."""

    step: int
    steps: int
    epoch: int  # from 1
    epochs: int
    train_nats: float  # mean of this epoch so far
    held_out_nats: float | None  # after the last whole epoch
    characters: int


@dataclass
class Checkpoint:
    """All that a training needs to go on."""

    step: int
    weights: dict[str, Array]
    means: dict[str, Array]  # Adam's first moments
    squares: dict[str, Array]  # Adam's second moments
    state: State
    epoch_nats: float = 0.0  # summed over the steps of this epoch
    history: list[EpochMetrics] = field(default_factory=list)

    def save(self, path: Path) -> None:
        tensors: dict[str, np.ndarray] = {}
        for group in ("weights", "means", "squares"):
            tensors |= {f"{group}/{name}": np.asarray(value) for name, value in getattr(self, group).items()}
        for layer, (h, c) in enumerate(self.state):
            tensors |= {f"state/{layer}.h": np.asarray(h), f"state/{layer}.c": np.asarray(c)}
        progress = {"step": self.step, "epoch_nats": self.epoch_nats, "history": [asdict(m) for m in self.history]}
        save_file(tensors, path, metadata={"progress": json.dumps(progress)})

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        groups: dict[str, dict[str, Array]] = {"weights": {}, "means": {}, "squares": {}, "state": {}}
        with safe_open(path, framework="numpy") as file:
            progress = json.loads(file.metadata()["progress"])
            for key in file.keys():
                group, name = key.split("/")
                groups[group][name] = ops.array(file.get_tensor(key))
        state = groups.pop("state")
        return cls(
            step=progress["step"],
            epoch_nats=progress["epoch_nats"],
            history=[EpochMetrics(**metrics) for metrics in progress["history"]],
            state=[(state[f"{layer}.h"], state[f"{layer}.c"]) for layer in range(len(state) // 2)],
            **groups,
        )


class Trainer:
    """Holds the corpus, the compiled step and the checkpoint it has reached."""

    def __init__(self, corpus: Corpus, network: NetworkOptions, options: TrainingOptions) -> None:
        self.corpus, self.network, self.options = corpus, network, options
        self.streams = Streams(corpus.training, choose_streams(len(corpus.training), UNROLL), UNROLL)
        self.steps = options.epochs * self.streams.epoch_steps
        self._train_step = ops.compiled(self._trace)
        self.checkpoint = self._start()

    def _start(self) -> Checkpoint:
        weights = initial_weights(self.network, len(self.corpus.vocabulary), self.options.rng_seed)
        zeros = {name: np.zeros_like(value) for name, value in weights.items()}
        return Checkpoint(
            step=0,
            weights=_tensors(weights),
            means=_tensors(zeros),
            squares=_tensors(zeros),
            state=self._zero_state(),
        )

    def _zero_state(self) -> State:
        return zero_state(self.network, self.streams.streams)

    @property
    def finished(self) -> bool:
        return self.checkpoint.step >= self.steps

    def run(self, stop: Callable[[Progress], bool] = lambda progress: False) -> None:
        """Train until the end, or until `stop`, asked after each step, says so."""
        while not self.finished:
            self._step()
            if stop(self.progress()):
                return

    def progress(self) -> Progress:
        point, epoch_steps = self.checkpoint, self.streams.epoch_steps
        done = (point.step - 1) % epoch_steps + 1
        ended = done == epoch_steps and point.history
        return Progress(
            step=point.step,
            steps=self.steps,
            epoch=-(-point.step // epoch_steps),
            epochs=self.options.epochs,
            train_nats=point.history[-1].train_nats if ended else point.epoch_nats / done,
            held_out_nats=point.history[-1].held_out_nats if point.history else None,
            characters=point.step * self.streams.streams * self.streams.unroll,
        )

    def model(self) -> Model:
        """The model as trained so far."""
        point = self.checkpoint
        metrics: dict[str, Any] = {"history": [asdict(metrics) for metrics in point.history]}
        if point.history:
            metrics |= {"held_out_nats": point.history[-1].held_out_nats}
        return Model(self.network, self.corpus.vocabulary, point.weights, metrics)

    def _step(self) -> None:
        point = self.checkpoint
        inputs, targets = self.streams.batch(point.step)
        loss, point.weights, point.means, point.squares, point.state = self._train_step(
            point.weights, point.means, point.squares, point.state, inputs, targets,
            np.array([self.options.rng_seed & 0x7FFFFFFF, point.step * self.network.layers], dtype=np.int32),
            np.float32(learning_rate(point.step, self.steps, self.network.units)),
            np.float32(point.step + 1),
        )  # fmt: skip
        if not math.isfinite(loss):
            raise CharrnnError(f"The loss became {float(loss)} at step {point.step:,}: training cannot go on")
        point.epoch_nats += float(loss)
        point.step += 1
        if point.step % self.streams.epoch_steps == 0:
            self._end_epoch()

    def _end_epoch(self) -> None:
        point, epoch_steps = self.checkpoint, self.streams.epoch_steps
        point.history.append(
            EpochMetrics(
                epoch=point.step // epoch_steps,
                step=point.step,
                train_nats=point.epoch_nats / epoch_steps,
                held_out_nats=held_out_nats(self.network, point.weights, self.corpus.held_out),
            )
        )
        point.epoch_nats = 0.0
        point.state = self._zero_state()  # the streams wrap: what follows is not what came before

    def _trace(
        self, weights: Weights, means: Weights, squares: Weights, state: State, inputs: Array, targets: Array,
        dropout_seed: Array, rate: Array, count: Array,
    ) -> tuple[Array, dict[str, Array], dict[str, Array], dict[str, Array], State]:  # fmt: skip
        names = list(weights)

        def loss() -> tuple[Array, State]:
            logits, after = sequence(self.network, weights, inputs, state, dropout_seed)
            return ops.total(ops.cross_entropy(logits, targets)) / targets.shape.num_elements(), after

        (nats, after), slopes = ops.gradients(loss, [weights[name] for name in names])
        norm = ops.sqrt(ops.total(ops.stack([ops.total(ops.square(slope)) for slope in slopes])))
        scale = ops.minimum(1.0, CLIP_NORM / norm)
        updated: tuple[dict[str, Array], ...] = ({}, {}, {})
        for name, slope in zip(names, slopes, strict=True):
            new = adam(weights[name], means[name], squares[name], slope * scale, rate, count)
            for group, value in zip(updated, new, strict=True):
                group[name] = value
        return nats, *updated, after


@ops.fused
def adam(weight: Array, mean: Array, square: Array, slope: Array, rate: Array, count: Array) -> tuple[Array, ...]:
    """One update of one weight -> weight, first and second moment. `count` is from 1."""
    mean = BETA_1 * mean + (1.0 - BETA_1) * slope
    square = BETA_2 * square + (1.0 - BETA_2) * slope * slope
    corrected_rate = rate * ops.sqrt(1.0 - BETA_2**count) / (1.0 - BETA_1**count)
    return weight - corrected_rate * mean / (ops.sqrt(square) + EPSILON), mean, square


def learning_rate(step: int, steps: int, units: int) -> float:
    """A short linear warm-up, then half a cosine down to FINAL_SHARE.

    The peak falls with the width, as Adam's should (Yang et al. 2022): 4e-3 at 256 units."""
    peak = min(MAX_LEARNING_RATE, LEARNING_RATE * REFERENCE_UNITS / units)
    warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
    cosine = 0.5 * (1.0 + math.cos(math.pi * step / steps))
    return peak * warm_up * (FINAL_SHARE + (1.0 - FINAL_SHARE) * cosine)


def _tensors(values: dict[str, np.ndarray]) -> dict[str, Array]:
    return {name: ops.array(value) for name, value in values.items()}


def train(
    paths: str | Path | list[str | Path],
    *,
    epochs: int = 10,
    units: int = 512,
    rng_seed: int = 0,
    on_progress: Callable[[Progress], object] = lambda progress: None,
) -> Model:
    """Train a model on text files, here and now.

    Args:
        paths: files, folders of *.txt files, or patterns such as "speeches/*.txt".
        epochs: how often the training text is read.
        units: width of each of the two LSTM layers.
        rng_seed: the same number, text and machine give the same weights.
        on_progress: called after each step.

    Returns:
        The trained model; `model.metrics["held_out_nats"]` is its loss in nats per character on
        the last 5 % of the text, which training does not see.

    Raises:
        InputError: text that cannot be read or is too short.
    """
    text = read_corpus([paths] if isinstance(paths, str | Path) else paths)
    trainer = Trainer(
        Corpus.of(text, choose_held_out(text)),
        NetworkOptions(units=units),
        TrainingOptions(epochs=epochs, rng_seed=rng_seed),
    )

    def report(progress: Progress) -> bool:
        on_progress(progress)
        return False

    trainer.run(report)
    return trainer.model()
