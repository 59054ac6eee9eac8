"""Shortcuts of the command line: no model, no job id, no seed file, no second command."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from charrnn.jobs.programs import BAD_INPUT, JOB_FAILED, NOT_FOUND, UNREACHABLE
from tests.fixtures.model import make_text
from tests.fixtures.processes import COMMAND, TINY, Home


@pytest.fixture(scope="module")
def other_model(stack: Home) -> str:
    """A second model, so that none is the only one."""
    text = stack.path / "other.txt"
    text.write_text(make_text(300, rng_seed=3))
    stack.ok("train", "other", str(text), *TINY, "--wait")
    return "other"


def ids(stack: Home) -> list[int]:
    return [job["id"] for job in stack.json("jobs")]


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
    found = re.search(r"No model given, and there are several: (.+?)( and \d+ more)?\. Name one", refused.stderr)
    assert found
    assert {version["model"] for version in stack.json("models")} >= set(found[1].split(", "))
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
    before = ids(stack)
    for options, message in (
        (["-o", str(path)], "--output requires --wait"),
        (["--wait", "-o", "-"], "--output requires a file here"),
        (
            ["--wait", "-o", str(tmp_path / "texts.md")],
            "names no format. Expected a name that ends with .jsonl, .csv, .txt, .parquet",
        ),
        (["--wait", "-o", str(tmp_path / "away" / "texts.csv")], "away does not exist"),
        (["--wait", "-o", "/proc/texts.csv"], "/proc/texts.csv: cannot be written: "),
    ):  # Catches: a refusal after hours of sampling
        refused = stack.call("submit", "tiny", "-l", "5", *options)
        assert (refused.returncode, message in " ".join(refused.stderr.split())) == (BAD_INPUT, True), refused.stderr
    assert ids(stack) == before


def test_commands_without_an_id_mean_the_newest_job_that_fits(stack: Home, tmp_path: Path) -> None:
    job = stack.ok("submit", "tiny", "--seed", "the ", "-l", "5", "--wait").strip()
    stack.ok("train", "unwanted", str(stack.path / "text.txt"), *TINY, "--epochs", "1", "--wait")
    shown = stack.call("results")  # Catches: the newest job of any kind
    assert f"job {job}, the newest that generates texts" in shown.stderr
    assert len(shown.stdout.splitlines()) == 1
    endless = stack.ok("submit", "tiny", "-n", "100000", "-l", "1000").strip()
    try:
        cancelled = stack.call("cancel")
        assert f"job {endless}, the newest that has not ended" in cancelled.stderr
        waited = stack.call("wait", endless)
        assert waited.returncode == JOB_FAILED
        retried = stack.call("retry")
        assert f"job {endless}, the newest that failed or was cancelled" in retried.stderr
        assert f"job {endless}: " in retried.stderr
    finally:
        stack.ok("cancel", endless)
        stack.call("wait", endless)
    # Catches: a script whose job was quicker than its `wait`, told that there is no such job
    ended = stack.call("wait")
    assert f"job {endless}, the newest, has ended already" in ended.stderr
    assert (ended.returncode, "cancelled" in ended.stderr) == (JOB_FAILED, True)
    quick = stack.ok("submit", "tiny", "--seed", "the ", "-l", "5", "--wait").strip()
    assert (stack.call("wait").returncode, stack.ok("wait", "-q").strip()) == (0, quick)
    nothing = stack.call("cancel")
    assert nothing.returncode == NOT_FOUND
    assert "There is no job that has not ended" in nothing.stderr


def test_a_few_texts_are_shown_and_leave_no_job(stack: Home) -> None:
    before = ids(stack)
    options = ["-n", "2", "-l", "5", "-t", "0,1", "--stop", r"\n"]
    lines = stack.ok("sample", "tiny", "the ", "a ", *options).splitlines()
    assert [line[:2] for line in lines] == ["th"] * 4 + ["a "] * 4
    assert lines[0] == lines[1]  # at temperature 0
    assert max(map(len, lines)) <= len("the ") + 5
    assert ids(stack) == before
    assert stack.call("sample", "tinny").returncode == NOT_FOUND
    assert ids(stack) == before


def test_a_sample_names_the_characters_that_it_replaces(stack: Home) -> None:
    known = stack.call("sample", "tiny", "the ", "-l", "5")
    assert "replaced" not in known.stderr
    told = stack.call("sample", "tiny", "the ÿ", "§", "-l", "5")
    assert (told.returncode, "replaced in the seeds, since tiny@1 does not know them: '§', 'ÿ'" in told.stderr) == (
        0,
        True,
    )


def test_a_training_is_tried_without_a_broker(stack: Home) -> None:
    away = Home(stack.path, {**stack.settings, "CHARRNN_REDIS_URL": "redis://127.0.0.1:1/0"})
    done = away.call("train", "tiny", str(stack.path / "text.txt"), *TINY, "--dry-run")
    assert (done.returncode, "dry run: train tiny on" in done.stderr) == (0, True)
    assert away.call("train", "tiny", str(stack.path / "text.txt"), *TINY).returncode == 4
    command = ("--", "train", "tiny", str(stack.path / "text.txt"))
    refused = away.call("schedules", "add", "unchecked", "--cron", "@daily", *command)
    assert refused.returncode == 4  # Catches: a schedule that is not checked as a job would be


def test_the_job_of_a_sample_is_kept_on_request_and_comes_first(stack: Home) -> None:
    done = stack.call("sample", "tiny", "-l", "5", "--stop", r"\n", "--keep")
    job = stack.json("status")
    assert f"job {job['id']}. Its results: " in done.stderr
    assert (job["label"], job["priority"], job["spec"]["sampling"]["stop"]) == ("sample", "high", ["\n"])
    [row] = [json.loads(line) for line in stack.ok("results").splitlines()]
    assert done.stdout == f"{row['seed']}{row['text']}\n"


def test_a_sample_without_a_worker_ends_at_once(home: Home) -> None:
    refused = home.call("sample", "tiny")
    assert (refused.returncode, "no live worker serves generate" in refused.stderr) == (UNREACHABLE, True)


def test_a_comparison_leaves_no_job(stack: Home) -> None:
    before = ids(stack)
    stack.ok("models", "compare", "tiny", "tiny", "-n", "1", "-l", "5")
    assert ids(stack) == before


def test_a_seed_in_the_place_of_the_model_is_explained(stack: Home) -> None:
    for words in (["The "], ["The ", "A "]):
        refused = stack.call("sample", *words)
        assert refused.returncode == NOT_FOUND
        assert f"The model comes first: charrnn-jobs sample MODEL {' '.join(map(repr, words))}" in refused.stderr
    known = stack.call("sample", "tiny@99", "the ")
    # Catches: the model of the command, taken for a seed
    assert ("has no version '99'" in known.stderr, "The model comes first" in known.stderr) == (True, False)


def test_a_reader_that_has_enough_ends_an_export_silently(stack: Home) -> None:
    # Catches: a traceback after `| head`
    job = stack.ok("submit", "tiny", "-l", "5", "-n", "2000", "--wait").strip()
    for form in ("jsonl", "csv"):
        line = f"{shlex.join([*COMMAND, 'results', job, '-f', form])} | head -n 1"
        done = subprocess.run(
            ["/bin/sh", "-c", line], env=stack.environment, capture_output=True, text=True, check=True
        )
        assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_what_comes_next_is_said_once(stack: Home) -> None:
    submitted = stack.call("submit", "tiny", "-l", "5")
    assert "follow: charrnn-jobs wait " in submitted.stderr
    waited = stack.call("train", "next", str(stack.path / "text.txt"), *TINY, "--wait")
    assert "follow:" not in waited.stderr
    assert waited.stderr.endswith("generate: charrnn-jobs sample next@1\n")
