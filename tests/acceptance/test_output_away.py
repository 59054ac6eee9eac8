"""The output of each command while database, broker or files are away, and of a store in which nothing is yet."""

from __future__ import annotations

import shlex

import pytest

from producer.cli import COMMANDS
from tests.fixtures.desk import FOLDER, PARENT, Desk, check, golden
from tests.fixtures.processes import make_home

AWAY_FOLDER = FOLDER / "away"
AWAY = {
    "database": {"CHARRNN_STORE_URL": "postgresql://charrnn:secret@127.0.0.1:1/charrnn"},
    "broker": {"CHARRNN_REDIS_URL": "redis://:secret@127.0.0.1:1/0"},
    "files": {"CHARRNN_FILES_URL": "HOME/unmounted"},  # a folder without a store-id
}
EACH = (
    "cancel 5",
    "config",
    "delete 6",
    "doctor",
    "events",
    "jobs",
    "models",
    "models compare speeches@1 speeches@2 -n 1 -l 5 --rng-seed 7",
    "models default",
    "models delete speeches@2",
    "models export speeches -o out.zip",
    "models import poems.zip",
    "models promote speeches@2",
    "models rollback speeches",
    "models show speeches",
    "prune --older-than 1d --dry-run",
    "report 3 -o report.html",
    "results 3",
    "retry 4",
    "sample speeches -n 1 --rng-seed 7",
    "schedules",
    "schedules add weekly --cron @weekly -- train speeches text.txt",
    "schedules allow broken",
    "schedules check",
    "schedules edit nightly --cron @daily",
    "schedules pause nightly",
    "schedules remove nightly",
    "schedules resume nightly",
    "schedules run broken",
    "schedules show nightly",
    "status 3",
    "store check",
    "store recover",
    "store upgrade",
    "submit speeches --rng-seed 7",
    "train speeches text.txt --rng-seed 7",
    "wait 3 -q",
)
STAYS = {"scheduler", "up", "web", "worker"}  # they wait for what is away, or have a test of their own
EMPTY = (
    "cancel",
    "config",
    "events",
    "jobs",
    "models",
    "models default",
    "models show speeches",
    "prune --older-than 1d",
    "report",
    "results",
    "retry",
    "sample",
    "schedules",
    "schedules check",
    "schedules show nightly",
    "status",
    "store check",
    "submit --seed a",
    "wait",
)


@pytest.mark.parametrize("what", AWAY)
def test_what_a_command_says_without_a_service(
    desk: Desk, what: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.path)
    (desk.path / "unmounted").mkdir(exist_ok=True)
    settings = {name: value.replace("HOME", str(desk.path)) for name, value in AWAY[what].items()}
    found = "".join(f"$ charrnn-jobs {each}\n\n{desk.in_pipe(shlex.split(each), **settings)}\n" for each in EACH)
    assert "secret" not in found
    check(golden(what, AWAY_FOLDER), found, request)


def test_what_a_command_says_of_an_empty_store(
    desk: Desk, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for home in make_home(PARENT):  # its path always has the same length, by which `config` aligns its columns
        monkeypatch.chdir(home.path)
        own = {"CHARRNN_HOME": str(home.path / "h")}
        found = "".join(f"$ charrnn-jobs {each}\n\n{desk.in_pipe(shlex.split(each), **own)}\n" for each in EMPTY)
        check(golden("empty", AWAY_FOLDER), found.replace(str(home.path), "FOLDER"), request)
        monkeypatch.undo()


def test_every_command_is_tried() -> None:
    assert {each.split()[0] for each in EACH} == set(COMMANDS) - STAYS
