"""Losses of two models on one text, although each knows other characters."""

from __future__ import annotations

from collections.abc import Callable

from charrnn.model import Model
from charrnn.text.corpus import Encoder
from charrnn.text.validation import JOINT, PIECE_END
from charrnn.training.evaluation import validation_loss


def common_nats(
    first: Model, second: Model, validation: str, after_block: Callable[[], object] = lambda: None
) -> tuple[float, float, int]:
    """Return the nats per character of each, on the characters that both know, and how many others are left out.

    Args:
        validation: as `charrnn.text.validation` makes it.
        after_block: as `val_loss` has it.
    """
    text = validation.replace(PIECE_END, JOINT)
    common = {*first.vocabulary.characters} & {*second.vocabulary.characters}
    known = "".join(filter(common.__contains__, text))
    if len(known) < 2:  # nothing to predict: neither is better
        return 0.0, 0.0, len(text)
    nats = [
        validation_loss(model.network, model.weights, Encoder(model.vocabulary)(known)[0], after_block)
        for model in (first, second)
    ]
    return nats[0], nats[1], len(text) - len(known)
