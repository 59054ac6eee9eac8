"""Training jobs killed at random points and while they write: always the same weights. `make faults` runs this."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fixtures.kills import METHODS, SLICES, train_and_kill, train_calmly
from tests.fixtures.processes import Home
from tests.fixtures.records import Record, records

KILLS = 10


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", METHODS)
def test_a_training_killed_at_any_point_ends_in_the_same_weights(
    home: Home, text_file: Path, method: str, request: pytest.FixtureRequest
) -> None:
    # Catches: moments of the optimizer that are not in the checkpoint
    seed = request.config.getoption("--soak-seed") or random.SystemRandom().randrange(1_000_000)
    print(f"--soak-seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    shares = sorted(chance.uniform(0.0, 0.8) for _ in range(KILLS))
    home.settings = SLICES
    with home.up():
        train_calmly(home, text_file, method, "calm")
        for share in shares:
            train_and_kill(home, text_file, method, share)
    what = f"a training job ({method}) is killed at random points: equal weights"
    records.append(Record("F15", what, "sqlite", numbers={"kills": KILLS}))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("point", "what"), [
    ("arriving", "while it writes a checkpoint"),
    ("checkpoint/2", "between a checkpoint and its commit"),  # Catches: one file name for all checkpoints
])  # fmt: skip
def test_a_training_killed_at_its_checkpoint_ends_in_the_same_weights(
    home: Home, text_file: Path, tmp_path: Path, point: str, what: str
) -> None:
    # Catches: checkpoints left behind by a training job that has ended
    home.settings = SLICES
    with home.up():
        train_calmly(home, text_file, "stream", "calm")
    home.settings = {**SLICES, "CHARRNN_CRASH_AT": f"{point}:kill:{tmp_path / 'crashed'}"}
    with home.up():
        home.settings = SLICES  # for the submit command, which writes files too
        train_calmly(home, text_file, "stream", "killed")
    assert (tmp_path / "crashed").exists()
    assert home.weights("killed") == home.weights("calm")
    assert not list(home.path.glob("files/jobs/*/[!.]*"))  # Catches: orphans of a killed attempt
    records.append(Record("F16", f"a training job is killed {what}: equal weights", "sqlite"))
