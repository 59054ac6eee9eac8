"""Checkpoints and model folders of every release are read: see tests/data/golden."""

from __future__ import annotations

import pytest

from charrnn.model import load
from charrnn.options import NetworkOptions, TrainingOptions
from charrnn.text.corpus import Corpus
from charrnn.training.checkpoint import Checkpoint
from charrnn.training.trainer import Trainer
from tests.data.golden import FOLDER, VERSIONS

TEXT = "to be or not to be\n" * 20


@pytest.mark.parametrize("version", VERSIONS)
def test_a_model_and_a_checkpoint_of_any_release_are_read(version: int) -> None:
    # Catches: a file format that changed without a way to read the one before
    model = load(FOLDER / str(version) / "model")
    (sample,) = model.sample("to be", length=8, temperature=0.0)
    assert len(sample.text) == 8
    corpus = Corpus.of(model.vocabulary, [TEXT], TEXT[:100])
    trainer = Trainer(corpus, NetworkOptions(layers=1, units=2), TrainingOptions(epochs=2, batch=8, unroll=8))
    trainer.checkpoint = Checkpoint.load(FOLDER / str(version) / "checkpoint.safetensors")
    assert trainer.checkpoint.step == 6
    trainer.run()
    assert trainer.finished
    assert len(trainer.checkpoint.history) == 2
