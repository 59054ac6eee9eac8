"""Training, from checkpoint to checkpoint.

There are two ways of training: truncated backpropagation through time over parallel streams, with the hidden state
carried from step to step, and the notebook's windows, for a network with a `max_len`. Data order, learning rate and
dropout masks are functions of (rng_seed, step). Evaluation, early stopping and previews happen at the steps that end an
epoch. Training that is resumed from a checkpoint therefore ends with the same weights, wherever it was interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np

from charrnn.backend import ops
from charrnn.backend.ops import Array
from charrnn.errors import TrainingError
from charrnn.model import Model
from charrnn.network.network import State, initial_weights, zero_state
from charrnn.options import NetworkOptions, TrainingOptions
from charrnn.text.corpus import Corpus
from charrnn.training.batches import Lines, Streams, Windows
from charrnn.training.checkpoint import Checkpoint
from charrnn.training.evaluation import sampling_precision, validation_loss
from charrnn.training.growth import grow_weights
from charrnn.training.optimizers import ADAM, RMSPROP, average_share
from charrnn.training.previews import preview_seed, write_previews
from charrnn.training.progress import EpochMetrics, Progress
from charrnn.training.steps import training_step

FINE_TUNING_SHARE = 0.25  # of the learning rate, for fine-tuning


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """The model of the epoch with the lowest validation loss, and facts about its training.

    Attributes:
        model: its `metrics` have these facts too, JSON-ready.
        val_loss: the validation loss, in nats per character.
        validation_skipped: number of characters in the validation text that are outside the vocabulary.
        sampling_precision: the precision of matrix multiplication in which to sample the model.
        history: the metrics of every epoch.
    """

    model: Model
    val_loss: float
    validation_skipped: int
    sampling_precision: str
    history: tuple[EpochMetrics, ...]


class Trainer:
    """A training run: its corpus, and the checkpoint that it has reached.

    Args:
        corpus: the training and validation text as ids.
        network: the architecture.
        options: the settings of the run.
        start: a model to fine-tune, whose characters are all in the vocabulary of the corpus. Training starts from
            random weights if None.

    Raises:
        InputError: the training text is shorter than one batch, or the vocabulary lacks a character of `start`.
    """

    def __init__(
        self, corpus: Corpus, network: NetworkOptions, options: TrainingOptions, start: Model | None = None
    ) -> None:
        self.corpus, self.network, self.options = corpus, network, options
        batch = options.choose_batch_size(network, len(corpus.training))
        self.batches: Streams | Lines | Windows
        if network.max_len is None:
            self.optimizer = ADAM
            if corpus.reset is None:
                self.batches = Streams(corpus.training, batch, options.unroll)
            else:
                self.batches = Lines(corpus.training, batch, options.unroll, corpus.reset, options.rng_seed)
        else:
            self.batches = Windows(corpus.training, batch, network.max_len, options.stride, options.rng_seed)
            self.optimizer = RMSPROP
        self.steps = options.epochs * self.batches.epoch_steps
        self.peak = FINE_TUNING_SHARE if start else 1.0
        self._clock = time.monotonic()
        self.checkpoint = self._start(start)

    def _start(self, start: Model | None) -> Checkpoint:
        vocabulary = self.corpus.vocabulary
        if start and start.vocabulary.characters == vocabulary.characters:
            weights = dict(start.weights)
        else:
            rng_seed = self.options.rng_seed
            arrays = (
                grow_weights(start, vocabulary, rng_seed)
                if start
                else initial_weights(self.network, len(vocabulary), rng_seed)
            )
            weights = {name: ops.array(value) for name, value in arrays.items()}
        zeros = {name: ops.zeros(value.shape) for name, value in weights.items()}
        return Checkpoint(
            weights=weights,
            averages=weights if self.optimizer.averages else {},
            moments=[zeros] * self.optimizer.moments,
            state=self._zero_state(),
            precision=ops.fast_precision() if self.options.precision == "auto" else self.options.precision,
        )

    def _zero_state(self) -> State:
        return zero_state(self.network, self.batches.batch)

    @property
    def finished(self) -> bool:
        """Whether training has ended."""
        return self.checkpoint.ended

    def run(self, stop: Callable[[Progress], bool] = lambda progress: False) -> None:
        """Train until the end, or until `stop` returns True.

        Args:
            stop: called after each step, and after each block of an evaluation, where its result is ignored. It may
                raise there to stop: a later call of `run` repeats the evaluation.

        Raises:
            TrainingError: the training or validation loss is infinite or not a number.
        """
        self._clock = time.monotonic()
        while not self.finished:
            if self._epoch_is_over:
                self._end_epoch(lambda: stop(replace(self.progress(), evaluating=True)))
            else:
                self._step()
            if stop(self.progress()):
                return

    @property
    def _epoch_is_over(self) -> bool:
        """Whether an evaluation is due, by the number of steps or by the time limit."""
        point = self.checkpoint
        done = point.history[-1].step if point.history else 0
        return point.step > done and (point.step % self.batches.epoch_steps == 0 or self._share >= 1.0)

    def _count_time(self) -> None:
        now = time.monotonic()
        self.checkpoint.seconds += now - self._clock
        self._clock = now

    def progress(self) -> Progress:
        """Return the progress at the current checkpoint."""
        point, epoch_steps = self.checkpoint, self.batches.epoch_steps
        last = point.history[-1] if point.history else None
        since = point.step - (last.step if last else 0)
        return Progress(
            step=point.step,
            steps=round(point.step / min(1.0, self._share)) if point.step else self.steps,
            epoch=-(-point.step // epoch_steps),
            epochs=self.options.epochs,
            train_loss=point.epoch_loss / since if since or not last else last.train_loss,
            val_loss=last.val_loss if last else None,
            characters=point.step * self.batches.step_characters,
            seconds=round(point.seconds, 3),
        )

    def trained_model(self, after_block: Callable[[], object] = lambda: None) -> TrainedModel:
        """Return the model of the epoch with the lowest validation loss. At least one epoch must have ended.

        Args:
            after_block: called after each block of the evaluations that choose the precision for sampling, see
                `validation_loss`.
        """
        point, corpus = self.checkpoint, self.corpus
        best = min(point.history, key=lambda epoch: epoch.val_loss)
        precision = sampling_precision(self.network, point.best, corpus.validation, after_block, corpus.reset)
        metrics = {
            "history": [asdict(epoch) for epoch in point.history],
            "training": self.options.to_dict(),
            "training_characters": len(corpus.training),
            "validation_characters": len(corpus.validation),
            "validation_skipped": corpus.skipped,
            "val_loss": best.val_loss,
            "epoch": best.epoch,
            "sampling_precision": precision,
        }
        return TrainedModel(
            model=Model(self.network, corpus.vocabulary, point.best, metrics),
            val_loss=best.val_loss,
            validation_skipped=corpus.skipped,
            sampling_precision=precision,
            history=tuple(point.history),
        )

    def _current_weights(self) -> dict[str, Array]:
        """Return the weights to evaluate and save: the running averages if the optimizer has them."""
        return self.checkpoint.averages or self.checkpoint.weights

    @property
    def _share(self) -> float:
        """The completed share of the training, by steps or by the time limit, whichever is larger."""
        point, limit = self.checkpoint, self.options.max_minutes
        by_time = point.seconds / (60 * limit) if limit else 0.0
        return max(point.step / self.steps, by_time)

    def _rate(self) -> float:
        return self.peak * self.optimizer.rate(self.checkpoint.step, self._share, self.network.units)

    def _step(self) -> None:
        point = self.checkpoint
        inputs, targets = self.batches.read(point.step)
        vocabulary_size = len(self.corpus.vocabulary)
        reset = self.corpus.reset
        step = training_step(self.network, self.optimizer, point.precision, vocabulary_size, inputs.shape, reset)
        loss, *updated, after = step(
            point.weights, point.averages, point.moments, point.state, inputs, targets,
            np.array([self.options.rng_seed & 0x7FFFFFFF, point.step * self.network.layers], dtype=np.int32),
            np.array([self._rate(), point.step + 1, average_share(point.step, self._share)], dtype=np.float32),
        )  # fmt: skip
        if not math.isfinite(loss):
            raise TrainingError(
                f"The training loss became {float(loss)} at step {point.step:,}. Training cannot continue"
            )
        point.weights, point.averages, point.moments = updated
        point.epoch_loss += float(loss)
        point.step += 1
        self._count_time()
        if self.network.max_len is None:
            point.state = after

    def _end_epoch(self, after_block: Callable[[], object]) -> None:
        """Evaluate, save the best weights, and decide whether this was the last epoch."""
        point, weights = self.checkpoint, self._current_weights()
        validation, reset = self.corpus.validation, self.corpus.reset
        nats = validation_loss(self.network, weights, validation, after_block, reset=reset)
        if not math.isfinite(nats):
            raise TrainingError(f"The validation loss became {nats} at step {point.step:,}. Training cannot continue")
        losses = [metrics.val_loss for metrics in point.history]
        point.history.append(self._epoch_metrics(weights, nats))
        point.epoch_loss = 0.0
        point.state = self._zero_state()  # the streams start again, so the next characters do not follow the last ones
        if nats < min(losses, default=math.inf):
            point.best = weights
        losses.append(nats)
        epochs_since_best = len(losses) - 1 - losses.index(min(losses))
        self._count_time()  # or a time limit that passed meanwhile would end the next epoch after one step
        point.ended = self._share >= 1.0 or epochs_since_best >= self.options.patience

    def _epoch_metrics(self, weights: dict[str, Array], validation: float) -> EpochMetrics:
        """Return the metrics of the epoch that ends now, with its previews."""
        point, options = self.checkpoint, self.options
        epoch = len(point.history) + 1
        steps = point.step - (point.history[-1].step if point.history else 0)
        model = Model(self.network, self.corpus.vocabulary, weights)
        return EpochMetrics(
            epoch=epoch,
            step=point.step,
            learning_rate=self._rate(),
            train_loss=point.epoch_loss / steps,
            val_loss=validation,
            previews=write_previews(model, preview_seed(self.corpus, options.rng_seed, epoch), options),
        )
