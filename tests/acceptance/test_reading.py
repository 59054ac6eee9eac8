"""Work with jobs and results from the shell, with real workers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.fixtures.model import make_text
from tests.fixtures.processes import TINY, Home, until

SEEDS = 40


@pytest.fixture(scope="module")
def seeds(stack: Home) -> str:
    path = stack.path / "result-seeds.txt"
    path.write_text("".join(f"{line[:10]}\n" for line in make_text(SEEDS).splitlines()))
    return str(path)


@pytest.fixture(scope="module")
def job(stack: Home, seeds: str) -> str:
    """A job of 160 rows that is done."""
    options = ("-t", "0.5,1", "-n", "2", "-l", "30", "--part-rows", "16", "--rng-seed", "4")
    return stack.ok("submit", "-m", "tiny", "--seeds", seeds, *options, "--wait").strip()


def test_each_format_has_the_same_rows(stack: Home, job: str, tmp_path: Path) -> None:
    for suffix in ("jsonl", "csv", "txt", "parquet"):
        stack.ok("results", job, "-o", str(tmp_path / f"texts.{suffix}"))
    rows = [json.loads(line) for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
    assert (tmp_path / "texts.jsonl").read_text() == stack.ok("results", job)
    with open(tmp_path / "texts.csv", newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == [row["text"] for row in rows]
    table = pyarrow.parquet.read_table(tmp_path / "texts.parquet")
    assert table.column("text").to_pylist() == [row["text"] for row in rows]
    assert (tmp_path / "texts.txt").read_text() == "".join(f"{row['seed']}{row['text']}\n" for row in rows)
    assert stack.ok("results", job, "-f", "txt") == (tmp_path / "texts.txt").read_text()


def test_rows_are_chosen(stack: Home, job: str) -> None:
    lines = stack.ok("results", job).splitlines()
    assert stack.ok("results", job, "--rows", "30:35").splitlines() == lines[30:35]
    cold = stack.ok("results", job, "--where", "temperature=0.5", "--limit", "3").splitlines()
    assert cold == [lines[0], lines[1], lines[4]]
    nothing = stack.call("results", job, "--failed")
    assert (nothing.returncode, nothing.stdout, "no rows" in nothing.stderr) == (0, "", True)
    assert "no jobs match" in stack.call("jobs", "--user", "nobody").stderr
    assert "no jobs match" in stack.call("jobs", "-m", "tinny").stderr  # Catches: a typing error without a message
    for wrong in (["--rows", "5"], ["--where", "temperature"], ["-f", "xml"]):
        done = stack.call("results", job, *wrong)
        assert (done.returncode, done.stdout) == (2, "")


def test_a_file_is_written_whole_or_not_at_all(stack: Home, job: str, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text("as it was")
    done = stack.call("results", job, "-o", str(tmp_path / "none" / "texts.jsonl"))
    assert (done.returncode, "cannot be written" in done.stderr) == (2, True)
    (tmp_path / "closed").mkdir()
    assert stack.call("results", job, "-o", str(tmp_path / "closed")).returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed", "texts.jsonl"]
    assert (tmp_path / "texts.jsonl").read_text() == "as it was"
    stack.ok("results", job, "-o", "/dev/null")


def test_results_of_a_running_job_can_be_followed(stack: Home, seeds: str) -> None:
    options = ("-n", "50", "-l", "200", "--part-rows", "100", "--rng-seed", "4")
    job = stack.ok("submit", "-m", "tiny", "--seeds", seeds, *options).strip()
    following = stack.start("results", job, "--follow")
    until(lambda: stack.json("status", job)["rows_done"], "a part")
    text, errors = following.communicate(timeout=100)
    assert (following.returncode, errors) == (0, "")
    assert [json.loads(line)["row"] for line in text.splitlines()] == list(range(2000))
    assert text == stack.ok("results", job)


def test_requested_rows_of_a_running_job_are_enough(stack: Home, seeds: str, tmp_path: Path) -> None:
    job = stack.ok("submit", "-m", "tiny", "--seeds", seeds, "-n", "500", "-l", "2000", "--part-rows", "16").strip()
    some = stack.ok("results", job, "--follow", "--limit", "3")
    assert some.splitlines() == stack.ok("results", job, "--follow", "--rows", "0:3").splitlines()
    done = stack.call("results", job)
    assert (done.returncode, done.stdout.startswith(some), "is running" in done.stderr) == (5, True, True)
    following = stack.start("results", job, "--follow", "-o", str(tmp_path / "rows.jsonl"))
    until(lambda: list(tmp_path.iterdir()), "the file to arrive")
    following.terminate()
    following.communicate(timeout=60)
    assert (following.returncode, list(tmp_path.iterdir())) == (143, [])  # Catches: half a file after `timeout`
    stack.ok("cancel", job)


def test_a_job_waits_for_its_training(stack: Home, seeds: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(make_text(400))
    training = stack.ok("train", "awaited", str(tmp_path / "text.txt"), *TINY).strip()
    job = stack.ok("submit", "--after", training, "--seeds", seeds, "-l", "10").strip()
    stack.ok("wait", job, "--timeout", "100s")
    rows = [json.loads(line) for line in stack.ok("results", job).splitlines()]
    assert (len(rows), {row["version"] for row in rows}) == (SEEDS, {"awaited@1"})


def test_a_version_is_carried_to_another_home(stack: Home, home: Home, seeds: str, tmp_path: Path) -> None:
    archive = str(tmp_path / "tiny.zip")
    sha256 = stack.ok("models", "export", "tiny", "-o", archive).strip()
    assert len(sha256) == 64
    with home.up():
        assert home.ok("models", "import", archive, "--as", "carried").strip() == "carried@1"
        texts = []
        for place, model in ((stack, "tiny"), (home, "carried")):
            arguments = ("submit", "-m", model, "--seeds", seeds, "-l", "20", "--rng-seed", "1", "--wait")
            job = place.ok(*arguments).strip()
            texts.append([json.loads(line)["text"] for line in place.ok("results", job).splitlines()])
    assert texts[0] == texts[1]


def test_jobs_are_found_and_deleted(stack: Home, seeds: str) -> None:
    first, second = (
        stack.ok("submit", "-m", "tiny", "--seeds", seeds, "-l", "5", "--label", "to go", "--wait").strip()
        for _ in range(2)
    )
    assert [job["id"] for job in stack.json("jobs", "--label", "to go")] == [int(second), int(first)]
    assert [job["id"] for job in stack.json("jobs", "--label", "to go", "--before", second)] == [int(first)]
    assert stack.json("jobs", "--label", "to go", "--state", "failed") == []
    assert stack.call("jobs", "--state", "finished").returncode == 2
    stack.ok("delete", first)
    assert stack.call("status", first).returncode == 3
    assert not (stack.path / "files" / "jobs" / first).exists()
    assert stack.json("prune", "--older-than", "1h", "--dry-run") == {"jobs": 0, "files": 0, "bytes": 0, "aside": 0}


def test_a_dry_run_estimates_time_and_disk_space(stack: Home, job: str, seeds: str) -> None:
    said = stack.call("submit", "-m", "tiny", "--seeds", seeds, "-n", "100000", "--dry-run").stderr
    assert "4,000,000 rows" in said
    assert "at most 1,600,000,000 characters" in said
    assert "2.3 GB as JSON Lines" in said


def test_a_store_of_this_release_needs_no_upgrade(stack: Home) -> None:
    assert "the schema is up to date: 1" in stack.call("store", "upgrade").stderr
