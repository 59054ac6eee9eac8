"""Training: it learns, is exactly reproducible, and resumes from any checkpoint."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.errors import InputError, TrainingError
from charrnn.model import Model
from charrnn.network.network import initial_weights
from charrnn.options import NetworkOptions, TrainingOptions
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import Vocabulary
from charrnn.training import trainer as training
from charrnn.training.checkpoint import Checkpoint
from charrnn.training.comparison import common_nats
from charrnn.training.growth import grow_weights
from charrnn.training.optimizers import cosine_rate
from charrnn.training.previews import preview_seed
from charrnn.training.progress import Progress
from charrnn.training.trainer import Trainer
from tests.fixtures.model import make_text

STREAM, WINDOW = NetworkOptions(units=16), NetworkOptions(units=16, max_len=12)
TEXT, VALIDATION = make_text(120), make_text(12, rng_seed=1)
CORPUS = Corpus.of(Vocabulary.of(TEXT), [TEXT], VALIDATION)

each_method = pytest.mark.parametrize("network", [STREAM, WINDOW], ids=["stream", "window"])


def trainer(network: NetworkOptions = STREAM, rng_seed: int = 4, **options: Any) -> Trainer:
    return Trainer(CORPUS, network, TrainingOptions(**{"epochs": 2, **options}, rng_seed=rng_seed))


def stop_at(step: int, trainer: Trainer) -> Trainer:
    trainer.run(lambda progress: progress.step == step)
    return trainer


def assert_equal(first: Trainer, second: Trainer) -> None:
    one, other = first.checkpoint, second.checkpoint
    groups = [(one.weights, other.weights), (one.averages, other.averages), (one.best, other.best)]
    for mine, theirs in [*groups, *zip(one.moments, other.moments, strict=True)]:
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    assert one.history == other.history


@each_method
def test_a_training_resumed_from_any_checkpoint_ends_in_the_same_weights(
    network: NetworkOptions, tmp_path: Path
) -> None:
    whole = trainer(network)
    whole.run()
    steps = whole.batches.epoch_steps
    for step in (1, steps - 1, steps, steps + 2):
        stop_at(step, trainer(network)).checkpoint.save(tmp_path / "checkpoint")
        resumed = trainer(network)
        resumed.checkpoint = Checkpoint.load(tmp_path / "checkpoint")
        resumed.run()
        assert_equal(resumed, whole)  # Catches: state or epoch_loss left out of the checkpoint


def test_a_resumed_training_clips_its_gradients_alike(tmp_path: Path) -> None:
    # Catches: a norm summed in the order of the weights, which differs in a checkpoint
    def small() -> Trainer:
        return Trainer(CORPUS, NetworkOptions(units=24), TrainingOptions(batch=1, unroll=4, rng_seed=4))

    whole, cut = stop_at(200, small()), stop_at(3, small())
    cut.checkpoint.save(tmp_path / "checkpoint")
    resumed = small()
    resumed.checkpoint = Checkpoint.load(tmp_path / "checkpoint")
    assert_equal(stop_at(200, resumed), whole)


def test_another_rng_seed_gives_other_weights() -> None:
    first, second = stop_at(1, trainer(rng_seed=1)), stop_at(1, trainer(rng_seed=2))
    assert not np.array_equal(first.checkpoint.weights["dense.kernel"], second.checkpoint.weights["dense.kernel"])


def test_dropout_masks_depend_on_the_rng_seed() -> None:
    first, second = trainer(rng_seed=1), trainer(rng_seed=2)
    second.checkpoint.weights = first.checkpoint.weights
    losses = [stop_at(1, one).checkpoint.epoch_loss for one in (first, second)]
    assert losses[0] != losses[1]  # Catches: masks that depend on the step alone


def test_streams_start_an_epoch_without_a_memory() -> None:
    one = trainer()
    stop_at(one.batches.epoch_steps - 1, one)
    assert np.abs(one.checkpoint.state[0][0]).max() > 0
    one.run(lambda progress: progress.val_loss is not None)
    # Catches: the state carried from the end of the text to its start
    assert all(not np.any(array) for layer in one.checkpoint.state for array in layer)


def test_training_learns_what_the_text_has_to_teach(text_file: Path) -> None:
    seen: list[Progress] = []
    model = charrnn.train(text_file, epochs=4, units=48, rng_seed=1, on_progress=seen.append)
    uniform = math.log(len(model.vocabulary))
    assert model.metrics["val_loss"] < 0.35 * uniform
    assert list(dict.fromkeys(progress.step for progress in seen)) == list(range(1, seen[-1].steps + 1))
    losses = [epoch["val_loss"] for epoch in model.metrics["history"]]
    assert [epoch["epoch"] for epoch in model.metrics["history"]] == [1, 2, 3, 4]
    assert seen[-1].val_loss == losses[-1]
    assert model.metrics["val_loss"] == min(losses)


@each_method
def test_patience_ends_a_training_and_the_best_epoch_is_kept(
    network: NetworkOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.0, 1.0])
    kept = []

    def nats(network: NetworkOptions, weights: dict[str, Any], *_: object, **__: object) -> float:
        kept.append(weights)
        return next(losses)

    monkeypatch.setattr(training, "validation_loss", nats)
    one = trainer(network, epochs=9, patience=2)
    one.run()
    assert [metrics.val_loss for metrics in one.checkpoint.history] == [3.0, 2.0, 2.5, 2.0]
    trained = one.trained_model()
    assert (trained.val_loss, trained.model.metrics["epoch"]) == (2.0, 2)
    assert list(trained.history) == one.checkpoint.history
    for name, value in trained.model.weights.items():  # Catches: the last weights instead of the best
        np.testing.assert_array_equal(value, kept[1][name])


def test_a_time_limit_ends_a_training_with_an_evaluation() -> None:
    one = stop_at(1, trainer(epochs=1000, max_minutes=1.0))
    one.checkpoint.seconds = 99.0
    seen: list[Progress] = []

    def watch(progress: Progress) -> bool:
        seen.append(progress)
        return False

    one.run(watch)
    # Catches: remaining time computed as if there were no limit, and fewer steps in total than are done
    assert {progress.steps for progress in seen} == {one.checkpoint.step}
    assert [progress.evaluating for progress in seen] == [True] * (len(seen) - 1) + [False]
    assert len(seen) > 1
    assert one.checkpoint.step < one.batches.epoch_steps
    assert len(one.checkpoint.history) == 1
    # Catches: a schedule that ignores the limit
    assert one.checkpoint.history[0].learning_rate == cosine_rate(one.checkpoint.step, 1.0, STREAM.units)


def test_previews_are_written_after_each_epoch_at_each_temperature() -> None:
    one = trainer(preview_temperatures=(0.0, 1.0))
    one.run()
    for metrics in one.checkpoint.history:
        assert [preview.temperature for preview in metrics.previews] == [0.0, 1.0]
        for preview in metrics.previews:
            assert preview.seed in VALIDATION
            assert len(preview.text) == 160


def test_a_training_job_can_fine_tune_a_model() -> None:
    first = trainer()
    first.run()
    trained = first.trained_model()
    again = Trainer(CORPUS, STREAM, TrainingOptions(epochs=1, rng_seed=5), trained.model)
    assert again.checkpoint.weights["dense.kernel"] is trained.model.weights["dense.kernel"]
    again.run()
    assert again.trained_model().val_loss < trained.val_loss


def test_fine_tuning_keeps_network_and_vocabulary(text_file: Path) -> None:
    start = Model(STREAM, CORPUS.vocabulary, initial_weights(STREAM, len(CORPUS.vocabulary), 1))
    model = charrnn.train(text_file, start=start, epochs=1)
    assert (model.network, model.vocabulary.characters) == (STREAM, CORPUS.vocabulary.characters)
    with pytest.raises(InputError, match="keeps its network"):
        charrnn.train(text_file, start=start, units=8)
    text_file.write_text("é" + text_file.read_text())
    with pytest.raises(InputError, match="1 character outside the vocabulary of the model: 'é'"):
        charrnn.train(text_file, start=start, unknown="error")
    with pytest.raises(InputError, match="unknown must be one of"):
        charrnn.train(text_file, start=start, unknown="ignore")


@each_method
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_larger_vocabulary_changes_no_weight_of_a_known_character(network: NetworkOptions, cell: str) -> None:
    network = replace(network, cell=cell)
    size = len(CORPUS.vocabulary)
    biases = {"dense.bias": np.linspace(-3, 2, size, dtype=np.float32)}
    start = Model(network, CORPUS.vocabulary, initial_weights(network, size, 1) | biases)
    larger = Vocabulary.of(CORPUS.vocabulary.characters + "!é😀")  # before, between and behind the known ones
    grown = Model(network, larger, grow_weights(start, larger, 2))
    known = grown.vocabulary.encode(start.vocabulary.characters)
    np.testing.assert_array_equal(grown.weights[f"{cell}_0.kernel"][known], start.weights[f"{cell}_0.kernel"])
    np.testing.assert_array_equal(grown.weights["dense.kernel"][:, known], start.weights["dense.kernel"])
    # Catches: characters that are expected everywhere before the first step, and weights in another order
    before, after, _ = common_nats(start, grown, VALIDATION)
    assert before < after < before + 0.05
    with pytest.raises(InputError, match="outside the vocabulary"):
        grow_weights(start, Vocabulary("ab"), 2)


def test_fine_tuning_learns_new_characters(text_file: Path) -> None:
    start = charrnn.train(text_file, epochs=2, units=16)
    text_file.write_text("".join(f"«{line}»\n" for line in text_file.read_text().splitlines()))
    model = charrnn.train(text_file, start=start, epochs=3)
    assert set(model.vocabulary.characters) == set(text_file.read_text())
    assert any("»" in text.text for text in model.sample(["«"] * 20, length=100))
    dropped = charrnn.train(text_file, start=start, epochs=1, unknown="drop")
    assert dropped.vocabulary.characters == start.vocabulary.characters


def test_chosen_files_are_validation(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(make_text(300))
    (tmp_path / "b.txt").write_text(make_text(50, rng_seed=2))
    chosen = charrnn.train(tmp_path, validation=tmp_path / "b.txt", epochs=1, units=8)
    without = charrnn.train(tmp_path / "a.txt", validation=tmp_path / "b.txt", epochs=1, units=8)
    assert chosen.metrics == without.metrics


def test_an_unknown_option_is_refused(text_file: Path) -> None:
    with pytest.raises(InputError, match="A training has no option speed"):
        charrnn.train(text_file, speed=11)


def test_a_loss_that_is_not_finite_ends_the_training_with_that_reason() -> None:
    broken = trainer()
    broken.checkpoint.weights["dense.bias"] = broken.checkpoint.weights["dense.bias"] * np.float32("nan")
    with pytest.raises(TrainingError, match="The training loss became nan at step 0"):
        broken.run()


@each_method
def test_an_evaluation_that_was_interrupted_is_done_again(network: NetworkOptions, tmp_path: Path) -> None:
    # Catches: an epoch that is never evaluated when the training job is drained during its evaluation
    whole, cut = trainer(network, epochs=1), trainer(network, epochs=1)
    whole.run()
    calls = []

    def interrupt(progress: Progress) -> bool:
        calls.append(progress.step)
        if calls.count(whole.batches.epoch_steps) == 2:  # once after the step, then within the evaluation
            raise InterruptedError
        return False

    with pytest.raises(InterruptedError):
        cut.run(interrupt)
    assert not cut.checkpoint.history
    cut.checkpoint.save(tmp_path / "checkpoint")
    resumed = trainer(network, epochs=1)
    resumed.checkpoint = Checkpoint.load(tmp_path / "checkpoint")
    resumed.run()
    assert_equal(whole, resumed)


def test_a_validation_loss_that_is_not_finite_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "validation_loss", lambda *_, **__: math.nan)
    with pytest.raises(TrainingError, match="The validation loss became nan"):
        trainer().run()


def test_fine_tuning_uses_a_lower_learning_rate() -> None:
    first = trainer()
    start = Model(STREAM, CORPUS.vocabulary, first.checkpoint.weights)
    again = Trainer(CORPUS, STREAM, TrainingOptions(), start)
    assert stop_at(1, again) is again
    moved = [
        float(np.abs(np.asarray(one.checkpoint.weights["dense.bias"])).max()) for one in (stop_at(1, trainer()), again)
    ]
    assert moved[1] == pytest.approx(training.FINE_TUNING_SHARE * moved[0], rel=0.02)


def test_windows_are_shuffled_by_the_rng_seed() -> None:
    one, other = trainer(WINDOW, rng_seed=1), trainer(WINDOW, rng_seed=2)
    assert not np.array_equal(one.batches.read(0)[0], other.batches.read(0)[0])


def test_gradients_are_clipped() -> None:
    calm, wild = trainer(epochs=1), trainer(epochs=1)
    kernel = "dense.kernel"
    wild.checkpoint.weights = {**wild.checkpoint.weights, kernel: wild.checkpoint.weights[kernel] * 100}
    for one in (calm, wild):
        stop_at(1, one)
    norms = [
        math.sqrt(sum(float(np.sum(np.square(mean))) for mean in one.checkpoint.moments[0].values())) / 0.1
        for one in (calm, wild)
    ]
    assert norms[1] == pytest.approx(1.0, rel=1e-3)
    assert norms[0] < 1.0


def test_previews_of_a_list_begin_lines() -> None:
    lines = sorted({line for line in VALIDATION.splitlines() if line})
    validation = "\n" + "\n".join(lines)
    corpus = Corpus.of(Vocabulary.of(TEXT), [f"\n{TEXT.strip()}"], validation, lines=True)
    seeds = [preview_seed(corpus, 1, epoch) for epoch in range(30)]
    assert len(set(seeds)) > 1
    assert all(seed and any(line.startswith(seed) and line != seed for line in lines) for seed in seeds)


def test_a_list_is_learned_line_by_line() -> None:
    corpus = Corpus.of(Vocabulary.of(TEXT), [f"\n{TEXT.strip()}"], f"\n{VALIDATION.strip()}", lines=True)
    one = Trainer(corpus, NetworkOptions(units=16, lines=True), TrainingOptions(epochs=2, batch=4, unroll=16))
    one.run()
    first, last = (metrics.val_loss for metrics in one.checkpoint.history)
    assert last < first < math.log(len(corpus.vocabulary))
