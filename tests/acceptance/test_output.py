"""The output of commands at 80 and 120 columns, in a pipe, without colors and as JSON, is that of tests/data/output.

`pytest tests/acceptance/test_output*.py --freeze` writes these files anew; read the difference before you commit it.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.fixtures.desk import FOLDER, Desk, check, golden

READ = (
    "config",
    "doctor",
    "events",
    "events 4 -n 1",
    "jobs",
    "jobs --schedule broken",
    "models",
    "models show speeches",
    "prune --older-than 1d --dry-run",
    "schedules",
    "schedules check",
    "schedules check nightly",
    "schedules show broken",
    "schedules show nightly",
    "status 1",
    "status 3",
    "status 4",
    "store check",
    "submit speeches --seed 'the ' --rng-seed 7 --dry-run",
    "train speeches text.txt --rng-seed 7 --dry-run",
)
CHANGE = (
    "cancel 5",
    "models promote speeches@2",
    "retry 4",
    "submit speeches --seed 'the ' --rng-seed 7 --label tuesday",
)
NO_JSON = (
    "--help",
    "delete 6",
    "jobs --state broken",
    "results 3",
    "results 5",
    "sample speeches",
    "schedules pause nightly",
    "schedules remove nightly",
    "show",
    "status 99",
    "submit --rng-seed 7",
    "submit --help",
    "submit nobody --seed a",
    "submit speeches --seed ÿ",
)
# Their lines are the same at any width, so a pipe is enough. Commands with a `;` between them follow each
# other in one store.
LINES = (
    "--version",
    "models default; models default speeches; models default; models default --unset",
    "models delete speeches --all; models import poems.zip; models delete poems --all --yes",
    "models delete speeches@2",
    "prune --older-than 1s",
    "report 3 -o report.html; report 3 -o nowhere/report.html; report 99 -o report.html",
    "sample speeches 'the ' ÿ -n 2 -l 20 --rng-seed 7",
    "schedules add weekly --cron '0 8 * * mon' -- train speeches text.txt --then submit -n 3; schedules show weekly",
    "schedules allow nightly; schedules edit nightly --on-failure true; schedules allow nightly",
    "schedules edit nightly; schedules edit nightly --on-failure https://example.org/hook --deadline 2h",
    "schedules pause nightly; schedules check nightly; schedules resume nightly",
    "schedules run nightly; schedules run nightly; schedules edit nightly --cron @hourly -- submit speeches -n 3",
    "store recover; store upgrade",
    "wait 3 -q",
    "wait 5 -q; wait; cancel; retry",
    "worker --check-health",
)
LINES_AND_JSON = (
    "models compare speeches@1 speeches@2 -n 1 -l 20 --rng-seed 7",
    "models import poems.zip --as copy",
    "schedules run broken",
    "models import poems.zip; models export poems -o out.zip",
    "models import poems.zip; models import poems.zip; models promote poems@2; models rollback poems",
    "wait 3",
    "wait 4",
)
STAYS = {  # what they have logged when they wait for Ctrl-C, in any order
    "scheduler": {"scheduler ready"},
    "up --devices cpu": {"worker ready", "process 0 started"},
    "web": {"web interface at"},
    "worker --devices cpu --queues train": {"worker ready", "process 0 started"},
}
COLOR = re.compile(r"\x1b\[(\d+;)*[39][0-7]\b")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("command", [*READ, *CHANGE, *NO_JSON])
def test_the_output_of_a_command(
    desk: Desk, command: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.path)
    words = shlex.split(command)
    pipe = desk.in_pipe(words)
    shown = {"80 columns": desk.on_terminal(words, 80), "120 columns": desk.on_terminal(words, 120), "pipe": pipe}
    if command not in NO_JSON:
        shown["json"] = desk.in_pipe([*words, "--json"])
    sections = "".join(f"## {name}\n\n{text}\n" for name, text in shown.items())
    found = f"$ charrnn-jobs {command}\n\n{sections}".replace("\x1b", "␛")
    check(golden(command), found, request)
    assert "\x1b" not in pipe
    if "--help" not in words:  # rich fills its panels
        assert not re.search(r"[ \t]$", pipe, re.MULTILINE)


less = pytest.mark.slow("test_without_colors_the_words_are_the_same")  # the first four stay


@pytest.mark.parametrize("command", [*READ[:4], *(pytest.param(command, marks=less) for command in READ[4:])])
def test_without_colors_the_words_are_the_same(desk: Desk, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.path)
    words = shlex.split(command)
    plain = desk.on_terminal(words, 80, NO_COLOR="1")
    assert not COLOR.search(plain)
    shown = golden(command).read_text().replace("␛", "\x1b")
    assert ANSI.sub("", plain) in ANSI.sub("", shown)


@pytest.mark.parametrize("commands", [*LINES, *LINES_AND_JSON])
def test_the_lines_of_commands(
    desk: Desk, commands: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.path)
    found = desk.one_by_one(commands)
    if commands in LINES_AND_JSON:
        found += f"\n## json\n\n{desk.one_by_one(commands, '--json')}"
    check(golden(commands), f"$ charrnn-jobs {commands}\n\n{found}", request)


@pytest.mark.parametrize("command", STAYS)
def test_the_log_of_a_command_that_stays(
    desk: Desk, command: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    home = tmp_path / "h" if command.startswith("up") else desk.path
    found = desk.until_ctrl_c(shlex.split(command), STAYS[command], home)
    check(golden(command), f"$ charrnn-jobs {command}\n\n{found}", request)


def test_every_file_belongs_to_a_command() -> None:
    every = (*READ, *CHANGE, *NO_JSON, *LINES, *LINES_AND_JSON, *STAYS)
    assert sorted(FOLDER.glob("*.txt")) == sorted(map(golden, every))
