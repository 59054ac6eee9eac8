"""Benchmark of training on a folder of texts: training and validation loss per epoch, wall time, memory.

    python bench/notebook.py FOLDER --method stream --epochs 4 --validation SPEECH.txt ...
    python bench/notebook.py FOLDER --method window --encoding latin-1
    python bench/notebook.py --smoke

`stream` is the library's default, `window` its notebook preset. Training runs in this process as in
`charrnn.train`: with the same corpus, validation text, batches and options. The seconds are wall time, validation
included.

    python bench/notebook.py FOLDER --method window --encoding latin-1 --check-keras 500

compares the preset with a straight port of the notebook to Keras 3. Both train with the same initial weights and
batches on the folder's whole text, without dropout, since no two libraries draw the same dropout masks. If both
compute the same, their mean losses differ only by rounding. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.harness import make_parser, print_result, write_topics
from charrnn.errors import InputError
from charrnn.options import NetworkOptions, TrainingOptions, chosen_options
from charrnn.sizes import fit
from charrnn.text.corpus import Corpus
from charrnn.text.documents import Document, list_documents
from charrnn.text.encodings import UTF_8
from charrnn.text.plain import to_plain
from charrnn.text.training_text import prepare
from charrnn.text.validation import choose_validation, join_documents

if TYPE_CHECKING:
    from charrnn.training.progress import Progress
    from charrnn.training.trainer import Trainer

PRESETS = {"window": "notebook", "stream": None}
PROGRESS_STEPS = 200
CHECKED_BATCHES = 500
BLOCK = 100  # batches whose mean losses are compared
SMOKE = {"units": 16, "batch": 16, "epochs": 1}  # replaces the options
SMOKE_TEXT = 3_000  # characters


def read_corpus(options: argparse.Namespace) -> Corpus:
    with tempfile.TemporaryDirectory() as folder:
        texts = to_plain(list_documents(options.folder), Path(folder), options.encoding)
        validation = "" if options.check_keras else read_validation(options, texts)
        text = prepare(texts, validation)
        # A check trains on the whole text, but a corpus needs some validation text.
        corpus = Corpus.of(text.vocabulary, text.chunks(), validation or text.vocabulary.characters)
    sizes = f"{len(corpus.training):,} characters for training, {len(corpus.validation):,} for validation"
    print(f"{sizes}, vocabulary of {len(corpus.vocabulary)}", flush=True)
    return corpus


def read_validation(options: argparse.Namespace, texts: Sequence[Document]) -> str:
    """Return the validation text."""
    if options.validation:
        with tempfile.TemporaryDirectory() as folder:
            return join_documents(to_plain(list_documents(options.validation), Path(folder), options.encoding))
    return choose_validation(texts).text


def make_trainer(corpus: Corpus, network: NetworkOptions, training: TrainingOptions) -> Trainer:
    from charrnn.training.trainer import Trainer

    trainer = Trainer(corpus, network, training)
    count = window_count(trainer)
    print(f"{trainer.batches.epoch_steps:,} steps per epoch" + (f", {count:,} windows" if count else ""), flush=True)
    return trainer


def window_count(trainer: Trainer) -> int | None:
    from charrnn.training.batches import Windows

    return trainer.batches.count if isinstance(trainer.batches, Windows) else None


class Report:
    """Progress of a training run: prints it, and collects the figures of the last line."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.started = time.monotonic()
        self.seconds: list[float] = []  # at the end of each epoch

    def __call__(self, progress: Progress) -> None:
        history = self.trainer.checkpoint.history
        if len(history) > len(self.seconds):
            self._print_epoch(time.monotonic() - self.started)
        elif progress.step % PROGRESS_STEPS == 0 and not progress.evaluating:
            seconds = time.monotonic() - self.started
            place = f"step {progress.step:,} of {progress.steps:,}: train {progress.train_loss:.4f} nats"
            print(f"  {place}, {seconds:,.0f} s, {progress.characters / seconds:,.0f} characters/s", flush=True)

    def _print_epoch(self, seconds: float) -> None:
        latest, before = self.trainer.checkpoint.history[-1], self.seconds[-1] if self.seconds else 0.0
        first = self.trainer.checkpoint.history[-2].step if self.seconds else 0
        speed = (latest.step - first) * self.trainer.batches.step_characters / (seconds - before)
        self.seconds.append(seconds)
        validation = f"validation {latest.val_loss:.4f} nats = {latest.val_loss / math.log(2):.4f} bits"
        when = f"{seconds:,.0f} s, {speed:,.0f} characters/s"
        print(f"epoch {latest.epoch}: train {latest.train_loss:.4f} nats, {validation}, {when}", flush=True)

    def to_dict(self) -> dict[str, Any]:
        point, seconds = self.trainer.checkpoint, time.monotonic() - self.started
        return {
            "val_loss": [metrics.val_loss for metrics in point.history],
            "train_loss": [metrics.train_loss for metrics in point.history],
            "epoch_seconds": [round(end, 1) for end in self.seconds],
            "seconds": round(seconds, 1),
            "windows": window_count(self.trainer),
            "steps": point.step,
            "batch": self.trainer.batches.batch,
            "precision": point.precision,
            "characters_per_second": round(point.step * self.trainer.batches.step_characters / seconds),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


def train(trainer: Trainer, max_steps: int | None) -> dict[str, Any]:
    report = Report(trainer)

    def stop(progress: Progress) -> bool:
        report(progress)
        return progress.step == max_steps

    trainer.run(stop)
    return report.to_dict()


def keras_port(trainer: Trainer) -> Any:
    """Return the notebook's network without dropout, in Keras, with the weights of the product."""
    import keras

    units, size = trainer.network.units, len(trainer.corpus.vocabulary)
    model = keras.Sequential(
        [
            keras.Input((trainer.network.max_len, size)),
            keras.layers.LSTM(units, return_sequences=True),
            keras.layers.LSTM(units),
            keras.layers.Dense(size, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="rmsprop")
    model.set_weights([np.asarray(value) for value in trainer.checkpoint.weights.values()])
    return model


def check_keras(trainer: Trainer, batches: int) -> dict[str, Any]:
    """Train the product and the port to Keras on the same batches. Return the mean losses of both."""
    if batches > trainer.batches.epoch_steps:
        raise SystemExit(
            f"--check-keras {batches} is more than an epoch has. Expected at most {trainer.batches.epoch_steps:,}"
        )
    port, one_hot = keras_port(trainer), np.eye(len(trainer.corpus.vocabulary), dtype=np.float32)
    losses: list[tuple[float, float]] = []
    means: list[tuple[float, float]] = []
    for step in range(batches):
        windows, targets = trainer.batches.read(step)
        before = trainer.checkpoint.epoch_loss
        trainer.run(lambda progress: True)
        ours = trainer.checkpoint.epoch_loss - before
        losses.append((ours, float(port.train_on_batch(one_hot[windows.T], one_hot[targets[0]]))))
        if (step + 1) % BLOCK == 0 or step + 1 == batches:
            means.append(mean_of(losses, step + 1))
            losses.clear()
    largest = max(relative_difference(*pair) for pair in means)
    return {"windows": window_count(trainer), "means": means, "largest_relative_difference": largest}


def mean_of(losses: list[tuple[float, float]], last: int) -> tuple[float, float]:
    ours, keras = (float(value) for value in np.mean(losses, axis=0))
    place = f"batches {last - len(losses) + 1} to {last}"
    print(f"{place}: {ours:.5f} nats, Keras {keras:.5f}, {relative_difference(ours, keras):.3%} apart", flush=True)
    return ours, keras


def relative_difference(ours: float, keras: float) -> float:
    return abs(ours - keras) / keras


def assignment(text: str) -> tuple[str, Any]:
    """Return the name and the value of NAME=VALUE. The value is read as JSON if possible, otherwise as a string."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def make_notebook_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument(
        "folder", metavar="FOLDER", nargs="?", help="folder of texts; not with --smoke, which has its own"
    )
    parser.add_argument("--method", choices=PRESETS, default="stream")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--encoding", default=UTF_8)
    parser.add_argument(
        "--validation",
        metavar="FILE",
        nargs="+",
        action="extend",
        help="validation files; default: part of the text, as in the library",
    )
    parser.add_argument(
        "--max-steps",
        type=int,
        metavar="N",
        help="stop after N steps; the learning rate schedule stays that of the whole run",
    )
    parser.add_argument(
        "--set",
        type=assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any option of the network or the training",
    )
    parser.add_argument(
        "--check-keras", type=int, nargs="?", const=CHECKED_BATCHES, metavar="N", help="compare N batches"
    )
    return parser


def parse() -> tuple[argparse.Namespace, dict[str, Any]]:
    parser = make_notebook_parser()
    options = parser.parse_args()
    if options.check_keras and options.method != "window":
        parser.error("--check-keras requires --method window")
    if bool(options.folder) == options.smoke:
        parser.error("expected FOLDER or --smoke")
    try:
        return options, options_of(options)
    except InputError as error:
        parser.error(str(error))


def options_of(options: argparse.Namespace) -> dict[str, Any]:
    asked = {"epochs": options.epochs, **dict(options.set)}
    if options.check_keras:
        asked["dropout"] = 0.0
    if options.smoke:
        asked |= SMOKE
    return chosen_options(PRESETS[options.method], asked)


def measure(options: argparse.Namespace, chosen: dict[str, Any]) -> dict[str, Any]:
    corpus = read_corpus(options)
    trainer = make_trainer(corpus, *fit(chosen, len(corpus.training)))
    if options.check_keras:
        return check_keras(trainer, options.check_keras)
    return {"method": options.method, **train(trainer, options.max_steps)}


def main() -> None:
    options, chosen = parse()
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        if options.smoke:
            write_topics(Path(folder) / "topics.txt", SMOKE_TEXT)
            options.folder = folder
        print_result(measure(options, chosen))


if __name__ == "__main__":
    main()
