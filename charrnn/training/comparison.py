"""Comparison of two models on one text, even if their vocabularies differ."""

from __future__ import annotations

from collections.abc import Callable

from charrnn.model import Model
from charrnn.text.corpus import Encoder
from charrnn.text.validation import JOINT, PIECE_END
from charrnn.training.evaluation import validation_loss


def common_nats(
    first: Model, second: Model, validation: str, after_block: Callable[[], object] = lambda: None
) -> tuple[float, float, int]:
    """Return the validation losses of two models on the characters that are in both vocabularies.

    Args:
        first: a model.
        second: the model to compare it with.
        validation: the validation text as `charrnn.text.validation` makes it.
        after_block: called after each block of an evaluation, see `validation_loss`.

    Returns:
        The cross-entropy of each in nats per character, and the number of characters left out. Both losses are 0 if
        fewer than 2 characters remain.
    """
    text = validation.replace(PIECE_END, JOINT)
    common = {*first.vocabulary.characters} & {*second.vocabulary.characters}
    known = "".join(filter(common.__contains__, text))
    if len(known) < 2:  # nothing to predict, so neither is better
        return 0.0, 0.0, len(text)
    nats = [
        validation_loss(
            model.network, model.weights, Encoder(model.vocabulary)(known)[0], after_block, reset=model.reset
        )
        for model in (first, second)
    ]
    return nats[0], nats[1], len(text) - len(known)
