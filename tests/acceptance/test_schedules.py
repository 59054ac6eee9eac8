"""Schedules from the command line: five nights in about a minute, and mistakes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.processes import COMMAND, TINY, Home, until

ROOT = Path(__file__).parents[2]
CRON = ("--cron", "0 3 * * *")


@pytest.fixture
def nightly(stack: Home) -> Iterator[str]:
    """A schedule's name that is free again after the test: others count the schedules, and one may be due."""
    yield "nightly"
    stack.call("schedules", "remove", "nightly")


@pytest.mark.slow(
    "test_a_margin_keeps_a_version_a_candidate", "test_a_worker_submits_due_schedules_and_every_row_names_its_version"
)
def test_five_nights_of_a_growing_text_never_make_the_champion_worse(stack: Home, nightly: str) -> None:
    environment = {**stack.environment, "PATH": f"{Path(COMMAND[0]).parent}:{os.environ['PATH']}"}
    script = ["sh", str(ROOT / "examples" / "nights.sh")]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    slots = stack.json("schedules", "show", nightly)["slots"][::-1]
    assert [slot["state"] for slot in slots] == ["submitted"] * 5
    versions = [stack.json("models", "show", slot["version"]) for slot in slots]
    promoted = [version["val_loss"] for version in versions if version["gate"]["promoted"]]
    assert promoted == sorted(promoted, reverse=True)  # Catches: a gate that promotes every version
    assert not versions[2]["gate"]["promoted"]  # trained on garbage
    assert "not better than" in versions[2]["reason"]
    assert promoted[-1] < promoted[0] - 0.3  # the text that grew improved the model
    assert "reference@3  candidate" in done.stdout


def test_a_worker_submits_due_schedules_and_every_row_names_its_version(stack: Home, nightly: str) -> None:
    seeds = stack.path / "night-seeds.txt"
    seeds.write_text("the old sailor\n")
    job = ("--", "submit", "-m", "tiny", "--seeds", str(seeds), "-l", "5")
    stack.ok("schedules", "add", nightly, "--cron", "* * * * *", *job)

    def worked() -> int | None:
        slots = stack.json("schedules", "show", nightly)["slots"]
        return slots[-1]["job"] if slots and slots[-1].get("job_state") == "done" else None

    done = until(worked, "the next minute's job")
    assert '"version": "tiny@1"' in stack.ok("results", str(done))
    stack.ok("schedules", "remove", nightly)
    assert stack.ok("results", str(done))


def test_a_worker_runs_the_hook_of_a_run(stack: Home, nightly: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    hook = ("--on-success", f'echo "$RUN_SCHEDULE $RUN_STATE $RUN_VERSION $RUN_JOB" > {told}')
    stack.ok("schedules", "add", nightly, *CRON, *hook, "--", "submit", "tiny", "-l", "5")
    job = stack.ok("schedules", "run", nightly).strip()
    until(lambda: told.exists() and told.read_text(), "the hook")
    assert told.read_text() == f"nightly done tiny@1 {job}\n"


def test_a_schedule_trains_and_then_writes_with_the_champion(stack: Home, nightly: str, tmp_path: Path) -> None:
    text, seeds, told = tmp_path / "text.txt", tmp_path / "seeds.txt", tmp_path / "told"
    text.write_text((stack.path / "text.txt").read_text())
    seeds.write_text("the \na \n")
    hook = ("--on-success", f'echo "$RUN_VERSION $RUN_THEN_JOB $RUN_THEN_VERSION" >> {told}')
    training = ("train", "writer", str(text), *TINY, "--margin", "100")  # no later one wins
    sampling = ("--then", "submit", "--seeds", str(seeds), "-n", "3", "-l", "5")
    stack.ok("schedules", "add", nightly, *CRON, *hook, "--", *training, *sampling)
    assert stack.json("schedules", "show", nightly)["command"][-len(sampling) :] == [
        *("--then", "submit", "--seeds", str(seeds), "--samples", "3", "--length", "5")
    ]
    runs = []
    for version in (1, 2):
        first, then = stack.ok("schedules", "run", nightly).split()
        stack.ok("wait", then)
        rows = [json.loads(line) for line in stack.ok("results", then).splitlines()]
        # Catches: texts of a version that did not become champion
        assert (len(rows), {row["version"] for row in rows}) == (6, {"writer@1"})
        runs.append(f"writer@{version} {then} writer@1")
        text.write_text(f"{text.read_text()}a small lamp\n")  # no new character, or the worker would trace it all again
    until(lambda: told.exists() and len(told.read_text().splitlines()) == len(runs), "the hooks")
    assert told.read_text().splitlines() == runs
    slot = stack.json("schedules", "show", nightly)["slots"][0]
    assert [slot[name] for name in ("job_state", "version", "then_state", "then_version")] == [
        *("done", "writer@2", "done", "writer@1")
    ]
    shown = stack.ok("schedules", "show", nightly)
    assert "samples from the champion, since writer@2 did not replace it" in shown
    # Catches: a list in which a night whose version lost looks like one whose version won
    listed = stack.ok("schedules")
    assert f"done: jobs {first} and {then}; writer@2: " in listed
    assert " nats, not better than " in listed
    stack.ok("schedules", "remove", nightly)


def test_seeds_that_the_champion_lacks_fail_alone(stack: Home, nightly: str, tmp_path: Path) -> None:
    text, seeds = tmp_path / "text.txt", tmp_path / "seeds.txt"
    text.write_text((stack.path / "text.txt").read_text())
    seeds.write_text("the \n")
    training = ("train", "lacking", str(text), *TINY, "--margin", "100")  # no later one wins
    stack.ok("schedules", "add", nightly, *CRON, "--", *training, "--then", "submit", "--seeds", str(seeds), "-n", "3")
    stack.ok("wait", stack.ok("schedules", "run", nightly).split()[1])
    text.write_text(f"{text.read_text()}100 €\n")  # the new version knows it, and the champion does not
    # Catches: a part that is split in two again and again, of which a job does 16
    seeds.write_text("the \n100 €\n" * 30)
    then = stack.ok("schedules", "run", nightly).split()[1]
    assert stack.call("wait", then).returncode == 1
    rows = [json.loads(line) for line in stack.ok("results", then).splitlines()]
    found = [(row["seed"], row["error"] is not None) for row in rows]
    assert found == ([("the ", False)] * 3 + [("100 €", True)] * 3) * 30
    assert "SeedError: '100 €' has characters outside the vocabulary" in rows[-1]["error"]
    words = f"job {then}: 90 rows failed: SeedError: '100 €'"
    assert words in stack.ok("schedules")  # Catches: a list that calls such a run done
    checked = stack.call("schedules", "check", nightly)
    assert (checked.returncode, "failed: 90 rows failed: SeedError" in checked.stderr) == (1, True)
    stack.ok("schedules", "remove", nightly)


def test_what_follows_a_cancelled_training_fails_with_it(stack: Home, nightly: str) -> None:
    training = ("train", "loser", str(stack.path / "text.txt"), "--units", "8", "--epochs", "1000", "--patience", "999")
    stack.ok("schedules", "add", nightly, *CRON, "--", *training, "--then", "submit", "-l", "5")
    first, then = stack.ok("schedules", "run", nightly).split()
    stack.ok("cancel", first)
    done = stack.call("wait", then)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"job {first}, the training job that it waited for, is cancelled" in done.stderr
    # Catches: an alarm of a job that a person cancelled, or a list that calls its run failed
    assert stack.call("schedules", "check", nightly).returncode == 0
    assert f"cancelled: jobs {first} and {then}; job {first}: the job was cancelled" in stack.ok("schedules")
    stack.ok("schedules", "remove", nightly)


def test_a_relative_path_is_stored_as_absolute(stack: Home, nightly: str, tmp_path: Path) -> None:
    text = tmp_path / "texts" / "text.txt"
    text.parent.mkdir()
    text.write_text((stack.path / "text.txt").read_text())
    command = [*COMMAND, "schedules", "add", nightly, *CRON, "--", "train", "tiny", "texts", "--units", "8"]
    subprocess.run(command, env=stack.environment, cwd=tmp_path, check=True, capture_output=True)
    shown = stack.json("schedules", "show", nightly)
    assert shown["request"]["arguments"]["paths"] == [str(text.parent)]  # Catches: a path in the worker's folder
    assert len(shown["upcoming"]) == 5
    assert nightly in stack.ok("schedules")
    for verb, said in (("pause", "is paused"), ("resume", "resumed; next run: "), ("remove", "removed")):
        assert said in stack.call("schedules", verb, nightly).stderr
    assert stack.json("schedules") == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--cron", "0 3 * *", "--", "train", "tiny", "{text}"), 2, "Expected five fields"),
        ((*CRON, "--timezone", "Mars", "--", "train", "tiny", "{text}"), 2, "Unknown time zone 'Mars'"),
        ((*CRON, "--timezone", "paris", "--", "train", "tiny", "{text}"), 2, "Did you mean Europe/Paris?"),
        (("--cron", "0 29 * * *", "--", "train", "tiny", "{text}"), 2, "its hour is '29', expected 0 to 23"),
        ((*CRON, "--", "train", "tiny", "nowhere.txt"), 2, "no such file"),
        ((*CRON, "--", "train", "tiny", ""), 2, "A path is empty"),
        ((*CRON, "--", "train", "tiny", "{text}", "--wait"), 2, "--wait cannot be used in a schedule"),
        ((*CRON, "--", "submit", "-m", "tiny", "--key", "k"), 2, "--key cannot be used in a schedule"),
        ((*CRON, "--", "submit", "-m", "tiny", "--seed", "a"), 2, "into a file, and pass --seeds FILE"),
        ((*CRON, "--", "submit", "-m", "tiny", "--after", "1"), 2, "--after cannot be used in a schedule"),
        ((*CRON, "--", "submit", "-m", "tiny", "--seeds", "-"), 2, "A schedule cannot read seeds from standard input"),
        ((*CRON, "--", "submit", "-m", "nobody"), 3, "There is no model 'nobody'"),
        ((*CRON, "--", "results", "1"), 2, "A schedule runs train or submit"),
        ((*CRON, "--", "charrnn-jobs", "train", "tiny", "{text}"), 2, "Leave out charrnn-jobs"),
        ((*CRON, "--", "submit", "tiny", "-o", "texts.csv"), 2, "pass a hook before the --, such as: --on-success"),
        ((*CRON, "--on-failure", "ftp://x", "--", "submit", "tiny"), 2, "a URL that begins with http:// or https://"),
        ((*CRON, "--always", "--", "submit", "-m", "tiny"), 2, "always applies only to training schedules"),
        ((*CRON, "--", "train", "tiny", "{text}", "--then"), 2, "A schedule runs train or submit"),
        ((*CRON, "--", "train", "tiny", "{text}", "--then", "train", "tiny"), 2, "Missing argument 'PATH...'"),
        ((*CRON, "--", "train", "tiny", "{text}", "--then", "train", "a", "b"), 2, "A submit follows a training"),
        ((*CRON, "--", "train", "tiny", "{text}", "--then", "submit", "--wait"), 2, "--wait cannot be used"),
        ((*CRON, "--", "train", "tiny", "{text}", "--then", "submit", "me"), 2, "from its champion, not from me"),
        ((*CRON, "--", "submit", "tiny", "--then", "submit"), 2, "Only a training can be followed by a sampling"),
        (
            (*CRON, "--", "train", "tiny", "{text}", "--then", "submit", "--random-seeds", "3"),
            2,
            "--random-seeds cannot be used after a training",
        ),
        ((*CRON, "train", "tiny", "{text}", "--then", "submit"), 2, "Put -- before the command"),
        ((*CRON, "--overlap", "allow", "--", "submit", "-m", "tiny"), 2, "'allow' is not one of 'skip'"),
        ((*CRON, "--deadline", "soon", "--", "submit", "-m", "tiny"), 2, "--deadline must be a time such as"),
        (("--", "submit", "-m", "tiny"), 2, "Missing option '--cron'"),
        ((*CRON, "train", "tiny", "{text}", "--units", "8"), 2, "No such option: --units. Put -- before the command"),
        (CRON, 2, "Missing argument"),
    ],
)
def test_a_schedule_that_could_not_work_is_refused(
    stack: Home, arguments: tuple[str, ...], code: int, message: str
) -> None:
    text = str(stack.path / "text.txt")
    done = stack.call("schedules", "add", "bad", *(word.format(text=text) for word in arguments))
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert stack.call("schedules", "show", "bad").returncode == 3


def test_a_run_without_a_broker_is_accepted(stack: Home, nightly: str) -> None:
    stack.ok("schedules", "add", nightly, *CRON, "--", "submit", "-m", "tiny", "-l", "5")
    away = Home(stack.path, {**stack.settings, "CHARRNN_REDIS_URL": "redis://127.0.0.1:1/0"})
    done = away.call("schedules", "run", nightly)
    assert (done.returncode, done.stdout, "accepted" in done.stderr) == (4, "", True)
    stack.ok("schedules", "remove", nightly)


def test_a_dry_run_of_a_training_stores_nothing(stack: Home) -> None:
    before = stack.json("jobs")[0]["id"]
    done = stack.call("train", "tiny", str(stack.path / "text.txt"), "--units", "8", "--dry-run")
    assert (done.returncode, done.stdout, "dry run: train tiny on" in done.stderr) == (0, "", True)
    assert stack.json("jobs")[0]["id"] == before
    refused = stack.call("train", "tiny", str(stack.path / "nowhere.txt"), "--dry-run")
    assert refused.returncode == 2


def test_help_of_a_scheduled_command_is_that_of_the_command(stack: Home) -> None:
    assert "--epochs" in stack.ok("schedules", "add", "bad", *CRON, "--", "train", "--help")


def test_a_monitor_of_a_schedule_gets_an_exit_code(stack: Home, nightly: str, tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.txt"
    seeds.write_text("the \n")
    stack.ok("schedules", "add", nightly, *CRON, "--", "submit", "tiny", "--seeds", str(seeds), "-l", "5")
    stack.ok("schedules", "check", nightly)
    assert stack.call("schedules", "check", "nightlyy").returncode == 3
    seeds.unlink()
    refused = stack.call("schedules", "run", nightly)
    assert (refused.returncode, refused.stderr.count(str(seeds))) == (1, 1)  # Catches: a line of the log beside it
    assert f"schedule {nightly}: the run of " in stack.call("jobs", "--schedule", nightly).stderr
    failed = stack.call("schedules", "check")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert f"schedule {nightly}: the run of " in failed.stderr
    assert str(seeds) in failed.stderr
    stack.ok("schedules", "remove", nightly)


def test_a_file_in_another_encoding_is_told_with_the_option_that_reads_it(
    stack: Home, nightly: str, tmp_path: Path
) -> None:
    text, told = tmp_path / "text.txt", tmp_path / "told"
    text.write_text((stack.path / "text.txt").read_text())
    hook = ("--on-failure", f'echo "$RUN_REASON" > {told}')
    added = stack.call("schedules", "add", nightly, *CRON, *hook, "--", "train", "tiny", str(text), *TINY)
    assert f"commands of hooks run in {stack.path}" in added.stderr
    text.write_bytes(text.read_text().replace("a", "é").encode("cp1252"))
    # Catches: `encoding`, which no option is called
    option = "use --encoding cp1252"
    assert option in stack.call("schedules", "run", nightly).stderr
    for command in (("schedules", "check"), ("schedules",), ("schedules", "show", nightly), ("doctor",)):
        shown = stack.call(*command)
        assert option in shown.stdout + shown.stderr
    until(lambda: told.exists() and told.read_text(), "the hook")
    stack.ok("schedules", "remove", nightly)
    none = stack.call("schedules", "check")
    assert (none.returncode, none.stderr) == (0, "0 schedules: no run failed, and none is late\n")


def test_a_schedule_is_added_again_from_the_line_that_is_shown(stack: Home, nightly: str, tmp_path: Path) -> None:
    text = tmp_path / "my texts" / "it's.txt"
    text.parent.mkdir()
    text.write_text((stack.path / "text.txt").read_text())
    rules = ("--timezone", "Europe/Paris", "--deadline", "90m", "--overlap", "queue", "--always")
    stack.ok("schedules", "add", nightly, *CRON, *rules, "--", "train", "tiny", str(text), "--units", "8")
    before = stack.json("schedules", "show", nightly)
    shown = stack.ok("schedules", "show", nightly)
    line = shown.partition("To add it again:")[2].strip()
    assert shlex.split(line) == before["command"]
    stack.ok("schedules", "remove", nightly)
    environment = {**stack.environment, "PATH": f"{Path(COMMAND[0]).parent}:{os.environ['PATH']}"}
    shell = ["sh", "-c", line]
    subprocess.run(shell, env=environment, cwd=tmp_path, check=True, capture_output=True)
    again = stack.json("schedules", "show", nightly)
    times = ("created_at", "next_at", "upcoming")
    assert {name: again[name] for name in again if name not in times} == {
        name: before[name] for name in before if name not in times
    }


def test_a_schedule_is_changed_in_its_place(stack: Home, nightly: str) -> None:
    stack.ok("schedules", "add", nightly, *CRON, "--deadline", "2h", "--", "submit", "tiny", "-l", "5")
    stack.ok("schedules", "run", nightly)
    done = stack.call("schedules", "edit", nightly, "--cron", "@daily", "--deadline", "none", "--", "submit", "tiny")
    assert f"schedule {nightly} changed: submit tiny; next run: " in done.stderr
    shown = stack.json("schedules", "show", nightly)
    assert shown["command"][3:] == [nightly, "--cron", "0 0 * * *", "--", "submit", "tiny"]
    assert len(shown["slots"]) == 1
    stack.ok("schedules", "add", nightly, *CRON, "--replace", "--", "submit", "tiny", "-n", "3")
    assert len(stack.json("schedules", "show", nightly)["slots"]) == 1
    stack.ok("schedules", "pause", nightly)
    assert "it is paused" in stack.call("schedules", "edit", nightly, "--overlap", "queue").stderr
    nothing = stack.call("schedules", "edit", nightly)
    assert (nothing.returncode, "Nothing to change" in nothing.stderr) == (2, True)
    stack.ok("schedules", "remove", nightly)
