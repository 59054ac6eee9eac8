"""Tables that fit: in a pipe, on a wide terminal and on a narrow one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from charrnn.jobs.job.states import JobState
from charrnn.training.progress import Preview
from producer.output import console
from producer.output import jobs as jobs_output
from tests.fixtures.screens import terminal, written
from tests.unit.test_render import GENERATE, TRAIN, epoch

Show = Callable[[int, Callable[[], None]], list[str]]

JOBS = [
    replace(GENERATE, id=1_234, label="the nightly run", rows_total=200_000, rows_done=199_000),
    replace(TRAIN, id=1_235, state=JobState.FAILED, label=None),
]
RUNS = [("nightly", "0 3 * * *", "Europe/Paris", "train night", "paused", "failed: texts/day2.txt: line 1, byte 7")]
COLUMNS = ("schedule", "cron", "time zone", "command", "next run", "outcome")


@pytest.fixture
def colored(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A function that returns what something prints on a terminal of a width."""

    def show(width: int, write: Callable[[], None], **environ: str) -> str:
        screen = terminal(width, **environ)
        monkeypatch.setattr(console, "out", screen)
        write()
        return written(screen)

    return show


@pytest.fixture
def lines_of(colored: Callable[..., str]) -> Show:
    """A function that returns the lines that something prints on a terminal of a width, without their styles."""
    return lambda width, write: re.sub(r"\x1b\[[0-9;]*m", "", colored(width, write)).splitlines()


def runs() -> None:
    console.table(COLUMNS, RUNS, optional=("time zone",))


def test_a_wide_terminal_shows_all_columns(lines_of: Show) -> None:
    lines = lines_of(120, lambda: jobs_output.jobs(JOBS))
    assert "the nightly run" in lines[1]
    assert len(lines) == 3


@pytest.mark.parametrize(("width", "left_out"), [(90, ["submitted"]), (60, ["kind", "label", "submitted"])])
def test_a_narrow_terminal_goes_without_what_is_less_important(lines_of: Show, width: int, left_out: list[str]) -> None:
    # Catches: columns of ten characters
    head, *rows = lines_of(width, lambda: jobs_output.jobs(JOBS))
    assert [name for name in ("job", "kind", "state", "done", "label", "submitted") if name not in head] == left_out
    assert len(rows) == len(JOBS)
    assert "199,000 of 200,000 rows" in rows[0]
    assert max(map(cell_len, rows)) <= width


def test_a_terminal_that_no_table_fits_shows_cards(lines_of: Show) -> None:
    lines = lines_of(60, lambda: console.table(COLUMNS, [*RUNS, ("weekly", *RUNS[0][1:])], optional=("time zone",)))
    assert lines == [
        "nightly",
        "  cron       0 3 * * *",
        "  time zone  Europe/Paris",
        "  command    train night",
        "  next run   paused",
        "  outcome    failed: texts/day2.txt: line 1, byte 7",
        "",
        "weekly",
        *lines[1:6],
    ]


def test_the_last_column_is_wrapped_between_words_below_itself(lines_of: Show) -> None:
    lines = lines_of(80, runs)
    assert [line.split("  ")[0] for line in lines] == ["schedule", "nightly", ""]
    assert lines[2].index("7") == lines[1].index("failed")


@pytest.mark.parametrize("width", [10, 60, 80, 120])
def test_no_line_ends_with_a_space(lines_of: Show, width: int) -> None:
    for write in (runs, lambda: jobs_output.jobs(JOBS)):
        assert [line for line in lines_of(width, write) if line != line.rstrip()] == []


def test_a_pipe_gets_whole_lines_without_spaces_at_their_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Catches: a width, of a terminal or of COLUMNS, at which the input of the next program is wrapped
    monkeypatch.setenv("COLUMNS", "80")
    text = "ab" * 300
    preview = replace(epoch(1, 1.5), previews=(Preview(temperature=0.5, seed="a", text=text),))
    jobs_output.status(replace(TRAIN, history=(preview,), error="word " * 100))
    jobs_output.jobs(JOBS)
    runs()
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith(f"|{text}") for line in lines)
    assert any("submitted" in line and "label" in line for line in lines)
    assert [line for line in lines if line != line.rstrip()] == []


RED = "\x1b[1;31m"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
)
def test_states_are_in_color_on_a_terminal_that_wants_it(
    colored: Callable[..., str], environ: dict[str, str], wanted: bool
) -> None:
    shown = colored(120, lambda: jobs_output.jobs(JOBS), **environ)
    assert (f"{RED}failed" in shown) is wanted
    assert "failed" in shown
    assert ("\x1b[33m" in shown) is wanted


def test_a_pipe_gets_no_color(capsys: pytest.CaptureFixture[str]) -> None:
    jobs_output.jobs(JOBS)
    jobs_output.status(JOBS[1])
    assert "\x1b" not in capsys.readouterr().out


def test_a_pipe_gets_color_but_no_bar_if_that_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: rich's is_terminal, which is true then
    with open("/dev/null", "w") as pipe:
        assert not console.is_terminal(Console(file=pipe, _environ={"FORCE_COLOR": "1", "TERM": "xterm"}))
    assert console.is_terminal(terminal(80))
    assert not console.is_terminal(terminal(80, TERM="dumb"))


def test_a_style_comes_from_the_first_word() -> None:
    assert [str(console.state(words).style) for words in ("failed: no text", "done", "failure", "")] == [
        "bold red",
        "green",
        "",
        "",
    ]


def test_wide_characters_count_as_two_columns(lines_of: Show) -> None:
    # Catches: len() where a terminal needs two columns for a character
    lines = lines_of(80, lambda: console.table(("a", "b"), [("日本", "x"), ("ab", "y")]))
    assert lines == ["a     b", "日本  x", "ab    y"]
