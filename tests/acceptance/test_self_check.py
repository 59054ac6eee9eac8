"""A worker whose backend computes a row differently in another slot says so wherever its texts are shown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.processes import Home, make_home, until

BROKEN = Path(__file__).parents[1] / "data" / "broken_backend"
FAILED = "failed (cpu, float32, 16 slots): texts may depend on the slot in which they are sampled"


def submit(home: Home) -> tuple[str, str]:
    """Return the job of 16 texts, and what was said at its end."""
    done = home.call("submit", "-m", "tiny", "-n", "16", "-l", "20", "--precision", "float32", "--wait")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def self_checks(home: Home) -> list[tuple[str, str]]:
    """Return the outcome and the result of each worker process's self-check, as doctor shows them."""
    checks = json.loads(home.call("doctor", "--json").stdout)
    found = [(check["ok"], check["detail"].partition("self-check ")) for check in checks]
    return [("ok" if ok else "warning", result) for ok, (_, between, result) in found if between]


@pytest.fixture
def broken(untrained: str) -> Iterator[Home]:
    """A stack whose worker multiplies matrices differently in each slot."""
    path = ":".join([str(BROKEN), *filter(None, [os.environ.get("PYTHONPATH")])])
    for home in make_home(CHARRNN_HEARTBEAT_S="0.5", PYTHONPATH=path):
        with home.up():
            home.ok("models", "import", untrained)
            yield home


def test_a_backend_on_whose_slots_texts_depend_is_named(broken: Home, tmp_path: Path) -> None:
    assert self_checks(broken) == [("ok", "not run yet")]
    job, said = submit(broken)
    # Catches: a result that stays in the worker
    assert broken.json("status", job)["report"]["self_check"] == FAILED
    assert "self-check failed (see status)" in said
    assert FAILED in " ".join(broken.ok("status", job).split())
    until(lambda: self_checks(broken) == [("warning", FAILED)], "the self-check in doctor")
    assert broken.log().count(f"self-check {FAILED}") == 1
    report = tmp_path / "report.html"
    broken.ok("report", job, "-o", str(report))
    assert f"Self-check {FAILED}." in report.read_text()


def test_a_sound_worker_passes(stack: Home) -> None:
    job, said = submit(stack)
    assert (stack.json("status", job)["report"]["self_check"], "self-check" in said) == ("passed", False)
    until(lambda: ("ok", "passed") in self_checks(stack), "the self-check in doctor")
