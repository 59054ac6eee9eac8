"""Crash points, which do nothing unless they are enabled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.jobs.faults import VARIABLE, crash_point

CODE = "from charrnn.jobs.faults import crash_point; crash_point('written', 3); print('lives')"


def run(monkeypatch: pytest.MonkeyPatch, wanted: str) -> int:
    monkeypatch.setenv(VARIABLE, wanted)
    return subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=False).returncode


def test_crash_points_are_off_by_default() -> None:
    crash_point("written", 3)


@pytest.mark.parametrize(("wanted", "code"), [
    ("written:kill", -9),
    ("written/3:kill", -9),
    ("written/4:kill", 0),
    ("claimed:kill", 0),
])  # fmt: skip
def test_a_process_at_a_crash_point_is_killed(monkeypatch: pytest.MonkeyPatch, wanted: str, code: int) -> None:
    # Catches: a crash point that does not distinguish parts
    assert run(monkeypatch, wanted) == code


def test_a_crash_file_limits_crashes_to_one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Catches: a replacement that dies too
    wanted = f"written:kill:{tmp_path / 'crashed'}"
    assert [run(monkeypatch, wanted) for _ in range(2)] == [-9, 0]
