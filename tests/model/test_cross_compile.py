"""The programs that XLA compiles for GPUs, without one: their kernels and launches, not their time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / ".cache" / "xla"  # `make test-all` installs it there: 132 MB that nothing else needs
PROGRAM = ROOT / "tests" / "programs" / "cross_compile.py"
MOST_KERNELS = 20  # of a step of sampling
ON_THE_DEVICE = {"kCopy", "kDynamicSliceFusion"}

pytestmark = pytest.mark.slow("test_both_backends_write_the_same_texts_in_float32")
each_card = pytest.mark.parametrize("card", ["H200", "A10"])
each_backend = pytest.mark.parametrize("backend", ["jax", "tensorflow"])


def compiled(card: str, work: str, backend: str) -> dict[str, Any]:
    if not PLUGIN.exists():
        assert os.environ.get("CI") != "true", f"{PLUGIN} is missing"
        pytest.skip(f"{PLUGIN} is missing: make .cache/xla/.ready")
    path = os.pathsep.join([str(PLUGIN), str(ROOT)])
    words = [sys.executable, str(PROGRAM), card, work, backend]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    print(card, work, backend, found)  # noqa: T201
    return found


@each_card
@each_backend
@pytest.mark.parametrize(("work", "most"), [("sampling", MOST_KERNELS), ("limits", MOST_KERNELS + 10)])
def test_the_steps_of_a_call_are_one_loop_that_launches_one_graph(
    card: str, backend: str, work: str, most: int
) -> None:
    found = compiled(card, work, backend)
    assert found["trip_counts"] == [64]  # Catches: steps that are unrolled, a condition that the host waits for
    (loop,) = found["loops"]
    assert loop["graphs"] == 1  # Catches: a step of many launches
    assert loop["kernels"] <= most
    assert set(loop["kinds"]) <= ON_THE_DEVICE  # Catches: a copy to the host in each step
    # Catches: random numbers that the host makes, and those of a call that are made at once instead of in each step
    assert {shape for shape in found["words"] if shape.startswith("64,")} - {"64,1,8192,2"} == {"64,8192,2"}
    assert "8192" in found["words"]


@each_card
@each_backend
def test_a_training_step_is_four_loops_of_graphs(card: str, backend: str) -> None:
    found = compiled(card, "training", backend)
    assert found["trip_counts"] == [8] * 4  # two layers, forward and backward
    assert [loop["graphs"] for loop in found["loops"]] == [1] * 4
    assert {kind for loop in found["loops"] for kind in loop["kinds"]} <= ON_THE_DEVICE
    assert found["kernels"] <= 250
