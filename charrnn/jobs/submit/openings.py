"""Draw openings, which are short passages from random places in a model's texts, to use as seeds."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.checks import check_integer
from charrnn.errors import InputError
from charrnn.jobs.connections import Connections
from charrnn.jobs.store import registry
from charrnn.options import MAX_RNG_SEED
from charrnn.text.documents import Document
from charrnn.text.openings import draw_openings

MAX_RANDOM_SEEDS = 1_000_000


def training_openings(connections: Connections, model: str, count: int, rng_seed: int) -> Iterator[str]:
    """Return `count` openings from the text that a version was trained on, at places drawn with `rng_seed`.

    Raises:
        InputError: `count` is not 1 to 1,000,000, or the version was imported without its training text.
        NotFoundError: the model does not exist.
    """
    check_integer("random_seeds", count, 1, MAX_RANDOM_SEEDS)
    with connections.store.read() as connection:
        version = registry.resolve(connection, model)
        spec = registry.training_of(connection, version.model, version.version)
    if spec is None:
        raise InputError(
            f"{model} was imported without its training text, so random seeds cannot be drawn. Use a seeds file"
        )
    text = Document(connections.files.verified_path(spec.corpus))
    return draw_openings(text, count, rng_seed, lines=spec.network.lines)


def validation_openings(connections: Connections, model: str, count: int, rng_seed: int) -> Iterator[str]:
    """Return `count` openings from a model's validation text, at places drawn with `rng_seed`.

    Raises:
        InputError: `count` is not 1 to 1,000,000, or the model has no validation text.
        NotFoundError: the model does not exist.
    """
    check_integer("samples", count, 1, MAX_RANDOM_SEEDS)
    check_integer("rng_seed", rng_seed, 0, MAX_RNG_SEED)
    with connections.store.read() as connection:
        version = registry.resolve(connection, model)
        validation = registry.validation(connection, version.model)
    if validation is None:
        raise InputError(f"{version.model} has no validation text to draw openings from")
    text = Document(connections.files.verified_path(validation))
    return draw_openings(text, count, rng_seed, lines=version.network.lines)
