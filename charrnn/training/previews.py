"""Preview texts, sampled after each epoch to show how training proceeds."""

from __future__ import annotations

import numpy as np

from charrnn.model import Model
from charrnn.options import TrainingOptions
from charrnn.text.corpus import Corpus
from charrnn.text.openings import line_opening
from charrnn.text.vocabulary import NEW_LINE
from charrnn.training.progress import Preview

SEED = 24  # characters of the validation text
LENGTH = 160  # characters
PLACES = 8  # random places to choose a seed from


def preview_seed(corpus: Corpus, rng_seed: int, epoch: int) -> str:
    """Return the seed of an epoch: among PLACES random snippets of the validation text, the one with the most letters.

    This avoids snippets such as the rule of a table. In a list, it is the beginning of a random line.
    """
    validation, rng = corpus.validation, np.random.default_rng([rng_seed, epoch])
    if corpus.reset is not None:
        line = rng.choice(np.flatnonzero(validation[:-1] == corpus.reset))
        text = corpus.vocabulary.decode(validation[line + 1 : line + 1 + 2 * SEED])
        return line_opening(text.partition(NEW_LINE)[0], SEED)
    starts = rng.integers(max(1, len(validation) - SEED), size=PLACES)
    seeds = [corpus.vocabulary.decode(validation[start : start + SEED]) for start in starts]
    return max(seeds, key=lambda seed: sum(map(str.isalpha, seed)))


def write_previews(model: Model, seed: str, options: TrainingOptions) -> tuple[Preview, ...]:
    """Return one preview at each of `options.preview_temperatures`, all from one seed."""
    samples = model.sample([seed], temperature=options.preview_temperatures, length=LENGTH, rng_seed=options.rng_seed)
    return tuple(Preview(temperature=s.temperature, seed=s.seed, text=s.text) for s in samples)
