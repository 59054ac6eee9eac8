"""Small models, and a text of our own to train them on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from charrnn.model import Model
from charrnn.network import initial_weights
from charrnn.options import NetworkOptions
from charrnn.vocabulary import Vocabulary

SUBJECTS = ("the old sailor", "a small lamp", "our neighbour", "the north wind", "every child")
VERBS = ("carries", "remembers", "follows", "paints", "forgets")
OBJECTS = ("the river", "a letter", "seven stones", "the evening", "an open door")


def make_text(sentences: int, rng_seed: int = 0) -> str:
    """Sentences of a tiny grammar, one a line."""
    rng = random.Random(rng_seed)
    return "".join(f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)}.\n" for _ in range(sentences))


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """About 32,000 characters."""
    path = tmp_path / "text.txt"
    path.write_text(make_text(800))
    return path


def random_model(network: NetworkOptions) -> Model:
    """Random weights: every character is likely, so that sampling has much to decide."""
    vocabulary = Vocabulary.of(make_text(100))
    weights = {name: 3 * value for name, value in initial_weights(network, len(vocabulary), 7).items()}
    return Model(network, vocabulary, weights)


@pytest.fixture(scope="session")
def untrained_model() -> Model:
    return random_model(NetworkOptions(units=24))


@pytest.fixture(scope="session", params=["lstm", "gru", "window"])
def each_model(request: pytest.FixtureRequest, untrained_model: Model) -> Model:
    """A model of each kind."""
    others = {"gru": NetworkOptions(cell="gru", units=24), "window": NetworkOptions(units=24, max_len=5)}
    return random_model(others[request.param]) if request.param in others else untrained_model
