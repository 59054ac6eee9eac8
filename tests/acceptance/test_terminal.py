"""Output to a terminal: nothing that moves its cursor, renames it or reverses its text."""

from __future__ import annotations

import os
import pty
import subprocess
import unicodedata
from collections.abc import Iterator

import pytest

from tests.fixtures import entry_point
from tests.fixtures.processes import COMMAND, TINY, Home, make_home

# ANSI escape sequences in seven bits and in eight, BEL, DEL, and marks that change the direction of text.
HOSTILE = "\x1b]0;owned\x07 \x9b31m \x7f \u202e\u2066\u200f\u061c"
SEED = f"on{HOSTILE}e"


@pytest.fixture(scope="module")
def hostile() -> Iterator[Home]:
    """A stack with an ended job, with a model that writes such characters and a seed of them."""
    for home in make_home():
        (home.path / "text.txt").write_text(f"one {HOSTILE} two\n" * 400)
        with home.up():
            home.ok("train", "tiny", str(home.path / "text.txt"), *TINY, "--wait")
            (home.path / "seeds.txt").write_text(f"{SEED}\n")
            seeds = ("--seeds", str(home.path / "seeds.txt"), "-n", "3", "-l", "200", "--label", f"x{HOSTILE}")
            home.ok("submit", "-m", "tiny", *seeds, "--wait")
            yield home


def on_terminal(home: Home, *arguments: str) -> str:
    """Call a command with a terminal as its outputs, and return what the terminal received."""
    done = entry_point.call_on_terminal(arguments, {**home.environment, "NO_COLOR": "1", "TERM": "dumb"})
    assert done.returncode == 0, done.stdout
    return done.stdout


COMMANDS = [
    ("results", "2"),
    *(("results", "2", "-f", form) for form in ("jsonl", "csv", "txt")),
    ("results", "2", "--follow"),
    ("status", "2"),
    ("status", "2", "--json"),
    ("status", "1"),
    ("jobs",),
    ("jobs", "--json"),
    ("models", "show", "tiny"),
    ("wait", "2"),
    ("doctor",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_control_character_reaches_a_terminal(hostile: Home, command: tuple[str, ...]) -> None:
    # Catches: bytes for a program, written where a person reads
    got = on_terminal(hostile, *command)
    assert got.strip()
    assert {c for c in got if unicodedata.category(c) in ("Cc", "Cf")} <= {"\r", "\n"}


@pytest.mark.parametrize(("command", "code"), [(("results", "2"), 0), (("status", "99"), 3)])
def test_a_process_on_a_terminal_prints_and_exits_like_its_entry_point(
    hostile: Home, command: tuple[str, ...], code: int
) -> None:
    """The other tests of output on a terminal only call the entry point."""
    colorful = {**hostile.environment, "TERM": "xterm-256color", "COLUMNS": "80"}
    master, slave = pty.openpty()
    with open(master, "rb", buffering=0) as received:
        process = subprocess.Popen([*COMMAND, *command], env=colorful, stdout=slave, stderr=slave)
        os.close(slave)
        got = b"".join(iter(lambda: entry_point.read(received.fileno()), b"")).decode()
    called = entry_point.call_on_terminal(command, colorful)
    assert (process.wait(), got) == (called.returncode, called.stdout)
    assert called.returncode == code


def test_a_bare_id_is_for_programs_alone(hostile: Home) -> None:
    told = on_terminal(hostile, "submit", "-m", "tiny", "-l", "5")
    assert told.startswith("job ")
    assert hostile.ok("submit", "-m", "tiny", "-l", "5").strip().isdigit()


def test_files_and_pipes_receive_unaltered_text(hostile: Home) -> None:
    # Catches: characters that are replaced in the input of the next program too
    piped = hostile.ok("results", "2", "-f", "txt")
    assert piped.startswith(SEED)
    hostile.ok("results", "2", "-o", str(hostile.path / "texts.txt"))
    assert (hostile.path / "texts.txt").read_text() == piped


def test_the_first_look_at_results_has_each_temperature(hostile: Home) -> None:
    # Catches: the first 20 rows, all of the first seed and temperature
    seeds = hostile.path / "many.txt"
    seeds.write_text("".join(f"{'one ' * number}\n" for number in range(1, 8)))
    hostile.ok("submit", "-m", "tiny", "--seeds", str(seeds), "-n", "50", "-t", "0.2,0.9", "-l", "5", "--wait")
    told = on_terminal(hostile, "results")
    assert told.count("temperature 0.2") == told.count("temperature 0.9") == 7
    assert "14 of 700 rows" in told
