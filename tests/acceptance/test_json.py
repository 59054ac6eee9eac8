"""The output of commands with --json is valid by the schemas in docs/schemas, and has no other fields."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from charrnn.jobs.programs import NOT_FINISHED
from tests.fixtures.processes import TINY, Home

pytestmark = pytest.mark.usefixtures("trained")

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def check(name: str, found: Any) -> None:
    """Check that a document has the fields of a schema and no others."""
    document = json.loads((FOLDER / f"{name}.json").read_text())
    for schema in (document, *document.get("$defs", {}).values()):
        if "properties" in schema:
            schema["additionalProperties"] = False
    Draft202012Validator(document).validate(found)


def check_all(name: str, found: Iterable[Any]) -> None:
    documents = list(found)
    assert documents
    for document in documents:
        check(name, document)


@pytest.fixture(scope="module")
def trained(stack: Home) -> str:
    """The id of a training job."""
    return stack.ok("train", "told", str(stack.path / "text.txt"), *TINY, "--label", "told", "--wait").strip()


@pytest.fixture(scope="module")
def generated(stack: Home, trained: str) -> str:
    """The id of a job that samples from the version of that job."""
    options = ("--logprobs", "-t", "0.5,1", "--priority", "high", "--key", "told", "--after", trained)
    return stack.ok("submit", "--seed", "the ", "-l", "40", *options, "--wait").strip()


def test_a_submitted_job(stack: Home, trained: str) -> None:
    for options in ([], ["--dry-run"]):
        check("submitted-generate", stack.json("submit", "told", "-l", "5", *options))
        check("submitted-generate", stack.json("submit", "--after", trained, "-l", "5", *options))
    found = stack.json("train", "told", str(stack.path / "text.txt"), *TINY, "--dry-run")
    check("submitted-train", found)
    # Catches: sizes that only a reader of the summary learns
    assert found["files"] == 1
    assert min(found["characters"], found["validation_characters"], found["network"]["units"]) > 0


def test_a_job(stack: Home, trained: str, generated: str) -> None:
    check_all("job", stack.json("jobs"))
    for job in (trained, generated):
        check("job-details", stack.json("status", job))
    found = stack.json("status", generated)
    assert (found["kind"], found["state"], found["priority"]) == ("generate", "done", "high")
    assert (found["model"], found["version"], found["spec"]["version"]) == ("told", "told@1", "told@1")
    times = [found[name] for name in ("created_at", "started_at", "finished_at")]
    assert all(TIME.fullmatch(time) for time in times)
    assert times == sorted(times)


def test_a_job_in_work(stack: Home) -> None:
    job = stack.ok("submit", "told", "-n", "100000", "-l", "1000").strip()
    late = stack.call("wait", job, "--timeout", "0s", "--json")
    assert (late.returncode, late.stdout) == (NOT_FINISHED, "")
    check("job-details", stack.json("status", job))
    check("job", stack.json("cancel", job))
    ended = stack.call("wait", job, "--json")
    check("job-details", json.loads(ended.stdout))
    assert json.loads(ended.stdout)["state"] == "cancelled"
    check("job", stack.json("retry", job))
    stack.ok("cancel", job)


def test_rows(stack: Home, generated: str) -> None:
    lines = stack.ok("results", generated).splitlines()
    check_all("row", map(json.loads, lines))
    assert json.loads(lines[0])["version"] == "told@1"
    rows = stack.ok("sample", "told", "the ", "-n", "3", "-l", "9", "--json").splitlines()
    assert [json.loads(row)["sample"] for row in rows] == [0, 1, 2]
    check_all("row", map(json.loads, rows))


def test_versions(stack: Home, trained: str, tmp_path: Path) -> None:
    found = stack.json("models")
    check_all("version", found)
    assert {"told@1"} <= {version["version"] for version in found}
    check("version-details", stack.json("models", "show", "told"))
    check_all("compared", stack.json("models", "compare", "told", "told", "-n", "1", "-l", "5"))
    archive = tmp_path / "told.zip"
    exported = stack.json("models", "export", "told", "-o", str(archive))
    check("export", exported)
    assert (exported["version"], exported["size"]) == ("told@1", archive.stat().st_size)
    assert exported["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    imported = stack.json("models", "import", str(tmp_path / "told.zip"), "--as", "untold")
    check("version-details", stack.json("models", "show", "untold"))
    assert (imported["version"], imported["job"]) == ("untold@1", None)
    check("version", imported)
    stack.ok("models", "import", str(tmp_path / "told.zip"), "--as", "untold")
    check("version", stack.json("models", "promote", "untold@2"))
    assert stack.json("models", "rollback", "untold")["version"] == "untold@1"


def test_schedules(stack: Home) -> None:
    stack.ok("schedules", "add", "told", "--cron", "0 3 * * *", "--", "submit", "told", "-l", "5")
    check("run", stack.json("schedules", "run", "told"))
    seeds = stack.path / "none.txt"
    seeds.write_text("the \n")
    stack.ok("schedules", "add", "lost", "--cron", "0 3 * * *", "--", "submit", "told", "--seeds", str(seeds))
    seeds.unlink()
    stack.call("schedules", "run", "lost")
    check_all("trouble", json.loads(stack.call("schedules", "check", "lost", "--json").stdout))
    check_all("schedule", stack.json("schedules"))
    check("schedule-details", stack.json("schedules", "show", "told"))
    for name in ("told", "lost"):  # other tests count them
        stack.ok("schedules", "remove", name)


def test_what_operators_read(stack: Home) -> None:
    check_all("check", stack.json("doctor"))
    check("config", stack.json("config"))
    check("pruned", stack.json("prune", "--older-than", "1d", "--dry-run"))
    unnamed = stack.path / "files" / "corpora" / "nobodys.txt"
    unnamed.write_bytes(b"x")
    check_all("finding", json.loads(stack.call("store", "check", "--json").stdout))
    unnamed.unlink()


def test_ids_alone(stack: Home, generated: str) -> None:
    assert generated in stack.ok("jobs", "-q").split()
    assert stack.ok("jobs", "-q", "--limit", "2").split() == [
        str(job["id"]) for job in stack.json("jobs", "--limit", "2")
    ]
    assert "told@1" in stack.ok("models", "-q").split()
    stack.ok("schedules", "add", "listed", "--cron", "0 3 * * *", "--", "submit", "told", "-l", "5")
    assert stack.ok("schedules", "-q") == "listed\n"
    stack.ok("schedules", "remove", "listed")
    for words in (("-q", "--wait"), ("-q",)):
        done = stack.call("submit", "told", "-l", "5", *words)
        assert (int(done.stdout) > int(generated), done.stderr) == (True, "")
    waited = stack.call("wait", done.stdout.strip(), "-q")
    assert (waited.returncode, waited.stdout, waited.stderr) == (0, done.stdout, "")  # Catches: progress
    stopped = stack.ok("submit", "told", "-n", "100000", "-l", "1000", "-q").strip()
    stack.call("cancel", stopped)
    assert stack.call("wait", stopped, "-q").returncode == 1
