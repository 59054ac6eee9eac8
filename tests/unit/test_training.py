"""Training: it learns, it repeats itself exactly, and it goes on from any checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.corpus import Corpus, Streams, choose_streams
from charrnn.errors import CharrnnError, InputError
from charrnn.evaluation import held_out_nats
from charrnn.network import initial_weights
from charrnn.options import MIN_STREAMS, UNROLL, NetworkOptions, TrainingOptions
from charrnn.text import choose_held_out
from charrnn.training import Checkpoint, Progress, Trainer, learning_rate
from tests.fix_model import make_text

NETWORK = NetworkOptions(units=16)
TEXT = make_text(120)
CORPUS = Corpus.of(TEXT, choose_held_out(TEXT))


def trainer(rng_seed: int = 4, epochs: int = 2) -> Trainer:
    return Trainer(CORPUS, NETWORK, TrainingOptions(epochs=epochs, rng_seed=rng_seed))


def stop_at(step: int, trainer: Trainer) -> Trainer:
    trainer.run(lambda progress: progress.step == step)
    return trainer


def assert_equal(first: Trainer, second: Trainer) -> None:
    for group in ("weights", "means", "squares"):
        one, other = getattr(first.checkpoint, group), getattr(second.checkpoint, group)
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], err_msg=f"{group}/{name}")
    assert first.checkpoint.history == second.checkpoint.history


def test_a_training_resumed_from_any_checkpoint_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = trainer()
    whole.run()
    steps = whole.streams.epoch_steps
    for step in (1, steps - 1, steps, steps + 2):
        stop_at(step, trainer()).checkpoint.save(tmp_path / "checkpoint")
        resumed = trainer()
        resumed.checkpoint = Checkpoint.load(tmp_path / "checkpoint")
        resumed.run()
        assert_equal(resumed, whole)  # Catches: state or epoch_nats left out of the checkpoint


def test_another_rng_seed_gives_other_weights() -> None:
    first, second = stop_at(1, trainer(rng_seed=1)), stop_at(1, trainer(rng_seed=2))
    assert not np.array_equal(first.checkpoint.weights["dense.kernel"], second.checkpoint.weights["dense.kernel"])


def test_dropout_masks_depend_on_the_rng_seed() -> None:
    first, second = trainer(rng_seed=1), trainer(rng_seed=2)
    second.checkpoint.weights = first.checkpoint.weights
    losses = [stop_at(1, one).checkpoint.epoch_nats for one in (first, second)]
    assert losses[0] != losses[1]  # Catches: masks from the step alone


def test_streams_start_an_epoch_without_a_memory() -> None:
    one = trainer()
    stop_at(one.streams.epoch_steps - 1, one)
    assert np.abs(one.checkpoint.state[0][0]).max() > 0
    stop_at(one.streams.epoch_steps, one)
    # Catches: the state carried from the end of the text to its start
    assert all(not np.any(array) for layer in one.checkpoint.state for array in layer)


def test_training_learns_what_the_text_has_to_teach(text_file: Path) -> None:
    seen: list[Progress] = []
    model = charrnn.train(text_file, epochs=4, units=48, rng_seed=1, on_progress=seen.append)
    uniform = math.log(len(model.vocabulary))
    assert model.metrics["held_out_nats"] < 0.35 * uniform
    assert [progress.step for progress in seen] == list(range(1, seen[-1].steps + 1))
    assert seen[-1].held_out_nats == model.metrics["held_out_nats"]
    assert [epoch["epoch"] for epoch in model.metrics["history"]] == [1, 2, 3, 4]


def test_held_out_text_is_not_trained_on() -> None:
    held_out = choose_held_out(TEXT)
    decoded = CORPUS.vocabulary.decode(CORPUS.training)
    assert held_out not in decoded  # Catches: Corpus.of without `without`
    assert CORPUS.vocabulary.decode(CORPUS.held_out) == held_out
    grown = Corpus.of("something new comes first.\n" * 9 + TEXT + "and last.\n" * 9, held_out)
    assert held_out not in grown.vocabulary.decode(grown.training)


def test_streams_read_every_character_once_an_epoch_but_for_the_rest() -> None:
    ids = np.arange(1000, dtype=np.uint16)
    streams = Streams(ids, streams=3, unroll=7)
    targets = np.concatenate([streams.batch(step)[1].ravel() for step in range(streams.epoch_steps)])
    assert len(targets) == len(set(targets)) == 3 * 7 * (999 // 21)


def test_a_stream_goes_on_where_its_last_step_ended() -> None:
    streams = Streams(np.arange(1000, dtype=np.uint16), streams=3, unroll=7)
    for step in range(streams.epoch_steps - 1):
        np.testing.assert_array_equal(streams.batch(step)[1][-1], streams.batch(step + 1)[0][0])


def test_the_smallest_text_trains_and_a_smaller_one_is_refused() -> None:
    needed = MIN_STREAMS * UNROLL + 1
    text = (TEXT * 2)[:needed]
    Corpus.of(text, "no such text")
    with pytest.raises(InputError, match=f"has {needed - 1} characters, fewer than one batch"):
        Corpus.of(text[:-1], "no such text")


def test_larger_texts_get_more_streams() -> None:
    chosen = [choose_streams(characters, UNROLL) for characters in (600, 100_000, 1_000_000, 10**9)]
    assert chosen == [8, 8, 32, 64]


def test_the_learning_rate_rises_then_falls() -> None:
    rates = [learning_rate(step, 1000, 512) for step in range(1000)]
    peak = int(np.argmax(rates))
    assert 0 < peak < 100
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_a_loss_that_is_not_finite_ends_the_training_with_that_reason() -> None:
    broken = trainer()
    broken.checkpoint.weights["dense.bias"] = broken.checkpoint.weights["dense.bias"] * np.float32("nan")
    with pytest.raises(CharrnnError, match="The loss became nan at step 0"):
        broken.run()


def test_held_out_nats_of_a_model_that_knows_nothing_are_uniform() -> None:
    weights = {name: 0 * value for name, value in initial_weights(NETWORK, 10, 1).items()}
    for length in (2, 70, 5000):  # one stretch, a ragged end, many stretches
        ids = np.arange(length, dtype=np.uint16) % 10
        # Catches: padding counted as text
        assert held_out_nats(NETWORK, weights, ids) == pytest.approx(math.log(10), rel=1e-5)
