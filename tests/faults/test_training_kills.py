"""Trainings killed at ten points of chance: always the same weights. `make faults` runs this."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fix_kills import METHODS, train_and_kill, train_in_peace
from tests.fix_processes import Home

KILLS = 10


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", METHODS)
def test_a_training_killed_at_any_point_ends_in_the_same_weights(home: Home, text_file: Path, method: str) -> None:
    shares = sorted(random.Random().uniform(0.0, 0.8) for _ in range(KILLS))
    with home.up():
        train_in_peace(home, text_file, method)
        for share in shares:
            train_and_kill(home, text_file, method, share)
