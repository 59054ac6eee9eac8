"""Trainings whose process is killed on the way, and what must come out."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

from tests.fix_processes import Home, until

METHODS = {
    "stream": ("--epochs", "16", "--patience", "16"),
    "window": ("--preset", "notebook", "--epochs", "6", "--batch", "64"),
}
SLICES = {"CHARRNN_HEARTBEAT_S": "0.05", "CHARRNN_MAINTAIN_S": "1", "CHARRNN_SLICE_S": "0.5"}


def _arguments(text: Path, method: str) -> tuple[str, ...]:
    # Trainings of a few seconds: several slices, and several epochs with their previews.
    return (str(text), *METHODS[method], "--units", "32", "--rng-seed", "2")


def train_calmly(home: Home, text: Path, method: str, model: str) -> None:
    """Nothing is done to it from here."""
    home.ok("train", model, *_arguments(text, method), "--wait")


def _has_checkpoint(part: dict[str, Any]) -> bool:
    return part["checkpoint"] not in (None, "null")


def train_and_kill(home: Home, text: Path, method: str, share: float, *, after_checkpoint: bool = False) -> None:
    """Kill the process when that share of the steps is done; the weights must be those of `calm`."""
    job = home.ok("train", "killed", *_arguments(text, method)).strip()
    before = until(lambda: _reached(home, job, share, after_checkpoint), f"progress to {share:.0%}")
    killed = home.pid_of(before["owner"])
    os.kill(killed, signal.SIGKILL)
    home.ok("wait", job, "--timeout", "100s")
    after = home.part(job)
    assert after["token"] > before["token"]  # a second lease ...
    assert home.pid_of(after["owner"]) != killed  # ... of a second process
    if _has_checkpoint(before):  # Catches: a training that begins anew, to the same end
        assert re.search(rf"job {job}: goes on from step \d+", home.log())
    assert home.weights("killed") == home.weights("calm")


def _reached(home: Home, job: str, share: float, after_checkpoint: bool) -> dict[str, Any] | None:
    part = home.part_in_work(job)
    if not part or (after_checkpoint and not _has_checkpoint(part)):
        return None
    progress = json.loads(part["progress"])
    return part if progress["step"] >= share * progress["steps"] else None
