"""What may be left out on the command line: the model, the id of a job, a file of seeds, and a second command."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from charrnn.jobs.programs import BAD_INPUT, JOB_FAILED, NOT_FOUND
from tests.fixtures.model import make_text
from tests.fixtures.processes import TINY, Home


@pytest.fixture(scope="module")
def other_model(stack: Home) -> str:
    """A second model, so that none is the only one."""
    text = stack.path / "other.txt"
    text.write_text(make_text(300, rng_seed=3))
    stack.ok("train", "other", str(text), *TINY, "--wait")
    return "other"


def seeds_of(stack: Home, job: str) -> list[str]:
    return [json.loads(line)["seed"] for line in stack.ok("results", job).splitlines()]


def test_the_model_is_an_argument_and_seeds_are_typed(stack: Home) -> None:
    job = stack.ok("submit", "tiny", "--seed", "the ", "--seed", "a\nb", "-l", "5", "--wait").strip()
    assert seeds_of(stack, job) == ["the ", "a\nb"]
    refused = stack.call("submit", "tiny", "-m", "tiny", "-l", "5")
    assert (refused.returncode, "given twice: tiny and -m tiny" in refused.stderr) == (BAD_INPUT, True)
    for more in (["--seeds", "-"], ["--random-seeds", "3"]):
        refused = stack.call("submit", "tiny", "--seed", "a", *more, stdin="b\n")
        assert (refused.returncode, "--seed cannot be combined" in refused.stderr) == (BAD_INPUT, True)


def test_without_a_model_the_one_of_the_settings_is_sampled(stack: Home, other_model: str) -> None:
    refused = stack.call("submit", "-l", "5")
    assert refused.returncode == BAD_INPUT
    assert "No model given, and there are several: " in refused.stderr
    assert other_model in refused.stderr
    settled = replace(stack, settings={**stack.settings, "CHARRNN_MODEL": other_model})
    assert settled.json("submit", "-l", "5", "--dry-run")["model"] == other_model
    assert settled.json("submit", "-l", "5", "--dry-run", "--random-seeds", "2")["num_seeds"] == 2
    assert settled.json("submit", "tiny", "-l", "5", "--dry-run")["model"] == "tiny"


def test_results_are_written_after_waiting(stack: Home, tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    done = stack.call("submit", "tiny", "--seed", "the ", "-n", "3", "-l", "5", "--wait", "-o", str(path))
    assert done.returncode == 0, done.stderr
    assert f"3 rows, {path.stat().st_size} bytes: {path}" in done.stderr
    with path.open(newline="") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["the "] * 3
    refused = stack.call("submit", "tiny", "-l", "5", "-o", str(path))
    assert (refused.returncode, "--output requires --wait" in refused.stderr) == (BAD_INPUT, True)


def test_commands_without_an_id_mean_the_newest_job_that_fits(stack: Home, tmp_path: Path) -> None:
    job = stack.ok("submit", "tiny", "--seed", "the ", "-l", "5", "--wait").strip()
    stack.ok("train", "unwanted", str(stack.path / "text.txt"), *TINY, "--epochs", "1", "--wait")
    shown = stack.call("results")  # Catches: the newest job of any kind
    assert f"job {job}, the newest that generates texts" in shown.stderr
    assert len(shown.stdout.splitlines()) == 1
    endless = stack.ok("submit", "tiny", "-n", "100000", "-l", "1000").strip()
    cancelled = stack.call("cancel")
    assert f"job {endless}, the newest that has not ended" in cancelled.stderr
    waited = stack.call("wait", endless)
    assert waited.returncode == JOB_FAILED
    retried = stack.call("retry")
    assert f"job {endless}, the newest that failed or was cancelled" in retried.stderr
    assert f"job {endless}: " in retried.stderr
    stack.ok("cancel", endless)
    stack.call("wait", endless)
    nothing = stack.call("wait")
    assert nothing.returncode == NOT_FOUND
    assert "there is none that has not ended" in nothing.stderr
