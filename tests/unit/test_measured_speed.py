"""Which parts tell how quickly a device samples a model, and what they tell."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from worker.parts.generation import _speed


def speed(**facts: Any) -> tuple[str, float] | None:
    """Of a part that filled 256 slots for two seconds, but for what is given."""
    filled = {"seconds": {"sampling": 1.5, "writing": 0.5}, "batch": 256, "steps": 100, "slot_steps": 25_600}
    heartbeat: Any = SimpleNamespace(device="cpu")
    return _speed(heartbeat, {**filled, "characters": 20_000, **facts})


def test_characters_of_seeds_count_as_those_of_texts() -> None:
    assert speed() == ("cpu", pytest.approx(12_800))
    assert speed(characters=10) == speed()  # Catches: a long seed that makes the next estimate days


@pytest.mark.parametrize(
    "facts",
    [
        {"batch": 1, "steps": 25_600},
        {"seconds": {"sampling": 0.5, "writing": 0.4}},
        {"slot_steps": 2_000},
    ],
    ids=["a single text", "a moment", "an empty batch"],
)
def test_parts_that_tell_nothing(facts: dict[str, Any]) -> None:
    assert speed(**facts) is None
