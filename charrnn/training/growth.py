"""The weights of a model whose vocabulary grows before it is fine-tuned."""

from __future__ import annotations

import numpy as np

from charrnn.model import Model
from charrnn.network.network import initial_weights
from charrnn.text.vocabulary import Vocabulary


def grow_weights(start: Model, vocabulary: Vocabulary, rng_seed: int) -> dict[str, np.ndarray]:
    """Return a model's weights for a larger vocabulary. Those of the characters that it knows are unchanged.

    A new character gets initial weights and the lowest bias of all, so that the model still predicts its own text as
    well as before: with a bias of 0, it would expect the new characters everywhere until it has learned not to.

    Args:
        start: the model.
        vocabulary: V characters, those of the model among them.
        rng_seed: random seed of the new weights.

    Returns:
        float32 arrays, by name.

    Raises:
        InputError: a character of the model is not in the vocabulary.
    """
    places = vocabulary.encode(start.vocabulary.characters)
    weights = initial_weights(start.network, len(vocabulary), rng_seed)
    weights["dense.bias"][:] = np.min(start.weights["dense.bias"])
    for name, value in start.weights.items():
        if name == f"{start.network.cell}_0.kernel":
            weights[name][places] = value
        elif name.startswith("dense."):
            weights[name][..., places] = value
        else:
            weights[name] = np.asarray(value)
    return weights
