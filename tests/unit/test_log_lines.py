"""Lines of the worker's text log: nobody can forge one, or send a terminal a command with one."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import pytest

from charrnn.errors import MAX_MESSAGE
from worker.logs import TextLines

ROOT = Path(__file__).parents[2]
EVENT = re.compile(r'"event": "(\w+)"|about\([\w.]*part, "(\w+)"')


def test_every_event_of_a_log_is_documented() -> None:
    sources = [path for folder in ("charrnn/jobs", "worker") for path in (ROOT / folder).rglob("*.py")]
    logged = {word for path in sources for found in EVENT.findall(path.read_text()) for word in found if word}
    section = (ROOT / "docs/commands.md").read_text().partition("\n## Logs\n")[2].partition("\n## ")[0]
    assert len(logged) > 15
    # Catches: an event that a monitor would wait for, if somebody knew its name
    assert logged - set(re.findall(r"`(\w+)`", section)) == set()


def line_of(message: str, *arguments: object, exc_info: bool = False) -> str:
    raised = sys.exc_info() if exc_info else None
    return TextLines().format(logging.LogRecord("worker", logging.INFO, "", 0, message, arguments, raised))


@pytest.mark.parametrize(
    "path", ["a\n2026-01-01 00:00:00,000 INFO forged", "\x1b]0;title\x07", "\u202egpj", "\udc80\x9b"]
)
def test_unprintable_characters_are_escaped(path: str) -> None:
    # Catches: a formatter that writes a name as it is
    line = line_of("%s: the file is empty", path)
    assert line.isprintable()
    assert line.endswith(": the file is empty")


def test_printable_text_of_any_language_stays() -> None:
    assert line_of("%s", "Ünïcode 語 😀").endswith("INFO Ünïcode 語 😀")


def test_the_lines_of_a_traceback_are_indented() -> None:
    try:
        raise ValueError("x\n2026-01-01 00:00:00,000 INFO forged \x1b[2J")
    except ValueError:
        first, *others = line_of("failed", exc_info=True).split("\n")
    assert first.endswith("INFO failed")
    assert len(others) > 3
    assert all(line.startswith("    ") and line.isprintable() for line in others)


def test_a_long_message_is_cut_in_the_middle() -> None:
    line = line_of("begin %s end", "x" * 1_000_000)
    assert len(line) < MAX_MESSAGE + 40
    assert line.endswith("xxx end")
