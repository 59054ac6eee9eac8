"""Openings of random places of a model's texts, as seeds."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.checks import check_integer
from charrnn.errors import InputError
from charrnn.jobs.connections import Connections
from charrnn.jobs.job.specs import TrainSpec
from charrnn.jobs.store import registry
from charrnn.text.documents import Document
from charrnn.text.openings import draw_openings

MAX_RANDOM_SEEDS = 1_000_000


def training_openings(connections: Connections, model: str, count: int, rng_seed: int) -> Iterator[str]:
    """Return openings of so many places, drawn by `rng_seed`, of the text that a version was trained on.

    Raises:
        InputError: not 1 to 1,000,000 of them, or a version whose text is not here.
        NotFoundError: no such model.
    """
    check_integer("random-seeds", count, 1, MAX_RANDOM_SEEDS)
    with connections.store.read() as connection:
        version = registry.resolve(connection, model)
    if version.job is None:
        raise InputError(f"{model} was imported without its training text, so random seeds cannot be drawn. Pass seeds")
    spec = TrainSpec.from_dict(connections.store.job(version.job).stored_spec)
    return draw_openings(Document(connections.files.verified_path(spec.corpus)), count, rng_seed)


def validation_openings(connections: Connections, model: str, count: int, rng_seed: int) -> Iterator[str]:
    """Return openings of so many places, drawn by `rng_seed`, of the text that a model is measured on.

    Raises:
        InputError: not 1 to 1,000,000 of them, or a model without such a text.
        NotFoundError: no such model.
    """
    check_integer("samples", count, 1, MAX_RANDOM_SEEDS)
    with connections.store.read() as connection:
        version = registry.resolve(connection, model)
        validation = registry.validation(connection, version.model)
    if validation is None:
        raise InputError(f"{version.model} has no validation text")
    return draw_openings(Document(connections.files.verified_path(validation)), count, rng_seed)
