"""The line on the terminal during long work."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest
from rich.console import Console

from producer.output import busy as module
from producer.output import console
from producer.output.busy import busy
from tests.fixtures.processes import until
from tests.fixtures.screens import terminal, written


def test_words_change_while_the_block_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(80, NO_COLOR="1")
    monkeypatch.setattr(console, "err", screen)
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    rows = 1
    with busy(lambda: f"writing {rows} rows [x]"):
        until(lambda: "writing 1 rows [x]" in written(screen), "the words")
        rows = 2
        until(lambda: "writing 2 rows" in written(screen), "the words of now")


def test_a_block_that_fails_ends_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: a line that moves on below the error message
    screen = terminal(80)
    monkeypatch.setattr(console, "err", screen)
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    with suppress(ZeroDivisionError), busy(lambda: "reading"):
        until(lambda: "reading" in written(screen), "the words")
        _ = 1 / 0
    assert written(screen).endswith("\x1b[2K")  # the line is empty again


@pytest.mark.parametrize("patience_s", [0.0, 9.0])
def test_a_pipe_and_a_quick_command_show_nothing(monkeypatch: pytest.MonkeyPatch, patience_s: float) -> None:
    screen = terminal(80) if patience_s else Console(file=io.StringIO())
    monkeypatch.setattr(console, "err", screen)
    monkeypatch.setattr(module, "PATIENCE_S", patience_s)
    with busy(lambda: "reading"):
        pass
    assert isinstance(screen.file, io.StringIO)
    assert screen.file.getvalue() == ""
