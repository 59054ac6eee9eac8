"""Versions are numbered by model, and only a better one becomes champion."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charrnn.errors import NotFoundError
from charrnn.jobs import registry
from charrnn.jobs.store import Store
from tests.fix_store import NO_FILE, AddJob


def new_version(held_out_nats: float, model: str = "speeches") -> registry.NewVersion:
    return registry.NewVersion(
        model=model,
        files=NO_FILE,
        characters="ab",
        network={"units": 1},
        held_out_nats=held_out_nats,
        precision="float32",
    )


def add_version(store: Store, job: int, held_out_nats: float, model: str = "speeches") -> int:
    with store.write() as connection:
        registry.freeze_held_out(connection, model, NO_FILE)
        return registry.add_version(connection, job, new_version(held_out_nats, model))


def test_a_better_version_becomes_champion_and_a_worse_one_stays_candidate(store: Store, add_job: AddJob) -> None:
    job = add_job(train=True)
    assert [add_version(store, job, nats) for nats in (1.5, 1.6, 1.4)] == [1, 2, 3]
    # Catches: champion moved whatever the loss is
    assert [version["aliases"] for version in registry.all_versions(store)] == [[], ["candidate"], ["champion"]]
    assert registry.resolve(store, "speeches").version == 3
    assert registry.resolve(store, "speeches@candidate").version == 2
    assert registry.resolve(store, "speeches@1").version == 1


def test_an_unknown_model_names_the_nearest(store: Store, add_job: AddJob) -> None:
    add_version(store, add_job(train=True), 1.0)
    with pytest.raises(NotFoundError, match="Did you mean speeches"):
        registry.resolve(store, "speaches")
    with pytest.raises(NotFoundError, match="no such version"):
        registry.resolve(store, "speeches@9")


def test_without_any_model_the_error_says_how_to_train_one(store: Store) -> None:
    with pytest.raises(NotFoundError, match="charrnn-jobs train NAME PATH"):
        registry.resolve(store, "speeches")


def test_held_out_text_is_frozen_at_the_first_training(store: Store, add_job: AddJob) -> None:
    other = replace(NO_FILE, name="other")
    job = add_job(train=True)
    with store.write() as connection:
        assert registry.freeze_held_out(connection, "speeches", NO_FILE) == NO_FILE
        assert registry.freeze_held_out(connection, "speeches", other) == NO_FILE
    store.cancel(job)
    with store.write() as connection:  # Catches: a name tied for ever to the text of a training that was cancelled
        assert registry.freeze_held_out(connection, "speeches", other) == other
        registry.add_version(connection, job, new_version(1.0))
        assert registry.freeze_held_out(connection, "speeches", NO_FILE) == other
